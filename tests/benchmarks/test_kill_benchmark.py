"""The benchmark gate-kill finds a writer that loses something, and none in one that does not."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from benchmarks.kill import killed_process
from benchmarks.kill.gate_kill import _case, _whole
from benchmarks.kill.killed_process import Aim, finish, kill_after
from benchmarks.kill.operations import Operation, lacks_its_last_line, left_beside


@pytest.fixture(autouse=True)
def light(monkeypatch):
    """Processes that import nothing beforehand."""
    monkeypatch.setattr(killed_process, "IMPORTED", [])


def write(folder: Path) -> None:
    from vla_agent.files.write_aside import folder_aside

    with folder_aside(folder / "data") as aside:
        (aside / "a").write_text("new")


def overwrite(folder: Path) -> None:
    """What must not be done: the old copy goes before the new one is there."""
    (folder / "data" / "a").unlink()
    (folder / "data" / "a").write_text("new")


def prepare(folder: Path) -> None:
    (folder / "data").mkdir()
    (folder / "data" / "a").write_text("old")


def left(folder: Path, _: Path) -> list[str]:
    from vla_agent.files.write_aside import recover

    recover(folder / "data")
    file = folder / "data" / "a"
    return [] if file.is_file() and file.read_text() in ("old", "new") else ["nothing is whole"]


def done(folder: Path, _: Path) -> list[str]:
    return left_beside(folder, {"data"}) + ([] if (folder / "data" / "a").read_text() == "new" else ["not done"])


def operation(function) -> Operation:
    command = partial(partial, function)
    return Operation("write", command, partial(partial, write), left, done, prepare)


@pytest.mark.parametrize("renames", [False, True])
def test_a_folder_survives_a_kill_in_the_middle_of_its_changes(tmp_path, renames):
    made = operation(write)
    whole = _whole(made, tmp_path / "whole")
    assert whole.changes[False] < whole.changes[True], "two renames are more than one exchange"
    assert _case(made, whole, tmp_path / "case", Aim(whole.changes[renames] // 2, renames, renames)) == (True, [])


def test_a_writer_that_deletes_first_is_found(tmp_path):
    whole = _whole(operation(write), tmp_path / "whole")
    alive, faults = _case(operation(overwrite), whole, tmp_path / "case", Aim(1, before=False))
    assert alive and len(faults) == 1 and "left: nothing is whole" in faults[0]


def test_a_command_that_fails_does_not_pass_for_a_whole_run(tmp_path):
    wrong = Operation("list", lambda f: ["data", "inspect", str(f)], lambda f: [], left, lambda f, _: [], prepare)
    with pytest.raises(RuntimeError, match="exit code 2"):
        _whole(wrong, tmp_path / "whole")


def test_an_aim_beyond_the_last_change_and_a_late_kill_let_a_process_end(tmp_path):
    prepare(tmp_path)
    assert finish(partial(write, tmp_path), tmp_path / "log", Aim(10**6))[0] == 0
    assert kill_after(partial(write, tmp_path), tmp_path / "log", 30.0) is False
    assert kill_after(partial(__import__("time").sleep, 30), tmp_path / "log", 0.05) is True


def test_a_certificate_before_the_end_of_its_gate_may_lack_the_last_line_alone():
    missing = (
        "verify: exit code 1: differs: ledger.finish: certified pass, found no such line\nnot valid: 1 difference\n"
    )
    assert lacks_its_last_line(missing)
    assert not lacks_its_last_line(missing.replace("1 difference", "2 differences"))
    assert not lacks_its_last_line(missing.replace("ledger.finish", "evidence.report.json"))
