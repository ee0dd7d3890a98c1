"""Contracts altered at random in one to six places: each is refused, with every difference listed and a fix.

Each altered contract is checked at three places: a policy before the simulator (as `vla-agent eval` loads it),
`vla-agent inspect POLICY --against sim`, and `vla-agent inspect DATASET --against sim`.
"""

from __future__ import annotations

import contextlib
import io
import json
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

NAME = "policy-contract-faults"
TITLE = "altered contracts that are refused with every difference listed, at three places where parts meet"
TARGET = 1.0
UNIT = "share"
BETTER = "higher"
CASES = 100
LEAST_CASES = 50

ATTRIBUTES: dict[str, dict[str, Callable[[Any], Any]]] = {
    "cameras": {
        "height": lambda h: h + 32,
        "width": lambda w: w // 2,
        "color": lambda c: "bgr",
        "hz": lambda hz: 5.0,
    },
    "state": {
        "size": lambda n: n + 1,
        "unit": lambda u: "mm",
        "frame": lambda f: "world",
        "low": lambda x: -9.0,
        "high": lambda x: 9.0,
        "rotation": lambda r: "quaternion xyzw",
    },
}
ATTRIBUTES["action"] = ATTRIBUTES["state"]
WHOLE: dict[str, Callable[[Any], Any]] = {
    "control_hz": lambda hz: hz / 2,
    "chunk_length": lambda n: n // 2,
    "language": lambda text: "de",
}


def alter(contract: Any, rng: np.random.Generator) -> tuple[Any, set[str]]:
    """An altered contract, and the keys of its differences."""
    changes, keys = {}, set()
    for part in rng.permutation(["cameras", "state", "action"])[: rng.integers(0, 4)]:
        fields = list(getattr(contract, part))
        for index in rng.choice(len(fields), rng.integers(0, len(fields)), replace=False):
            attribute = str(rng.choice(list(ATTRIBUTES[part])))
            value = ATTRIBUTES[part][attribute](getattr(fields[index], attribute))
            keys.add(f"{part}.{fields[index].name}.{attribute}")
            fields[index] = replace(fields[index], **{attribute: value})
        whole = [i for i, t in enumerate(fields) if not any(k.startswith(f"{part}.{t.name}.") for k in keys)]
        first = int(rng.choice(whole))
        match rng.integers(0, 5):
            case 0:
                fields[first] = replace(fields[first], name=f"other_{fields[first].name}")
                keys.add(f"{part}.{fields[first].name}")
            case 1 if len(fields) > 1:
                keys.add(f"{part}.{fields.pop(first).name}")
            case 2:
                fields.append(replace(fields[first], name="additional"))
                keys.add(f"{part}.additional")
            case 3:
                fields.reverse()
                keys.add(f"{part}.order")
        changes[str(part)] = tuple(fields)
    for key in rng.permutation(list(WHOLE))[: rng.integers(0 if keys else 1, 3)]:
        changes[str(key)] = WHOLE[key](getattr(contract, key))
        keys.add(str(key))
    return replace(contract, **changes), keys


def run() -> dict[str, Any]:
    from vla_agent.contract.tabletop import tabletop_contract

    contract = tabletop_contract()
    rng = np.random.default_rng(0)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(CASES):
            altered, keys = alter(contract, rng)
            faults = judge(Path(folder) / str(number), altered, contract, keys)
            rows.append({"case": number, "differences": ", ".join(sorted(keys)), "faults": "; ".join(faults)})
    passed = sum(not row["faults"] for row in rows)
    return {
        "value": passed / CASES,
        "n": CASES,
        "interval": None,
        "seeds": [0],
        "rows": rows,
        "passed": passed == CASES >= LEAST_CASES,
        "notes": "every case is judged at three places; only before the simulator chunk_length may differ",
    }


def judge(folder: Path, altered: Any, contract: Any, keys: set[str]) -> list[str]:
    """Faults of the three checks; empty where all refuse correctly."""
    (folder / "policy").mkdir(parents=True)
    (folder / "data" / "meta").mkdir(parents=True)
    (folder / "policy" / "policy.json").write_text(json.dumps({"contract": altered.to_dict()}))
    (folder / "data" / "meta" / "contract.json").write_text(json.dumps(altered.to_dict()))
    faults = _before_simulator(altered, contract, keys - {"chunk_length"})
    for place in ("policy", "data"):
        faults += _inspected(folder / place, altered, contract, keys)
    return faults


def _before_simulator(altered: Any, contract: Any, keys: set[str]) -> list[str]:
    from types import SimpleNamespace

    from vla_agent.environments.tabletop import TabletopChoice
    from vla_agent.errors import ContractError
    from vla_agent.evaluation.play.player import Player, PlayerSettings

    if not keys:
        return []
    policy: Any = SimpleNamespace(contract=altered, act=lambda observation: None)
    env: Any = SimpleNamespace(contract=contract)
    try:
        Player(PlayerSettings("altered", TabletopChoice({}), load=lambda _: policy)).policy("altered", env)
    except ContractError as error:
        listed = set((error.key or "").split("; "))
        wrong = [f"listed {sorted(listed)}"] if listed != keys else []
        return wrong + _missing(str(error), altered, contract, keys)
    return ["the simulator took it"]


def _inspected(folder: Path, altered: Any, contract: Any, keys: set[str]) -> list[str]:
    from vla_agent.cli import main

    shown = io.StringIO()
    with contextlib.redirect_stderr(shown), contextlib.redirect_stdout(io.StringIO()):
        code = main(["inspect", str(folder), "--against", "sim"])
    faults = [] if code == 2 else [f"inspect left with {code}"]
    return faults + _missing(shown.getvalue(), altered, contract, keys)


def _missing(message: str, altered: Any, contract: Any, keys: set[str]) -> list[str]:
    """Differences that are missing in the message, or are there without both values or without a fix."""
    fixes = {d.key: d for d in altered.differences(contract)}
    faults = [f"does not say {key}" for key in keys if f"{key}: " not in message]
    faults += [f"no values of {key}" for key in keys & fixes.keys() if str(fixes[key]) not in message]
    return faults + [f"no fix for {key}" for key in keys & fixes.keys() if fixes[key].fix not in message]
