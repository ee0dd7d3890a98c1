"""An evaluation through the graph is refused before its first episode where its report could not be written."""

from __future__ import annotations

import pytest

from vla_agent.errors import ReportError, VlaAgentError
from vla_agent.ros.runtime.graph_report import require_possible

PLANNED = [("stack", 0), ("stack", 1)]


def test_a_folder_that_can_be_made_is_made(tmp_path):
    require_possible(tmp_path / "a" / "b", PLANNED, None)
    assert (tmp_path / "a" / "b").is_dir()


@pytest.mark.parametrize("name", ["file/x", "file"])
def test_results_that_cannot_be_a_folder_are_refused(tmp_path, name):
    (tmp_path / "file").write_text("")
    with pytest.raises(ReportError, match="cannot be written") as error:
        require_possible(tmp_path / name, PLANNED, None)
    assert error.value.key == "results" and error.value.found


def test_a_report_that_is_missing_is_refused(tmp_path):
    with pytest.raises(VlaAgentError):
        require_possible(tmp_path, PLANNED, tmp_path / "none.json")


def test_a_report_of_other_episodes_is_refused(tmp_path, monkeypatch):
    rows = [{"task": "stack", "seed": 7, "control": "policy", "success": True}]
    monkeypatch.setattr("vla_agent.ros.runtime.graph_report.read_report", lambda file: {"episodes": rows})
    with pytest.raises(ReportError, match="does not contain these"):
        require_possible(tmp_path, PLANNED, tmp_path / "report.json")
    require_possible(tmp_path, [*PLANNED, ("stack", 7)], tmp_path / "report.json")
