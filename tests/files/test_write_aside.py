"""Writing whole or not at all, also where the process is killed at any moment."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from vla_agent.files import write_aside
from vla_agent.files.write_aside import file_aside, folder_aside, recover, write_bytes, write_text


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_written_and_nothing_is_left_beside_it(tmp_path):
    write_text(tmp_path / "new" / "a.txt", "één")
    write_bytes(tmp_path / "new" / "a.txt", b"two")
    assert (tmp_path / "new" / "a.txt").read_bytes() == b"two"
    assert names(tmp_path / "new") == ["a.txt"]


def test_a_file_stays_as_it_was_where_writing_fails(tmp_path):
    file = tmp_path / "a.txt"
    write_text(file, "good")
    with pytest.raises(ZeroDivisionError), file_aside(file) as aside:
        aside.write_text("half")
        1 / 0  # noqa: B018
    assert file.read_text() == "good" and names(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("exchanges", [True, False])
@pytest.mark.parametrize("keep", [True, False])
def test_a_folder_is_replaced_as_a_whole(tmp_path, monkeypatch, exchanges, keep):
    if not exchanges:
        monkeypatch.setattr(write_aside, "_exchange", lambda a, b: False)
    for text in ("one", "two"):
        with folder_aside(tmp_path / "f", keep=keep) as aside:
            (aside / f"{text}.txt").write_text(text)
    assert names(tmp_path) == ["f"]
    assert names(tmp_path / "f") == (["one.txt", "two.txt"] if keep else ["two.txt"])


def test_a_folder_stays_as_it_was_where_writing_fails(tmp_path):
    with folder_aside(tmp_path / "f") as aside:
        (aside / "a").write_text("good")
    with pytest.raises(ZeroDivisionError), folder_aside(tmp_path / "f", keep=True) as aside:
        (aside / "a").write_text("half")
        1 / 0  # noqa: B018
    assert (tmp_path / "f" / "a").read_text() == "good" and names(tmp_path) == ["f"]


def test_the_last_whole_copy_is_put_back_after_a_kill_between_two_renames(tmp_path):
    (tmp_path / ".f.old").mkdir()
    (tmp_path / ".f.old" / "a").write_text("good")
    recover(tmp_path / "f")
    assert (tmp_path / "f" / "a").read_text() == "good" and names(tmp_path) == ["f"]


def test_a_next_write_that_fails_does_not_lose_the_copy_that_a_killed_one_left(tmp_path):
    (tmp_path / ".f.old").mkdir()
    (tmp_path / ".f.old" / "a").write_text("good")
    with pytest.raises(ZeroDivisionError), folder_aside(tmp_path / "f"):
        1 / 0  # noqa: B018
    assert (tmp_path / "f" / "a").read_text() == "good"


WRITER = """
import sys
from pathlib import Path
from vla_agent.files import write_aside
if sys.argv[2] == "renames":
    write_aside._exchange = lambda a, b: False
k = 0
while True:
    k += 1
    with write_aside.folder_aside(Path(sys.argv[1]), keep=True) as aside:
        for name in ("a", "b", "c"):
            (aside / name).write_text(str(k))
    print(k, flush=True)
"""


@pytest.mark.parametrize("how", ["exchange", "renames"])
def test_killed_at_any_moment_a_whole_folder_is_there(tmp_path, how):
    for attempt in range(6):
        folder = tmp_path / "f"
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(folder), how], stdout=subprocess.PIPE, env=dict(os.environ), text=True
        )
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(0.003 * (attempt + 1))
        process.send_signal(signal.SIGKILL)
        process.wait()
        recover(folder)
        assert len({(folder / name).read_text() for name in ("a", "b", "c")}) == 1
