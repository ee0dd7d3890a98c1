"""Writing whole or not at all, also where the process is killed at any moment."""

from __future__ import annotations

import errno
import itertools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from vla_agent.errors import VlaAgentError
from vla_agent.files import durable, write_aside
from vla_agent.files.write_aside import (
    file_aside,
    folder_aside,
    place_folder,
    recover,
    remove_folder,
    write_bytes,
    write_text,
)


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
        monkeypatch.setattr(write_aside, "exchange", lambda a, b: False)
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


def old_copy(root: Path) -> Path:
    (root / ".f.old").mkdir()
    (root / ".f.old" / "a").write_text("good")
    return root / ".f.old"


def killed_writer(root: Path, *, second_rename: bool) -> None:
    """What a writer leaves that was killed around the second of its two renames."""
    old_copy(root)
    (root / ".f.new").mkdir()
    (root / ".f.new" / ".renames").touch()
    place = root if second_rename else root / ".f.new"
    (place / "f").mkdir()
    (place / "f" / "a").write_text("new")


def test_the_new_copy_stays_after_a_kill_behind_the_second_rename(tmp_path):
    killed_writer(tmp_path, second_rename=True)
    recover(tmp_path / "f")
    assert (tmp_path / "f" / "a").read_text() == "new" and not (tmp_path / ".f.old").exists()


@pytest.mark.parametrize("writes", [True, False])
@pytest.mark.parametrize("leftover", ["claim", "nothing"])
def test_the_last_whole_copy_is_never_deleted_for_a_folder_that_something_else_made(tmp_path, writes, leftover):
    if leftover == "claim":
        killed_writer(tmp_path, second_rename=False)
    else:
        old_copy(tmp_path)
    write_text(tmp_path / "f" / "log.txt", "half a policy")
    for _ in range(2):
        with pytest.raises(VlaAgentError, match="last whole copy"):
            if writes:
                with folder_aside(tmp_path / "f"):
                    pass
            else:
                recover(tmp_path / "f")
    assert (tmp_path / ".f.old" / "a").read_text() == "good"
    (tmp_path / "f").rename(tmp_path / "away")  # the remedy
    recover(tmp_path / "f")
    assert (tmp_path / "f" / "a").read_text() == "good"


def test_a_second_rename_that_fails_puts_the_old_copy_back(tmp_path, monkeypatch):
    monkeypatch.setattr(write_aside, "exchange", lambda a, b: False)
    with folder_aside(tmp_path / "f") as aside:
        (aside / "a").write_text("good")
    rename = Path.rename

    def fails(source, target):
        if source.parent.name == ".f.new":
            raise OSError("the disk is gone")
        return rename(source, target)

    with pytest.raises(OSError, match="disk"), folder_aside(tmp_path / "f"):
        monkeypatch.setattr(Path, "rename", fails)
    assert (tmp_path / "f" / "a").read_text() == "good" and names(tmp_path) == ["f"]


def test_an_interrupt_behind_the_second_rename_leaves_what_the_next_reader_needs(tmp_path, monkeypatch):
    monkeypatch.setattr(write_aside, "exchange", lambda a, b: False)
    write_text(tmp_path / "f" / "a", "good")
    remove = write_aside.remove_folder

    def interrupted(folder):
        if folder.name == ".f.old":
            raise KeyboardInterrupt
        remove(folder)

    monkeypatch.setattr(write_aside, "remove_folder", interrupted)
    with pytest.raises(KeyboardInterrupt), folder_aside(tmp_path / "f") as aside:
        (aside / "a").write_text("new")
    monkeypatch.undo()
    recover(tmp_path / "f")
    assert (tmp_path / "f" / "a").read_text() == "new" and not (tmp_path / ".f.old").exists()


def test_a_file_is_not_replaced_by_a_folder(tmp_path):
    write_text(tmp_path / "f", "good")
    with pytest.raises(NotADirectoryError), folder_aside(tmp_path / "f"):
        pass
    assert (tmp_path / "f").read_text() == "good" and names(tmp_path) == ["f"]


def test_a_second_writer_is_refused_and_the_first_goes_on(tmp_path):
    with folder_aside(tmp_path / "f") as aside:
        with pytest.raises(VlaAgentError, match="another process is writing"), folder_aside(tmp_path / "f"):
            pass
        (aside / "a").write_text("first")
    assert (tmp_path / "f" / "a").read_text() == "first" and names(tmp_path) == ["f"]
    with folder_aside(tmp_path / "f") as aside:  # and the next is not
        (aside / "a").write_text("second")
    assert (tmp_path / "f" / "a").read_text() == "second"


def test_a_reader_waits_for_a_living_writer_between_its_renames(tmp_path, monkeypatch):
    monkeypatch.setattr(write_aside, "PATIENCE", 0.05)
    killed_writer(tmp_path, second_rename=False)
    handle = durable.try_lock(tmp_path / ".f.new")
    with pytest.raises(VlaAgentError, match="another process is writing"):
        recover(tmp_path / "f")
    assert not (tmp_path / "f").exists() and (tmp_path / ".f.old").exists()
    durable.unlock(handle)
    recover(tmp_path / "f")
    assert (tmp_path / "f" / "a").read_text() == "good"


def test_a_dead_writers_file_is_deleted_and_a_living_ones_is_not(tmp_path):
    (tmp_path / ".a.txt.99-0.tmp").write_text("left by a kill")
    with file_aside(tmp_path / "a.txt") as living:
        living.write_text("first")
        write_text(tmp_path / "a.txt", "second")
        assert names(tmp_path) == [living.name, "a.txt"]
    assert (tmp_path / "a.txt").read_text() == "first" and names(tmp_path) == ["a.txt"]


def test_a_reader_deletes_what_a_killed_deletion_has_left(tmp_path):
    with folder_aside(tmp_path / "data") as aside:
        (aside / "a").write_text("1")
    (tmp_path / ".data.new.99-0.tmp").mkdir()
    (tmp_path / ".data.new.99-0.tmp/old").write_text("left by a kill")
    recover(tmp_path / "data")
    assert names(tmp_path) == ["data"]
    recover(tmp_path / "nowhere" / "data")  # nothing there: nothing to do


def test_data_is_on_the_disk_before_its_name(tmp_path, monkeypatch):
    calls = []
    fsync, replace, rename = os.fsync, os.replace, Path.rename
    monkeypatch.setattr(os, "fsync", lambda h: calls.append(Path(os.readlink(f"/proc/self/fd/{h}")).name) or fsync(h))
    monkeypatch.setattr(os, "replace", lambda a, b: calls.append("replace") or replace(a, b))
    monkeypatch.setattr(Path, "rename", lambda a, b: calls.append("rename") or rename(a, b))
    write_text(tmp_path / "a.txt", "data")
    assert calls[0].startswith(".a.txt.") and calls[1:] == ["replace", tmp_path.name]
    calls.clear()
    with folder_aside(tmp_path / "f") as aside:
        (aside / "sub").mkdir()
        (aside / "sub" / "b").write_text("data")
    assert set(calls[:3]) == {"f", "sub", "b"} and calls[3:5] == ["rename", tmp_path.name]


def test_a_disk_that_fails_is_an_error_and_one_that_cannot_sync_is_not(tmp_path, monkeypatch):
    def fails(number):
        def fsync(_):
            raise OSError(number, os.strerror(number))

        return fsync

    monkeypatch.setattr(os, "fsync", fails(errno.EINVAL))
    write_text(tmp_path / "a.txt", "good")
    monkeypatch.setattr(os, "fsync", fails(errno.EIO))
    with pytest.raises(OSError, match="Input/output"):
        write_text(tmp_path / "a.txt", "half")
    assert (tmp_path / "a.txt").read_text() == "good" and names(tmp_path) == ["a.txt"]


def test_folders_that_cannot_be_exchanged_for_another_reason_are_an_error(tmp_path):
    (tmp_path / "f").mkdir()
    with pytest.raises(FileNotFoundError):
        durable.exchange(tmp_path / "f", tmp_path / "none")


def test_a_pipe_among_the_files_does_not_stop_the_writing(tmp_path):
    with folder_aside(tmp_path / "f") as aside:
        os.mkfifo(aside / "pipe")
    assert names(tmp_path / "f") == ["pipe"]


def test_a_lock_is_that_of_the_file_at_its_path_and_ends_for_forked_copies_too(tmp_path, monkeypatch):
    write_text(tmp_path / "a", "")
    copy = os.dup(first := durable.try_lock(tmp_path / "a"))  # as a forked process has it
    assert durable.try_lock(tmp_path / "a") is None
    durable.unlock(first)
    durable.unlock(durable.try_lock(tmp_path / "a"))
    os.close(copy)
    flock = durable.fcntl.flock

    def replaced(handle, how):
        write_text(tmp_path / "b", "")
        (tmp_path / "b").rename(tmp_path / "a")
        return flock(handle, how)

    monkeypatch.setattr(durable.fcntl, "flock", replaced)
    assert durable.try_lock(tmp_path / "none") is None
    monkeypatch.setattr(write_aside, "try_lock", lambda path: 0)  # the writing above takes no lock of its own
    monkeypatch.setattr(write_aside, "unlock", lambda handle: None)
    assert durable.try_lock(tmp_path / "a") is None


def test_a_link_to_a_folder_is_followed_and_links_inside_stay_links(tmp_path):
    with folder_aside(tmp_path / "f") as aside:
        (aside / "out").symlink_to("/etc/hostname")
    (tmp_path / "link").symlink_to(tmp_path / "f")
    with folder_aside(tmp_path / "link", keep=True) as aside:
        (aside / "a").write_text("new")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "f" / "out").is_symlink()
    assert (tmp_path / "f" / "a").read_text() == "new"


def test_a_name_that_is_taken_is_not_given_to_another_folder(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a").write_text(name)
    with pytest.raises(FileExistsError):
        place_folder(tmp_path / "two", tmp_path / "one")
    assert (tmp_path / "one" / "a").read_text() == "one" and (tmp_path / "two").is_dir()
    place_folder(tmp_path / "two", tmp_path / "three")
    assert names(tmp_path) == ["one", "three"]


def test_a_folder_is_deleted_under_another_name(tmp_path, monkeypatch):
    (tmp_path / "f").mkdir()
    (tmp_path / "f" / "a").write_text("x")
    monkeypatch.setattr(write_aside.shutil, "rmtree", lambda path, **_: None)  # killed before anything is deleted
    remove_folder(tmp_path / "f")
    assert not (tmp_path / "f").exists() and len(names(tmp_path)) == 1
    monkeypatch.undo()
    remove_folder(tmp_path / "f")
    assert names(tmp_path) == []


def ends_at(change: int, work) -> bool:
    """Run ``work`` in a forked process that ends, without any cleaning up, before its so many-th change of a name."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    left = iter(range(change - 1))
    for name in ("rename", "replace", "mkdir", "rmdir", "unlink"):
        done = getattr(os, name)
        setattr(os, name, lambda *a, done=done, **o: os._exit(9) if next(left, None) is None else done(*a, **o))
    exchange = write_aside.exchange
    write_aside.exchange = lambda a, b: os._exit(9) if next(left, None) is None else exchange(a, b)
    work()
    os._exit(0)


@pytest.mark.parametrize("exchanges", [True, False])
def test_killed_before_each_change_the_old_folder_or_the_new_one_is_there(tmp_path, monkeypatch, exchanges):
    if not exchanges:
        monkeypatch.setattr(write_aside, "exchange", lambda a, b: False)

    def write(folder, text):
        with folder_aside(folder, keep=True) as aside:
            for name in ("a", "b"):
                (aside / name).write_text(text)

    found = []
    for change in itertools.count(1):
        folder = tmp_path / str(change) / "f"
        write(folder, "old")
        if not ends_at(change, lambda folder=folder: write(folder, "new")):
            break
        recover(folder)
        found.append({(folder / name).read_text() for name in ("a", "b")})
        write(folder, "newest")
        assert names(folder.parent) == ["f"] and (folder / "a").read_text() == "newest"
    assert found == sorted(found, key=lambda texts: texts == {"new"}) and {"old"} in found and {"new"} in found


def test_killed_before_each_change_a_file_is_the_old_one_or_the_new_one(tmp_path):
    file = tmp_path / "a.txt"
    for change in itertools.count(1):
        write_text(file, "old")
        if not ends_at(change, lambda: write_text(file, "new")):
            break
        assert file.read_text() == "old" and len(names(tmp_path)) <= 2
    assert file.read_text() == "new" and names(tmp_path) == ["a.txt"]


WRITER = """
import sys
from pathlib import Path
from vla_agent.files import write_aside
if sys.argv[2] == "renames":
    write_aside.exchange = lambda a, b: False
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
