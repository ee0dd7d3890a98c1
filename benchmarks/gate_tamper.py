"""One change in certificate, evidence, checkpoint, contract, scene, task, gate file or ledger: refused and named."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.gate_case import Case

NAME = "gate-tamper"
TITLE = "single changes in certificate, evidence, checkpoint, contract, scene, task, gate file: refused and named"
TARGET = 200.0
UNIT = "of 200"
BETTER = "higher"
SEED = 6
FILES = 60  # of the 200 changes: bytes of files


def run() -> dict[str, Any]:
    import shutil
    import tempfile
    from collections import Counter

    from benchmarks.gate_case import make
    from vla_agent.gate.hashes import SIMULATOR
    from vla_agent.gate.statistics import clopper_pearson
    from vla_agent.gate.verify import verify

    refused: Counter[str] = Counter()
    tried: Counter[str] = Counter()
    missed = []
    with tempfile.TemporaryDirectory() as folder:
        case = make(Path(folder))
        simulator = Path(folder) / "sim"
        shutil.copytree(SIMULATOR, simulator, ignore=shutil.ignore_patterns("__pycache__"))
        options: dict[str, Any] = {"keys": case.keys, "ledger": case.ledger, "simulator": simulator}
        untouched = verify(case.certificate, case.policy, **options)
        for kind, name, file, content in _changes(case, simulator, random.Random(SEED)):
            before = file.read_bytes()
            file.write_bytes(content)
            found = verify(case.certificate, case.policy, **options)
            file.write_bytes(before)
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
        "one leaf changed. Contract: one value in policy.json changed. Files: one bit of one byte flipped. Missed: "
        f"{' | '.join(missed) or 'none'}",
    }


def _changes(case: Case, simulator: Path, rng: random.Random) -> Iterator[tuple[str, str, Path, bytes]]:
    """Kind, the name that must be named, the file, and its new content."""
    files: list[tuple[str, str, Path]] = []
    weights = [f for f in case.policy.rglob("*") if f.is_file() and f.suffix in (".safetensors", ".json")]
    files += [("checkpoint", f"policy.files.{f.relative_to(case.policy).as_posix()}", f) for f in sorted(weights)]
    scene = [f for f in simulator.rglob("*") if f.is_file()]
    files += [("scene and task", f"simulator.sim/{f.relative_to(simulator).as_posix()}", f) for f in sorted(scene)]
    files += [("evidence", f"evidence.{n}", case.out / n) for n in ("report.json", "actions.npz")]
    files += [("gate file", "evidence.gate.yaml", case.out / "gate.yaml")] * 3
    files += [("ledger", str(case.ledger), case.ledger)] * 2
    bound = [f for f in files if f[0] != "scene and task"]
    some = rng.sample([f for f in files if f[0] == "scene and task"], FILES - len(bound))
    for kind, name, file in (*bound, *some):
        content = bytearray(file.read_bytes())
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(7)
        yield kind, name, file, bytes(content)
    yield from _contract(case, rng)
    text = case.certificate.read_text()
    keys = sorted(_leaves(json.loads(text)))
    scarce = [k for k in keys if k[1] != "simulator"]
    many = [k for k in keys if k[1] == "simulator"]
    rng.shuffle(scarce)
    rng.shuffle(many)
    signature = [k for k in scarce if k[0] == "signature"]
    others = [k for k in scarce if k[0] != "signature"]
    for path in (*signature, *others, *many)[: int(TARGET) - FILES - 8]:
        data = json.loads(text)
        parent = data
        for key in path[:-1]:
            parent = parent[key]
        parent[path[-1]] = _other(parent[path[-1]])
        named = ".".join(path[1:]) if path[0] == "payload" else ".".join(path)
        yield "certificate", named, case.certificate, _written(data)


def _contract(case: Case, rng: random.Random) -> Iterator[tuple[str, str, Path, bytes]]:
    """Eight changes of the contract inside the checkpoint."""
    file = case.policy / "policy.json"
    text = file.read_text()
    leaves = [k for k in sorted(_leaves(json.loads(text))) if k[0] == "contract" and k[-1] != "version"]
    for path in rng.sample(leaves, 8):
        data: Any = json.loads(text)
        parent = data
        for key in path[:-1]:
            parent = parent[int(key)] if isinstance(parent, list) else parent[key]
        parent[path[-1]] = _other(parent[path[-1]])
        yield "contract", "contract", file, json.dumps(data, indent=2).encode()


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
    from vla_agent.gate.canonical import readable

    return readable(data).encode()
