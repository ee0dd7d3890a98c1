"""A gate file: what is wrong in it is said with its line, and it names task files below the working directory alone."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import TINY
from pydantic import ValidationError

from vla_agent.errors import GateError
from vla_agent.gate.decision.gate_file import hash_gate, load_gate, read_gate

ROOT = Path(__file__).resolve().parents[2]


def gate(tmp_path: Path, task: str) -> Path:
    text = (ROOT / "gates/smoke.yaml").read_text().replace("[press_button]", f"['{task}']")
    (tmp_path / "gate.yaml").write_text(text)
    return tmp_path / "gate.yaml"


@pytest.mark.parametrize("place", ["{outside}/task.yaml", "../outside/task.yaml", "deep/../../outside/task.yaml"])
def test_a_task_file_elsewhere_is_refused_and_not_read(tmp_path, monkeypatch, place):
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/task.yaml").write_text((ROOT / "sim/tasks/tabletop/put_in_tray.yaml").read_text())
    (tmp_path / "here/deep").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr("sim.tasks.task.load_family", lambda name: pytest.fail(f"{name} is read"))
    with pytest.raises(GateError, match="below the working directory"):
        load_gate(gate(tmp_path, place.format(outside=tmp_path / "outside")))


def test_a_task_file_below_the_working_directory_is_taken(tmp_path, monkeypatch):
    text = (ROOT / "sim/tasks/tabletop/put_in_tray.yaml").read_text().replace("name: put_in_tray", "name: mine")
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep/task.yaml").write_text(text)
    monkeypatch.chdir(tmp_path)
    assert load_gate(gate(tmp_path, "deep/task.yaml")).families() == ("mine",)


def test_a_gate_file_s_errors_name_line_key_and_valid_names(tmp_path):
    file = tmp_path / "gate.yaml"
    for wrong, line, key, says in (
        (TINY.replace("success: {threshold", "success: {treshold"), 8, "treshold", "threshold"),
        (TINY.replace("axis: lighting", "axis: fog"), 11, "axis", "lighting"),
        (TINY.replace("0.30, margin: 0.60", "0.30, margin: 0.90"), 13, "language", "below 1"),
        (TINY.replace("press_button", "press_botton"), 3, "tasks", "press_button"),
        (TINY.replace("threshold: 0.30", "threshold: null"), None, "checks", "ignores its instruction"),
        (TINY.replace("[press_button]", "[press_button"), None, None, ""),
        (TINY.replace("format: 2", "format: 1"), 1, "format", "format: 2"),
        (TINY.replace("format: 2\n", ""), None, "format", "no format"),
        (TINY.replace("format: 2", "format: 3"), 1, "format", "2"),
        (TINY.replace("block: 2", "block: 2\nseed: 500000"), 5, "seed", "tried on the gate's scenes beforehand"),
        (TINY.replace("estimated: 2", "estimated: 0"), 6, "estimated", "greater than 0"),
    ):
        file.write_text(wrong)
        with pytest.raises(GateError) as error:
            load_gate(file)
        text = str(error.value)
        assert says in text and (key is None or key in str(error.value.key)) and error.value.remedy
        assert line is None or f"gate.yaml:{line}" in text, text


def test_a_gate_file_is_read_once(tmp_path):
    (tmp_path / "gate.yaml").write_text(TINY)
    read = read_gate(tmp_path / "gate.yaml")
    assert read.data == TINY.encode() and read.sha256 == hash_gate(tmp_path / "gate.yaml") and read.gate.name == "tiny"
    with pytest.raises(GateError, match="no such gate file"):
        read_gate(tmp_path / "none.yaml")


def test_the_shipped_gate_files_are_sound():
    for file in (ROOT / "gates").glob("*.yaml"):
        checks = load_gate(file).checks_by_name()
        assert "success" in checks and "probe.swap" in checks


def test_a_gate_that_was_read_cannot_be_changed():
    gate = load_gate(ROOT / "gates" / "tabletop.yaml")
    for part, name, value in (
        (gate, "alpha", 0.4),
        (gate.checks, "delays", ()),
        (gate.checks.success, "threshold", 0.1),
    ):
        with pytest.raises(ValidationError, match="frozen"):
            setattr(part, name, value)
