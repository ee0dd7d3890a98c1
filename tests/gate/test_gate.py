"""Gate file, planner, judgement, and whole gates with scripted and planted policies, interrupted and resumed."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import TINY

from sim.experts.planted_faults import PlantedPolicy, load_planted
from vla_agent.cli import main
from vla_agent.contract.tabletop import tabletop_contract
from vla_agent.errors import GateError
from vla_agent.files.canonical_json import canonical
from vla_agent.gate import run_gate as module
from vla_agent.gate.decision.gate_file import ORACLE, hash_gate, load_gate, read_gate
from vla_agent.gate.decision.judge import attribute_failures
from vla_agent.gate.decision.plan import Planner, sequential_tests
from vla_agent.gate.evidence import ledger
from vla_agent.gate.evidence.perception_oracle import accepts_oracle_points
from vla_agent.gate.evidence.seeds import first_seed
from vla_agent.gate.evidence.signed_lines import next_line

ROOT = Path(__file__).parents[2]
EVENTS = ("start", "stopped", "resumed", "finish")
APART = "  oracle: {threshold: null}\n"


def test_the_page_of_a_finished_gate_stands_alone(finished):
    page = (finished.root / "out" / "report.html").read_text()
    assert "passes the gate tiny" in page and "http" not in page.replace("http-equiv", "")


def test_seeds_follow_from_the_line_of_the_ledger(finished):
    report, attempt = finished.report(), finished.payload()["attempt"]
    start = next(iter(ledger.read_ledger(finished.ledger, finished.signer)))
    assert (
        attempt["seed"] == first_seed(start["policy"], start["gate"], start["hash"]) and attempt["run"] == start["run"]
    )
    assert {e["seed"] - attempt["seed"] for e in report["episodes"]} <= set(range(10))
    assert start["gate"] == hash_gate(finished.root / "tiny.yaml")


def test_a_deaf_policy_is_refused_for_not_listening(lab):
    report = lab.gate("planted.deaf", "deaf", load=load_planted, clips=0)
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


def test_a_policy_that_only_sees_wrong_fails_by_perception(lab):
    (lab.root / "apart.yaml").write_text(TINY.replace("reported: 1", "reported: 2") + APART)
    report = lab.gate("misled", "misled", suite=lab.root / "apart.yaml", load=load_misled, clips=0)
    apart = report["summary"]["judgement"]["apart"]
    assert apart["n"] == apart["k"] == 2 and apart["control_k"] == 0
    assert apart["perception"]["k"] == apart["perception"]["n"] == 2 and apart["control"]["k"] == 0
    assert "Failures of perception and of control" in (lab.root / "misled" / "report.html").read_text()
    assert lab.verify("misled") == []


def test_perception_and_control_are_counted_separately(tmp_path):
    found = attribute_failures([(True, True), (True, False), (False, False), (False, False), (False, True)])
    assert (found["control_k"], found["k"], found["only_second"]) == (2, 2, 1)
    assert (found["perception"]["k"], found["control"]["k"], found["control"]["n"]) == (1, 2, 3)
    assert accepts_oracle_points(Misled()) and not accepts_oracle_points(PlantedPolicy())
    (tmp_path / "apart.yaml").write_text(TINY + APART)
    spec = load_gate(tmp_path / "apart.yaml")
    for excluded in ((), (ORACLE,)):  # a policy that cannot take the true places is not tried
        planner = Planner(spec, sequential_tests(spec, 0.05), 0, excluded)
        assert any(job.control == ORACLE for job in planner.next_round([])) == (not excluded)


def test_what_a_policy_does_not_admit_is_not_played(tmp_path):
    delays = "  delays:\n    - {delay_ms: 100, threshold: null}\n    - {delay_ms: 200, threshold: null}\n"
    for text, name, load, excluded in (
        (TINY + delays + APART, "expert", None, ("delay.100", "delay.200", ORACLE)),
        (TINY + delays, "learned", None, (ORACLE,)),
        (TINY + delays + APART, "learned", lambda name: PlantedPolicy(), (ORACLE,)),
        (TINY + delays + APART, "learned", load_misled, ()),
    ):
        (tmp_path / "gate.yaml").write_text(text)
        run = SimpleNamespace(file=read_gate(tmp_path / "gate.yaml"), candidate=SimpleNamespace(name=name, load=load))
        assert module._excluded(run) == excluded


def stop(played, done, total):
    raise KeyboardInterrupt


def test_a_stopped_gate_goes_on_only_where_that_is_asked_for(lab):
    """With other numbers of workers: test_gate_resumed.py."""
    with pytest.raises(KeyboardInterrupt):
        lab.gate("expert", "stopped", progress=stop, clips=0)
    with pytest.raises(GateError, match="unfinished") as error:
        lab.gate("expert", "stopped", clips=0)
    assert "--resume" in error.value.remedy
    seen: list[tuple[int, int]] = []
    report = lab.gate(
        "expert", "stopped", resume=True, clips=0, progress=lambda played, done, total: seen.append((done, total))
    )
    attempt = report["certified"]["attempt"]
    lines = ledger.of_run(ledger.read_ledger(lab.ledger, lab.signer), attempt["run"], *EVENTS)
    assert [line["event"] for line in lines] == list(EVENTS) and attempt["number"] == 2
    count = len(report["episodes"])
    assert [done for done, _ in seen] == list(range(2, count + 1)), "the first one was played before"
    assert all(done <= total for done, total in seen) and seen[-1] == (count, count)
    order = [(row["control"], row["index"]) for row in report["episodes"]]
    assert order == sorted(order) and len(set(order)) == count
    assert lab.verify("stopped") == []


def test_edited_scratch_files_are_not_believed(lab):
    with pytest.raises(KeyboardInterrupt):
        lab.gate("random", "stopped", suite=shorter(lab), progress=stop, clips=0)
    file = lab.root / "stopped" / ".partial" / "episodes.jsonl"
    turned = {"true": "false", "false": "true"}
    file.write_text(re.sub('"(success|outcome)":(true|false)', lambda m: f'"{m[1]}":{turned[m[2]]}', file.read_text()))
    before = lab.ledger.read_bytes()
    with pytest.raises(GateError, match="were changed") as error:
        lab.gate("random", "stopped", suite=lab.root / "shorter.yaml", resume=True, clips=0)
    assert error.value.file == f"{file}:1" and lab.ledger.read_bytes() == before
    file.unlink()
    with pytest.raises(GateError, match="were changed"):
        lab.gate("random", "stopped", suite=lab.root / "shorter.yaml", resume=True, clips=0)


def shorter(lab):
    (lab.root / "shorter.yaml").write_text(TINY.replace("name: tiny", "name: shorter"))
    return lab.root / "shorter.yaml"


def change_instead_of_playing(monkeypatch, rows, change):
    """The gate hashes again at its end; here nothing is played, so that only that can find the change."""
    monkeypatch.setattr(module, "_play_rounds", lambda *_: change() and rows)


def test_a_gate_file_that_changes_meanwhile_certifies_nothing(lab, monkeypatch):
    other = TINY.replace("threshold: 0.05", "threshold: 0.04")
    change_instead_of_playing(monkeypatch, lab.report()["episodes"], lambda: (lab.root / "tiny.yaml").write_text(other))
    with pytest.raises(GateError, match="changed while the gate ran") as error:
        lab.gate("expert", "changed", clips=0)
    assert error.value.key == "gate file" and not (lab.root / "changed" / "certificate.json").exists()
    last = ledger.read_ledger(lab.ledger, lab.signer)[-1]
    assert (last["event"], last["reason"]) == ("aborted", "gate file")
    (lab.root / "tiny.yaml").write_text(TINY)
    with pytest.raises(GateError, match="was aborted"):
        lab.gate("expert", "changed", resume=True, clips=0)


def test_a_task_file_that_changes_meanwhile_certifies_nothing(lab, monkeypatch):
    """It may lie outside the simulator's folder."""
    monkeypatch.chdir(lab.root)
    task, suite = lab.root / "mine.yaml", lab.root / "gate.yaml"
    text = (ROOT / "sim" / "tasks" / "tabletop" / "press_button.yaml").read_text()
    task.write_text(text)
    suite.write_text(TINY.replace("[press_button]", "[mine.yaml]"))
    with monkeypatch.context() as patch, pytest.raises(GateError, match="changed while the gate ran") as error:
        change_instead_of_playing(patch, lab.report()["episodes"], lambda: task.write_text(text + "\n"))
        lab.gate("expert", "changed", suite, clips=0)
    assert error.value.key == "tasks.press_button"
    task.write_text(text)
    lab.gate("expert", "right", suite, clips=0)
    assert lab.verify("right") == []
    task.write_text(text + "\n")
    places = "certificate.gate.tasks.press_button", "report.json.hashes.tasks.press_button"
    assert [text.startswith(place) for text, place in zip(lab.verify("right"), places, strict=True)] == [True, True]


def test_a_policy_that_changes_meanwhile_certifies_nothing(lab, tmp_path, monkeypatch):
    policy = tmp_path / "policy"
    shutil.copytree(ROOT / "policies" / "tabletop-nano", policy, ignore=shutil.ignore_patterns("evaluation", "*.png"))
    monkeypatch.setattr(module, "_latency", lambda file, candidate: (50.0, {"p99_ms": 1.0}))
    monkeypatch.setattr(module, "_excluded", lambda run: (ORACLE,))
    weights = policy / "head.safetensors"
    other = weights.read_bytes()[:-1] + b"x"
    change_instead_of_playing(monkeypatch, lab.report()["episodes"], lambda: weights.write_bytes(other))
    with pytest.raises(GateError, match="changed while the gate ran") as error:
        lab.gate(str(policy), "changed", clips=0)
    assert error.value.key == "policy.head.safetensors"
    assert ledger.read_ledger(lab.ledger, lab.signer)[-1]["event"] == "aborted"


def test_a_kill_after_the_certificate_loses_nothing(lab):
    """The ledger's last line and its copy are added by --resume, once."""
    out = lab.root / "out"
    lines = lab.ledger.read_text().splitlines()
    lab.ledger.write_text(lines[0] + "\n")
    start = ledger.read_ledger(lab.ledger, lab.signer)[0]
    head = next_line({}, ledger.HEAD_KIND, 1, start["hash"], lab.signer)
    lab.ledger.with_name("ledger.jsonl.head").write_bytes(canonical(head) + b"\n")
    (out / "ledger.jsonl").unlink()
    (out / ".partial").mkdir()
    with pytest.raises(GateError, match="finished gate"):
        lab.gate("expert", "out", clips=0)
    report = lab.gate("expert", "out", resume=True, clips=0)
    assert report["certified"]["verdict"] == "pass" and lab.verify() == [] and not (out / ".partial").exists()
    assert len(ledger.read_ledger(lab.ledger, lab.signer)) == len(lines)
    with pytest.raises(GateError, match="finished gate"):
        lab.gate("expert", "out", resume=True, clips=0)


def test_a_finished_gate_of_another_ledger_or_with_changed_evidence_is_not_completed(lab):
    out = lab.root / "out"
    content = lab.ledger.read_bytes()
    lab.ledger.unlink()
    with pytest.raises(GateError, match="not in the ledger"):
        lab.gate("expert", "out", resume=True, clips=0)
    lab.ledger.write_bytes(content)
    (out / "report.json").write_bytes((out / "report.json").read_bytes() + b" ")
    with pytest.raises(GateError, match="evidence was changed"):
        lab.gate("expert", "out", resume=True, clips=0)
    (out / "actions.npz").unlink()
    (out / "report.json").unlink()
    with pytest.raises(GateError, match="evidence was changed"):
        lab.gate("expert", "out", resume=True, clips=0)


def test_other_files_in_the_folder_are_not_taken_for_a_gate(lab):
    """Above all not a report: only signed lines count as finished episodes."""
    (lab.root / "taken").mkdir()
    shutil.copy(lab.root / "out" / "report.json", lab.root / "taken")
    for resume in (False, True):
        with pytest.raises(GateError, match="something else"):
            lab.gate("expert", "taken", resume=resume, clips=0)
    (lab.root / "taken" / "report.json").unlink()
    (lab.root / "taken" / ".partial").mkdir()
    with pytest.raises(GateError, match="something else"):
        lab.gate("expert", "taken", clips=0)


def test_the_commands_state_ledger_and_strength(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("VLA_AGENT_KEYS", str(tmp_path / "keys"))
    (tmp_path / "tiny.yaml").write_text(TINY)
    out = str(tmp_path / "out")
    assert main(["keys", "create", "default"]) == 0
    assert main(["gate", "expert", "--suite", str(tmp_path / "tiny.yaml"), "--workers", "1", "-o", out]) == 0
    shown, ledger_file = capsys.readouterr(), tmp_path / "keys" / "ledger.jsonl"
    assert f"counted in {ledger_file}" in shown.err and ledger_file.is_file()
    assert "for trying out, not for hardware" in shown.out and f"ledger of attempts: {ledger_file}" in shown.out
    assert "success 100.0 % (40 to 100 %), mean over 1 family, 4 of 4 unperturbed episodes" in shown.out
    assert main(["verify", f"{out}/certificate.json", "--replay", "2", "--seed", "5"]) == 0
    valid = capsys.readouterr().out
    assert "for trying out, not for hardware" in valid and "2 episodes replayed" in valid and "--seed 5" in valid
    assert f"number 1 of this policy in the ledger {out}/ledger.jsonl" in valid
    assert main(["verify", f"{out}/certificate.json", "--ledger", str(ledger_file), "--replay", "0"]) == 0
    assert "no episode was replayed" in capsys.readouterr().out
    assert main(["verify", f"{out}/certificate.json", "--ledger", str(tmp_path / "none"), "--replay", "0"]) == 1
    shown = capsys.readouterr().out
    assert "the start of run" in shown and shown.endswith("1 difference\n")
    assert main(["verify", out, "--policy", "expert", "--replay", "1"]) == 0, "a folder, and the policy by its name"
    assert main(["verify", out, "--policy", "random", "--replay", "0"]) == 1
    assert "policy.name: certified expert, found random" in capsys.readouterr().out


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
