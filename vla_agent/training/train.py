"""A whole training from a recipe: its data, its first run, its rounds, and the policy of the last one.

The folder of a training whose recipe makes data or has rounds::

    recipe.yaml        decides who may go on here
    data/NAME          each set of data, made when the first run that needs it comes
    run-0, run-1 ...   the runs (`vla_agent.training.one_run`), each from the weights before; done.json where over
    steps.jsonl        what each step took: seconds, and processor seconds of all its processes
    policy             the last run's policy

Without either, the folder is that of the one run.
"""

from __future__ import annotations

import json
import resource
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from vla_agent.files.write_aside import folder_aside, write_text
from vla_agent.policy.sources import contract_of
from vla_agent.training.data_items import Generated, MakeQuestions
from vla_agent.training.made_data import describe_questions, hash_data, make_data
from vla_agent.training.next_step import next_step
from vla_agent.training.one_run import run_stages
from vla_agent.training.recipe import Recipe, Round
from vla_agent.training.scores.score_file import pin_scores
from vla_agent.training.training_folder import RECIPE, claim_folder, refuse_other_training

WORKERS = 2  # processes that make data
DONE, STEPS = "done.json", "steps.jsonl"
STAGES_OF_A_ROUND = ("name_stem", "pretrain", "train_head", "end_to_end", "sight", "keep_start")
console = Console()


@dataclass(frozen=True)
class Run:
    """One of a training's runs.

    made: data that is made before it.  recipe: plain, with all data up to here, from the weights of the run before.
    """

    number: int
    folder: Path
    made: tuple[Generated, ...]
    recipe: Recipe

    @property
    def done(self) -> bool:
        """Whether it is over."""
        return (self.folder / DONE).is_file()


def train(recipe: Recipe, folder: Path, *, resume: bool = False, workers: int = WORKERS) -> Path:
    """Make the recipe's data, run its stages and rounds in ``folder``, and write ``folder/policy``.

    Args:
        workers: processes that make data; the data does not depend on it.

    Raises:
        RecipeError: ``folder`` already holds a training and ``resume`` is not set, or it is of another recipe.
        Interrupted: the training was stopped; ``resume=True`` continues it.
        DatasetError, ContractError: the data is missing, damaged or does not fit together.
    """
    recipe = pin_scores(recipe)
    policy = folder / "policy"
    if recipe.is_plain:
        run_stages(recipe, folder, resume=resume)
    else:
        refuse_other_training(recipe, folder, resume)
        claim_folder(recipe, folder)
        runs = runs_of(recipe, folder)
        for run in runs:
            if not run.done:
                _train_run(run, folder, recipe.image_size, workers)
        _place_policy(runs, folder)
    console.print(f"policy: {policy}    next: {next_step(policy, contract_of(str(policy)))}", soft_wrap=True)
    return policy


def runs_of(recipe: Recipe, folder: Path) -> list[Run]:
    """The runs of a training, in order."""
    first = recipe.model_copy(update={"collect": (), "questions": (), "rounds": ()})
    parts = [(recipe.collect + recipe.questions, first)]
    parts += [
        ((*r.collect, *r.corrections, *r.questions), _of_round(first, r, k)) for k, r in enumerate(recipe.rounds, 1)
    ]
    demonstrations, questions = recipe.data.demonstrations, recipe.data.questions
    runs: list[Run] = []
    for number, (made, plain) in enumerate(parts):
        demonstrations += tuple(str(folder / "data" / i.name) for i in made if not isinstance(i, MakeQuestions))
        questions += tuple(str(folder / "data" / i.name) for i in made if isinstance(i, MakeQuestions))
        data = recipe.data.model_copy(update={"demonstrations": demonstrations, "questions": questions})
        start = {"start_from": str(runs[-1].folder / "policy")} if runs else {}
        runs.append(Run(number, folder / f"run-{number}", made, plain.model_copy(update={"data": data} | start)))
    return runs


def _of_round(first: Recipe, this: Round, number: int) -> Recipe:
    stages = {name: getattr(this, name) for name in STAGES_OF_A_ROUND}
    return first.model_copy(update=stages | {"seed": first.seed + number, "fresh_head": False})


def _train_run(run: Run, folder: Path, image_size: int, workers: int) -> None:
    driver = Path(run.recipe.start_from) if run.number else None
    for item in run.made:
        with _timed(folder, f"data/{item.name}"):
            make_data(item, folder / "data" / item.name, image_size, workers, driver)
    with _timed(folder, run.folder.name):
        # the folders of data and weights may have other names since: the whole recipe says which training this is
        run_stages(run.recipe, run.folder, resume=True, ignore=("data", "start_from"))
    data = {item.name: _description(folder / "data" / item.name) for item in run.made}
    write_text(run.folder / DONE, json.dumps({"data": data}, indent=2) + "\n")


def _description(folder: Path) -> dict[str, Any]:
    described = describe_questions(folder) if (folder / "meta.json").is_file() else {}
    return described | {"sha256": hash_data(folder)}


def _place_policy(runs: list[Run], folder: Path) -> None:
    """The last run's policy with the whole recipe, and what all runs took, in ``training.json``."""
    with folder_aside(folder / "policy") as aside:
        shutil.copytree(runs[-1].folder / "policy", aside, dirs_exist_ok=True)
        shutil.copy(folder / RECIPE, aside / "recipe.yaml")
        described = json.loads((aside / "training.json").read_text())
        described["runs"] = [_run_description(run) for run in runs]
        described["steps"] = [json.loads(line) for line in (folder / STEPS).read_text().splitlines()]
        (aside / "training.json").write_text(json.dumps(described, indent=2) + "\n")


def _run_description(run: Run) -> dict[str, Any]:
    described = json.loads((run.folder / "policy" / "training.json").read_text())
    return {"seconds": described["seconds"], **json.loads((run.folder / DONE).read_text())}


@contextmanager
def _timed(folder: Path, step: str) -> Iterator[None]:
    """Add what a step took to the folder's list, also where it is interrupted."""
    began, used = time.monotonic(), _processor_seconds()
    try:
        yield
    finally:
        line = {"step": step, "seconds": round(time.monotonic() - began, 1)}
        line["processor_seconds"] = round(_processor_seconds() - used, 1)
        with (folder / STEPS).open("a") as log:
            log.write(json.dumps(line) + "\n")


def _processor_seconds() -> float:
    """Of this process and of its children that have ended."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in usages)
