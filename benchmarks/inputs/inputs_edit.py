"""``data edit`` on datasets with and without video: the right frames, the original unchanged, opened by LeRobot."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

NAME = "inputs-edit"
TITLE = (
    "edits of datasets (leave out, keep, trim, merge, split) with other frames than asked for, or a changed original"
)
TARGET = 0.0
UNIT = "edits"
BETTER = "lower"
LEAST = 30
CLOSE = 14.0  # of 255: mean difference of an image that was encoded again


def run() -> dict[str, Any]:
    rows = list(edits())
    wrong = [row for row in rows if row["wrong"]]
    opened = sum(bool(row["lerobot"]) for row in rows)
    notes = (
        f"each result is validated, loaded and compared with the rows asked for; {opened} of {len(rows)} were "
        "opened by LeRobot's own dataset" + ("" if opened else ", which is not installed here (make lerobot-check)")
    )
    return {
        "value": float(len(wrong)),
        "n": len(rows),
        "interval": None,
        "seeds": "none: the edits are fixed",
        "rows": rows,
        "passed": not wrong and len(rows) >= LEAST,
        "notes": notes,
    }


def edits(only: str = "") -> Iterator[dict[str, Any]]:
    """A row for each edit of each layout."""
    import tempfile

    from benchmarks.inputs.badinput.case import snapshot
    from benchmarks.inputs.makers import lerobot_sets

    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as name:
        box = Path(name)
        for layout in ("v3.0 images", "v3.0 video", "v2.1 images", "v2.1 video"):
            source = lerobot_sets.write_good(box / layout.replace(" ", "-"), layout, manifest=True)
            before = snapshot(source)
            for number, (what, options, expected) in enumerate(_operations(str(source))):
                if only not in f"{layout}, {what}":
                    continue
                out = box / f"{layout.replace(' ', '-')}-{number}"
                wrong = _edited(source, out, options, expected)
                wrong += [] if snapshot(source) == before else ["the original was changed"]
                yield {"layout": layout, "edit": what, "wrong": "; ".join(wrong), "lerobot": _opened(box, out)}


Rows = dict[str, list[tuple[int, int, int]]]  # part ("" for the whole) -> episode, first frame, stop


def _operations(source: str) -> list[tuple[str, list[str], Rows]]:
    """Name, options of the command, and what is to come out."""
    whole = [(k, 0, 12) for k in range(3)]
    return [
        ("leave the first out", ["--leave-out", "0"], {"": whole[1:]}),
        ("leave the middle out", ["--leave-out", "1"], {"": [whole[0], whole[2]]}),
        ("leave two out", ["--leave-out", "0,2"], {"": [whole[1]]}),
        ("keep the last", ["--keep", "2"], {"": [whole[2]]}),
        ("trim the start", ["--trim", "0:3-11"], {"": [(0, 3, 12), *whole[1:]]}),
        ("trim the end", ["--trim", "1:0-6"], {"": [whole[0], (1, 0, 7), whole[2]]}),
        ("trim both ends at a key frame", ["--trim", "2:10-11"], {"": [*whole[:2], (2, 10, 12)]}),
        ("trim and leave out", ["--trim", "0:2-9", "--leave-out", "2"], {"": [(0, 2, 10), whole[1]]}),
        ("merge with itself", ["--merge", source], {"": whole + whole}),
        ("merge after leaving out", ["--merge", source, "--leave-out", "1"], {"": [whole[0], whole[2], *whole]}),
        ("split in two", ["--split", "a=0-1", "--split", "b=2"], {"a": whole[:2], "b": [whole[2]]}),
        ("split and trim", ["--split", "a=2", "--trim", "2:1-8"], {"a": [(2, 1, 9)]}),
    ]


def _edited(source: Path, out: Path, options: list[str], expected: Rows) -> list[str]:
    """What is wrong with the result of the command; nothing where it is right."""
    import contextlib
    import io

    from vla_agent.cli import main

    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        code = main(["data", "edit", str(source), *options, "-o", str(out)])
    if code:
        return [f"exit code {code}: {' '.join(said.getvalue().split())[:200]}"]
    return [problem for part, rows in expected.items() for problem in _compared(source, out / part, rows)]


def _compared(source: Path, folder: Path, rows: list[tuple[int, int, int]]) -> list[str]:
    import numpy as np

    from vla_agent.data.lerobot.dataset_reader import load
    from vla_agent.data.validate.validate import validate

    old, new = load(source), load(folder)
    wrong = [finding.what for finding in validate(folder) if finding.error and finding.check != "copies"]
    taken = np.concatenate([np.arange(12 * episode + first, 12 * episode + stop) for episode, first, stop in rows])
    if [e.length for e in new.episodes] != [stop - first for _, first, stop in rows]:
        return [*wrong, f"lengths {[e.length for e in new.episodes]}"]
    for key in ("observation.state", "action"):
        if not np.array_equal(old.columns[key][taken], new.columns[key]):
            wrong.append(f"{key} is another")
    if [e.task for e in new.episodes] != [old.episodes[episode].task for episode, _, _ in rows]:
        wrong.append("the instructions are others")
    images = [
        dataset.frames("front", index).astype(float) for dataset, index in ((old, taken), (new, np.arange(len(new))))
    ]
    away = np.abs(images[0] - images[1]).mean(axis=(1, 2, 3))
    if away.max() > (CLOSE if any("video" in f["dtype"] for f in old.info["features"].values()) else 0.0):
        wrong.append(f"image {int(away.argmax())} is another: {away.max():.1f} of 255")
    return wrong


def _opened(box: Path, out: Path) -> str:
    """What LeRobot's own dataset says of the result; "" where LeRobot is not installed."""
    from benchmarks.lerobot.lerobot_child import LeRobotChild
    from vla_agent.errors import OptionError

    folders = [out] if (out / "meta").is_dir() else sorted(path for path in out.iterdir() if path.is_dir())
    lengths = []
    for folder in folders:
        try:
            child = LeRobotChild("lerobot_loading.py", [str(folder), "4"], box)
        except OptionError:
            return ""
        frames = child.read()["frames"]
        child.ask(list(range(frames)))
        child.end()
        lengths.append(str(frames))
    return f"{', '.join(lengths)} frames"
