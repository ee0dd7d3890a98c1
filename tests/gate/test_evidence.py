"""The scratch files of a gate that still runs: what was killed goes on, and what was changed meanwhile is refused."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from vla_agent.errors import CertificateError, GateError
from vla_agent.evaluation import result_store
from vla_agent.evaluation.play.player import PlayedEpisode
from vla_agent.files.canonical_json import canonical, digest
from vla_agent.files.input_limits import LINE_BYTES, SCRATCH_BYTES
from vla_agent.gate.certificate.keys import Key
from vla_agent.gate.certificate.lab_key import LabKey
from vla_agent.gate.decision.plan import GateJob
from vla_agent.gate.evidence import ledger
from vla_agent.gate.evidence.attempt import ATTEMPT, start_attempt, unfinished_attempt
from vla_agent.gate.evidence.episode_log import EpisodeLog
from vla_agent.gate.evidence.played_actions import actions_bytes, actions_hash, read_actions
from vla_agent.gate.evidence.signed_lines import next_line, shown

ORIGIN = {"attempt": "e", "seed": 1, "policy": "p", "gate": "g"}
OWN, OTHER = (LabKey({}, Ed25519PrivateKey.generate()) for _ in range(2))


def played(seed: int) -> PlayedEpisode:
    job = GateJob("control", "stack", seed, seed)
    row = {"control": "control", "task": "stack", "seed": seed, "index": seed, "success": False}
    return PlayedEpisode(job, row, np.full((3, 7), seed, np.float32), (0, 2), 0.5)


def opened(out: Path, origin=ORIGIN, signer=OWN, ends=()) -> EpisodeLog:
    return EpisodeLog(out, origin, signer, ends)


@pytest.fixture
def out(tmp_path) -> Path:
    """Four finished episodes."""
    log = opened(tmp_path)
    for seed in range(4):
        log.add(played(seed))
    log.close()
    return tmp_path


def lines_of(out) -> list[bytes]:
    return (out / ".partial" / "episodes.jsonl").read_bytes().splitlines()


def write(out, lines, end=b"\n") -> None:
    (out / ".partial" / "episodes.jsonl").write_bytes(b"\n".join(lines) + end)


def refused(out, **options) -> GateError:
    with pytest.raises(GateError) as error:
        opened(out, **options)
    return error.value


def test_finished_episodes_are_read_as_they_were_played(out):
    log = opened(out)
    assert len(log) == 4 and log.seconds == 2.0 and log.end["episodes"] == 4
    assert log.records["control/stack/2"]["seed"] == 2 and log.looks["control/stack/2"].tolist() == [0, 2]
    assert np.array_equal(log.actions["control/stack/3"], np.full((3, 7), 3, np.float32))
    row = log.records["control/stack/1"]
    assert row["actions_hash"] == actions_hash(log.actions["control/stack/1"], log.looks["control/stack/1"])
    log.add(played(4))
    log.close()
    assert len(opened(out)) == 5


def test_an_episode_is_in_the_file_as_soon_as_it_is_kept(out):
    log = opened(out)
    log.add(played(4))
    assert len(lines_of(out)) == 5 and lines_of(out)[4].endswith(b"}")
    stream = log._stream
    log.close()
    log.close()
    assert stream.closed
    log.add(played(5))
    log.close()
    assert len(opened(out)) == 6


def test_errors_show_the_beginning_of_a_line():
    assert shown(b"x" * 79 + b"yz") == "x" * 79 + "y" and len(shown(bytes([255]))) == 1


def test_a_folder_without_episodes_is_empty(tmp_path):
    log = opened(tmp_path)
    log.close()
    assert len(log) == 0 and not (tmp_path / ".partial").exists()


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (lambda lines: [lines[0].replace(b"false", b"true"), *lines[1:]], 1),
        (lambda lines: [*lines[:3], lines[3].replace(b'"actions":"AABA', b'"actions":"AACA')], 4),
        (lambda lines: [*lines[:2], lines[2].replace(b'"looks":[0,2]', b'"looks":[0,1]'), lines[3]], 3),
        (lambda lines: lines[1:], 1),
        (lambda lines: [lines[0], *lines[2:]], 2),
        (lambda lines: [lines[0], lines[2], lines[1], lines[3]], 2),
        (lambda lines: [*lines, lines[0]], 5),
        (lambda lines: [*lines[:2], lines[1], *lines[2:]], 3),
        (lambda lines: [lines[0], lines[1][:-40], *lines[2:]], 2),
        (lambda lines: [lines[0], b"", *lines[1:]], 2),
    ],
)
def test_every_changed_line_is_refused_with_file_and_line(out, change, line):
    before, after = lines_of(out), change(lines_of(out))
    assert before != after
    write(out, after)
    error = refused(out)
    assert error.file == f"{out}/.partial/episodes.jsonl:{line}" and error.remedy


def test_a_changed_line_with_a_new_hash_needs_the_key(out):
    entry = json.loads(lines_of(out)[-1])
    entry["record"]["success"] = True
    entry["hash"] = digest({k: v for k, v in entry.items() if k not in ("hash", "signature")})
    write(out, [*lines_of(out)[:-1], canonical(entry)])
    assert "signature" in refused(out).expected


def test_a_line_of_another_trusted_key_is_not_this_attempt_s(out):
    entry = json.loads(lines_of(out)[-1])
    says = {k: v for k, v in entry.items() if k not in ("hash", "signature", "key", "number", "previous")}
    line = next_line(says, "episode", 4, entry["previous"], OTHER)
    write(out, [*lines_of(out)[:-1], canonical(line)])
    known = {OTHER.fingerprint: Key("x", OTHER.fingerprint, OTHER.private.public_key(), True)}
    assert OWN.fingerprint in refused(out, signer=LabKey(known, OWN.private)).expected
    assert "signature" in refused(out).expected


@pytest.mark.parametrize("part", list(ORIGIN))
def test_lines_of_another_run_do_not_fit(out, part):
    assert refused(out, origin=ORIGIN | {part: "other"}).file.endswith(":1")


def test_a_line_that_a_kill_left_half_written_is_dropped(out):
    lines = lines_of(out)
    write(out, [*lines, lines[0][:100]], end=b"")
    log = opened(out)
    assert len(log) == 4 and lines_of(out) == lines
    write(out, lines, end=b"")  # all but its end of line
    log = opened(out)
    assert len(log) == 3
    log.add(played(3))
    log.close()
    assert len(opened(out)) == 4 and lines_of(out)[:3] == lines[:3]


def test_lines_cut_off_the_end_are_missed_where_the_ledger_knows_the_end(out):
    end = opened(out).end
    known = [(end["episodes"], end["head"])]
    assert len(opened(out, ends=known)) == 4
    log = opened(out, ends=known)
    log.add(played(4))
    log.close()
    assert len(opened(out, ends=known)) == 5, "more came after the interruption"
    write(out, lines_of(out)[:3])
    assert "at least 4 lines" in refused(out, ends=known).expected
    write(out, lines_of(out)[:2])
    assert "at least 4 lines" in refused(out, ends=known).expected
    assert len(opened(out, ends=[])) == 2, "after a kill alone the end is not known"


def test_other_lines_in_the_place_of_those_that_the_ledger_knows_are_refused(out):
    end = opened(out).end
    write(out, lines_of(out)[:3])
    log = opened(out)
    log.add(played(9))
    log.close()
    assert "at least 4 lines" in refused(out, ends=[(4, end["head"])]).expected


@pytest.fixture
def started(tmp_path):
    """An attempt that was started in a folder: (folder, ledger, attempt)."""
    file = tmp_path / "ledger.jsonl"
    return tmp_path, file, start_attempt(tmp_path, "p", "g", file, (50.0, {"p99_ms": 41.0}), OWN)


def resume(started, resume=True, policy="p", gate="g", signer=OWN):
    out, file, _ = started
    return unfinished_attempt(out, resume, policy, gate, file, signer)


def test_an_interrupted_attempt_is_found_again(started, tmp_path):
    assert resume(started) == started[2] and started[2].number == 1
    assert (started[2].delay_ms, started[2].measured) == (50.0, {"p99_ms": 41.0})
    assert unfinished_attempt(tmp_path / "empty", True, "p", "g", started[1], OWN) is None


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"resume": False}, "holds an unfinished gate"),
        ({"policy": "q"}, "another policy"),
        ({"gate": "h"}, "another gate file"),
    ],
)
def test_an_interrupted_attempt_goes_on_only_as_it_was(started, options, says):
    with pytest.raises(GateError, match=says) as error:
        resume(started, **options)
    assert error.value.remedy


def test_only_the_key_that_started_an_attempt_goes_on(started):
    known = {OWN.fingerprint: Key("x", OWN.fingerprint, OWN.private.public_key(), True)}
    with pytest.raises(GateError, match="another key"):
        resume(started, signer=LabKey(known, OTHER.private))


@pytest.mark.parametrize(
    "change",
    [
        lambda entry: entry | {"delay_ms": 1.0},
        lambda entry: entry | {"run": "other"},
        lambda entry: entry | {"policy": "q"},
        lambda entry: entry | {"hash": "0" * 64},
        lambda entry: entry | {"signature": ""},
        lambda entry: {"run": entry["run"]},
    ],
)
def test_a_changed_attempt_file_is_refused(started, change):
    file = started[0] / ATTEMPT
    file.write_bytes(canonical(change(json.loads(file.read_bytes()))) + b"\n")
    with pytest.raises(GateError, match="not in the ledger"):
        resume(started, policy="q" if b'"q"' in file.read_bytes() else "p")


def test_the_line_of_another_event_is_no_start(started):
    out, file, attempt = started
    says = {"event": ledger.STOPPED, "run": attempt.run, "policy": "p", "gate": "g", "episodes": 0, "head": "h"}
    (out / ATTEMPT).write_bytes(canonical(ledger.append(file, says, OWN)) + b"\n")
    with pytest.raises(GateError, match="not in the ledger"):
        resume(started)


def test_another_ledger_does_not_have_the_start(started):
    other = started[0] / "other.jsonl"
    start_attempt(started[0] / "elsewhere", "p", "g", other, (50.0, {}), OWN)
    with pytest.raises(GateError, match="not in the ledger"):
        resume((started[0], other, None))


@pytest.mark.parametrize(("event", "says"), [(ledger.FINISH, "has ended"), (ledger.ABORTED, "was aborted")])
def test_an_attempt_that_ended_does_not_go_on(started, event, says):
    out, file, attempt = started
    ledger.append(file, {"event": event, "run": "another", "policy": "p", "gate": "g"}, OWN)
    assert resume(started) == attempt
    ledger.append(file, {"event": event, "run": attempt.run, "policy": "p", "gate": "g"}, OWN)
    with pytest.raises(GateError, match=says):
        resume(started)


def test_actions_are_those_of_the_row(tmp_path):
    row = {"control": "control", "task": "stack", "seed": 1}
    actions, looks = np.arange(14, dtype=np.float32).reshape(2, 7), np.array([0], np.int32)
    key = "control/stack/1"
    (tmp_path / "a.npz").write_bytes(actions_bytes([row], {key: actions}, {key: looks}))
    row["actions_hash"] = actions_hash(actions, looks)
    found = read_actions(tmp_path / "a.npz", row)
    assert np.array_equal(found[0], actions) and np.array_equal(found[1], looks)
    assert actions_hash(actions[:1], looks) != row["actions_hash"] != actions_hash(actions, looks + 1)
    assert actions_hash(actions.reshape(7, 2), looks) != row["actions_hash"]
    assert actions_hash(np.nextafter(actions, np.float32(99)), looks) != row["actions_hash"]
    assert actions_hash(actions[::-1][::-1], looks[::-1]) == row["actions_hash"], "whatever their layout in memory"
    for wrong in (row | {"seed": 2}, row | {"actions_hash": "0" * 64}):
        with pytest.raises(CertificateError, match="not those that were played"):
            read_actions(tmp_path / "a.npz", wrong)
    with pytest.raises(CertificateError, match="not those that were played"):
        read_actions(tmp_path / "none.npz", row)


class Canary:
    """Unpickled, it leaves a file."""

    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        return Path.touch, (self.file,)


def test_pickles_among_the_actions_are_not_read(tmp_path):
    row = {"control": "control", "task": "stack", "seed": 1, "actions_hash": "0" * 64}
    planted = np.array([Canary(tmp_path / "executed")], dtype=object)
    np.savez(tmp_path / "a.npz", **{"control/stack/1/actions": planted, "control/stack/1/looks": planted})
    with pytest.raises(CertificateError, match="not those that were played"):
        read_actions(tmp_path / "a.npz", row)
    assert not (tmp_path / "executed").exists()


def test_actions_that_would_take_all_memory_are_refused(tmp_path, monkeypatch):
    """A small file of large arrays, and one of more arrays than were ever played."""
    row = {"control": "control", "task": "stack", "seed": 1}
    key = "control/stack/1"
    actions, looks = np.zeros((500, 7), np.float32), np.array([0], np.int32)
    (tmp_path / "a.npz").write_bytes(actions_bytes([row], {key: actions}, {key: looks}))
    row["actions_hash"] = actions_hash(actions, looks)
    size = actions.nbytes + looks.nbytes + 2 * 128  # with the headers of both arrays
    assert (tmp_path / "a.npz").stat().st_size < size / 10
    for bound, least in (("ACTIONS_BYTES", size), ("ACTIONS_ARRAYS", 2)):
        monkeypatch.setattr(result_store, bound, least)
        read_actions(tmp_path / "a.npz", row)
        monkeypatch.setattr(result_store, bound, least - 1)
        with pytest.raises(CertificateError) as error:
            read_actions(tmp_path / "a.npz", row)
        assert error.value.key == "size"
        monkeypatch.undo()


@pytest.mark.parametrize("name", [ATTEMPT, ".partial/episodes.jsonl"])
@pytest.mark.parametrize(("size", "key"), [(None, "kind"), (SCRATCH_BYTES + 1, "size"), (LINE_BYTES + 1, "size")])
def test_what_no_unfinished_gate_can_be_is_not_read_whole(started, name, size, key):
    """A FIFO, a file over the bound, a line over its bound; none of them is waited for or held in memory."""
    bad = started[0] / name
    bad.parent.mkdir(exist_ok=True)
    bad.unlink(missing_ok=True)
    if size is None:
        os.mkfifo(bad)
    else:
        bad.touch()
        os.truncate(bad, size)
    with pytest.raises(GateError) as error:
        resume(started) if name == ATTEMPT else opened(started[0])
    assert error.value.key == key
