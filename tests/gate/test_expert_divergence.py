"""Where a failed episode leaves the demonstration of its own scene."""

import numpy as np
import pytest

from sim.policies import ExpertPolicy
from sim.rollout import run_episode
from sim.tasks.task import load_suite
from vla_agent.environments.tabletop import TabletopChoice
from vla_agent.evaluation.play.player import Player, PlayerSettings
from vla_agent.gate.evidence.divergence import first_divergence
from vla_agent.gate.report.failure_clips import film_one

TASK, SEED = "press_button", 3


def test_the_first_point_that_is_far_from_every_point_of_the_demonstration():
    demonstrated = np.column_stack([np.linspace(0, 0.5, 50), np.zeros(50), np.zeros(50)])
    slower = np.repeat(demonstrated, 3, axis=0)
    assert first_divergence(slower, demonstrated) is None, "being slow is no divergence"
    aside = slower.copy()
    aside[40:, 1] = np.linspace(0, 0.1, 110)  # 5 cm are passed at half the way aside
    assert 40 + 50 < first_divergence(aside, demonstrated) < 40 + 60


@pytest.fixture(scope="module")
def player():
    player = Player(PlayerSettings("expert", TabletopChoice({TASK: load_suite("tabletop")[TASK]})))
    yield player
    player.close()


@pytest.mark.parametrize("control", ["control", "axis.lighting.1"])
def test_the_expert_stays_with_itself_and_an_arm_that_rises_leaves_it(player, control):
    shown = run_episode(player.tabletop(TASK), ExpertPolicy(), SEED)
    row = {"control": control, "task": TASK, "seed": SEED, "index": 0, "instruction": shown.instruction}
    assert film_one(player, (0, row, shown.actions)).note == "stays near the expert's path"
    away = np.zeros((400, 7), np.float32)
    away[:, 2] = 0.02  # up, 2 cm a control step; the expert goes down
    note = film_one(player, (0, row, away)).note
    assert note.startswith("leaves the expert's path after ") and 0 < float(note.split()[-2]) < 1.0


def test_an_episode_with_another_instruction_is_not_compared(player):
    shown = run_episode(player.tabletop(TASK), ExpertPolicy(), SEED)
    row = {"control": "probe.blank", "task": TASK, "seed": SEED, "index": 0, "instruction": ""}
    assert film_one(player, (0, row, shown.actions)).note == ""
