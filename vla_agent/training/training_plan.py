"""What a training will take: each step with its amount and estimated time, before anything is run.

The rates are those of two quiet cores (an EPYC, bf16 off, 96 px images), from ``training.json`` of the runs that made
tabletop-nano and from `collect` and `sim.questions`; another machine or other sizes have other ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from vla_agent.training.data_items import Collect, Corrections, Generated, MakeQuestions
from vla_agent.training.recipe import Recipe
from vla_agent.training.train import Run, runs_of

RATES = {  # a second
    "questions": 190.0,  # scenes, two processes
    "collect": 2.6,  # episodes, two processes
    "corrections": 1.6,  # episodes, two processes: the policy drives for up to 150 control periods first
    "name_stem": 129.0,  # samples
    "pretrain": 49.0,
    "train_head": 370.0,
    "end_to_end": 60.0,
    "sight": 100.0,  # images
    "features": 600.0,  # frames
}
FRAMES = 75  # of an episode


@dataclass(frozen=True)
class Step:
    """A step of a training: run, what is done, how much of what, estimated seconds; ``done`` where it is over."""

    run: int
    what: str
    amount: int
    unit: str
    seconds: float
    done: bool = False


def steps_of(recipe: Recipe, folder: Path) -> list[Step]:
    """Every step in order."""
    found: list[Step] = []
    episodes = 0
    for run in runs_of(recipe, folder):
        made = [_data_step(run, item, folder) for item in run.made]
        episodes += sum(s.amount for s in made if s.unit == "episodes")
        found += made + _stage_steps(run, episodes)
    return found


def _data_step(run: Run, item: Generated, folder: Path) -> Step:
    done = run.done or (folder / "data" / item.name / "meta" / "info.json").is_file()
    if isinstance(item, MakeQuestions):
        return Step(run.number, f"questions {item.name}", item.scenes, "scenes", item.scenes / RATES["questions"], done)
    assert isinstance(item, Collect)
    kind = "corrections" if isinstance(item, Corrections) else "collect"
    return Step(run.number, f"{kind} {item.name}", item.episodes, "episodes", item.episodes / RATES[kind], done)


def _stage_steps(run: Run, episodes: int) -> list[Step]:
    found = []
    for name in ("name_stem", "pretrain", "train_head", "end_to_end", "sight"):
        stage = getattr(run.recipe, name)
        if not stage.samples:
            continue
        seconds = stage.samples / RATES[name]
        if name == "train_head":
            seconds += episodes * FRAMES / run.recipe.train_head.frame_stride / RATES["features"]
        found.append(Step(run.number, name.replace("_", " "), stage.samples, "samples", seconds, run.done))
    return found
