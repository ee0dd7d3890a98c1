"""Which outcome counts in a cell, and that a retraced episode follows what was recorded."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from sim.perturbations.variation import Effect, Variation
from sim.perturbations.varied_env import VariedEnv
from sim.rollout import EpisodeResult
from sim.tasks.events import Events, ObjectEvents
from vla_agent.errors import CertificateError
from vla_agent.gate.decision.plan import GateJob, delay_of, variation_of
from vla_agent.gate.evidence.following_env import FollowingEnv
from vla_agent.gate.evidence.gate_player import job_of, refrained, row_of

STILL = ObjectEvents(0.0, 0.0, False, 0.0, False, None)


def thing(moved=0.0, lifted=0.0) -> ObjectEvents:
    return ObjectEvents(moved, lifted, False, 0.0, False, None)


def events(buttons=(), drawer=0.0, **objects) -> Events:
    return Events("carry", ("cup",), (), objects, buttons, (), (0.0, drawer))


@pytest.mark.parametrize(
    ("found", "still"),
    [
        (events(cup=STILL, mug=STILL), True),
        (events(cup=thing(lifted=0.0299)), True),
        (events(cup=thing(lifted=0.03)), False),
        (events(cup=thing(moved=0.0199)), True),
        (events(cup=STILL, mug=thing(moved=0.02)), False),
        (events(drawer=0.099), True),
        (events(drawer=0.10), False),
        (events(drawer=-0.10), False),
        (events(buttons=("red",)), False),
    ],
)
def test_refraining_is_to_touch_nothing(found, still):
    assert refrained(found) == still


def result(success: bool, found: Events) -> EpisodeResult:
    return EpisodeResult(
        "stack", 7, "stack it", "stack it", success, 3, found, np.zeros((3, 7), np.float32), (), "s", "i", 0.1
    )


def varied(name: str, severity: int = 0, original_done: bool = False) -> VariedEnv:
    """As an episode left it: the varied task is about the mug, the original one about the cup."""
    world = SimpleNamespace()
    env = VariedEnv(SimpleNamespace(unwrapped=SimpleNamespace(world=world, contract=None)), Variation(name, severity))
    original = SimpleNamespace(success=lambda world: original_done, object_names=("cup", "tray"))
    task = SimpleNamespace(object_names=("mug", "tray"))
    env.original, env.effect = original, Effect(task, detail="what was changed")
    return env


def row(control: str, success: bool, found: Events, **more) -> dict:
    name, _, severity = control.partition(".")[2].partition(".")
    return row_of(GateJob(control, "stack", 7, 2), result(success, found), varied(name, int(severity or 0), **more))


@pytest.mark.parametrize("success", [False, True])
def test_the_outcome_is_what_the_cell_asks_for(success):
    moved, nothing = events(cup=thing(moved=0.1)), events(cup=STILL)
    plain = row_of(GateJob("control", "stack", 7, 2), result(success, nothing), SimpleNamespace())
    assert plain["outcome"] == plain["success"] == success and plain["index"] == 2
    assert not {"detail", "original", "shuffle"} & set(plain)
    assert row("axis.lighting.1", success, nothing)["outcome"] == success
    for probe in ("blank", "blind", "frozen"):
        assert row(f"probe.{probe}", success, nothing)["outcome"] != success
    for probe in ("removed", "absent", "contradict"):
        assert row(f"probe.{probe}", success, nothing)["outcome"] is True
        assert row(f"probe.{probe}", success, moved)["outcome"] is False
    swapped = row("probe.swap", success, nothing)
    assert swapped["outcome"] == success and swapped["detail"] == "what was changed"


@pytest.mark.parametrize(
    ("found", "done", "original"),
    [
        (events(cup=STILL, mug=STILL), False, False),
        (events(cup=STILL, mug=STILL), True, True),
        (events(cup=thing(moved=0.02), mug=STILL), False, True),
        (events(cup=thing(lifted=0.03), mug=STILL), False, True),
        (events(cup=thing(moved=0.0199, lifted=0.0299), mug=STILL), False, False),
        (events(cup=thing(moved=0.02), mug=thing(moved=0.02)), False, False),
        (events(cup=STILL, mug=thing(lifted=0.1)), False, False),
        (events(cup=STILL, tray=thing(moved=0.1)), False, False),
    ],
)
def test_the_first_target_was_gone_for_where_it_alone_was_moved(found, done, original):
    """Not where an object of both instructions was."""
    assert row("probe.swap", False, found, original_done=done)["original"] is original


def test_a_job_is_found_again_in_its_row():
    job = GateJob("axis.camera.2", "stack", 7, 3)
    assert job_of({"control": "axis.camera.2", "task": "stack", "seed": 7, "index": 3, "success": True}) == job
    assert (variation_of("axis.camera.2"), variation_of("probe.swap")) == (Variation("camera", 2), Variation("swap", 0))
    assert [variation_of(cell) for cell in ("control", "delay.100", "oracle")] == [None] * 3
    assert (delay_of("delay.12.5"), delay_of("control"), delay_of("axis.camera.2")) == (12.5, None, None)


def test_the_world_follows_the_recorded_actions_to_their_end():
    done: list[float] = []
    world = SimpleNamespace(step=lambda action: done.append(float(action[0])), name="world")
    base = SimpleNamespace(world=world, contract="c", begin=lambda seed: f"task {seed}", instruction="do it")
    base.unwrapped = base
    env = FollowingEnv(base, np.arange(3, dtype=np.float32)[:, None])
    assert env.unwrapped is env and (env.contract, env.instruction, env.world.name) == ("c", "do it", "world")
    for _ in range(2):
        done.clear()
        assert env.begin(5) == "task 5"
        for _ in range(3):
            env.world.step(np.full(1, 99.0))
        assert done == [0.0, 1.0, 2.0]
    with pytest.raises(CertificateError, match="end before the episode does") as error:
        env.world.step(np.full(1, 99.0))
    assert error.value.found == "3 actions" and done == [0.0, 1.0, 2.0]
