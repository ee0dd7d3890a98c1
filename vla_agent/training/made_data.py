"""Makes the data that a recipe asks for, in the training's ``data`` folder; what is whole there is kept."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from vla_agent.data.collect import collection
from vla_agent.data.collect.finished_collection import is_finished, require_same_collection
from vla_agent.files.hashing import hash_file
from vla_agent.training.data_items import Collect, Corrections, Generated, MakeQuestions
from vla_agent.training.loop.train_stage import Interrupted

Report = Callable[[int], None]  # how many episodes or scenes are done


def make_data(item: Generated, folder: Path, image_size: int, workers: int, driver: Path | None = None) -> None:
    """Make one set of data, or go on with it.

    Args:
        folder: the set's own; a collection's unfinished episodes lie beside it.
        driver: policy folder that drives in `Corrections`.

    Raises:
        Interrupted: SIGINT or SIGTERM arrived; the same call goes on with what was made.
        DatasetError: the folder holds other data, a task fails too often, or the disk is full.
    """
    if isinstance(item, MakeQuestions):
        with _Bar(item.name, item.scenes) as report:
            _make_questions(item, folder, image_size, workers, report)
        return
    assert isinstance(item, Collect)
    options = collection_options(item, image_size, driver)
    if is_finished(folder):
        require_same_collection(folder, options, item.episodes, same_versions=True)
        return
    with _Bar(item.name, item.episodes) as report:
        _collect(options, folder, item.episodes, workers, report)


def collection_options(item: Collect, image_size: int, driver: Path | None = None) -> collection.Recipe:
    """The options of `vla-agent collect` for a set of demonstrations."""
    takes_over = isinstance(item, Corrections)
    return collection.Recipe(
        suite=item.suite,
        tasks=item.tasks,
        seed=item.seed,
        noise=item.noise,
        image_size=image_size,
        storage="images",
        takeover=str(driver) if takes_over else None,
        takeover_execution=item.execution if isinstance(item, Corrections) else ("open_loop",),
        takeover_delays_ms=item.delays_ms if isinstance(item, Corrections) else (0.0,),
        vary=item.vary,
        split=item.split,
    )


def hash_data(folder: Path) -> str:
    """SHA-256 over the names and SHA-256 of all files of a data folder."""
    digest = hashlib.sha256()
    for file in sorted(f for f in folder.rglob("*") if f.is_file()):
        digest.update(f"{file.relative_to(folder).as_posix()}\0{hash_file(file)}\n".encode())
    return digest.hexdigest()


def _collect(options: collection.Recipe, folder: Path, episodes: int, workers: int, report: Report) -> None:
    def done(progress: collection.Progress) -> None:
        report(sum(len(progress.plan.recorded(task)) for task in progress.plan.wanted))

    unfinished = folder.with_name(folder.name + ".parts").exists()
    plan = collection.collect(options, folder, episodes, workers, unfinished, done)
    if not plan.complete:
        kept = sum(outcome == "recorded" for outcome in plan.outcomes.values())
        raise Interrupted(f"{folder.name}: stopped after {kept} of {episodes} episodes")


def _make_questions(item: MakeQuestions, folder: Path, image_size: int, workers: int, report: Report) -> None:
    from sim.questions.generate import write

    try:
        write(folder, item.scenes, item.seed, workers, (image_size, image_size), item.vary, report, item.at_start)
    except KeyboardInterrupt as stop:
        raise Interrupted(f"{folder.name}: stopped; finished shards were kept") from stop


class _Bar:
    """A progress bar for one set of data; its value is the function that moves it."""

    def __init__(self, name: str, total: int) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        self._bar = Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn())
        self._task = self._bar.add_task(name, total=total)

    def __enter__(self) -> Report:
        self._bar.start()
        return lambda done: self._bar.update(self._task, completed=done)

    def __exit__(self, *_: object) -> None:
        self._bar.stop()


def describe_questions(folder: Path) -> dict[str, int]:
    """First seed and number of scenes of generated images, as their ``meta.json`` has them."""
    meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
    return {"seed": meta["seed"], "scenes": meta["scenes"]}
