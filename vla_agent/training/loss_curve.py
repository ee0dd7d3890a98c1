"""The loss curve as an image."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from vla_agent.files.write_aside import file_aside

PANEL, LEFT, RIGHT = 6.2, 0.6, 1.3  # inches: width of a panel, and its margins, the right one for the legend


def draw_curve(logs: list[Path], out: Path) -> None:
    """One panel for each stage: each loss against the samples, on a log scale."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # late: a second that only this function needs
    from matplotlib.figure import Figure

    logs = [log for log in logs if log.is_file()]
    if not logs:
        return
    width, gap = PANEL * len(logs), LEFT + RIGHT
    figure = Figure((width, 3.6))
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, len(logs), squeeze=False)[0]
    # by hand: an automatic layout draws the figure a second time
    figure.subplots_adjust(LEFT / width, 0.16, 1 - RIGHT / width, 0.9, wspace=gap / (PANEL - gap))
    for axis, log in zip(axes, logs, strict=True):
        _draw_panel(axis, log)
    with file_aside(out) as aside:
        figure.savefig(aside, dpi=110, format="png")


def _draw_panel(axis: Any, log: Path) -> None:
    from matplotlib.ticker import EngFormatter

    rows = [json.loads(line) for line in log.read_text().splitlines()]
    samples = [row["samples"] for row in rows]
    for key in sorted({k for row in rows for k in row} - {"step", "samples", "seconds"}):
        axis.plot(samples, [row.get(key) for row in rows], label=key, linewidth=1.2)
    axis.set(title=f"{log.stem}: {rows[-1]['seconds'] / 60:.0f} min", xlabel="samples", yscale="log")
    axis.xaxis.set_major_formatter(EngFormatter(sep=""))
    axis.grid(alpha=0.3)
    axis.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)
