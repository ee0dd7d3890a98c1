"""STEP's published package, in an environment of its own: outcomes (cells, comparisons, pairs) in, verdicts out.

Run by `open_step` with that environment's Python; it knows nothing of this project.
"""

from __future__ import annotations

import sys


def main() -> None:
    """Read ``outcomes.npz`` of the folder in the first argument; write ``verdicts.npz`` there."""
    from pathlib import Path

    import numpy as np
    from sequentialized_barnard_tests import Decision, Hypothesis, MirroredStepTest  # type: ignore[import-not-found]

    folder = Path(sys.argv[1])
    with np.load(folder / "outcomes.npz", allow_pickle=False) as data:
        first, second = data["first"], data["second"]
    cells, comparisons, pairs = first.shape
    test = MirroredStepTest(alternative=Hypothesis.P0LessThanP1, n_max=pairs, alpha=0.05)
    verdict, stopped = np.zeros((cells, comparisons), int), np.full((cells, comparisons), pairs)
    for cell in range(cells):
        for number in range(comparisons):
            test.reset()
            for n in range(pairs):
                decision = test.step(bool(first[cell, number, n]), bool(second[cell, number, n])).decision
                if decision != Decision.FailToDecide:
                    verdict[cell, number] = -1 if decision == Decision.AcceptAlternative else 1
                    stopped[cell, number] = n + 1
                    break
    np.savez(folder / "verdicts.npz", verdict=verdict, stopped=stopped)


if __name__ == "__main__":
    main()
