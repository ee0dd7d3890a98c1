"""Evenly spaced commands from images that come unevenly."""

from __future__ import annotations

import numpy as np

from vla_agent.ros.runtime.jitter_buffer import LEAST, JitterBuffer

T = 0.05


def acted(readiness: np.ndarray) -> np.ndarray:
    """When each step is acted on that is ready ``readiness`` (n,) seconds after its beat."""
    metronome, moments = JitterBuffer(T), []
    for k, late in enumerate(readiness):
        now = 7.0 + k * T + late
        moments.append(now + metronome.wait(k, now))
    return np.array(moments)


def test_steps_are_acted_on_more_evenly_and_never_much_later_than_the_latest():
    readiness = np.random.default_rng(0).uniform(0.004, 0.012, 400)
    moments = acted(readiness)
    beats = 7.0 + T * np.arange(400)
    uneven = np.abs(np.diff(moments) - T)[100:]
    assert np.quantile(uneven, 0.9) < 0.2 * np.quantile(np.abs(np.diff(beats + readiness) - T), 0.9)
    assert (moments >= beats + readiness - 1e-9).all() and (moments - beats).max() < 0.0121
    assert (moments - beats)[: LEAST - 1].tolist() == (beats + readiness - beats)[: LEAST - 1].tolist()


def test_cameras_out_of_step_are_not_waited_for():
    """30 images a second, 20 commands: every second step is ready a third of a period later."""
    readiness = np.tile([0.001, 0.0177], 100)
    np.testing.assert_allclose(acted(readiness), 7.0 + T * np.arange(200) + readiness)


def test_one_very_late_image_makes_one_late_command():
    readiness = np.full(200, 0.005)
    readiness[100] = 0.030
    late = acted(readiness) - 7.0 - T * np.arange(200)
    assert (late > 0.006).sum() == 1


def test_a_clock_that_drifts_is_followed():
    readiness = 0.005 + 1e-4 * np.arange(600)  # the robot's clock runs slow by 2 in 1,000
    late = acted(readiness) - 7.0 - T * np.arange(600) - readiness
    assert late.max() < 0.001


def test_a_clock_that_jumps_makes_nothing_wait_for_long():
    metronome = JitterBuffer(T)
    for k in range(50):
        assert metronome.wait(k, k * T) < 1e-9
    assert metronome.wait(150, 51 * T) == 0


def test_after_a_new_instruction_nothing_waits_at_first():
    metronome = JitterBuffer(T)
    for k in range(50):
        metronome.wait(k, k * T + 0.01 * (k % 2))
    assert metronome.wait(50, 50 * T) > 0
    metronome.clear()
    assert metronome.wait(0, 9.0) == 0
