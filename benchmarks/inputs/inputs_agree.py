"""Changed datasets: does `load` refuse exactly those in which `data validate` finds what cannot be read?"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

NAME = "inputs-agree"
TITLE = "changed datasets that load and data validate do not judge alike"
TARGET = 0.0
UNIT = "of 200 and more"
BETTER = "lower"
LEAST = 200
SEED = 20_261
RANDOM = 140  # seeded changes of files, beside the planted mistakes of `inputs-silent`
# What a finding of these checks says cannot be read.  The others judge content, which load leaves to `data validate`.
UNREADABLE = {"unreadable", "missing frames", "counts", "contract", "not finite", "missing images", "rate"}


def run() -> dict[str, Any]:
    judged = list(judgements())
    apart = [row for row in judged if not row[3]]
    counts: dict[str, dict[str, int]] = {}
    for _, loaded, _, _ in judged:
        counts.setdefault(loaded, {"datasets": 0})["datasets"] += 1
    found = " | ".join(f"{name}: load {loaded}, validate {said}" for name, loaded, said, _ in apart[:20]) or "none"
    notes = (
        "alike: load, and the first, middle and last image of each episode, are refused where and only where validate "
        "refuses the dataset or finds what cannot be read; findings on content (time stamps, units, clipped, constant, "
        "copied, blank, ...) are validate's alone. Apart: " + found
    )
    return {
        "value": float(len(apart)),
        "n": len(judged),
        "interval": None,
        "seeds": [SEED],
        "rows": [{"load": loaded, **row} for loaded, row in sorted(counts.items())],
        "passed": not apart and len(judged) >= LEAST,
        "notes": notes,
    }


def judgements(numbers: range = range(RANDOM), planted: bool = True) -> Iterator[tuple[str, str, str, bool]]:
    """Name of each dataset, what load says, what validate says, and whether they agree."""
    import shutil
    import tempfile

    import numpy as np

    from benchmarks.inputs.baddata.good_datasets import LAYOUTS
    from benchmarks.inputs.fuzz.mutations import change_file
    from benchmarks.inputs.makers import lerobot_sets
    from benchmarks.inputs.silent import datasets

    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as box:
        good = {layout: lerobot_sets.write_good(Path(box) / layout.replace(" ", "-"), layout) for layout in LAYOUTS}
        folder = Path(box) / "changed"
        for number in numbers:
            layout, rng = LAYOUTS[number % len(LAYOUTS)], np.random.default_rng([SEED, number])
            shutil.copytree(good[layout], folder)
            files = sorted(path for path in folder.rglob("*") if path.is_file())
            file = files[int(rng.integers(len(files)))]
            change_file(file, rng)
            yield (f"{layout}, change {number} of {file.relative_to(folder)}", *judged(folder))
            shutil.rmtree(folder)
        for _, name, layout, spoil in datasets.spoiled() if planted else ():
            shutil.copytree(good[layout], folder)
            spoil(folder)
            yield (f"{layout}, {name}", *judged(folder))
            shutil.rmtree(folder)


def judged(folder: Path) -> tuple[str, str, bool]:
    """What load says of a dataset, what validate says, and whether they agree."""
    from vla_agent.data.validate.validate import validate
    from vla_agent.errors import VlaAgentError

    loaded = "read"
    try:
        _read(folder)
    except VlaAgentError as error:
        loaded = "refused"
        why = error.what
    else:
        why = ""
    try:
        findings = [finding for finding in validate(folder) if finding.error]
        unreadable = [finding for finding in findings if finding.check in UNREADABLE or finding.key == "task_index"]
        said = f"found {unreadable[0].check}" if unreadable else "clean"
    except VlaAgentError as error:
        said = f"refused: {error.what}"
    return loaded, f"{said} ({why})" if why else said, (loaded == "read") == (said == "clean")


def _read(folder: Path) -> None:
    """Load, and decode what validate decodes."""
    import numpy as np

    from vla_agent.data.lerobot.dataset_reader import load

    dataset = load(folder)
    for camera in dataset.cameras:
        for episode in dataset.episodes:
            dataset.frames(camera, episode.start + np.array([0, episode.length // 2, episode.length - 1]))
