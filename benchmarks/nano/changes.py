"""Changes of instruction or scene by name: a function of a task, a wording's number and a random generator."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from ruamel.yaml import YAML

from sim.perturbations import counterfactuals, instruction_changes
from sim.perturbations.languages import languages, translations
from sim.perturbations.variation import Effect
from sim.tasks.refusals import sample_labelled
from sim.tasks.task import TaskInstance

Change = Callable[[TaskInstance, int, np.random.Generator], Effect | None]
TYPO_SEVERITY = 2
REFUSED = Path(__file__).parent / "refused_wordings.yaml"


@cache
def free_wordings() -> dict[str, Any]:
    """Family -> wordings, and ``synonyms``: word -> other words for it."""
    return YAML(typ="safe").load((Path(__file__).parent / "free_wordings.yaml").read_text(encoding="utf-8"))


def free(task: TaskInstance, number: int, rng: np.random.Generator) -> Effect:
    """The family's free wording of this number, modulo how many there are."""
    wordings = free_wordings()[task.family]
    return Effect(task, instruction=wordings[number % len(wordings)].format(**task.bindings))


def synonyms(task: TaskInstance, number: int, rng: np.random.Generator) -> Effect | None:
    """Every word of the instruction that has synonyms, replaced by one of them."""
    words = free_wordings()["synonyms"]
    pattern = rf"\b({'|'.join(re.escape(word) for word in sorted(words, key=len, reverse=True))})\b"
    changed = re.sub(pattern, lambda found: str(rng.choice(words[found[1]])), task.instruction)
    return None if changed == task.instruction else Effect(task, instruction=changed)


def typos(task: TaskInstance, number: int, rng: np.random.Generator) -> Effect | None:
    """Two words with exchanged letters."""
    return instruction_changes.typo(task, TYPO_SEVERITY, rng)


def language(code: str, task: TaskInstance, number: int, rng: np.random.Generator) -> Effect | None:
    """The instruction in one of a language's wordings."""
    wordings = translations(task, code)
    return Effect(task, instruction=wordings[number % len(wordings)], detail=code) if wordings else None


def labelled(kind: str, task: TaskInstance, number: int, rng: np.random.Generator) -> Effect | None:
    """An instruction of `sim.tasks.refusals` in a wording of ``refused_wordings.yaml``; its reason as detail."""
    found = sample_labelled(task, kind, rng, "held_out", REFUSED)
    return None if found is None else Effect(task, instruction=found.instruction, detail=found.reason)


def probe(name: str, task: TaskInstance, number: int, rng: np.random.Generator) -> Effect | None:
    """A probe of the gate."""
    return getattr(counterfactuals, name)(task, 0, rng)


CHANGES: dict[str, Change] = {
    "free": free,
    "synonyms": synonyms,
    "typos": typos,
    **{f"language-{code}": partial(language, code) for code in languages()},
    **{kind: partial(labelled, kind) for kind in ("contradicting", "unsafe")},
    **{name: partial(probe, name) for name in ("absent", "removed", "swap")},
}
