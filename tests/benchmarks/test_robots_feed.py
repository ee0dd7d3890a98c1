"""What robots-feed counts: a benchmark that accepts everything, or counts wrong, proves nothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.robots import robots_feed
from benchmarks.robots.feed_cells import (
    DELAYS,
    ENCODINGS,
    GRIPPER_HZ,
    RATES,
    SIZES,
    Cell,
    accepted,
    cells,
    messages,
    pictures,
)
from benchmarks.robots.feed_driver import arguments, from_arguments

EASY = Cell(100, 0.0, False, (96, 96), "rgb8")
FRAMES = [np.full((96, 96, 3), k, np.uint8) for k in range(3)]


def test_the_grid_is_whole():
    assert len(set(cells())) == len(RATES) * len(DELAYS) * 2 * len(SIZES) * len(ENCODINGS)


@pytest.mark.parametrize(
    "cell", [EASY, Cell(1000, 0.15, True, (96, 96), "rgb8"), Cell(20, 0.08, True, (96, 96), "rgb8")]
)
def test_what_physics_allows_is_accepted_in_every_control_step(cell):
    good, steps, why = accepted(cell, FRAMES, 1)
    assert (good, why) == (steps, "") and 20 <= steps <= 21


@pytest.mark.parametrize(("change", "word"), [({"delay": 0.25}, "after their stamps"), ({"hz": 5}, "sync|old")])
def test_what_it_does_not_allow_is_counted_as_refused(change, word):
    good, steps, why = accepted(replace(EASY, **change), FRAMES, 1)
    assert good < steps and len([w for w in word.split("|") if w in why]) == 1


def test_messages_come_at_their_rate_late_and_out_of_phase():
    heard = sorted(messages(Cell(250, 0.15, True, (96, 96), "rgb8"), np.random.default_rng(0)))
    stamps = {name: [stamp for _, source, stamp, _ in heard if source == name] for name in ("arm", "gripper", "front")}
    assert np.allclose(np.diff(stamps["arm"]), 1 / 250) and np.allclose(np.diff(stamps["gripper"]), 1 / GRIPPER_HZ)
    late = [arrived - stamp for arrived, source, stamp, _ in heard if source == "front"]
    assert min(late) >= 0.15 and max(late) < 0.16 and stamps["front"][0] != stamps["gripper"][0]


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_each_encoding_gives_different_images_in_the_policys_size(encoding):
    first, second, _ = pictures(encoding, (128, 120))
    assert first.shape == (96, 96, 3) and (first != second).mean() > 0.5


def test_a_cell_is_the_same_in_the_drivers_process():
    cell = Cell(500.0, 0.04, True, (640, 480), "nv12")
    assert from_arguments(arguments(cell, 7.5)) == (cell, 7.5)


def test_a_stop_of_the_node_or_a_step_without_action_is_no_success(monkeypatch):
    heard = {"all": robots_feed.Heard(119, 120, ()), "few": robots_feed.Heard(60, 120, ())}
    heard |= {"stopped": robots_feed.Heard(118, 120, ("front has had no new image",))}
    for name, success in (("all", True), ("few", False), ("stopped", False)):
        monkeypatch.setattr(robots_feed, "through_the_node", lambda _cell, name=name: heard[name])
        (row,) = robots_feed.node_rows(1)
        assert (row["good"] == row["n"]) is success, name
    assert row["stops"] == "front has had no new image"


def test_the_cost_of_a_joint_state_is_measured():
    assert 0 < robots_feed.state_cost(200) < 5000
