"""The simulator as a source: what viewers do to it, and what a frame then shows.  A random policy acts."""

from __future__ import annotations

import json

import numpy as np
import pytest

from sim.policies import RandomPolicy
from sim.world.scene import MAX_OBJECTS
from vla_agent.errors import ContractError, OptionError
from vla_agent.view.source import LEVELS, Command, Frame, Handle
from vla_agent.view.sources.simulator import SimulatorSettings, SimulatorSource


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    marks = tmp_path_factory.mktemp("view") / "marks.jsonl"
    source = SimulatorSource(SimulatorSettings("random", seed=3, marks=marks), RandomPolicy())
    source.open()
    yield source, marks
    source.close()


@pytest.fixture
def source(opened):
    """Back at the beginning: the task, the scene, the settings and the driver that it opened with."""
    found, _ = opened
    for control in found.controls:
        if getattr(control, "value", None) is not None and control.name in ("speed", "driver", "variation", *KNOBS):
            found.command(Command(control.name, control.value))
    found.command(Command("task", "put_in_tray"))
    found.command(Command("seed", 3))
    return found


KNOBS = ("light", "lamp", "camera_y", "camera_z", "camera_turn", "tint", "table")


def show(source, name: str = "", value=None) -> Frame:
    """The frame after a command."""
    if name:
        source.command(Command(name, value))
    frame = source.step()
    assert frame is not None
    return frame


def grab(source) -> tuple[str, Frame]:
    label = show(source).options["grab"][1]
    return label, show(source, "grab", label)


def test_it_begins_stopped_and_whole(source):
    frame = show(source)
    assert frame.status.text.startswith("stopped") and frame.status.level in LEVELS
    assert [p.name for p in frame.pictures] == ["front", "wrist"]
    assert {part.body for part in frame.scene.parts} <= set(frame.poses)
    assert {camera.body for camera in frame.scene.cameras} <= set(frame.poses)
    assert all(pose.shape == (7,) and abs(np.linalg.norm(pose[3:]) - 1) < 1e-6 for pose in frame.poses.values())
    assert source.step() is None, "nothing has changed"


def test_every_value_belongs_to_a_control(source):
    frame, names = show(source), {control.name for control in source.controls}
    assert set(frame.values) <= names and set(frame.options) <= names
    assert len(names) == len(source.controls)


def test_start_runs_and_stop_holds(source):
    show(source, "start")
    frames = [source.step() for _ in range(5)]
    assert frames[-1].facts["time"].startswith("0.30 s") and frames[-1].status.text == "running"
    assert len(frames[-1].paths[0].points) == 6
    show(source, "start")
    assert source.step() is None


def test_the_plan_starts_at_the_hand_and_grows_shorter(source):
    first = show(source).paths[1].points
    second = show(source, "step").paths[1].points
    assert len(first) == 9 and len(second) == 8
    np.testing.assert_allclose(first[1:], second)


def test_one_step_is_one_period(source):
    assert show(source, "step").facts["time"].startswith("0.05 s")
    assert source.step() is None


def test_reset_is_the_same_scene_and_next_is_another(source):
    before = show(source).facts["judged by"]
    show(source, "step")
    reset = show(source, "reset")
    assert reset.facts["judged by"] == before and reset.facts["time"].startswith("0.00 s")
    after = show(source, "next")
    assert after.values["seed"] == 4.0 and after.facts["judged by"] != before


def test_the_same_scene_is_sent_once(source):
    first, later = show(source), show(source, "step")
    assert later.scene is first.scene
    reset = show(source, "reset")
    assert all(a is b for a, b in zip(first.scene.parts, reset.scene.parts, strict=True))


def test_an_empty_instruction_is_refused_and_the_old_one_stays(source):
    with pytest.raises(OptionError, match="empty"):
        source.command(Command("instruction", "  "))
    assert show(source).facts["instruction"] != ""


def test_another_instruction_is_judged_by_the_same_task(source):
    judged = show(source).facts["judged by"]
    frame = show(source, "instruction", "open the drawer")
    assert frame.facts["instruction"] == "open the drawer" and frame.facts["judged by"] == judged


def test_a_file_of_marks_that_cannot_be_written_is_said_at_the_start(tmp_path):
    for file in (tmp_path, tmp_path / "no" / "marks.jsonl"):
        with pytest.raises(OSError):
            SimulatorSource(SimulatorSettings("no/such/policy", marks=file)).open()


def test_marks_are_appended_whole(opened):
    source, marks = opened
    show(source, "success")
    show(source, "failure")
    first, second = (json.loads(line) for line in marks.read_text().splitlines()[-2:])
    assert (first["mark"], second["mark"]) == ("success", "failure")
    assert set(first) == {"time", "policy", "task", "seed", "instruction", "steps", "simulator", "mark"}


def test_the_expert_succeeds_and_start_begins_again(source):
    source.command(Command("driver", "expert"))
    source.command(Command("start"))
    frame = show(source)
    while frame.status.text == "running":
        frame = source.step()
    assert frame.status.text.startswith("success")
    assert source.step() is None
    with pytest.raises(OptionError, match="over"):
        source.command(Command("step"))
    assert show(source, "start").facts["time"].startswith("0.05 s")


def test_nobody_holds_the_arm(source):
    source.command(Command("driver", "nobody"))
    before = show(source, "step").poses["link7"]
    after = [show(source, "step") for _ in range(5)][-1].poses["link7"]
    np.testing.assert_allclose(before, after, atol=2e-3)


def test_an_object_is_dragged_within_reach(source):
    label, frame = grab(source)
    assert label in frame.facts["object"]
    front = frame.pictures[0].image
    frame = show(source, "place", (0.5, 0.05, 0.2))
    assert frame.values["place"] == pytest.approx((0.5, 0.05, 0.2))
    assert (frame.pictures[0].image != front).any(), "the policy's cameras see it where it is"
    x, y, z = show(source, "place", (9.0, -9.0, -9.0)).values["place"]
    assert (x, y) == (0.75, -0.38) and 0 < z < 0.1, "not below the table"


def test_nothing_is_dragged_that_was_not_chosen(source):
    show(source, "grab", "none")
    for name, value in (("place", (0.5, 0.0, 0.1)), ("colour", "red"), ("remove", None)):
        with pytest.raises(OptionError, match="no object is chosen"):
            source.command(Command(name, value))


def test_colour_and_shape_change_and_the_hand_keeps_it(source):
    _, before = grab(source)
    frame = show(source, "colour", "purple")
    assert frame.values["grab"].startswith("purple") and frame.values["colour"] == "purple"
    frame = show(source, "shape", "star")
    assert frame.values["grab"] == "purple star"
    assert frame.facts["instruction"] == before.facts["instruction"], "the wording stays what it was"


def test_what_is_judged_is_not_removed_and_the_rest_is(source):
    target = source._episode.task.object_names[0]
    from vla_agent.view.sources.simulator_scene import labels

    names = {name: label for label, name in labels(source._episode.task.scene).items()}
    show(source, "grab", names[target])
    with pytest.raises(OptionError, match="judges success"):
        source.command(Command("remove"))
    other = next(label for name, label in names.items() if name not in (target,))
    show(source, "grab", other)
    frame = show(source, "remove")
    assert other not in frame.options["grab"] and frame.values["grab"] == "none"


def test_objects_are_added_until_the_scene_is_full(source):
    count = len(show(source).options["grab"]) - 1
    for number in range(count, MAX_OBJECTS):
        assert len(show(source, "add").options["grab"]) == number + 2
    with pytest.raises(OptionError, match="no room"):
        source.command(Command("add"))


@pytest.mark.parametrize(
    ("name", "value"),
    [("light", 0.4), ("lamp", 1.0), ("tint", 0.5), ("camera_y", 0.1), ("camera_z", 0.1), ("camera_turn", 10.0)]
    + [("table", "checks")],
)
def test_light_camera_and_table_change_the_picture_and_back(source, name, value):
    before = show(source).pictures[0].image
    default = source._knobs.values[name]
    assert (show(source, name, value).pictures[0].image != before).any()
    reset = show(source, "reset")
    assert (reset.pictures[0].image != before).any(), "it holds for later episodes too"
    np.testing.assert_array_equal(show(source, name, default).pictures[0].image, before)


def test_a_variation_is_that_of_the_gate_and_an_impossible_one_changes_nothing(source):
    before = show(source).pictures[0].image
    frame = show(source, "variation", "lighting")
    assert "lighting, severity 2; light x" in frame.facts["variation"]
    assert (frame.pictures[0].image != before).any()
    with pytest.raises(OptionError, match="cannot be applied"):
        show(source, "task", "open_drawer")
        source.command(Command("variation", "removed"))
    assert source._episode.variation == "lighting"


def test_the_supervisor_is_in_words():
    source = SimulatorSource(SimulatorSettings("random", seed=3, robot="panda"), RandomPolicy())
    source.open()
    try:
        source.command(Command("start"))
        frame = [source.step() for _ in range(3)][-1]
        assert frame.supervisor.level in ("good", "bad") and frame.supervisor.text
    finally:
        source.close()


def test_a_policy_for_another_robot_is_refused():
    from dataclasses import replace

    policy = RandomPolicy()
    source = SimulatorSource(SimulatorSettings("random"), policy)
    source.open()
    contract = source._env.contract
    source.close()
    policy.contract = replace(contract, control_hz=10.0)
    with pytest.raises(ContractError, match="do not fit together"):
        SimulatorSource(SimulatorSettings("random"), policy).open()


def test_what_is_dragged_is_no_list_entry(source):
    assert [c.name for c in source.controls if isinstance(c, Handle)] == ["place"]
