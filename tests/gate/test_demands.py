"""What a robot demands: its owner's file, complete, strong enough for hardware, and compared with the certificate."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.certificates.certificate_case import (
    CHECKS,
    GATE,
    ROBOT,
    ROBOT_FILE,
    TASKS,
    changed_parts,
    demands,
    make,
)
from vla_agent.cli import main
from vla_agent.errors import CertificateError, GateError
from vla_agent.files.canonical_json import digest
from vla_agent.files.hashing import hash_file
from vla_agent.gate.certificate import keys
from vla_agent.gate.certificate.bound_files import simulator_files
from vla_agent.gate.certificate.demands import (
    demands_from_gate,
    demands_of,
    read_demands,
    require_demanded,
    write_demands,
)
from vla_agent.gate.decision.gate_file import hash_gate, load_gate
from vla_agent.gate.decision.plan import task_files

ROOT = Path(__file__).parents[2]
PANDA = ROOT / "config" / "robots" / "panda.yaml"
TABLETOP = ROOT / "gates" / "tabletop.yaml"
ZERO, KEY = "0" * 64, "1" * 32


@pytest.fixture(scope="module")
def payload(tmp_path_factory):
    """Of a certificate that fulfils `demands` exactly."""
    return make(tmp_path_factory.mktemp("demands") / "case").payload


def unwritten(**changed) -> dict:
    """Demands with other keys; those that are ``None`` in ``changed`` are left out."""
    data = demands()
    for path, value in changed.items():
        *parts, last = path.split("__")
        inside = data
        for part in parts:
            inside = inside[part]
        inside[last] = value
    return data


def asked(payload, key=KEY, **changed):
    """Compare a certificate with demands of which some are changed."""
    require_demanded(payload, key, demands_of(unwritten(**changed), Path("demands.yaml")), Path("certificate.json"))


def test_a_certificate_that_shows_exactly_what_is_demanded_is_enough(payload):
    asked(payload)
    asked(payload, keys=[KEY, "2" * 32])
    two = {"other": {"mine": ZERO}, "tabletop": TASKS}
    asked(payload, gates={"other": ZERO, "tabletop": GATE}, tasks=two, execution=["open_loop", "realtime"])
    asked(payload, simulators=[ZERO, demands()["simulators"][0]])


@pytest.mark.parametrize(
    ("changed", "key"),
    [
        ({"robot_file": ZERO}, "robot.file"),
        ({"gates": {"tabletop": ZERO}}, "gate.sha256"),
        ({"tasks__tabletop__stack": ZERO}, "gate.tasks.stack"),
        ({"tasks__tabletop__mine": ZERO}, "gate.tasks.mine"),
        ({"tasks": {"tabletop": {"mine": TASKS["stack"]}}}, "gate.tasks.mine"),
        (
            {"gates": {"other": ZERO, "tabletop": GATE}, "tasks": {"other": TASKS, "tabletop": {"stack": ZERO}}},
            "gate.tasks.stack",
        ),
        ({"simulators": [ZERO]}, "simulator"),
        ({"validity_days": 89}, "validity"),
        ({"alpha": 0.049}, "alpha"),
        ({"beta": 0.049}, "beta"),
        ({"keys": ["2" * 32]}, "key"),
        ({"execution": ["open_loop", "ensemble"]}, "execution"),
        ({"latency_ms": 99.9}, "latency"),
        ({"checks__success": 0.81}, "checks.success"),
        ({"checks__probe.swap": 0.51}, "checks.probe.swap"),
        ({"checks__family.stack": 0.51}, "checks.family.stack"),
        ({"checks__family.other": 0.3}, "checks.family.other"),
        ({"checks__axis.typo.1": 0.25}, "checks.axis.typo.1"),
    ],
)
def test_less_than_what_is_demanded_is_not_enough(payload, changed, key):
    with pytest.raises(GateError) as error:
        asked(payload, **changed)
    assert error.value.key == key and error.value.file == "certificate.json" and error.value.remedy


@pytest.mark.parametrize(
    ("changed", "key"),
    [
        ({"robot__file": ""}, "robot.file"),
        ({"attempt__alpha": 0.051}, "attempt.alpha"),
        ({"gate__alpha": 0.051}, "alpha"),
        ({"gate__beta": 0.051}, "beta"),
        ({"gate__tasks__stack": ZERO}, "gate.tasks.stack"),
        ({"gate__tasks__mine": ZERO}, "gate.tasks.mine"),
        ({"gate__checks__success__threshold": None}, "checks.success"),
        ({"gate__checks__success__threshold": 1e-9}, "checks.success"),
        ({"counts__probe.swap__verdict": "fail"}, "checks.probe.swap"),
        ({"counts__probe.swap__verdict": "undecided"}, "checks.probe.swap"),
        ({"counts__probe.swap__verdict": "reported"}, "checks.probe.swap"),
        ({"simulator": {}}, "simulator"),
        ({"execution": "open_loop"}, "execution"),
        ({"latency__certified_ms": 100.1}, "latency"),
    ],
)
def test_a_certificate_of_less_is_not_enough(payload, changed, key):
    with pytest.raises(GateError) as error:
        asked(changed_parts(payload, changed))
    assert error.value.key == key and "less than the robot demands" in error.value.what
    assert error.value.found == "none" if key == "robot.file" else error.value.found != error.value.expected


def test_validity_is_compared_to_the_second(payload):
    issued = {"issued": "2026-01-01T00:00:00+00:00"}
    asked(changed_parts(payload, issued | {"expires": "2026-04-01T00:00:00+00:00"}))
    with pytest.raises(GateError) as error:
        asked(changed_parts(payload, issued | {"expires": "2026-04-01T00:00:01+00:00"}))
    assert error.value.key == "validity"


@pytest.mark.parametrize(
    ("changed", "key"),
    [
        ({"format": 2}, "format"),
        ({"robot": "../panda"}, "robot"),
        ({"robot_file": "x"}, "robot_file"),
        ({"gates": {}}, "gates"),
        ({"tasks": {}}, "file"),
        ({"tasks": {"tabletop": TASKS, "other": TASKS}}, "file"),
        ({"tasks": {"tabletop": {}}}, "tasks.tabletop"),
        ({"tasks__tabletop__stack": "x"}, "tasks.tabletop.stack"),
        ({"gates": {"a": "x"}}, "gates.a"),
        ({"simulators": []}, "simulators"),
        ({"validity_days": 0}, "validity_days"),
        ({"validity_days": 367}, "validity_days"),
        ({"validity_days": True}, "validity_days"),
        ({"alpha": 0.0501}, "alpha"),
        ({"alpha": 0.0}, "alpha"),
        ({"beta": 0.201}, "beta"),
        ({"beta": 0.0}, "beta"),
        ({"checks__success": 0.49}, "file"),
        ({"checks__probe.swap": 0.29}, "file"),
        ({"checks": {"success": 0.8}}, "file"),
        ({"checks": {"probe.swap": 0.5}}, "file"),
        ({"checks__family.stack": 0.249}, "checks.family.stack"),
        ({"checks__family.stack": 1.0}, "checks.family.stack"),
        ({"checks__success": 1e-9}, "checks.success"),
        ({"checks__success": None}, "checks.success"),
        ({"checks__success": float("nan")}, "checks.success"),
        ({"keys": []}, "keys"),
        ({"keys": ["lab"]}, "keys.0"),
        ({"execution": []}, "execution"),
        ({"execution": ["fast"]}, "execution.0"),
        ({"latency_ms": 0.0}, "latency_ms"),
        ({"latency_ms": 10_001.0}, "latency_ms"),
        ({"latency_ms": "100"}, "latency_ms"),
        ({"more": 1}, "more"),
    ],
)
def test_weak_or_wrong_demands_are_neither_written_nor_read(tmp_path, changed, key):
    data = unwritten(**changed)
    with pytest.raises(GateError) as error:
        write_demands(data, tmp_path)
    assert key in error.value.key and not list(tmp_path.iterdir())
    file = write_demands(demands(), tmp_path)
    file.write_text(json.dumps(data).replace("NaN", ".nan"))
    with pytest.raises(GateError) as error:
        read_demands(ROBOT, tmp_path)
    assert key in error.value.key or "finite" in str(error.value) or error.value.key == "robot"


@pytest.mark.parametrize("name", sorted(demands()))
def test_no_key_has_a_default(tmp_path, name):
    data = demands()
    del data[name]
    with pytest.raises(GateError):
        write_demands(data, tmp_path)


def test_demands_at_the_limits_are_read_as_written(tmp_path):
    limits = {"validity_days": 366, "alpha": 0.05, "beta": 0.2, "latency_ms": 10_000.0, "keys": [KEY]}
    data = demands(**limits, checks={"success": 0.5, "probe.swap": 0.3, "family.stack": 0.25})
    tmp_path = tmp_path / "new" / "keys"
    file = write_demands(data, tmp_path)
    assert file == tmp_path / "demands" / "panda.yaml" and file.stat().st_mode & 0o777 == 0o644
    assert file.parent.stat().st_mode & 0o777 == 0o700
    assert read_demands(ROBOT, tmp_path).model_dump() == data
    lines = file.read_text().splitlines()
    assert lines[0].startswith("# What this robot demands") and "  success: 0.5" in lines, "one value a line"
    write_demands(demands(validity_days=1, beta=0.01), tmp_path)
    assert read_demands(ROBOT, tmp_path).validity_days == 1


def test_without_demands_there_is_nothing_to_fulfil(tmp_path):
    with pytest.raises(GateError, match="states no demands") as error:
        read_demands(ROBOT, tmp_path)
    assert "vla-agent robot demands panda" in error.value.remedy
    for name in ("../x", "a/b", "", ".hidden"):
        with pytest.raises(GateError, match="name is invalid"):
            read_demands(name, tmp_path)


def test_demands_are_those_of_the_robot(tmp_path):
    for name in ("other", "zebra"):
        write_demands(demands(), tmp_path).rename(tmp_path / "demands" / f"{name}.yaml")
        with pytest.raises(GateError) as error:
            read_demands(name, tmp_path)
        assert (error.value.key, error.value.found) == ("robot", "panda")


@pytest.mark.parametrize("content", ["", "a: [", "[]", "a: 1\na: 2", "\x00", "- " * 200 + "x"])
def test_what_is_no_yaml_is_no_demand(tmp_path, content):
    file = write_demands(demands(), tmp_path)
    file.write_text(content)
    with pytest.raises(GateError) as error:
        read_demands(ROBOT, tmp_path)
    assert error.value.file.startswith(str(file)) and error.value.remedy
    file.write_bytes(b"\xff")
    with pytest.raises(GateError):
        read_demands(ROBOT, tmp_path)


def test_demands_that_others_could_have_written_do_not_count(tmp_path):
    file = write_demands(demands(), tmp_path)
    for path, mode, good in ((file, 0o666, 0o644), (file.parent, 0o777, 0o700), (tmp_path, 0o777, 0o755)):
        path.chmod(mode)
        with pytest.raises(CertificateError) as error:
            read_demands(ROBOT, tmp_path)
        assert error.value.key == "permissions"
        if path != file:
            with pytest.raises(CertificateError):
                write_demands(demands(), tmp_path)
        path.chmod(good)
        read_demands(ROBOT, tmp_path)
    file.rename(tmp_path / "real.yaml")
    file.symlink_to(tmp_path / "real.yaml")
    with pytest.raises(CertificateError) as error:
        read_demands(ROBOT, tmp_path)
    assert error.value.found == "a link"
    file.unlink()
    file.write_bytes(b" " * 262_145)
    with pytest.raises(CertificateError) as error:
        read_demands(ROBOT, tmp_path)
    assert error.value.key == "size"
    file.write_bytes(b" " * 262_144)
    with pytest.raises(GateError) as error:
        read_demands(ROBOT, tmp_path)
    assert error.value.key == "file"


def test_a_gate_s_judged_checks_become_demands():
    gate = load_gate(TABLETOP)
    data = demands_from_gate(gate, ZERO, robot="panda", robot_file=ROBOT_FILE, simulator={}, latency_ms=50.0)
    judged = {name: c.threshold for name, c in gate.checks_by_name().items() if c.threshold is not None}
    assert data["checks"] == judged and "oracle" not in judged and "family.stack" in judged
    assert (data["validity_days"], data["alpha"], data["beta"]) == (gate.validity_days, gate.alpha, gate.beta)
    assert data["keys"] is None and data["gates"] == {"tabletop": ZERO} and data["latency_ms"] == 50.0
    more = {"robot": "panda", "robot_file": ZERO, "simulator": {}, "latency_ms": 1.0}
    other = demands_from_gate(gate, ZERO, **more, validity_days=3, keys=(KEY,))
    assert other["validity_days"] == 3 and other["keys"] == [KEY]
    assert data["tasks"] == {"tabletop": task_files(gate)} and len(data["tasks"]["tabletop"]) == 10
    assert set(data) == set(demands()) and all(threshold for threshold, _ in list(CHECKS.values())[:3])


def test_a_task_file_edited_after_the_demands_is_not_the_demanded_one(payload, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    task = tmp_path / "stack.yaml"
    task.write_bytes((ROOT / "sim" / "tasks" / "tabletop" / "stack.yaml").read_bytes())
    gate = load_gate(TABLETOP).model_copy(update={"tasks": ("stack.yaml",)})
    more = {"robot": "panda", "robot_file": ROBOT_FILE, "simulator": {}, "latency_ms": 50.0}
    before = demands_from_gate(gate, GATE, **more)["tasks"]
    asked(changed_parts(payload, {"gate__tasks": task_files(gate)}), tasks=before)
    task.write_text(task.read_text() + "\n# easier\n")
    with pytest.raises(GateError) as error:
        asked(changed_parts(payload, {"gate__tasks": task_files(gate)}), tasks=before)
    assert error.value.key == "gate.tasks.stack"


def test_the_command_writes_and_shows_demands(tmp_path, monkeypatch, capsys):
    folder = tmp_path / "keys"
    monkeypatch.setenv("VLA_AGENT_KEYS", str(folder))
    keys.create("lab", folder)
    assert main(["robot", "demands", "panda"]) == 2
    assert main(["robot", "demands", "panda", "--gate", str(ROOT / "gates" / "smoke.yaml")]) == 2
    told = capsys.readouterr().err
    assert "too weak" in told and str(ROOT / "gates" / "smoke.yaml") in told and not (folder / "demands").exists()
    assert main(["robot", "demands", "panda", "--gate", str(TABLETOP), "--validity-days", "30"]) == 0
    shown = capsys.readouterr().out
    assert "success 0.8" in shown and "validity_days: 30" in shown and "every trusted key" in shown
    written = read_demands("panda", folder)
    assert written.robot_file == hash_file(PANDA) and written.gates == {"tabletop": hash_gate(TABLETOP)}
    assert written.simulators == [digest(simulator_files())] and written.latency_ms == 500.0
    for wrong in (["--validity-days", "400"], ["--latency-ms", "0"], ["--key", "nobody"]):
        assert main(["robot", "demands", "panda", "--gate", str(TABLETOP), *wrong]) == 2
    assert read_demands("panda", folder) == written
    options = ["--key", "lab", "--latency-ms", "80", "--gate", str(TABLETOP)]
    assert main(["robot", "demands", "franka", *options]) == 0
    written = read_demands("panda", folder)
    assert written.keys == list(keys.trusted(folder)) and (written.latency_ms, written.validity_days) == (80.0, 90)
    changed = tmp_path / "mine.yaml"
    changed.write_text(PANDA.read_text() + "\n")
    capsys.readouterr()
    assert main(["robot", "demands", str(changed)]) == 0
    assert "with it nothing will move" in capsys.readouterr().out


def test_a_gate_for_an_unknown_robot_is_not_run(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("VLA_AGENT_KEYS", str(tmp_path))
    assert main(["gate", "expert", "--robot", "nobody", "--suite", str(TABLETOP), "-o", str(tmp_path / "o")]) == 2
    assert "the robot file cannot be read" in capsys.readouterr().err
