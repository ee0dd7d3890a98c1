"""Which task families a comparison plays: those that the fine-tuning taught, and those that it must not forget.

A family of a suite is found by its name.  A family of one's own lies in a task file outside the suites: its path comes
from the recipe, or from the record of the collection in the dataset.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from sim.tasks.task import SUITES, load_family, load_suite
from vla_agent.data.lerobot.dataset_reader import load as load_dataset
from vla_agent.errors import RecipeError
from vla_agent.finetuning.finetune_recipe import FineTune


@dataclass(frozen=True)
class ComparedFamilies:
    """new: names of the learned families.  old: names of those to be remembered.  files: name -> path of a task file,
    for families outside the suites."""

    new: tuple[str, ...]
    old: tuple[str, ...]
    files: dict[str, str]

    @property
    def groups(self) -> dict[str, tuple[str, ...]]:
        """``new`` and ``old`` by name."""
        return {"new": self.new, "old": self.old}

    @property
    def tasks(self) -> list[str]:
        """What `vla_agent.evaluation.evaluate.EvaluationSettings.tasks` needs: names, and paths of task files."""
        return [self.files.get(name, name) for name in (*self.new, *self.old)]


def compared_families(recipe: FineTune) -> ComparedFamilies:
    """The families of a recipe's comparison.

    Without ``compare.new`` the learned families are those of the first folder of demonstrations, as further folders may
    be there for replay.  Families of ``compare.tasks`` count as learned unless ``compare.old`` names them.

    Raises:
        RecipeError: no learned family is known, or a family is in no suite and its task file is not found.
        TaskError: a task file or the suite's name is wrong.
    """
    named = recipe.compare
    own = _by_name(named.tasks)
    files = own | _by_name(path for path in (*named.new, *named.old) if _is_file_name(path))
    names = {path: name for name, path in files.items()}
    new, old = (tuple(names.get(entry, entry) for entry in entries) for entries in (named.new, named.old))
    new = new or _shown_families(recipe.data.demonstrations[0])
    new += tuple(name for name in own if name not in (*new, *old))
    if not new:
        raise RecipeError(
            "the learned task families are not known",
            key="compare.new",
            expected="names of families: the demonstrations do not name theirs",
            found="none",
            remedy="name them, such as --set compare.new=[stack] (see `vla-agent tasks`), or give task files with "
            "--tasks FILE",
        )
    recorded = {name: path for name, path in _recorded_files(recipe, new).items() if name not in files}
    files |= recorded
    old = old or tuple(name for name in load_suite(named.suite) if name not in new)
    _require_known(recipe, (*new, *old), files)
    return ComparedFamilies(new, old, {name: path for name, path in files.items() if name in (*new, *old)})


def _by_name(paths: Iterable[str]) -> dict[str, str]:
    return {load_family(path).name: path for path in paths}


def _is_file_name(entry: object) -> bool:
    return str(entry).endswith((".yaml", ".yml"))


def _shown_families(folder: str) -> tuple[str, ...]:
    """The families that a dataset's episodes name."""
    names = (episode.origin.get("family") for episode in load_dataset(folder).episodes)
    return tuple(sorted({name for name in names if name}))


def _recorded_files(recipe: FineTune, wanted: tuple[str, ...]) -> dict[str, str]:
    """Existing task files of the ``wanted`` families that the datasets' records of their collection name."""
    paths = [path for folder in recipe.data.demonstrations for path in _recorded_paths(folder) if Path(path).is_file()]
    return {name: path for name, path in _by_name(dict.fromkeys(paths)).items() if name in wanted}


def _recorded_paths(folder: str) -> list[str]:
    return [str(entry) for entry in load_dataset(folder).collection.get("tasks", ()) if _is_file_name(entry)]


def _require_known(recipe: FineTune, names: tuple[str, ...], files: dict[str, str]) -> None:
    in_suites = {name for suite in SUITES for name in load_suite(suite)}
    unknown = [name for name in names if name not in files and name not in in_suites]
    if not unknown:
        return
    gone = [path for folder in recipe.data.demonstrations for path in _recorded_paths(folder)]
    raise RecipeError(
        "the comparison needs the task file of a family that is in no suite",
        key="compare.tasks",
        expected=f"the path of the task file of {', '.join(unknown)}",
        found=f"nothing at {', '.join(gone)}, where it was collected from" if gone else "no path, in recipe and data",
        remedy="give it with --tasks FILE, or compare.tasks: [FILE] in the recipe; or leave --compare out",
    )
