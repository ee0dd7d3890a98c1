"""A dataset as one self-contained page: for each episode, images of every camera and a plot of every action."""

from __future__ import annotations

import base64
from functools import cache
from os import PathLike
from pathlib import Path
from typing import Any

import jinja2
import numpy as np

from vla_agent.data.lerobot import dataset_schema
from vla_agent.data.lerobot.dataset_reader import Dataset
from vla_agent.data.lerobot.dataset_tables import EpisodeInfo
from vla_agent.data.lerobot.media import encode_png
from vla_agent.data.validate.check_values import names_of
from vla_agent.data.validate.findings import Finding
from vla_agent.errors import DatasetError
from vla_agent.files.write_aside import write_text

FRAMES = 8  # images per strip
WIDTH, HEIGHT = 240, 48  # of a plot, in SVG units


def write_page(dataset: Dataset, findings: list[Finding], episodes: list[int], out: str | PathLike[str]) -> None:
    """Write the page, whole or not at all.

    Args:
        dataset: what is shown.
        findings: from `vla_agent.data.validate.validate`; each is shown with its episode.
        episodes: indices of the episodes that are shown.
        out: the HTML file.
    """
    shown = [e for e in dataset.episodes if e.index in episodes]
    text = _template().render(
        name=dataset.root.name,
        dataset=dataset,
        general=[f for f in findings if f.episode is None],
        episodes=[_entry(dataset, e, [f for f in findings if f.episode == e.index]) for e in shown],
    )
    write_text(Path(out), text)


def _entry(dataset: Dataset, episode: EpisodeInfo, findings: list[Finding]) -> dict[str, Any]:
    """An episode as the template takes it."""
    numbers = np.unique(np.linspace(0, episode.length - 1, FRAMES).round().astype(int))
    rows = slice(episode.start, episode.stop)
    plots = []
    if dataset_schema.ACTION in dataset.columns:
        actions = dataset.columns[dataset_schema.ACTION]
        actions = actions.reshape(len(actions), -1)
        values = actions[rows]
        for d, name in enumerate(names_of(dataset, dataset_schema.ACTION)):
            low, high = np.nanmin(actions[:, d]), np.nanmax(actions[:, d])
            marks = [f.frame for f in findings if f.frame is not None and f.key.startswith(dataset_schema.ACTION)]
            plots.append({"name": name, "low": low, "high": high, "lines": polylines(values[:, d], low, high)})
            plots[-1]["marks"] = [WIDTH * m / max(1, episode.length - 1) for m in marks]
    return {
        "index": episode.index,
        "task": episode.task,
        "length": episode.length,
        "seconds": episode.length / dataset.fps,
        "strips": [{"camera": c, "images": _strip(dataset, c, episode, numbers)} for c in dataset.cameras],
        "plots": plots,
        "findings": findings,
    }


def _strip(dataset: Dataset, camera: str, episode: EpisodeInfo, numbers: np.ndarray) -> list[str]:
    """The images as data URLs; empty where they cannot be read, which is a finding."""
    try:
        images = dataset.frames(camera, episode.start + numbers)
    except (DatasetError, ValueError, TypeError, AttributeError):
        return []
    return ["data:image/png;base64," + base64.b64encode(encode_png(image)).decode() for image in images]


def polylines(values: np.ndarray, low: float, high: float) -> list[str]:
    """Values (n,) as the points of SVG lines; a value that is not finite ends one line and starts another."""
    x = np.linspace(0, WIDTH, len(values))
    y = HEIGHT * (1 - (values - low) / (high - low if high > low else 1.0))
    lines: list[list[str]] = [[]]
    for a, b in zip(x, y, strict=True):
        if np.isfinite(b):
            lines[-1].append(f"{a:.1f},{b:.1f}")
        elif lines[-1]:
            lines.append([])
    return [" ".join(line) for line in lines if line]


@cache
def _template() -> jinja2.Template:
    loader = jinja2.FileSystemLoader(Path(__file__).parent)
    environment = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    return environment.get_template("dataset_page.html")
