"""Perturbations of the instruction: held-out wordings, other languages, typing errors."""

from __future__ import annotations

import numpy as np

from sim.perturbations.languages import languages, translations
from sim.perturbations.variation import Effect
from sim.tasks.task import TaskInstance

TYPOS = (1, 2, 3)  # words with an error


def paraphrase(task: TaskInstance, severity: int, rng: np.random.Generator) -> Effect | None:
    """A wording that training never uses."""
    wordings = task.definition.wordings.held_out
    if not wordings:
        return None
    return Effect(task, instruction=wordings[rng.integers(len(wordings))].format(**task.bindings))


def language(task: TaskInstance, severity: int, rng: np.random.Generator) -> Effect | None:
    """The instruction in German, Spanish, French or Russian, whatever the severity."""
    chosen = str(rng.choice(languages()))
    wordings = translations(task, chosen)
    return Effect(task, instruction=wordings[rng.integers(len(wordings))], detail=chosen) if wordings else None


def typo(task: TaskInstance, severity: int, rng: np.random.Generator) -> Effect | None:
    """Exchange two neighbouring letters in one, two or three words of at least four letters."""
    words = task.instruction.split(" ")
    long = [i for i, w in enumerate(words) if len(w) >= 4 and w.isalpha()]
    if not long:
        return None
    for i in rng.permutation(long)[: TYPOS[severity - 1]]:
        letters = list(words[i])
        k = int(rng.integers(1, len(letters) - 2))
        letters[k], letters[k + 1] = letters[k + 1], letters[k]
        words[i] = "".join(letters)
    return Effect(task, instruction=" ".join(words))
