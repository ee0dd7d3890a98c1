"""The loss curve as an image."""

from __future__ import annotations

import json
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.ticker import EngFormatter

from vla_agent.files.write_aside import file_aside


def draw_curve(logs: list[Path], out: Path) -> None:
    """One panel for each stage: each loss against the samples, on a log scale."""
    logs = [log for log in logs if log.is_file()]
    if not logs:
        return
    figure, axes = plt.subplots(1, len(logs), figsize=(6.2 * len(logs), 3.6), squeeze=False)
    for axis, log in zip(axes[0], logs, strict=True):
        rows = [json.loads(line) for line in log.read_text().splitlines()]
        x = [r["samples"] for r in rows]
        for key in sorted({k for r in rows for k in r} - {"step", "samples", "seconds"}):
            axis.plot(x, [r.get(key) for r in rows], label=key, linewidth=1.2)
        axis.set(title=f"{log.stem}: {rows[-1]['seconds'] / 60:.0f} min", xlabel="samples", yscale="log")
        axis.xaxis.set_major_formatter(EngFormatter(sep=""))
        axis.grid(alpha=0.3)
        axis.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)
    figure.tight_layout()
    with file_aside(out) as aside:
        figure.savefig(aside, dpi=110, format="png")
    plt.close(figure)
