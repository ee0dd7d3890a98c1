"""Writes the page: a folder that a browser opens without a server and without a network.

``index.html`` with ``browse.css`` and ``browse.js``; for each episode ``episodes/NUMBER.js`` (signals and findings)
and one ``episodes/NUMBER-PLACE.jpg`` per camera, its images side by side.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from PIL import Image

from vla_agent.data.browse.shown import Shown, ShownEpisode, Signal, spread
from vla_agent.errors import OptionError
from vla_agent.files.write_aside import folder_aside

HERE = Path(__file__).parent
ASSETS = ("browse.css", "browse.js")
OWN = {"index.html", "episodes", *ASSETS}
SIDE = 224  # pixels: larger images are reduced
QUALITY = 88  # of the JPEGs, which keep the full resolution of colours
POINTS = 600  # of a line


def write_page(shown: Shown, out: Path, progress: Callable[[int, int], None] = lambda done, n: None) -> dict[str, int]:
    """Write the folder, whole or not at all.

    Returns:
        ``episodes``, ``images`` and ``bytes`` that were written.

    Raises:
        OptionError: something else than an earlier page stands there.
    """
    require_own(out)
    rows: list[dict[str, Any]] = []
    counts = {"episodes": 0, "images": 0, "reduced": 0}
    with folder_aside(out) as aside:
        (aside / "episodes").mkdir()
        for episode in shown.episodes:
            rows.append(_write_episode(aside / "episodes", episode, counts))
            progress(len(rows), shown.count)
        for name in ASSETS:
            (aside / name).write_bytes((HERE / name).read_bytes())
        data = {
            "rows": rows,
            "fps": shown.fps,
            "dataset": shown.dataset,
            "general": list(shown.general),
            "page": hashlib.sha256(json.dumps([shown.title, rows]).encode()).hexdigest()[:16],
        }
        text = _template().render(title=shown.title, facts=[*shown.facts, _told(counts)], data=data)
        (aside / "index.html").write_text(text, encoding="utf-8")
        size = sum(path.stat().st_size for path in aside.rglob("*") if path.is_file())
    return {"episodes": counts["episodes"], "images": counts["images"], "bytes": size}


def require_own(out: Path) -> None:
    """Raise unless the folder is absent, empty, or an earlier page.

    Raises:
        OptionError: it is something else.
    """
    if not out.exists():
        return
    found = sorted(path.name for path in out.iterdir()) if out.is_dir() else [out.name]
    if not out.is_dir() or (found and ("index.html" not in found or set(found) - OWN)):
        raise OptionError(
            "something else stands where the page would be written",
            file=out,
            key="-o",
            expected="a new folder, or an earlier page",
            found=", ".join(found[:5]) if out.is_dir() else "a file",
            remedy="name another folder",
        )


def _told(counts: Mapping[str, int]) -> str:
    text = f"{counts['images']:,} images, lossy copies (JPEG, quality {QUALITY})"
    return text + (f", reduced to {SIDE} px" if counts["reduced"] else "")


def _write_episode(folder: Path, episode: ShownEpisode, counts: dict[str, int]) -> dict[str, Any]:
    """Write an episode's files; its row in the list."""
    name = f"{episode.index:06d}"
    cameras = []
    for place, (camera, images) in enumerate(episode.images.items()):
        entry: dict[str, Any] = {"name": camera, "file": None}
        if images is not None and len(images):
            data, entry["columns"], entry["width"], entry["height"] = _sheet(images)
            entry["file"] = f"episodes/{name}-{place}.jpg"
            (folder / f"{name}-{place}.jpg").write_bytes(data)
            counts["images"] += len(images)
            counts["reduced"] += max(images.shape[1:3]) > SIDE
        cameras.append(entry)
    points = spread(episode.length, POINTS)
    content = {
        "numbers": episode.numbers.tolist(),
        "points": points.tolist(),
        "cameras": cameras,
        "plots": [_plot(signal, points) for signal in episode.signals],
        "findings": list(episode.findings),
    }
    (folder / f"{name}.js").write_text(f"browse.take({episode.index}, {_json(content)});\n", encoding="utf-8")
    counts["episodes"] += 1
    return {
        "index": episode.index,
        "task": episode.task,
        "origin": episode.origin,
        "length": episode.length,
        "images": len(episode.numbers),
        "success": episode.success,
        "jerk": episode.jerk,
        "errors": sum(bool(f["error"]) for f in episode.findings),
        "findings": len(episode.findings),
        "file": f"episodes/{name}.js",
    }


def _plot(signal: Signal, points: np.ndarray) -> dict[str, Any]:
    values = signal.values[points[points < len(signal.values)]]
    lines = [[float(f"{v:.5g}") if math.isfinite(v) else None for v in column] for column in values.T.tolist()]
    return {"title": signal.title, "unit": signal.unit, "names": list(signal.names), "lines": lines}


def _sheet(images: np.ndarray) -> tuple[bytes, int, int, int]:
    """Images (k, H, W, 3) as one JPEG of rows and columns: its bytes, the columns, and width and height of each."""
    height, width = images.shape[1:3]
    factor = min(1.0, SIDE / max(height, width))
    size = max(1, round(width * factor)), max(1, round(height * factor))
    columns = math.ceil(math.sqrt(len(images)))
    sheet = Image.new("RGB", (columns * size[0], math.ceil(len(images) / columns) * size[1]))
    for k, image in enumerate(images):
        picture = Image.fromarray(image)
        if factor < 1:
            picture = picture.resize(size, Image.Resampling.LANCZOS)
        sheet.paste(picture, (k % columns * size[0], k // columns * size[1]))
    buffer = io.BytesIO()
    sheet.save(buffer, "JPEG", quality=QUALITY, subsampling=0)
    return buffer.getvalue(), columns, *size


def _json(data: Any) -> str:
    """JSON that may stand in a script: no tag, and no line separator that ends a string."""
    text = json.dumps(data, ensure_ascii=True, allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


@cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    environment.filters["script_json"] = _json
    return environment.get_template("browse.html")
