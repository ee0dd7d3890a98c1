"""One change in certificate, evidence, checkpoint, contract, scene, task, gate file or ledger: refused and named."""

from __future__ import annotations

import base64
import copy
import itertools
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.gate.gate_case import Case

NAME = "gate-tamper"
TITLE = "single changes in certificate, evidence, checkpoint, contract, scene, task, gate file: refused and named"
TARGET = 200.0
UNIT = "of 200"
BETTER = "higher"
SEED = 6
MOST_LEAVES = 130  # of the 200 changes: single values of the certificate, fewer where it has fewer
CONTRACT = 8  # values of the contract inside the checkpoint
Tampering = tuple[str, str, Path, bytes | None]  # kind, what must be named, the file, its new content; None: removed


def run() -> dict[str, Any]:
    import shutil
    import tempfile
    from collections import Counter

    from benchmarks.gate.gate_case import make
    from vla_agent.evaluation.exact_tests import clopper_pearson
    from vla_agent.gate.certificate.bound_files import PACKAGE_ROOMS, SIMULATOR
    from vla_agent.gate.certificate.verify import verify

    refused: Counter[str] = Counter()
    tried: Counter[str] = Counter()
    missed = []
    with tempfile.TemporaryDirectory() as folder:
        case = make(Path(folder))
        simulator = Path(folder) / "sim"
        for place in ("sim", *(f"vla_agent/{room}" for room in PACKAGE_ROOMS)):
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(SIMULATOR.parent / place, Path(folder) / place, ignore=ignored)
        options: dict[str, Any] = {"keys": case.keys, "ledger": case.ledger, "simulator": simulator}
        untouched = verify(case.certificate, case.policy, **options)
        for kind, name, file, content in _tamperings(case, simulator, random.Random(SEED)):
            before = file.read_bytes() if file.exists() else None
            _write(file, content)
            found = verify(case.certificate, case.policy, **options)
            _write(file, before)
            tried[kind] += 1
            if any(name in change.what for change in found):
                refused[kind] += 1
            else:
                missed.append(f"{kind} {name}: {'; '.join(map(str, found)) or 'accepted'}")
        afterwards = verify(case.certificate, case.policy, **options)
    total = sum(tried.values())
    caught = sum(refused.values())
    rows = [{"changed": k, "tried": tried[k], "refused_and_named": refused[k]} for k in tried]
    return {
        "value": caught,
        "n": total,
        "interval": [200 * x for x in clopper_pearson(caught, total)],
        "seeds": str(SEED),
        "rows": rows,
        "passed": not untouched and not afterwards and caught == total == TARGET,
        "notes": f"the untouched certificate holds before ({not untouched}) and after ({not afterwards}). Certificate: "
        "one value changed, one added, one byte added. Contract: one value in policy.json changed. Checkpoint, "
        "evidence: one bit flipped, one file removed; a file added. All others: one bit flipped. Missed: "
        f"{' | '.join(missed) or 'none'}",
    }


def _tamperings(case: Case, simulator: Path, rng: random.Random) -> list[Tampering]:
    """`TARGET` single changes; bits of the simulator's files fill up the number."""
    changes = [*_checkpoint(case, rng), *_evidence(case, rng), *_contract(case, rng), *_certificate(case, rng)]
    root = simulator.parent
    places = simulator, root / "vla_agent"
    scene = sorted(f for place in places for f in place.rglob("*") if f.is_file() and f.stat().st_size)
    rng.shuffle(scene)
    for file in itertools.islice(itertools.cycle(scene), int(TARGET) - len(changes)):
        name = f"simulator.{file.relative_to(root).as_posix()}"
        changes.append(("scene and task", name, file, _flipped(file, rng)))
    return changes


def _flipped(file: Path, rng: random.Random) -> bytes:
    """The file's content with one flipped bit."""
    content = bytearray(file.read_bytes())
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(7)
    return bytes(content)


def _write(file: Path, content: bytes | None) -> None:
    if content is None:
        file.unlink()
    else:
        file.write_bytes(content)


def _checkpoint(case: Case, rng: random.Random) -> Iterator[Tampering]:
    """A bit of every file that is certified, a file removed, an adapter added."""
    from vla_agent.gate.certificate.bound_files import policy_files

    kind = "checkpoint"
    for name in sorted(policy_files(case.policy)):
        yield kind, name, case.policy / name, _flipped(case.policy / name, rng)
    yield kind, "head.safetensors", case.policy / "head.safetensors", None
    yield kind, "adapter_config.json", case.policy / "adapter_config.json", b"{}"


def _evidence(case: Case, rng: random.Random) -> Iterator[Tampering]:
    """Bits of report, actions, gate file and ledger; files removed; a ledger without its first line."""
    for name in ("report.json", "actions.npz"):
        yield "evidence", f"evidence.{name}", case.out / name, _flipped(case.out / name, rng)
        yield "evidence", f"evidence.{name}", case.out / name, None
    for _ in range(3):
        yield "gate file", "evidence.gate.yaml", case.out / "gate.yaml", _flipped(case.out / "gate.yaml", rng)
    yield "ledger", str(case.ledger), case.ledger, case.ledger.read_bytes().partition(b"\n")[2]
    for _ in range(2):
        yield "ledger", str(case.ledger), case.ledger, _flipped(case.ledger, rng)


def _certificate(case: Case, rng: random.Random) -> Iterator[Tampering]:
    """One value changed at a time, the simulator's files last; a value added, a byte added.  The signature stays."""
    file = case.certificate
    envelope = json.loads(file.read_text())
    statement = json.loads(base64.b64decode(envelope["payload"]))
    keys = sorted(_leaves(statement["predicate"]))
    rng.shuffle(keys)
    keys.sort(key=lambda k: k[0] == "simulator")
    for path in keys[: MOST_LEAVES - 4]:
        changed = copy.deepcopy(statement)
        _change(changed["predicate"], path)
        yield "certificate", path[0], file, _enveloped(envelope, changed)
    for path in (("payloadType",), ("signatures", "0", "sig"), ("signatures", "0", "keyid")):
        changed = copy.deepcopy(envelope)
        _change(changed, path)
        yield "certificate", path[-1], file, _written(changed)
    for part in ("_type", "predicateType"):
        yield "certificate", part, file, _enveloped(envelope, statement | {part: statement[part] + "x"})
    extra = statement | {"predicate": statement["predicate"] | {"extra": 1}}
    yield "certificate", "extra", file, _enveloped(envelope, extra)
    yield "certificate", "the file's bytes", file, file.read_bytes() + b" "


def _enveloped(envelope: dict[str, Any], statement: dict[str, Any]) -> bytes:
    """The envelope around another statement, with the signature that it had."""
    from vla_agent.files.canonical_json import canonical

    return _written(envelope | {"payload": base64.b64encode(canonical(statement)).decode()})


def _change(data: Any, path: tuple[str, ...]) -> None:
    """Another value in one place."""
    for key in path[:-1]:
        data = data[int(key)] if isinstance(data, list) else data[key]
    data[path[-1]] = _other(data[path[-1]])


def _contract(case: Case, rng: random.Random) -> Iterator[Tampering]:
    """Single values of the contract inside the checkpoint."""
    file = case.policy / "policy.json"
    text = file.read_text()
    leaves = [k for k in sorted(_leaves(json.loads(text))) if k[0] == "contract" and k[-1] != "version"]
    for path in rng.sample(leaves, CONTRACT):
        data: Any = json.loads(text)
        _change(data, path)
        yield "contract", "policy", file, json.dumps(data, indent=2).encode()


def _leaves(data: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    if isinstance(data, dict):
        for key, value in data.items():
            yield from _leaves(value, (*path, key))
    elif isinstance(data, list) and any(isinstance(d, dict) for d in data):
        for index, value in enumerate(data):
            yield from _leaves(value, (*path, str(index)))
    else:
        yield path


def _other(value: Any) -> Any:
    """Another value of the same type."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, (int, float)):
        return value + 1
    if isinstance(value, list):
        return [*value, 1]
    if isinstance(value, str) and value:
        last = value[-2] if value.endswith("=") else value[-1]
        at = len(value) - (2 if value.endswith("=") else 1)
        return value[:at] + ("1" if last == "0" else "0") + value[at + 1 :]
    return "0"


def _written(data: Any) -> bytes:
    from vla_agent.files.canonical_json import readable

    return readable(data).encode()
