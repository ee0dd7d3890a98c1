"""Error and power of `vla-agent compare --sequential` over simulated comparisons, beside STEP's published package."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

NAME = "open-step"
TITLE = "wrong verdicts of compare --sequential at alpha 5 % over all looks, policies of one rate, worst of ten cells"
TARGET = 0.05
UNIT = "of the comparisons"
BETTER = "lower"
SEED = 5_400_300
COMPARISONS, BESIDE = 10_000, 1000  # in each cell; of them, given to STEP's package, too
MOST = 200  # pairs; the package has boundaries for 200 and 500
PACKAGE = "sequentialized-barnard-tests==0.0.9"
ROOT = Path(__file__).parents[2]
FOLDER = Path(os.path.relpath(ROOT / "runs" / "bench" / NAME))
SHARED = (0.0, 0.6)  # share of the pairs in which both policies have the same luck
EQUAL = (0.1, 0.3, 0.5, 0.8, 0.95)
UNEQUAL = ((0.5, 0.65), (0.6, 0.8), (0.8, 0.9), (0.1, 0.25))


def run(comparisons: int = COMPARISONS, beside: int = BESIDE) -> dict[str, Any]:
    """``comparisons`` in each cell, ``beside`` of them with the package, too."""
    import numpy as np

    from vla_agent.evaluation.exact_tests import clopper_pearson

    cells = [((p, p), shared) for p in EQUAL for shared in SHARED]
    cells += [(rates, shared) for rates in UNEQUAL for shared in SHARED]
    errors, rows, asked = [], [], []
    for place, (rates, shared) in enumerate(cells):
        first, second = _outcomes(rates, shared, comparisons, place)
        one_sided, n = _own(first[:beside], second[:beside], 2 * TARGET)
        asked.append((first[:beside], second[:beside]))
        row: dict[str, Any] = {"rates": f"{rates[0]:g}, {rates[1]:g}", "shared luck": shared}
        if rates[0] == rates[1]:
            verdict, _ = _own(first, second, TARGET)
            errors.append(int((verdict != 0).sum()))
            row["wrong at 5 %"] = errors[-1] / comparisons
        row |= {"second better, 5 % a side": float((one_sided < 0).mean()), "mean pairs": round(float(n.mean()), 1)}
        rows.append(row)
    note = _beside(np.array([a for a, _ in asked]), np.array([b for _, b in asked]), rows)
    worst = max(errors)
    interval = clopper_pearson(worst, comparisons)
    return {
        "value": worst / comparisons,
        "n": comparisons * len(errors),
        "interval": list(interval),
        "seeds": SEED,
        "rows": rows,
        "passed": interval[0] <= TARGET,
        "notes": f"at most {MOST} pairs. The error is at most 5 % by computation; the value is the largest of "
        f"{len(errors)} simulated shares, and passes where its interval does not lie above. {note}",
    }


def _outcomes(rates: tuple[float, float], shared: float, comparisons: int, place: int) -> tuple[Any, Any]:
    """Outcomes (comparisons, pairs) of both policies."""
    import numpy as np

    rng = np.random.default_rng([SEED, place])
    one, other = rng.random((2, comparisons, MOST), dtype=np.float32)
    other = np.where(rng.random((comparisons, MOST), dtype=np.float32) < shared, one, other)
    return one < rates[0], other < rates[1]


def _own(first: np.ndarray, second: np.ndarray, alpha: float) -> tuple[np.ndarray, np.ndarray]:
    """Verdicts and pairs used."""
    import numpy as np

    from vla_agent.evaluation.sequential.sequential_pairs import SequentialPairs

    verdicts, pairs = [], []
    for part in range(0, len(first), 1000):
        test = SequentialPairs(MOST, alpha, len(first[part : part + 1000]))
        for n in range(MOST):
            test.add(first[part : part + 1000, n], second[part : part + 1000, n])
        verdicts.append(test.verdict)
        pairs.append(np.where(test.stopped == 0, MOST, test.stopped))
    return np.concatenate(verdicts), np.concatenate(pairs)


def _beside(first: np.ndarray, second: np.ndarray, rows: list[dict[str, Any]]) -> str:
    """Add the package's numbers to the rows; what is to be said of them."""
    import numpy as np

    python = FOLDER / "venv" / "bin" / "python"
    FOLDER.mkdir(parents=True, exist_ok=True)
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(FOLDER / "venv")], check=True)
        install = [str(python), "-m", "pip", "install", "--quiet", PACKAGE]
        if subprocess.run(install, check=False, capture_output=True).returncode:
            return f"{PACKAGE} could not be installed here."
    np.savez(FOLDER / "outcomes.npz", first=first, second=second)
    subprocess.run([str(python), str(Path(__file__).with_name("step_child.py")), str(FOLDER)], check=True)
    with np.load(FOLDER / "verdicts.npz", allow_pickle=False) as data:
        verdict, stopped = data["verdict"], data["stopped"]
    for row, found, n in zip(rows, verdict, stopped, strict=True):
        row |= {"STEP: second better": float((found < 0).mean()), "STEP: mean pairs": round(float(n.mean()), 1)}
    return f"STEP: {PACKAGE} in an environment of its own, 5 % a side, on the same {first.shape[1]} comparisons a cell."
