"""The ledger of attempts: signed, chained lines; attempts, numbers and seeds follow from it."""

from __future__ import annotations

import json
import os
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from vla_agent.errors import CertificateError
from vla_agent.files.canonical_json import canonical, digest
from vla_agent.files.input_limits import LEDGER_BYTES, LINE_BYTES
from vla_agent.gate.certificate import keys
from vla_agent.gate.certificate.keys import Key, fingerprint
from vla_agent.gate.certificate.lab_key import LabKey
from vla_agent.gate.evidence import ledger
from vla_agent.gate.evidence.attempt import attempt_of
from vla_agent.gate.evidence.seeds import FIRST, first_seed
from vla_agent.gate.evidence.signed_lines import next_line


def signer() -> LabKey:
    return LabKey({}, Ed25519PrivateKey.generate())


@pytest.fixture
def own() -> LabKey:
    return signer()


@pytest.fixture
def file(tmp_path, own):
    """Starts of the runs a, b, a and c with the policy p."""
    for run in "abac":
        start(tmp_path / "ledger.jsonl", run, own)
    return tmp_path / "ledger.jsonl"


def start(file, run, own, event="start", policy="p", **more):
    return ledger.append(file, {"event": event, "run": run, "policy": policy, "gate": "g"} | more, own)


def refused(file, own) -> CertificateError:
    with pytest.raises(CertificateError) as error:
        ledger.read_ledger(file, own)
    return error.value


def test_what_was_appended_is_read(file, own):
    entries = ledger.read_ledger(file, own)
    assert [e["number"] for e in entries] == [1, 2, 3, 4] and entries[0]["previous"] == "0" * 64
    assert all(e["previous"] == before["hash"] for before, e in zip(entries, entries[1:], strict=False))
    assert ledger.starts(entries, "p") == ["a", "b", "c"] and ledger.starts(entries, "q") == []
    assert ledger.read_ledger(file.with_name("none"), own) == []


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (lambda lines: lines[1:], 1),
        (lambda lines: [lines[0], *lines[2:]], 2),
        (lambda lines: [lines[1], lines[0], *lines[2:]], 1),
        (lambda lines: [*lines, lines[-1]], 5),
        (lambda lines: [lines[0], lines[0], *lines[1:]], 2),
        (lambda lines: [lines[0].replace('"a"', '"z"'), *lines[1:]], 1),
        (lambda lines: [lines[0].replace('"start"', '"begin"'), *lines[1:]], 1),
        (lambda lines: [*lines[:3], lines[3][:-5]], 4),
        (lambda lines: [*lines, ""], 5),
        (lambda lines: [lines[0] + " ", *lines[1:]], 1),
        (lambda lines: [*lines[:3], "[1]"], 4),
        (lambda lines: [*lines[:3], "[" * 5000], 4),
    ],
)
def test_every_change_is_found_with_its_line(file, own, change, line):
    file.write_text("\n".join(change(file.read_text().splitlines())) + "\n")
    error = refused(file, own)
    assert "ledger was changed" in error.what and error.file == f"{file}:{line}"


def cut(file, count):
    file.write_text("".join(f"{line}\n" for line in file.read_text().splitlines()[:count]))


def cut_off(file, own) -> CertificateError:
    before = file.read_bytes() if file.exists() else None
    with pytest.raises(CertificateError) as error:
        start(file, "z", own)
    assert "cut off the ledger's end" in error.value.what and error.value.remedy
    assert (file.read_bytes() if file.exists() else None) == (before or b"")
    return error.value


def test_no_attempt_is_counted_after_lines_were_cut_off(file, own):
    """Also not where all were."""
    for count in (3, 0):
        cut(file, count)
        assert f"{count} lines" in cut_off(file, own).found
    file.unlink()
    assert cut_off(file, own).expected.startswith("line 4, ")


def test_a_head_of_other_lines_or_other_hands_does_not_count(file, own):
    head = file.with_name(file.name + ledger.HEAD)
    good = head.read_bytes()
    entries = ledger.read_ledger(file, own)

    def headed(number, last, signer=own, kind="ledger head"):
        head.write_bytes(canonical(next_line({}, kind, number, last, signer)) + b"\n")

    for number, last, more in (
        (3, entries[2]["hash"], {"signer": signer()}),
        (3, entries[2]["hash"], {"kind": "ledger"}),
        (3, entries[3]["hash"], {}),
        (0, entries[3]["hash"], {}),
        (5, entries[3]["hash"], {}),
    ):
        headed(number, last, **more)
        cut_off(file, own)
    for content in (b"", b"{}", b"[1]", b"{" * 9000, good.replace(b'"number":4', b'"number":3'), good + good):
        head.write_bytes(content)
        cut_off(file, own)
    head.unlink()
    cut_off(file, own)
    head.write_bytes(good)
    assert start(file, "z", own)["number"] == 5


def test_a_kill_between_a_line_and_its_head_loses_nothing(file, own):
    head = file.with_name(file.name + ledger.HEAD)
    before = head.read_bytes()
    start(file, "d", own)
    head.write_bytes(before)
    assert start(file, "e", own)["number"] == 6


@pytest.mark.parametrize("writes", [0, 1])
def test_a_kill_before_the_first_lines_head_does_not_stop_the_next_attempt(tmp_path, own, monkeypatch, writes):
    """Before the head of none, or between the first line and its head."""
    file, write, done = tmp_path / "new.jsonl", ledger.write_bytes, []

    def killed(*arguments):
        if len(done) == writes:
            raise KeyboardInterrupt
        done.append(write(*arguments))

    monkeypatch.setattr(ledger, "write_bytes", killed)
    with pytest.raises(KeyboardInterrupt):
        start(file, "a", own)
    monkeypatch.undo()
    assert start(file, "b", own)["number"] == 1 + writes
    assert [entry["run"] for entry in ledger.read_ledger(file, own)] == ["a", "b"][1 - writes :]


def rewritten(file, own, change):
    """The last line with other content, and a hash and a signature that follow from it."""
    *lines, last = file.read_text().splitlines()
    says = {k: v for k, v in json.loads(last).items() if k not in ("hash", "signature")}
    entry = change(says)
    file.write_text("\n".join([*lines, canonical(entry).decode()]) + "\n")


def test_a_changed_line_with_a_new_hash_needs_the_key(file, own):
    def forge(says):
        says |= {"run": "z"}
        return says | {"hash": digest(says), "signature": json.loads(file.read_text().splitlines()[-1])["signature"]}

    rewritten(file, own, forge)
    assert "signature of a trusted key" in refused(file, own).expected


def test_another_key_s_line_counts_where_that_key_is_trusted(file, own):
    other = signer()
    known = {f: Key("x", f, k.private.public_key(), True) for k in (own, other) for f in [k.fingerprint]}
    start(file, "d", LabKey(known, other.private))
    assert "signature of a trusted key" in refused(file, own).expected
    assert len(ledger.read_ledger(file, LabKey(known))) == 5
    assert "trusted key" in refused(file, LabKey({})).expected


def test_the_name_of_a_trusted_key_is_not_enough(file, own):
    """Signed by another key, under the fingerprint of the trusted one."""

    def forge(says):
        says |= {"run": "z", "key": own.fingerprint}
        end = digest(says)
        return says | {"hash": end, "signature": signer().sign(f"vla-agent ledger line {end}".encode())}

    rewritten(file, own, forge)
    assert "signature of a trusted key" in refused(file, own).expected


def test_a_signature_of_another_file_does_not_count(file, own):
    entries = ledger.read_ledger(file, own)
    says = {"event": "start", "run": "z", "policy": "p", "gate": "g", "time": "t"}
    line = next_line(says, "episode", 5, entries[-1]["hash"], own)
    with file.open("ab") as stream:
        stream.write(canonical(line) + b"\n")
    assert "signature of a trusted key" in refused(file, own).expected


@pytest.mark.parametrize("part", ["event", "run", "policy", "gate", "time"])
def test_a_signed_line_must_say_what_an_attempt_is(file, own, part):
    entries = ledger.read_ledger(file, own)
    says = {"event": "start", "run": "z", "policy": "p", "gate": "g", "time": "t"}
    says.pop(part)
    with file.open("ab") as stream:
        stream.write(canonical(next_line(says, "ledger", 5, entries[-1]["hash"], own)) + b"\n")
    assert part in refused(file, own).expected


@pytest.mark.parametrize("number", [True, 5.0, "5", 4, 6])
def test_numbers_are_whole_and_in_order(file, own, number):
    entries = ledger.read_ledger(file, own)
    says = {"event": "start", "run": "z", "policy": "p", "gate": "g", "time": "t"}
    line = next_line(says, "ledger", number, entries[-1]["hash"], own)
    if number is True:  # it equals 1
        file.write_bytes(b"")
        line = next_line(says, "ledger", number, ledger.ORIGIN, own)
    with file.open("ab") as stream:
        stream.write(canonical(line) + b"\n")
    assert "line" in refused(file, own).expected


def test_an_unsigned_ledger_of_an_earlier_release_is_refused_with_the_remedy(tmp_path, own):
    body = {"event": "start", "run": "a", "policy": "p", "gate": "g", "number": 1, "previous": ledger.ORIGIN}
    (tmp_path / "old.jsonl").write_bytes(canonical(body | {"hash": digest(body)}) + b"\n")
    error = refused(tmp_path / "old.jsonl", own)
    assert "not signed" in error.what and "earlier release" in error.remedy
    with pytest.raises(CertificateError, match="not signed"):
        start(tmp_path / "old.jsonl", "b", own)


@dataclass(frozen=True)
class Slow(LabKey):
    """Long between reading and writing, so that two gates that start at once meet."""

    def sign(self, data: bytes) -> str:
        time.sleep(0.02)
        return super().sign(data)


def test_gates_that_start_at_once_write_one_after_another(tmp_path, own):
    file = tmp_path / "not" / "yet" / "ledger.jsonl"
    slow = Slow({}, own.private)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda run: start(file, run, slow), "abcdefgh"))
    entries = ledger.read_ledger(file, own)
    assert sorted(e["run"] for e in entries) == list("abcdefgh") and start(file, "i", own)["number"] == 9


def test_a_line_is_written_out_before_it_counts(file, own, monkeypatch):
    """Whole, when the system is asked to put it on the disk; and before its head."""
    head = file.with_name(file.name + ledger.HEAD)
    seen = []

    def noted(handle):
        seen.append((Path(os.readlink(f"/proc/self/fd/{handle}")), file.read_bytes(), head.read_bytes()))

    monkeypatch.setattr(ledger.os, "fsync", noted)
    old = head.read_bytes()
    start(file, "z", own)
    assert seen[0] == (file, file.read_bytes(), old)


def test_public_keys_alone_write_nothing(file, own):
    with pytest.raises(CertificateError, match="no key to sign with"):
        start(file, "z", LabKey({own.fingerprint: Key("x", own.fingerprint, own.private.public_key(), True)}))
    assert len(ledger.read_ledger(file, own)) == 4


def test_every_attempt_is_listed_with_its_end(tmp_path, own):
    file = tmp_path / "ledger.jsonl"
    for event, run, policy, more in (
        ("start", "a", "p", {}),
        ("start", "z", "q", {}),
        ("start", "b", "p", {}),
        ("finish", "a", "p", {"verdict": "fail", "certificate": "c"}),
        ("start", "c", "p", {}),
        ("aborted", "c", "p", {"reason": "policy"}),
    ):
        start(file, run, own, event, policy, **more)
    entries = ledger.read_ledger(file, own)
    found = [(a["number"], a["run"], a["verdict"]) for a in ledger.attempts(entries, "p")]
    assert found == [(1, "a", "fail"), (2, "b", None), (3, "c", "aborted")]
    assert [e["verdict"] for e in ledger.of_run(entries, "a", "finish")] == ["fail"]


def test_the_ledger_lies_with_the_keys(tmp_path, monkeypatch):
    monkeypatch.setenv("VLA_AGENT_KEYS", str(tmp_path / "keys"))
    assert keys.default_ledger() == tmp_path / "keys" / "ledger.jsonl"


def test_an_attempt_follows_from_its_line(tmp_path, own):
    file = tmp_path / "ledger.jsonl"
    lines = [start(file, run, own, delay_ms=50.0, measured={"p99_ms": 41.0}) for run in "ab"]
    entries = ledger.read_ledger(file, own)
    attempt = attempt_of(entries, lines[1])
    assert (attempt.run, attempt.number, attempt.entry) == ("b", 2, lines[1]["hash"])
    assert (attempt.delay_ms, attempt.measured) == (50.0, {"p99_ms": 41.0})
    assert attempt.seed == first_seed("p", "g", lines[1]["hash"])


def test_seeds_depend_on_policy_gate_and_line_and_clash_with_no_other_kind():
    """The digest of the three parts as canonical JSON."""
    assert first_seed("p", "g", "e") == 2**32 + int(digest({"entry": "e", "gate": "g", "policy": "p"})[:8], 16)
    seeds = {first_seed(*names) for names in (("p", "g", "e"), ("q", "g", "e"), ("p", "h", "e"), ("p", "g", "f"))}
    assert len(seeds) == 4
    many = [first_seed("p", "g", str(i)) for i in range(2000)]
    assert FIRST <= min(many) < FIRST + 2**23 and FIRST + 2**32 - 2**23 < max(many) < 2**33
    assert len({s % 1000 for s in many}) > 800


def test_the_fingerprint_is_that_of_the_signing_key(own):
    assert own.fingerprint == fingerprint(own.private.public_key())


@pytest.mark.parametrize("name", ["ledger.jsonl", "ledger.jsonl.head"])
@pytest.mark.parametrize(("size", "key"), [(None, "kind"), (LEDGER_BYTES + 1, "size"), (LINE_BYTES + 1, "size")])
def test_what_no_ledger_can_be_is_not_read_whole(file, own, name, size, key):
    """A FIFO, a file of 32 MiB, a line of 1 MiB; none of them is waited for or held in memory."""
    bad = file.with_name(name)
    bad.unlink()
    if size is None:
        os.mkfifo(bad)
    else:
        bad.touch()
        os.truncate(bad, size)
    with pytest.raises(CertificateError) as error:
        start(file, "d", own)
    assert error.value.key == key
