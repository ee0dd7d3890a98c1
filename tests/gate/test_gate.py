"""Gate file, ledger, keys, a whole gate with planted policies, its certificate, verification and enforcement."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from sim.experts.planted_faults import PlantedPolicy, load_planted
from vla_agent.cli import main
from vla_agent.contract.tabletop import tabletop_contract
from vla_agent.errors import CertificateError, GateError
from vla_agent.files.canonical_json import digest, readable
from vla_agent.gate.certificate import keys
from vla_agent.gate.certificate.bound_files import contract_parts, policy_contract, policy_parts
from vla_agent.gate.certificate.certificate import read_certificate, sign, write_certificate
from vla_agent.gate.certificate.enforce import Deployment, require_certificate
from vla_agent.gate.certificate.verify import verify
from vla_agent.gate.decision.gate_file import ORACLE, load_gate
from vla_agent.gate.decision.judge import attribute_failures, judge, label
from vla_agent.gate.decision.plan import Planner, sequential_tests
from vla_agent.gate.evidence import ledger
from vla_agent.gate.evidence.perception_oracle import accepts_oracle_points
from vla_agent.gate.run_gate import GateSettings, run_gate

ROOT = Path(__file__).parents[2]
POLICY = ROOT / "policies" / "tabletop-nano"
TINY = """\
format: 1
name: tiny
tasks: [press_button]
seed: 530000
block: 2
reported: 1
checks:
  success: {threshold: 0.05, margin: 0.60}
  family: {threshold: null}
  axes:
    - {axis: lighting, severity: 1, threshold: 0.05, margin: 0.60}
  language:
    - {probe: swap, threshold: 0.30, margin: 0.60}
"""
APART = "  oracle: {threshold: null}\n"


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A finished gate of the expert: key, ledger and evidence."""
    root = tmp_path_factory.mktemp("gate")
    (root / "tiny.yaml").write_text(TINY)
    keys.create("lab", root / "keys")
    gate(root, "expert", "out")
    return root


def gate(root, policy, out, suite=None, progress=None, **options):
    private, ledger_file = keys.load_private("lab", root / "keys"), root / "ledger.jsonl"
    suite = suite or root / "tiny.yaml"
    settings = GateSettings(policy, suite, root / out, "arm", private, ledger_file, clips=0, **options)
    return run_gate(settings, progress)


def test_a_gate_file_s_errors_name_line_key_and_valid_names(tmp_path):
    file = tmp_path / "gate.yaml"
    for wrong, line, key, says in (
        (TINY.replace("success: {threshold", "success: {treshold"), 8, "treshold", "threshold"),
        (TINY.replace("axis: lighting", "axis: fog"), 11, "axis", "lighting"),
        (TINY.replace("0.30, margin: 0.60", "0.30, margin: 0.90"), 13, "language", "below 1"),
        (TINY.replace("press_button", "press_botton"), 3, "tasks", "press_button"),
        (TINY.replace("threshold: 0.30", "threshold: null"), None, "checks", "ignores its instruction"),
        (TINY.replace("[press_button]", "[press_button"), None, None, ""),
    ):
        file.write_text(wrong)
        with pytest.raises(GateError) as error:
            load_gate(file)
        text = str(error.value)
        assert says in text and (key is None or key in str(error.value.key))
        assert line is None or f"gate.yaml:{line}" in text


def test_the_shipped_gate_files_are_sound():
    for file in (ROOT / "gates").glob("*.yaml"):
        checks = load_gate(file).checks_by_name()
        assert "success" in checks and "probe.swap" in checks


def test_a_certificate_holds_and_its_verdict_is_computed_again(root):
    certificate = read_certificate(root / "out" / "certificate.json")
    assert certificate.payload["verdict"] == "pass" and certificate.payload["robot"] == "arm"
    assert verify(root / "out" / "certificate.json", None, keys=root / "keys", ledger=root / "ledger.jsonl") == []
    page = (root / "out" / "report.html").read_text()
    assert "passes the gate tiny" in page and "http" not in page.replace("http-equiv", "")


def test_outcomes_do_not_depend_on_workers(root):
    rows = json.loads((root / "out" / "report.json").read_text())["episodes"]
    shutil.copytree(root, root.parent / "again")
    again = gate(root.parent / "again", "expert", "again", workers=2)
    key = ("control", "index", "seed", "success", "state_hash", "image_hash")
    mine = [{k: r[k] for k in key} for r in again["episodes"]]
    # another attempt is held to a stricter test, and so may play more, but never other episodes
    assert all({k: r[k] for k in key} in mine for r in rows)
    assert again["certified"]["attempt"]["number"] == 2


def test_each_change_is_named(root, tmp_path):
    def found(change):
        shutil.rmtree(tmp_path / "out", ignore_errors=True)
        shutil.copytree(root / "out", tmp_path / "out")
        change(tmp_path / "out")
        return " ".join(map(str, verify(tmp_path / "out" / "certificate.json", None, keys=root / "keys")))

    def certificate(part, value, *path):
        def change(out):
            data = json.loads((out / "certificate.json").read_text())
            inside = data[part]
            for key in path[:-1]:
                inside = inside[key]
            inside[path[-1]] = value
            (out / "certificate.json").write_text(readable(data))

        return change

    def replaced(name, before, after):
        return lambda out: (out / name).write_text((out / name).read_text().replace(before, after, 1))

    assert "certificate.robot" in found(certificate("payload", "another", "robot"))
    assert "counts.success.k" in found(certificate("payload", 99, "counts", "success", "k"))
    assert "signature.key" in found(certificate("signature", "0" * 32, "key"))
    assert "payload.extra" in found(certificate("payload", 1, "extra"))
    assert "bytes" in found(lambda out: (out / "certificate.json").open("a").write(" "))
    assert "evidence.gate.yaml" in found(replaced("gate.yaml", "0.05", "0.04"))
    assert "evidence.report.json" in found(replaced("report.json", '"success": true', '"success": false'))
    assert "evidence.actions.npz" in found(lambda out: (out / "actions.npz").unlink())


def test_a_deaf_policy_is_refused_for_not_listening(root):
    report = gate(root, "planted.deaf", "deaf", load=load_planted)
    judged = report["summary"]["judgement"]
    failed = [name for name, c in judged["checks"].items() if c["verdict"] == "fail"]
    assert judged["verdict"] == "fail" and failed == ["probe.swap"]
    assert judged["language"]["stubborn"]["k"] == judged["language"]["stubborn"]["n"] > 0
    assert report["certified"]["verdict"] == "fail"


class Misled(PlantedPolicy):
    """Moves beside the place unless it is given the true one."""

    contract = tabletop_contract()

    def act(self, observation, oracle=None):
        action = super().act(observation)
        if oracle is None:
            action[0, :2] += 0.02
        else:
            assert oracle.points.shape == (2, 2, 3) and oracle.located.shape == (2, 3)
        return action


def load_misled(name):
    return Misled()


def test_a_policy_that_only_sees_wrong_fails_by_perception(root):
    (root / "apart.yaml").write_text(TINY.replace("reported: 1", "reported: 2") + APART)
    report = gate(root, "misled", "misled", suite=root / "apart.yaml", load=load_misled)
    apart = report["summary"]["judgement"]["apart"]
    assert apart["n"] == apart["k"] == 2 and apart["control_k"] == 0
    assert apart["perception"]["k"] == apart["perception"]["n"] == 2 and apart["control"]["k"] == 0
    assert "Failures of perception and of control" in (root / "misled" / "report.html").read_text()
    assert verify(root / "misled" / "certificate.json", None, keys=root / "keys") == []


def test_perception_and_control_are_counted_separately(tmp_path):
    found = attribute_failures([(True, True), (True, False), (False, False), (False, False), (False, True)])
    assert (found["control_k"], found["k"], found["only_second"]) == (2, 2, 1)
    assert (found["perception"]["k"], found["control"]["k"], found["control"]["n"]) == (1, 2, 3)
    assert accepts_oracle_points(Misled()) and not accepts_oracle_points(PlantedPolicy())
    (tmp_path / "apart.yaml").write_text(TINY + APART)
    spec = load_gate(tmp_path / "apart.yaml")
    for excluded in ((), (ORACLE,)):  # a policy that cannot take the true places is not tried
        planner = Planner(spec, sequential_tests(spec, 0.05), excluded)
        assert any(job.control == ORACLE for job in planner.next_round([])) == (not excluded)


def test_a_random_policy_fails(root):
    judged = gate(root, "random", "random")["summary"]["judgement"]
    assert judged["checks"]["success"]["verdict"] == "fail"


def test_a_stopped_gate_goes_on_and_is_one_attempt(root):
    def stop(played, done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        gate(root, "planted.none", "stopped", load=load_planted, progress=stop)
    with pytest.raises(GateError, match="unfinished"):
        gate(root, "planted.none", "stopped", load=load_planted)
    report = gate(root, "planted.none", "stopped", load=load_planted, resume=True)
    assert report["certified"]["attempt"]["number"] == 1 and report["certified"]["verdict"] == "pass"
    later = gate(root, "planted.none", "later", load=load_planted)["certified"]["attempt"]
    assert later["number"] == 2 and later["alpha"] < report["certified"]["attempt"]["alpha"]


def test_the_ledger_shows_every_change(tmp_path):
    file = tmp_path / "ledger.jsonl"
    for run in ("a", "b", "a", "c"):
        ledger.append(file, {"event": "start", "run": run, "policy": "p", "gate": "g"})
    assert ledger.starts(ledger.read_ledger(file), "p") == ["a", "b", "c"]
    lines = file.read_text().splitlines()
    for changed in (
        lines[1:],
        [lines[0], *lines[2:]],
        [*lines, lines[-1]],
        [lines[0].replace('"a"', '"z"'), *lines[1:]],
    ):
        file.write_text("\n".join(changed) + "\n")
        with pytest.raises(CertificateError, match="ledger was changed"):
            ledger.read_ledger(file)


def test_the_ledger_lies_with_the_keys_unless_an_older_one_lies_beside_the_gate_file(tmp_path, monkeypatch):
    monkeypatch.setenv("VLA_AGENT_KEYS", str(tmp_path / "keys"))
    gate_file = tmp_path / "gates" / "tiny.yaml"
    assert keys.default_ledger(gate_file) == tmp_path / "keys" / "ledger.jsonl"
    older = tmp_path / "gates" / "ledger.jsonl"
    ledger.append(older, {"event": "start", "run": "a", "policy": "p", "gate": "g"})
    assert keys.default_ledger(gate_file) == older


def test_the_commands_state_ledger_and_strength(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("VLA_AGENT_KEYS", str(tmp_path / "keys"))
    (tmp_path / "tiny.yaml").write_text(TINY)
    out = str(tmp_path / "out")
    assert main(["keys", "create", "default"]) == 0
    assert main(["gate", "expert", "--suite", str(tmp_path / "tiny.yaml"), "--workers", "1", "-o", out]) == 0
    shown, ledger_file = capsys.readouterr(), tmp_path / "keys" / "ledger.jsonl"
    assert f"counted in {ledger_file}" in shown.err and ledger_file.is_file()
    assert "for trying out, not for hardware" in shown.out and f"ledger of attempts: {ledger_file}" in shown.out
    assert main(["verify", f"{out}/certificate.json", "--ledger", str(ledger_file)]) == 0
    assert "for trying out, not for hardware" in capsys.readouterr().out


def test_labels_part_all_pairs():
    assert label(True, True, False) == "follow"
    assert label(True, False, True) == "stubborn"
    assert label(True, False, False) == label(False, True, False) == "indecisive"
    assert label(False, False, False) == "ignorant"


def test_judging_without_episodes_is_undecided():
    judged = judge(load_gate(ROOT / "gates" / "smoke.yaml"), [], 1)
    assert judged["verdict"] == "undecided" and judged["reasons"]


def test_keys_are_private_and_never_overwritten(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("VLA_AGENT_KEYS", str(tmp_path / "keys"))
    assert main(["keys", "create", "lab"]) == 0
    private = tmp_path / "keys" / "lab.key"
    assert private.stat().st_mode & 0o777 == 0o600
    before = private.read_bytes()
    assert main(["keys", "create", "lab"]) == 2 and private.read_bytes() == before
    monkeypatch.setenv("VLA_AGENT_KEYS", str(tmp_path / "robot"))
    assert main(["keys", "trust", str(tmp_path / "keys" / "lab.pub")]) == 0
    assert main(["keys", "revoke", "abc", "--reason", "lost"]) == 0
    capsys.readouterr()
    assert main(["keys", "list"]) == 0
    shown = capsys.readouterr().out
    assert "lab" in shown and "private half" not in shown and "revoked abc: lost" in shown
    private.chmod(0o644)
    with pytest.raises(CertificateError, match="other users can read"):
        keys.load_private("lab", tmp_path / "keys")


@pytest.fixture(scope="module")
def certified(root, tmp_path_factory):
    """A signed certificate that covers a copy of the shipped policy: (folder, certificate file)."""
    folder = tmp_path_factory.mktemp("certified")
    shutil.copytree(POLICY, folder / "policy", ignore=shutil.ignore_patterns("evaluation", "*.png"))
    payload = dict(read_certificate(root / "out" / "certificate.json").payload)
    payload["policy"] = {"name": "policy", **policy_parts(folder / "policy")}
    payload["contract"] = contract_parts(policy_contract(folder / "policy"))
    payload["latency"] = {"certified_ms": 50.0, "measured_ms": 30.0}
    write_certificate(folder / "certificate.json", sign(payload, keys.load_private("lab", root / "keys")))
    return folder / "policy", folder / "certificate.json"


def test_what_is_certified_may_move_and_nothing_else(root, certified):
    policy, file = certified
    contract = read_certificate(file).payload["contract"]
    cameras = {k: tuple(v) for k, v in contract["cameras"].items()}
    fits = Deployment("arm", True, cameras, contract["control_hz"], latency_ms=50.0)
    trusted = root / "keys"
    assert require_certificate(policy, file, fits, keys=trusted) is not None
    assert require_certificate(policy, None, Deployment("arm", hardware=False)) is None
    for key, changed in (
        ("robot", {"robot": "other"}),
        ("control_hz", {"control_hz": 40.0}),
        ("cameras", {"cameras": {"front": (96, 96)}}),
        ("latency", {"latency_ms": 51.0}),
        ("execution", {"execution": "ensemble"}),
    ):
        with pytest.raises(GateError) as error:
            require_certificate(policy, file, replace(fits, **changed), keys=trusted)
        assert key in error.value.key and error.value.remedy
    with pytest.raises(CertificateError, match="expired"):
        late = datetime.now(timezone.utc) + timedelta(days=5000)
        require_certificate(policy, file, fits, keys=trusted, now=late)
    with pytest.raises(GateError, match="no certificate"):
        require_certificate(policy, "", fits, keys=trusted)
    (policy / "adapter_config.json").write_text("{}")
    with pytest.raises(GateError, match="adapter"):
        require_certificate(policy, file, fits, keys=trusted)
    (policy / "adapter_config.json").unlink()
    keys.revoke(digest(policy_parts(policy)["files"]), "a test", root / "keys")
    with pytest.raises(CertificateError, match="revoked"):
        require_certificate(policy, file, fits, keys=trusted)
    (root / "keys" / "revoked.jsonl").unlink()


def test_the_command_says_what_it_needs(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("VLA_AGENT_KEYS", str(tmp_path))
    assert main(["gate", "expert", "--suite", str(ROOT / "gates" / "smoke.yaml"), "-o", str(tmp_path / "o")]) == 2
    assert "vla-agent keys create default" in capsys.readouterr().err
    assert main(["verify", str(tmp_path / "none.json")]) == 2


def test_hashing_a_policys_files_needs_neither_simulator_nor_mujoco():
    """LeRobot's environment, which serves its policies by our server, has neither."""
    code = "import sys; import vla_agent.gate.certificate.bound_files as b; print(len(b.simulator_files()) > 50)\n"
    code += "print(any(name.split('.')[0] in ('sim', 'mujoco') for name in sys.modules))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT).stdout
    assert shown.split() == ["True", "False"]
