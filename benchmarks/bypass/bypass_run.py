"""Ways around a gate's run, its scratch files, its ledger, its seeds and `verify`; each must be refused.

`cases` yields (kind, name, route).  A route changes a copy of a laboratory's files, goes on as a user would, and
returns the refusal; where it gets through, or is refused for another reason, it raises `AssertionError`.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchmarks.bypass.bypass_run_case import RunCase

KIND_LOADED, KIND_SCRATCH, KIND_SEEDS = 2, 4, 6
Attack = Callable[["RunCase"], Any]  # what `verify` found, or it raises
Lines = Callable[[list[bytes]], list[bytes]]


def cases() -> Iterator[tuple[int, str, Callable[[], str]]]:
    """Every route: kind (of the list in docs/security.md), name, and what tries it."""
    groups = (
        (KIND_SCRATCH, _scratch()),
        (KIND_SCRATCH, _attempt()),
        (KIND_SCRATCH, _ledger()),
        (KIND_SCRATCH, _evidence()),
        (KIND_SEEDS, _seeds()),
        (KIND_LOADED, _changed()),
    )
    for kind, attacks in groups:
        for name, (attack, says) in attacks.items():
            yield kind, name, _route(attack, says)


def _route(attack: Attack, says: str) -> Callable[[], str]:
    def tried() -> str:
        from benchmarks.bypass.bypass_run_case import made
        from vla_agent.errors import VlaAgentError

        with made() as case:
            try:
                refusal = str(attack(case) or "")
            except VlaAgentError as error:
                refusal = f"{error.what}: {error.key or ''} {error.file or ''} expected {error.expected}"
        assert refusal, "it went through"
        assert says in refusal, f"refused for another reason: {refusal}"
        return refusal

    return tried


def _lines(change: Lines, end: bytes = b"\n") -> Attack:
    """Other lines in the scratch file of the stopped gate, which is then resumed."""

    def attack(case: RunCase) -> str:
        before = case.scratch.read_bytes().splitlines()
        after = change(list(before))
        assert before != after, "nothing was changed"
        case.scratch.write_bytes(b"".join(line + end for line in after))
        return _went_on(case)

    return attack


def _went_on(case: RunCase) -> str:
    case.resume()
    return ""


def _passed(line: bytes) -> bytes:
    """The line with the other outcome: a success, where it was none."""
    turned = {b"true": b"false", b"false": b"true"}
    return re.sub(rb'"(success|outcome)":(true|false)', lambda m: b'"%s":%s' % (m[1], turned[m[2]]), line)


def _rehashed(lines: list[bytes]) -> list[bytes]:
    """The first line as a success, with the hash that follows from it."""
    from vla_agent.files.canonical_json import canonical, digest

    entry = json.loads(_passed(lines[0]))
    entry["hash"] = digest({k: v for k, v in entry.items() if k not in ("hash", "signature")})
    return [canonical(entry), *lines[1:]]


def _signed_anew(lines: list[bytes]) -> list[bytes]:
    """All lines as successes, chained and signed with a key of one's own, under its own name."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from vla_agent.files.canonical_json import canonical
    from vla_agent.gate.certificate.lab_key import LabKey
    from vla_agent.gate.evidence.episode_log import KIND
    from vla_agent.gate.evidence.signed_lines import next_line

    signer, previous, found = LabKey({}, Ed25519PrivateKey.generate()), json.loads(lines[0])["previous"], []
    for number, line in enumerate(map(_passed, lines), 1):
        says = {k: v for k, v in json.loads(line).items() if k not in ("hash", "signature", "key", "previous")}
        entry = next_line(says, KIND, number, previous, signer)
        found.append(canonical(entry))
        previous = entry["hash"]
    return found


def _scratch() -> dict[str, tuple[Attack, str]]:
    changed = "were changed, or are of another run"
    return {
        "an outcome edited in a scratch line": (_lines(lambda s: [_passed(s[0]), *s[1:]]), changed),
        "all outcomes edited": (_lines(lambda s: [_passed(line) for line in s]), changed),
        "a scratch line edited, its hash computed again": (_lines(_rehashed), "signature of a trusted key"),
        "scratch lines signed with a key of one's own": (_lines(_signed_anew), "signature of a trusted key"),
        "a scratch line removed": (_lines(lambda s: [s[0], *s[2:]]), changed),
        "the first scratch line removed": (_lines(lambda s: s[1:]), changed),
        "scratch lines exchanged": (_lines(lambda s: [s[1], s[0], *s[2:]]), changed),
        "a scratch line inserted twice": (_lines(lambda s: [s[0], s[0], *s[1:]]), changed),
        "a scratch line appended again": (_lines(lambda s: [*s, s[0]]), changed),
        "a scratch line cut short and continued": (_lines(lambda s: [s[0][:50], *s[1:]]), changed),
        "scratch lines cut off the end after an interruption": (_lines(lambda s: s[:-1]), "as the ledger says"),
        "all scratch lines removed after an interruption": (_lines(lambda s: []), "as the ledger says"),
        "scratch lines of another run of the same policy": (_of_another_run, changed),
        "recorded actions of a scratch line exchanged": (_lines(_other_actions), changed),
        "a finished report put in the place of episodes": (_report_for_episodes, "as the ledger says"),
    }


def _other_actions(lines: list[bytes]) -> list[bytes]:
    first, second = (json.loads(line)["actions"].encode() for line in lines[:2])
    return [lines[0].replace(first, second), *lines[1:]]


def _of_another_run(case: RunCase) -> str:
    shutil.copy(case.root / "other" / ".partial" / "episodes.jsonl", case.scratch)
    return _went_on(case)


def _report_for_episodes(case: RunCase) -> str:
    """As a gate killed just before its certificate might look: report and actions, and no scratch file."""
    shutil.rmtree(case.scratch.parent)
    for name in ("report.json", "actions.npz"):
        shutil.copy(case.root / "good" / name, case.root / "bad")
    return _went_on(case)


def _of_attempt(**changed: Any) -> Attack:
    def attack(case: RunCase) -> str:
        from vla_agent.files.canonical_json import canonical

        file = case.root / "bad" / "attempt.json"
        file.write_bytes(canonical(json.loads(file.read_bytes()) | changed) + b"\n")
        return _went_on(case)

    return attack


def _attempt() -> dict[str, tuple[Attack, str]]:
    missing = "not in the ledger"
    return {
        "attempt.json with another delay": (_of_attempt(delay_ms=999.0), missing),
        "attempt.json with another run": (_of_attempt(run="0" * 32), missing),
        "attempt.json with another policy": (_of_attempt(policy="0" * 64), missing),
        "attempt.json of another attempt": (_attempt_of("other"), "were changed, or are of another run"),
        "attempt.json of a finished attempt": (_attempt_of("good"), "has ended"),
        "a stopped gate continued with another policy": (lambda case: _continued(case, "expert"), "another policy"),
        "a stopped gate continued with another gate file": (_continued_with_other_gate, "another gate file"),
        "a stopped gate continued with another key": (_continued_with_other_key, "signature of a trusted key"),
    }


def _attempt_of(out: str) -> Attack:
    def attack(case: RunCase) -> str:
        shutil.copy(case.root / out / "attempt.json", case.root / "bad")
        return _went_on(case)

    return attack


def _continued(case: RunCase, policy: str, **options: Any) -> str:
    case.gate(policy, "bad", resume=True, **options)
    return ""


def _continued_with_other_gate(case: RunCase) -> str:
    file = case.root / "weak.yaml"
    file.write_text((case.root / "gate.yaml").read_text().replace("threshold: 0.30", "threshold: 0.01"))
    return _continued(case, "random", suite=file)


def _continued_with_other_key(case: RunCase) -> str:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return _continued(case, "random", private=Ed25519PrivateKey.generate())


def _of_ledger(change: Lines) -> Attack:
    def attack(case: RunCase) -> str:
        case.ledger.write_bytes(b"".join(line + b"\n" for line in change(case.ledger.read_bytes().splitlines())))
        case.gate("random", "again")
        return ""

    return attack


def _ledger() -> dict[str, tuple[Attack, str]]:
    changed = "ledger was changed"
    return {
        "an earlier attempt removed from the ledger": (_of_ledger(lambda s: [*s[:2], *s[3:]]), changed),
        "the ledger's first line removed": (_of_ledger(lambda s: s[1:]), changed),
        "the latest attempts cut off the ledger": (_of_ledger(lambda s: s[:-2]), "cut off the ledger's end"),
        "the ledger emptied, to begin with attempt 1": (_of_ledger(lambda s: []), "cut off the ledger's end"),
        "the ledger removed, to begin with attempt 1": (_removed_ledger, "cut off the ledger's end"),
        "an attempt given to another policy": (_of_ledger(_other_policy), changed),
        "ledger lines exchanged": (_of_ledger(lambda s: [s[0], s[2], s[1], *s[3:]]), changed),
        "a ledger line without its signature": (_of_ledger(_unsigned), "not signed"),
        "a ledger of another laboratory": (_strange_ledger, changed),
        "an attempt continued after the ledger was emptied": (_emptied, "not in the ledger"),
        "a certificate whose end is not in the ledger": (_without_end, "ledger.finish"),
        "a certificate without a ledger": (_without_ledger, "the start of run"),
        "a certificate of attempt 2 that says 1": (_first_attempt, "certificate.attempt.number"),
    }


def _other_policy(lines: list[bytes]) -> list[bytes]:
    policy = json.loads(lines[0])["policy"].encode()
    return [lines[0].replace(policy, b"0" * 64), *lines[1:]]


def _unsigned(lines: list[bytes]) -> list[bytes]:
    from vla_agent.files.canonical_json import canonical

    return [canonical({k: v for k, v in json.loads(line).items() if k != "signature"}) for line in lines]


def _strange_ledger(case: RunCase) -> str:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from vla_agent.gate.certificate.lab_key import LabKey
    from vla_agent.gate.evidence import ledger

    entries = ledger.read_ledger(case.ledger, case.signer)
    case.ledger.unlink()
    case.ledger.with_name(case.ledger.name + ledger.HEAD).unlink()
    for entry in entries:
        says = {k: entry[k] for k in entry if k not in ("hash", "signature", "number", "previous", "key", "time")}
        ledger.append(case.ledger, says, LabKey({}, Ed25519PrivateKey.generate()))
        break
    case.gate("random", "again")
    return ""


def _removed_ledger(case: RunCase) -> str:
    case.ledger.unlink()
    case.gate("random", "again")
    return ""


def _emptied(case: RunCase) -> str:
    case.ledger.write_bytes(b"")
    return _went_on(case)


def _without_end(case: RunCase) -> str:
    file = case.root / "good" / "ledger.jsonl"
    file.write_bytes(file.read_bytes().splitlines()[0] + b"\n")
    return case.verify()


def _without_ledger(case: RunCase) -> str:
    (case.root / "good" / "ledger.jsonl").unlink()
    return case.verify()


def _first_attempt(case: RunCase) -> str:
    """The expert's second attempt, whose certificate states the first attempt's number and its larger alpha."""
    report = case.gate("expert", "second")
    assert report["certified"]["attempt"]["number"] == 2 and not case.verify("second")
    shutil.rmtree(case.root / "good")
    (case.root / "second").rename(case.root / "good")
    first = {"number": 1, "alpha": 2 * report["certified"]["attempt"]["alpha"]}
    case.forge(case.report(), attempt=report["certified"]["attempt"] | first)
    return case.verify()


def _evidence() -> dict[str, tuple[Attack, str]]:
    planned = "the planned"
    return {
        "a report edited and signed with a key of one's own": (_strange_key, "not signed by a trusted key"),
        "a report edited without a signature": (_unsigned_edit, "evidence.report.json"),
        "a failed episode left out, all numbers computed again": (_rows(lambda rows: rows[:-1]), planned),
        "episodes of chosen seeds": (_rows(_chosen_seeds), planned),
        "successes added, all numbers computed again": (_rows(_added), "not planned"),
        "an episode counted twice": (_rows(lambda rows: [*rows, rows[-1]]), "twice"),
        "an outcome turned, its success left": (_rows(_turned), "outcome"),
        "a success claimed, signed by the laboratory": (_claimed, "success"),
        "two episodes exchanged, signed by the laboratory": (_exchanged, "replay"),
        "other actions in the archive, signed by the laboratory": (_archive, "not those that were played"),
        "the expert played under the policy's name": (_expert_played, "the policy acts otherwise"),
        "an interval narrowed by hand": (_narrowed, "estimate.interval"),
        "a shorter latency than was simulated": (_latency, "certificate.latency"),
    }


def _strange_key(case: RunCase) -> str:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    case.forge(case.report(), Ed25519PrivateKey.generate())
    return case.verify()


def _unsigned_edit(case: RunCase) -> str:
    file = case.root / "good" / "report.json"
    file.write_text(file.read_text().replace('"success": true', '"success": false', 1))
    return case.verify()


def _rows(change: Callable[[list[dict[str, Any]]], list[dict[str, Any]]]) -> Attack:
    """Other episodes, with the judgement, the counts and the estimate that follow from them; signed by the lab."""

    def attack(case: RunCase) -> str:
        from vla_agent.gate.certificate.statement import counts_of
        from vla_agent.gate.decision.gate_file import load_gate
        from vla_agent.gate.decision.judge import judged

        report = case.report()
        report["episodes"] = change(report["episodes"])
        judgement = judged(load_gate(case.root / "gate.yaml"), report["episodes"], 1)
        report["summary"]["judgement"] = judgement
        verdict, estimate = judgement["verdict"], judgement["estimate"]
        case.forge(report, counts=counts_of(judgement), verdict=verdict, estimate=estimate)
        return case.verify()

    return attack


def _chosen_seeds(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [row | {"seed": row["seed"] + 1000} for row in rows]


def _added(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    last = max((row for row in rows if row["control"] == "control"), key=lambda row: int(row["index"]))
    return [*rows, last | {"index": last["index"] + 1, "seed": last["seed"] + 1}]


def _turned(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [rows[0] | {"outcome": not rows[0]["outcome"]}, *rows[1:]]


def _claimed(case: RunCase) -> str:
    report = case.report()
    for row in report["episodes"]:
        row["success"] = row["outcome"] = not row["success"]
    case.forge(report)
    return case.replay("good", "expert")


def _exchanged(case: RunCase) -> str:
    report = case.report()
    first, second = (r for r in report["episodes"] if r["control"] == "control" and r["index"] < 2)
    for key in ("steps", "state_hash", "image_hash"):
        first[key], second[key] = second[key], first[key]
    case.forge(report)
    return case.replay("good", "expert")


def _archive(case: RunCase) -> str:
    import numpy as np

    file = case.root / "good" / "actions.npz"
    with np.load(file) as stored:
        arrays = {name: array * 0 if name.endswith("/actions") else array for name, array in stored.items()}
    np.savez_compressed(file, **arrays)
    case.forge(case.report())
    assert not case.verify()
    return case.replay("good", "expert")


def _expert_played(case: RunCase) -> str:
    """A patched program plays the expert in the place of a policy that does not read its instruction."""
    from benchmarks.bypass.bypass_run_case import load_expert
    from sim.experts.planted_faults import load_planted

    report = case.gate("planted.deaf", "patched", load=load_expert)
    assert report["summary"]["judgement"]["verdict"] == "pass" and not case.verify("patched")
    return case.replay("patched", "planted.deaf", load=load_planted)


def _narrowed(case: RunCase) -> str:
    report = case.report()
    estimate = report["summary"]["judgement"]["estimate"] | {"interval": [0.99, 1.0]}
    report["summary"]["judgement"]["estimate"] = estimate
    case.forge(report, estimate=estimate)
    return case.verify()


def _latency(case: RunCase) -> str:
    case.forge(case.report(), latency={"certified_ms": 500.0, "measured_ms": 0.0})
    return case.verify()


def _seeds() -> dict[str, tuple[Attack, str]]:
    return {
        "a gate file with a seed": (_gate_file("block: 2", "block: 2\nseed: 500000"), "fixed seed"),
        "a gate file of format 1": (_gate_file("format: 2", "format: 1"), "fixed seed"),
        "a gate file without a format": (_gate_file("format: 2\n", ""), "fixed seed"),
        "a seed of one's own in the certificate": (_own_seed, "certificate.attempt.seed"),
        "the seed of another start, which suits": (_seed_of_other_start, "certificate.attempt"),
        "another attempt's scenes under the new attempt": (_known_scenes, "the planned"),
    }


def _gate_file(before: str, after: str) -> Attack:
    def attack(case: RunCase) -> str:
        file = case.root / "old.yaml"
        file.write_text((case.root / "gate.yaml").read_text().replace(before, after, 1))
        case.gate("expert", "old", suite=file)
        return ""

    return attack


def _own_seed(case: RunCase) -> str:
    report = case.report()
    case.forge(report, attempt=report["certified"]["attempt"] | {"seed": 7_000})
    return case.verify()


def _seed_of_other_start(case: RunCase) -> str:
    from vla_agent.gate.evidence.seeds import first_seed

    report = case.report()
    own, other = report["certified"], json.loads((case.root / "other" / "attempt.json").read_bytes())["hash"]
    seed = first_seed(own["policy"]["digest"], own["gate"]["sha256"], other)
    case.forge(report, attempt=own["attempt"] | {"entry": other, "seed": seed})
    return case.verify()


def _known_scenes(case: RunCase) -> str:
    """A second attempt that reports the episodes of the first, whose scenes are known by now."""
    first = case.report()["episodes"]
    report = case.gate("expert", "second")
    shutil.rmtree(case.root / "good")
    (case.root / "second").rename(case.root / "good")
    case.forge(report | {"episodes": first})
    return case.verify()


def _changed() -> dict[str, tuple[Attack, str]]:
    return {
        "the gate file changed while the gate ran": (_gate_file_meanwhile, "nothing is certified: gate file"),
        "the policy's folder changed while the gate ran": (_policy_meanwhile, "not the expected ones"),
        "the policy's folder changed after its last load": (_policy_after_load, "nothing is certified: policy"),
        "an aborted gate continued": (_aborted, "was aborted"),
    }


def _gate_file_meanwhile(case: RunCase) -> str:
    def change(played: Any, done: int, total: int) -> None:
        (case.root / "gate.yaml").write_text("format: 2\n")

    case.gate("expert", "changed", progress=change)
    return ""


def _aborted(case: RunCase) -> str:
    from vla_agent.errors import GateError

    content = (case.root / "gate.yaml").read_text()
    try:
        _gate_file_meanwhile(case)
    except GateError:
        (case.root / "gate.yaml").write_text(content)
    case.gate("expert", "changed", resume=True)
    return ""


def _copied_policy(case: RunCase) -> Path:
    from benchmarks.shared.evaluations import POLICY

    return Path(shutil.copytree(POLICY, case.root / "policy", ignore=shutil.ignore_patterns("evaluation", "*.png")))


def _flip(policy: Path) -> None:
    """One bit of the weights, near their end."""
    weights = policy / "head.safetensors"
    content = bytearray(weights.read_bytes())
    content[-100] ^= 1
    weights.write_bytes(content)


def _policy_meanwhile(case: RunCase) -> str:
    """Between the hash and the load of a worker process."""
    from functools import partial

    from vla_agent.environments.tabletop import TabletopChoice
    from vla_agent.evaluation.play.player import Player, PlayerSettings, load_learned
    from vla_agent.files.policy_folder import find_folder
    from vla_agent.gate.certificate.bound_files import policy_parts

    policy = _copied_policy(case)
    load = partial(load_learned, expected=str(policy_parts(find_folder(policy))["digest"]))
    _flip(policy)
    with_settings = Player(PlayerSettings(str(policy), TabletopChoice({}), load=load))
    with_settings.policy(str(policy), None)  # type: ignore[arg-type]  # it is refused before the environment is asked
    return ""


def _policy_after_load(case: RunCase) -> str:
    policy = _copied_policy(case)

    def change(played: Any, done: int, total: int) -> None:
        if done == 1:
            _flip(policy)

    case.gate(str(policy), "changed", progress=change)
    return ""
