"""``python -m benchmarks.policy.delay_plot`` draws docs/img/policy-delay.png from the last result of `policy-delay`."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks import record
from vla_agent.files.write_aside import file_aside

FILE = record.ROOT / "docs" / "img" / "policy-delay.png"


def draw(result: Mapping[str, Any], file: Path) -> None:
    """Success over delay, one line a mode, with 95 % Wilson intervals."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6.4, 3.6), dpi=120)
    modes = list(dict.fromkeys(row["mode"] for row in result["rows"]))
    for number, mode in enumerate(modes):
        rows = [row for row in result["rows"] if row["mode"] == mode]
        delays = [row["delay_ms"] + 4 * (number - 1.5) for row in rows]  # shifted, so that intervals do not overlap
        success = [100 * row["success"] for row in rows]
        below = [s - 100 * row["low"] for s, row in zip(success, rows, strict=True)]
        above = [100 * row["high"] - s for s, row in zip(success, rows, strict=True)]
        axes.errorbar(delays, success, [below, above], marker="o", capsize=3, label=mode.replace("_", " "))
    axes.set(xlabel="inference delay (ms)", ylabel="success (%)", ylim=(0, 100))
    fewest = min(row["n"] for row in result["rows"])
    axes.set_title(f"{fewest} episodes per point or more, the same seeds; 95 % intervals", fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8)
    figure.tight_layout()
    with file_aside(file) as aside:
        figure.savefig(aside, format="png")


def main() -> int:
    """Exit code 0: drawn; 2: there is no result yet."""
    result = record.read("policy-delay")
    if result is None:
        print("error: nothing measured yet: python -m benchmarks run policy-delay", file=sys.stderr)
        return 2
    draw(result, FILE)
    print(FILE.relative_to(record.ROOT))
    return 0


if __name__ == "__main__":
    sys.exit(main())
