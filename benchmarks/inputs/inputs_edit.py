"""``data edit`` on datasets with and without video: the right frames, the original unchanged, opened by LeRobot."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

NAME = "inputs-edit"
TITLE = (
    "edits of datasets (leave out, keep, trim, merge, split, instructions, rate) with other frames, instructions or "
    "motions than asked for, or a changed original"
)
TARGET = 0.0
UNIT = "edits"
BETTER = "lower"
LEAST = 60
CLOSE = 14.0  # of 255: mean difference of an image that was encoded again
FRAMES = 12  # of each of the three episodes
PUSH, LIFT = "push the cup", "lift the cup"
LAYOUTS = ("v3.0 images", "v3.0 video", "v2.1 images", "v2.1 video")

Rows = dict[str, list[tuple[int, int, int]]]  # part ("" for the whole) -> episode, first frame, stop
Open = Callable[[Path], dict[str, Any] | None]  # folder -> what LeRobot says of it; None where it is not installed


@dataclass(frozen=True)
class Operation:
    """An edit, and what is to come out.

    Args:
        options: of the command.
        rows: the frames that are taken; of each episode every ``every``-th.
        tasks: instructions of the new episodes; None: those from before.
    """

    name: str
    options: list[str]
    rows: Rows
    every: int = 1
    tasks: tuple[str, ...] | None = None


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
    """A row for each edit of each layout, or of those whose layout and name hold ``only``."""
    import tempfile

    from benchmarks.inputs.badinput.case import snapshot

    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as name:
        box = Path(name)
        opened, end = _opener(box)
        for layout, source, operations in _sources(box):
            before = snapshot(source)
            for number, operation in enumerate(operations):
                if only not in f"{layout}, {operation.name}":
                    continue
                out = source.with_name(f"{source.name}-{number}")
                wrong = _edited(source, out, operation)
                wrong += [] if snapshot(source) == before else ["the original was changed"]
                said = [] if wrong else [answer for part in operation.rows if (answer := opened(out / part))]
                wrong += [answer["error"] for answer in said if "error" in answer]
                told = ", ".join(f"{answer.get('frames')} frames at {answer.get('fps')} Hz" for answer in said)
                yield {"layout": layout, "edit": operation.name, "wrong": "; ".join(wrong), "lerobot": told}
        end()


def _sources(box: Path) -> Iterator[tuple[str, Path, list[Operation]]]:
    """Layout, dataset and its edits: of joint targets, and of an arm's moves and turns with two cameras."""
    from benchmarks.inputs.baddata import good_datasets
    from benchmarks.inputs.makers import lerobot_sets
    from vla_agent.contract.tabletop import tabletop_contract

    for layout in LAYOUTS:
        source = lerobot_sets.write_good(box / layout.replace(" ", "-"), layout, manifest=True)
        yield layout, source, _operations(str(source)) + _changes()
    (box / "moves").mkdir()
    for layout, source in good_datasets.write_all(box / "moves", tabletop_contract((64, 80))).items():
        rows = {"": [(k, 0, good_datasets.FRAMES) for k in range(good_datasets.EPISODES)]}
        operations = [Operation(f"a rate of {20 // k} Hz", ["--fps", str(20 // k)], rows, k) for k in (2, 4, 5)]
        yield f"{layout}, moves", source, operations


def _operations(source: str) -> list[Operation]:
    """Edits that take episodes and frames as they are."""
    whole = [(k, 0, FRAMES) for k in range(3)]
    return [
        Operation("leave the first out", ["--leave-out", "0"], {"": whole[1:]}),
        Operation("leave the middle out", ["--leave-out", "1"], {"": [whole[0], whole[2]]}),
        Operation("leave two out", ["--leave-out", "0,2"], {"": [whole[1]]}),
        Operation("keep the last", ["--keep", "2"], {"": [whole[2]]}),
        Operation("trim the start", ["--trim", "0:3-11"], {"": [(0, 3, 12), *whole[1:]]}),
        Operation("trim the end", ["--trim", "1:0-6"], {"": [whole[0], (1, 0, 7), whole[2]]}),
        Operation("trim both ends at a key frame", ["--trim", "2:10-11"], {"": [*whole[:2], (2, 10, 12)]}),
        Operation("trim and leave out", ["--trim", "0:2-9", "--leave-out", "2"], {"": [(0, 2, 10), whole[1]]}),
        Operation("merge with itself", ["--merge", source], {"": whole + whole}),
        Operation("merge, one left out", ["--merge", source, "--leave-out", "1"], {"": [whole[0], whole[2], *whole]}),
        Operation("split in two", ["--split", "a=0-1", "--split", "b=2"], {"a": whole[:2], "b": [whole[2]]}),
        Operation("split and trim", ["--split", "a=2", "--trim", "2:1-8"], {"a": [(2, 1, 9)]}),
    ]


def _changes() -> list[Operation]:
    """Edits of instructions and of the rate."""
    rows: Rows = {"": [(k, 0, FRAMES) for k in range(3)]}
    swap = ["--rename", f"{PUSH}={LIFT}", "--rename", f"{LIFT}={PUSH}"]
    both = ["--instruction", "0=take it", "--rename", f"{PUSH}=push it"]
    odd: Rows = {"": [(0, 0, FRAMES), (2, 1, 8)]}
    return [
        Operation("rename", ["--rename", f"{PUSH}=slide it"], rows, tasks=("slide it", LIFT, "slide it")),
        Operation("exchange two", swap, rows, tasks=(LIFT, PUSH, LIFT)),
        Operation("set two", ["--instruction", "1-2=öffne = a"], rows, tasks=(PUSH, *["öffne = a"] * 2)),
        Operation("set and rename", both, rows, tasks=("take it", LIFT, "push it")),
        Operation("half the rate", ["--fps", "10"], rows, 2),
        Operation("a quarter of the rate", ["--fps", "5"], rows, 4),
        Operation("half the rate of a part", ["--fps", "10", "--leave-out", "1", "--trim", "2:1-7"], odd, 2),
    ]


def _edited(source: Path, out: Path, operation: Operation) -> list[str]:
    """What is wrong with the result of the command; nothing where it is right."""
    import contextlib
    import io

    from vla_agent.cli import main

    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        code = main(["data", "edit", str(source), *operation.options, "-o", str(out)])
    if code:
        return [f"exit code {code}: {' '.join(said.getvalue().split())[:200]}"]
    return [
        problem for part, rows in operation.rows.items() for problem in _compared(source, out / part, rows, operation)
    ]


def _compared(source: Path, folder: Path, rows: list[tuple[int, int, int]], operation: Operation) -> list[str]:
    import numpy as np

    from vla_agent.data.lerobot.dataset_reader import load
    from vla_agent.data.validate.validate import validate

    old, new = load(source), load(folder)
    every, starts = operation.every, [episode.start for episode in old.episodes]
    wrong = [finding.what for finding in validate(folder) if finding.error and finding.check != "copies"]
    lengths = [(stop - first) // every for _, first, stop in rows]
    if [e.length for e in new.episodes] != lengths or new.fps != old.fps / every:
        return [*wrong, f"lengths {[e.length for e in new.episodes]} at {new.fps:g} Hz"]
    begins = [starts[episode] + first for episode, first, _ in rows]
    taken = np.concatenate([b + every * np.arange(n) for b, n in zip(begins, lengths, strict=True)])
    if not np.array_equal(old.columns["observation.state"][taken], new.columns["observation.state"]):
        wrong.append("the state is another")
    for begin, episode in zip(begins, new.episodes, strict=True):
        fine = old.columns["action"][begin : begin + every * episode.length]
        away = np.abs(
            _reached(old, fine)[every - 1 :: every] - _reached(old, new.columns["action"][episode.start : episode.stop])
        )
        if away.max() > (0.0 if every == 1 else 1e-5):
            wrong.append(f"the motion of episode {episode.index} is another: {away.max():.2g}")
    expected = operation.tasks or [old.episodes[episode].task for episode, _, _ in rows]
    told = new.arrays()["task"]
    if [{*told[e.start : e.stop]} for e in new.episodes] != [{text} for text in expected]:
        wrong.append("the instructions are others")
    return wrong + _other_images(old, new, taken)


def _reached(dataset: Any, actions: Any) -> Any:
    """Where an arm is after each of the actions (n, A): moves and turns added up, targets as they are."""
    import numpy as np
    from scipy.spatial.transform import Rotation

    reached = np.array(actions, dtype=np.float64)
    for field in dataset.contract.action if (dataset.root / "meta/contract.json").exists() else ():
        place = dataset.contract.slices(dataset.contract.action)[field.name]
        if field.unit == "m per period":
            reached[:, place] = np.cumsum(reached[:, place], axis=0)
        elif field.unit == "rad per period":
            pose = np.eye(3)
            for row in reached:
                pose = Rotation.from_rotvec(row[place]).as_matrix() @ pose
                row[place] = Rotation.from_matrix(pose).as_rotvec()
    return reached


def _other_images(old: Any, new: Any, taken: Any) -> list[str]:
    import numpy as np

    wrong = []
    most = CLOSE if any("video" in f["dtype"] for f in old.info["features"].values()) else 0.0
    for camera in old.cameras:
        before, after = old.frames(camera, taken).astype(float), new.frames(camera, np.arange(len(new))).astype(float)
        away = np.abs(before - after).mean(axis=(1, 2, 3))
        if away.max() > most:
            wrong.append(f"image {int(away.argmax())} of {camera} is another: {away.max():.1f} of 255")
    return wrong


def _opener(box: Path) -> tuple[Open, Callable[[], None]]:
    """What asks LeRobot's own dataset, one process for all, and what ends that process."""
    from benchmarks.lerobot.lerobot_child import LeRobotChild
    from vla_agent.errors import OptionError

    try:
        child = LeRobotChild("lerobot_opening.py", [], box)
    except OptionError:
        return lambda folder: None, lambda: None
    return lambda folder: child.ask(str(folder)), child.end
