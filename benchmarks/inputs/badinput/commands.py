"""Invalid options, results that would be overwritten, damaged reports, and a machine without OpenGL."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from benchmarks.inputs.badinput.case import Case, Mistake
from benchmarks.inputs.badinput.good_inputs import TASK, Good
from vla_agent.errors import DatasetError, OptionError, ReportError, SimulatorError, TaskError, VlaAgentError

QUICK = {"--tasks": TASK, "--episodes": "1", "--workers": "1", "--controls": "none"}


def _eval(out: Callable[[Path], Path] | None = None, /, policy: str = "random", **options: str) -> Mistake:
    """Evaluate the random policy with these options; ``out`` gives another output folder."""
    words = QUICK | {f"--{name.replace('_', '-')}": value for name, value in options.items()}
    flat = [word for pair in words.items() for word in pair if word]
    return lambda place, good: ["eval", policy, *flat, "--out", str(out(place) if out else place / "out")]


def _below_a_file(place: Path) -> Path:
    (place / "file").write_text("not a folder")
    return place / "file" / "out"


def _a_file(place: Path) -> Path:
    (place / "file").write_text("not a folder")
    return place / "file"


def _into_report(*options: str) -> Mistake:
    """Evaluate into the folder of another evaluation."""

    def mistake(place: Path, good: Good) -> list[str]:
        folder = good.copy("report", place / "report")
        flat = [word for pair in QUICK.items() for word in pair]
        return ["eval", "random", *flat, *options, "--out", str(folder)]

    return mistake


def _unfinished(place: Path, good: Good) -> list[str]:
    folder = good.copy("report", place / "report")
    identity = json.loads((folder / "report.json").read_text())
    from vla_agent.evaluation.result_store import identity_of

    (folder / ".partial").mkdir()
    (folder / ".partial/run.json").write_text(json.dumps(identity_of(identity)))
    (folder / "report.json").unlink()
    return ["eval", "random", *[word for pair in QUICK.items() for word in pair], "--out", str(folder)]


def _replay(spoil: Callable[[Path], object], *options: str) -> Mistake:
    """Replay an episode of a report that ``spoil`` damaged."""

    def mistake(place: Path, good: Good) -> list[str]:
        folder = good.copy("report", place / "report")
        spoil(folder)
        return ["replay", str(folder / "report.json"), *(options or ("--episode", "0")), "-o", str(place / "video.mp4")]

    return mistake


def _cut(name: str) -> Callable[[Path], object]:
    def spoil(folder: Path) -> None:
        data = (folder / name).read_bytes()
        (folder / name).write_bytes(data[: len(data) // 2])

    return spoil


def _remove(name: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).unlink()


def _foreign(folder: Path) -> None:
    (folder / "report.json").write_text('{"name": "something else"}')


def _row_without_seed(folder: Path) -> None:
    report = json.loads((folder / "report.json").read_text())
    del report["episodes"][0]["seed"]
    (folder / "report.json").write_text(json.dumps(report))


def _collect(**options: str) -> Mistake:
    words = {"--tasks": TASK, "--episodes": "1"} | {f"--{name.replace('_', '-')}": v for name, v in options.items()}
    flat = [word for pair in words.items() for word in pair]
    return lambda place, good: ["collect", *flat, "-o", str(place / "out")]


def _collect_into(what: Callable[[Path, Good], Path]) -> Mistake:
    return lambda place, good: ["collect", "--tasks", TASK, "--episodes", "1", "-o", str(what(place, good))]


def _other_collection(place: Path, good: Good) -> list[str]:
    parts = place / "out.parts"
    parts.mkdir()
    from dataclasses import asdict

    from vla_agent.data.collect.collection import Recipe

    recipe = Recipe("tabletop", (TASK,), seed=5, noise=1.0, image_size=96, storage="images")
    (parts / "recipe.json").write_text(json.dumps(asdict(recipe)))
    return ["collect", "--tasks", TASK, "--episodes", "1", "--resume", "-o", str(place / "out")]


NO_EGL = {"MUJOCO_GL": "egl", "__EGL_VENDOR_LIBRARY_FILENAMES": "/nowhere.json"}
CASES = (
    Case("no episodes", _eval(episodes="0"), OptionError, ("--episodes", "0")),
    Case("negative episodes", _eval(episodes="-3"), OptionError, ("--episodes", "-3")),
    Case("no workers", _eval(workers="0"), OptionError, ("--workers",)),
    Case("negative seed", _eval(seed="-1"), OptionError, ("--seed",)),
    Case("unknown split", _eval(split="unseen"), VlaAgentError, ("unseen", "seen", "wordings", "objects")),
    Case("success gate in per cent", _eval(min_success="80"), OptionError, ("--min-success", "0.8")),
    Case("report below a file", _eval(_below_a_file), ReportError, ("file/out",)),
    Case("report over a file", _eval(_a_file), ReportError, ("file",)),
    Case("other evaluation's folder", _into_report("--split", "objects"), ReportError, ("report", "split")),
    Case(
        "resumed with another split", _into_report("--split", "wordings", "--resume"), ReportError, ("split", "--out")
    ),
    Case("unfinished evaluation's folder", _unfinished, ReportError, ("--resume",)),
    Case("no such MUJOCO_GL", _eval(), SimulatorError, ("MUJOCO_GL=bogus", "egl"), {"MUJOCO_GL": "bogus"}),
    Case("EGL without a driver", _eval(), SimulatorError, ("MUJOCO_GL=egl", "libegl1"), NO_EGL),
    Case("EGL without a driver, two workers", _eval(workers="2", episodes="2"), SimulatorError, ("libegl1",), NO_EGL),
    Case("report missing", _replay(_remove("report.json")), ReportError, ("report.json",)),
    Case("report truncated", _replay(_cut("report.json")), ReportError, ("report.json",)),
    Case("report of something else", _replay(_foreign), ReportError, ("report.json", "episodes")),
    Case("report's episode without a seed", _replay(_row_without_seed), ReportError, ("report.json", "seed")),
    Case("recorded actions missing", _replay(_remove("actions.npz")), ReportError, ("actions.npz",)),
    Case("recorded actions truncated", _replay(_cut("actions.npz")), ReportError, ("actions.npz",)),
    Case(
        "episode beyond the last",
        _replay(lambda f: None, "--episode", "99"),
        OptionError,
        ("--episode", "99", "0 to 1"),
    ),
    Case("negative episode", _replay(lambda f: None, "--episode", "-1"), OptionError, ("--episode", "-1")),
    Case("no demonstrations wanted", _collect(episodes="0"), OptionError, ("--episodes",)),
    Case("no workers to collect", _collect(workers="0"), OptionError, ("--workers",)),
    Case("unknown task to collect", _collect(tasks="stak"), TaskError, ("stak", "stack")),
    Case("dataset would be overwritten", _collect_into(lambda p, g: g.copy("dataset", p / "d")), DatasetError, ("-o",)),
    Case("dataset below a file", _collect_into(lambda p, g: _below_a_file(p)), DatasetError, ("file/out",)),
    Case("collection resumed with another seed", _other_collection, DatasetError, ("seed",)),
)
