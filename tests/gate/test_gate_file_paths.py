"""A gate file names task files below the working directory alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from vla_agent.errors import GateError
from vla_agent.gate.decision.gate_file import load_gate

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
