"""Benefit of the generated vision-language data: the backbone trained with and without it, same number of samples."""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.shared.evaluations import ROOT

NAME = "spine-grounding"
TITLE = "new scenes whose target is located within 2 cm: with generated questions minus without, same number of samples"
TARGET = 0.0
UNIT = "fraction of scenes"
BETTER = "higher"
FOLDER = ROOT / "runs" / "bench" / "grounding"
EPISODES, SCENES, SAMPLES = 200, 3000, 16000
NAMING = 6000  # of the samples, in stage 0, where there are generated images
TESTED = 50  # scenes per family


def run() -> dict[str, Any]:
    """Both trainings use the recipe of the shipped policy without its head."""
    from vla_agent.evaluation.success_statistics import paired_difference, rate

    demos, questions = FOLDER / "demonstrations", FOLDER / "questions"
    if not demos.exists():
        _python("-m", "vla_agent", "collect", "--episodes", EPISODES, "--workers", 2, "--noise", "1.0", "-o", demos)
    if not (questions / "meta.json").exists():
        _python("-m", "sim.questions", "--scenes", SCENES, "--workers", 2, "-o", questions)
    located = {
        "with": _located(_trained("with", [demos], [questions])),
        "without": _located(_trained("without", [demos], [])),
    }
    gain = paired_difference(list(located["with"]), list(located["without"]))
    rows = [{"training": name, **rate(values)} for name, values in located.items()]
    return {
        "value": gain["difference"],
        "n": gain["n"],
        "interval": gain["interval"],
        "seeds": f"training 0; scenes 0 to {TESTED - 1} of each family",
        "rows": rows,
        "passed": gain["interval"][0] > TARGET,
        "notes": f"{SAMPLES} samples each, of which {NAMING} in stage 0 with questions; {EPISODES} demonstrations, "
        f"{SCENES} generated scenes",
    }


def _python(*args: object) -> None:
    subprocess.run([sys.executable, *map(str, args)], check=True)


def _trained(name: str, demos: list[Path], questions: list[Path]) -> Any:
    """The backbone after stages 0 and 1."""
    import torch

    from vla_agent.training.build_policy import build_policy
    from vla_agent.training.demonstrations import load_demonstrations, load_questions
    from vla_agent.training.loop.stage_run import StageRun
    from vla_agent.training.loop.train_stage import train_stage
    from vla_agent.training.recipe import load_recipe
    from vla_agent.training.stages.pointing_stage import PretrainBatches

    naming = NAMING if questions else 0
    overrides = (
        f"name_stem.samples={naming}",
        f"pretrain.samples={SAMPLES - naming}",
        f"data.demonstrations={list(map(str, demos))}",
        f"data.questions={list(map(str, questions))}",
    )
    recipe = load_recipe(ROOT / "policies" / "tabletop-nano.yaml", overrides)
    torch.manual_seed(recipe.seed)
    demonstrations = load_demonstrations(recipe.data.demonstrations, recipe.chunk_length)
    asked = load_questions(recipe.data.questions) if questions else None
    backbone: Any = build_policy(recipe, demonstrations, asked).backbone
    model = backbone.model.to(memory_format=torch.channels_last)
    batches = PretrainBatches(backbone, asked, demonstrations, recipe.pretrain)
    if naming:
        losses = partial(batches.naming_losses, recipe.name_stem)
        train_stage(StageRun(f"{name}-naming", FOLDER, recipe.seed, resume=True), model, losses, recipe.name_stem)
    train_stage(StageRun(name, FOLDER, recipe.seed, resume=True), model, batches.losses, recipe.pretrain)
    return backbone


def _located(backbone: Any) -> np.ndarray:
    """For each new scene's first image: whether the target is located within 2 cm horizontally."""
    import torch

    from sim.env import TabletopEnv
    from sim.experts.expert import Expert
    from sim.tasks.task import load_suite
    from vla_agent.models.backbones.pointing.pointing_backbone import stack_images

    backbone.eval()
    hits = []
    for task in load_suite("tabletop"):
        env = TabletopEnv(task=task)
        for seed in range(TESTED):
            observation, info = env.reset(seed=seed)
            truth = Expert(env.world, env.task).subgoal()[0]
            with torch.inference_mode():
                text = backbone.encode_text([info["instruction"]])
                out = backbone(stack_images(observation["images"], ("front", "wrist")), text)
            hits.append(np.linalg.norm(out.located[0, 0, :2].numpy() - truth[:2]) < 0.02)
        env.close()
    return np.array(hits)
