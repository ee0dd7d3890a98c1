"""Data that a training makes itself: demonstrations, corrections, and generated images with questions."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from vla_agent.files.recipe_file import Strict

FIRST_SEED, HELD_OUT = 1_000_000, 7_000_000  # training's seeds lie between: those before and after are for evaluation


class Generated(Strict):
    """What all generated data has.  ``name`` is the folder's in the training's ``data``."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$", description="folder in the training's data/")
    seed: int = Field(ge=FIRST_SEED, lt=HELD_OUT, description="first seed; no two sets of data share a seed")
    vary: tuple[str, ...] = Field((), description="axes of domain randomisation, as of vla-agent collect --vary")


class Collect(Generated):
    """Demonstrations of the scripted experts; the options of `vla-agent collect`."""

    suite: str = "tabletop"
    tasks: tuple[str, ...] = Field((), description="families or task files; empty for the whole suite")
    episodes: int = Field(ge=1, description="successful episodes in all, spread evenly over the tasks")
    noise: float = Field(1.0, ge=0, description="strength of the injected disturbances")
    split: Literal["seen", "objects"] = Field("seen", description="pairs of colour and shape; wordings are for tests")


class Corrections(Collect):
    """Demonstrations from states that the policy so far reaches: it drives, the expert takes over (HG-DAgger)."""

    execution: tuple[str, ...] = Field(("open_loop",), description="execution modes of the policy, one an episode")
    delays_ms: tuple[float, ...] = Field((0.0,), description="inference latencies of the policy, one an episode")


class MakeQuestions(Generated):
    """Generated images with questions and instructions; the options of ``python -m sim.questions``."""

    scenes: int = Field(ge=1)
    at_start: bool = Field(False, description="the arm is where an episode starts: to calibrate a sight")
