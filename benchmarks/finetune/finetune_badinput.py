"""Planted defects in datasets: found before any training, with episode, frame and remedy, and nothing else reported."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

NAME = "finetune-badinput"
TITLE = "planted dataset defects that validation finds, with episode, frame and remedy; the good datasets are clean"
TARGET = 1.0
UNIT = "share"
BETTER = "higher"
LEAST = 25


def run() -> dict[str, Any]:
    """Plant every defect once in a copy of the good dataset."""
    from benchmarks.inputs.baddata.defects import DEFECTS
    from benchmarks.inputs.baddata.good_datasets import write_all
    from vla_agent.contract.tabletop import tabletop_contract
    from vla_agent.data.validate.validate import validate

    with tempfile.TemporaryDirectory() as folder:
        good = write_all(Path(folder) / "good", tabletop_contract())
        false = {layout: [f.text() for f in validate(path)] for layout, path in good.items()}
        rows = []
        for number, defect in enumerate(DEFECTS):
            copy = Path(shutil.copytree(good[defect.layout], Path(folder) / f"bad{number}"))
            defect.spoil(copy)
            faults = judge(defect, validate(copy))
            rows.append({"defect": defect.name, "found": not faults, "faults": "; ".join(faults)})
    found = sum(not row["faults"] for row in rows)
    clean = not any(false.values())
    return {
        "value": found / len(rows),
        "n": len(rows),
        "interval": None,
        "seeds": [0],
        "rows": rows,
        "passed": found == len(rows) >= LEAST and clean,
        "notes": f"findings in the four undamaged datasets: {sum(map(len, false.values()))}; each is planted once",
    }


def judge(defect: Any, findings: list[Any]) -> list[str]:
    """Errors in the findings on a dataset with a defect; none if the defect was found in its place."""
    mine = [f for f in findings if f.check == defect.check]
    exact = [f for f in mine if (f.episode, f.frame) == (defect.episode, defect.frame)]
    faults = []
    if not mine:
        faults.append(f"not found; findings: {sorted({f.check for f in findings}) or 'none'}")
    elif not exact:
        faults.append(f"found at {[(f.episode, f.frame) for f in mine][:4]}, not {(defect.episode, defect.frame)}")
    faults += ["a finding without a remedy" for f in findings if not f.remedy][:1]
    others = sorted({f.episode for f in findings if f.error and f.episode not in (None, defect.episode)})
    if defect.alone and others:
        faults.append(f"blames the episodes {others} too")
    return faults
