"""Each refusal of the supervisor alone, at its limit and just inside it, on an arm that can be computed by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest

from vla_agent.errors import RobotError
from vla_agent.robot.description import Robot, load_robot
from vla_agent.robot.safety.command_gate import CommandGate
from vla_agent.robot.safety.hold import DISPLACED, OPENED, SETTLE, Hold
from vla_agent.robot.safety.lookahead import MARGIN, LookAhead
from vla_agent.robot.safety.stream_limits import ROUNDING, TOLERANCE, StreamLimits
from vla_agent.robot.safety.supervisor import IDLE, RUNNING, STOPPED, Command, Supervisor, Timing

PANDA = load_robot("panda")
T = 0.125  # seconds: exact in binary, as are the stamps below
HOME = np.zeros(2)
NOTHING = np.empty((0, 2))
ARM = """
<mujoco>
  <worldbody>
    <body name="post" pos="0 0.5 0"><geom name="post" size="0.05"/></body>
    <body name="inner" pos="-0.3 0 0"><geom size="0.05"/></body>
    <body name="one"><joint name="a" axis="0 0 1" range="-179 179"/><geom size="0.05" pos="0.3 0 0"/>
      <body name="two" pos="0.3 0 0"><joint name="b" axis="0 0 1" range="-179 179"/><geom size="0.05" pos="0.2 0 0"/>
        <site name="tip" pos="0.2 0 0"/>
      </body>
    </body>
  </worldbody>
</mujoco>
"""


def joint(name: str, **limits) -> dict:
    usual = {"position": [-3.1, 3.1], "velocity": 1.0, "acceleration": 4.0, "jerk": 128.0}
    return {"name": name, **usual, **limits}


@pytest.fixture(scope="module")
def robot(tmp_path_factory) -> Robot:
    """Two links of 0.3 and 0.2 m in the plane, a ball at the end of each, a post and a wall; 8 Hz."""
    folder = tmp_path_factory.mktemp("arm")
    (folder / "arm.xml").write_text(ARM)
    wall = {"name": "wall", "size": [0.05, 0.05, 0.05], "position": [0.0, -0.55, 0.0]}
    data = PANDA.model_dump(mode="json") | {
        "model": "arm.xml",
        "control_hz": 8.0,
        "home": [0.0, 0.0],
        "joints": [joint("a"), joint("b", velocity=0.5)],
        "end_effector": "tip",
        "kinematics": {"rounds": 4, "null_gain": 0.0, "workspace": None},
        "workspace": {"low": [-0.45, -0.5, -0.1], "high": [0.6, 0.5, 0.1]},
        "lookahead": {"guarded": ["two"], "forbidden": ["post", "inner", "one"], "seconds": 0.5, "obstacles": [wall]},
    }
    (folder / "arm.yaml").write_text(json.dumps(data))
    return load_robot(folder / "arm.yaml")


# Limits of a stream


def limits_at(robot: Robot, position=HOME, velocity=HOME, acceleration=HOME) -> StreamLimits:
    limits = StreamLimits(robot)
    limits.rest(np.array(position, float))
    limits.velocity, limits._last_acceleration = np.array(velocity, float), np.array(acceleration, float)
    return limits


def test_the_tolerances_are_these():
    assert (MARGIN, TOLERANCE, ROUNDING) == (0.01, 1e-3, 1e-6)


@pytest.mark.parametrize("k", [0, 1])
@pytest.mark.parametrize("side", [-1, 1])
def test_each_joints_range_may_be_passed_by_rounding_and_no_more(robot, k, side):
    end = (robot.low, robot.high)[side > 0]
    at = np.where(np.arange(2) == k, end, 2.0 * side)
    for beyond, allowed in ((0.0, True), (1e-6, True), (1.2e-6, False), (1.0, False)):
        joints = at + np.where(np.arange(2) == k, side * beyond, 0.0)
        limits = limits_at(robot, joints)
        assert limits.within(joints) is allowed
        found = limits.check(joints)
        assert (
            found is None
            if allowed
            else found.startswith(f"{'ab'[k]} position {joints[k]:.3f} outside -3.100 to 3.100")
        )


@pytest.mark.parametrize("sign", [-1, 1])
@pytest.mark.parametrize("k", [0, 1])
def test_each_joints_velocity_may_be_passed_by_a_thousandth(robot, k, sign):
    limit = (1.0, 0.5)[k]
    for share, allowed in ((1.0009, True), (1.0011, False)):
        speed = np.where(np.arange(2) == k, sign * limit * share, 0.0)
        found = limits_at(robot, velocity=speed).check(speed * T)
        assert found is None if allowed else found == f"{'ab'[k]} velocity {sign * limit:.2f} over {limit:.2f} rad/s"


@pytest.mark.parametrize("sign", [-1, 1])
@pytest.mark.parametrize("k", [0, 1])
def test_each_joints_acceleration_may_be_passed_by_a_thousandth(robot, k, sign):
    for share, allowed in ((1.0009, True), (1.0011, False)):
        acceleration = np.where(np.arange(2) == k, sign * 4.0 * share, 0.0)
        before = -acceleration * T / 2
        limits = limits_at(robot, velocity=before, acceleration=acceleration)
        found = limits.check((before + acceleration * T) * T)
        assert found is None if allowed else found == f"{'ab'[k]} acceleration {sign * 4:.2f} over 4.00 rad/s^2"


@pytest.mark.parametrize("sign", [-1, 1])
@pytest.mark.parametrize("k", [0, 1])
def test_each_joints_jerk_may_be_passed_by_a_thousandth(robot, k, sign):
    smooth = robot.model_copy(update={"joints": tuple(j.model_copy(update={"jerk": 8.0}) for j in robot.joints)})
    for share, allowed in ((1.0009, True), (1.0011, False)):
        change = np.where(np.arange(2) == k, sign * 8.0 * share * T, 0.0)
        limits = limits_at(smooth, acceleration=-change / 2)
        found = limits.check(change / 2 * T * T)
        assert found is None if allowed else found == f"{'ab'[k]} jerk {sign * 8.01:.2f} over 8.00 rad/s^3"


def test_the_joint_is_named_that_passes_its_own_limit_most(robot):
    """1.2 of 1.0 rad/s is less than 0.65 of 0.5, though the difference is larger."""
    speed = np.array([1.2, 0.65])
    assert limits_at(robot, velocity=speed).check(speed * T).startswith("b velocity 0.65")


@pytest.mark.parametrize(
    ("joints", "word"), [(np.zeros(3), "3 joint targets for 2"), ([0, np.nan], "NaN"), ([np.inf, 0], "NaN or inf")]
)
def test_what_is_no_target_is_refused(robot, joints, word):
    assert word in StreamLimits(robot).check(np.array(joints, float))


@pytest.mark.parametrize("k", [0, 1])
@pytest.mark.parametrize("side", [-1, 1])
def test_every_row_of_a_path_stays_within_the_joints_ranges_and_the_first_that_leaves_is_named(robot, k, side):
    end = (robot.low, robot.high)[side > 0]
    limits = limits_at(robot, end)
    for row in range(3):
        path = np.tile(end, (3, 1))
        path[row, k] += side * 1e-6
        assert limits.check_path(path) is None
        path[row, k] += side * 0.2e-6
        path[2, 1 - k] += side * 0.1
        named = "ab"[k] if row < 2 or k == 0 else "a"
        found = limits.check_path(path)
        assert found.startswith(
            f"{named} position {side * (3.2 if named != 'ab'[k] else 3.1):.3f} outside -3.100 to 3.100"
        )


@pytest.mark.parametrize(
    ("speeds", "word"),
    [
        ([0.5, 0.9, 1.0009], None),
        ([0.5, 0.9, 1.0011], "a velocity 1.00 over 1.00 rad/s"),
        ([-0.25, -0.25, -0.25 + 0.5 * 1.0009], None),
        ([-0.25, -0.25, -0.25 + 0.5 * 1.0011], "a acceleration 4.00 over 4.00 rad/s^2"),
        ([0.5 * 1.0009, 0.0, 0.0], None),
        ([0.5 * 1.0011, 0.0, 0.0], "a acceleration 4.00 over 4.00 rad/s^2"),
    ],
)
def test_every_row_of_a_path_is_held_to_the_limits_of_motion(robot, speeds, word):
    path = np.cumsum([[speed * T, 0.0] for speed in speeds], axis=0)
    assert limits_at(robot).check_path(path) == word


@pytest.mark.parametrize("share", [1.0009, 1.0011])
def test_the_jerk_of_a_path_counts_from_what_was_accepted_last(robot, share):
    smooth = robot.model_copy(update={"joints": tuple(j.model_copy(update={"jerk": 8.0}) for j in robot.joints)})
    limits = limits_at(smooth, velocity=[0.1, 0.0], acceleration=[1.0, 0.0])
    broken = None if share < 1.001 else "b jerk 8.01 over 8.00 rad/s^3"
    steady = np.array([[0.1, 0.0], [0.1, 0.0], [0.1, share * T * T * 8.0]])
    assert limits.check_path(np.cumsum(steady * T, axis=0)) == broken
    limits = limits_at(smooth, velocity=[0.1, 0.0], acceleration=[share, 0.0])
    assert (limits.check_path(np.array([[0.1 * T, 0.0]])) is None) is (share < 1.001)


def test_a_path_is_allowed_where_each_of_its_rows_is():
    """Against the check of single targets, on paths around the limits."""
    rng, results = np.random.default_rng(0), []
    limits = StreamLimits(PANDA)
    home, period = np.array(PANDA.home), PANDA.period
    for _ in range(300):
        limits.rest(home)
        scale = rng.uniform(0.3, 1.6) * PANDA.limits("acceleration") * period**2
        path = home + np.cumsum(np.cumsum(rng.uniform(-1, 1, (4, 7)) * scale, axis=0), axis=0)
        whole = limits.check_path(path)
        single = None
        for row in path:
            single = single or limits.check(row)
            limits.accept(row)
        assert (whole is None) is (single is None)
        results.append(whole is None)
    assert 30 < sum(results) < 270


def test_what_was_accepted_is_what_the_next_target_is_compared_with(robot):
    """At a constant speed there is neither acceleration nor jerk."""
    smooth = robot.model_copy(update={"joints": tuple(j.model_copy(update={"jerk": 1.0}) for j in robot.joints)})
    limits = limits_at(smooth, velocity=[0.5, 0.0])
    for k in range(1, 5):
        target = np.array([0.5 * k * T, 0.0])
        assert limits.check(target) is None
        limits.accept(target)
        target[0] = 9.0
    assert limits.velocity.tolist() == [0.5, 0.0] and limits.position[0] == 0.5 * 4 * T
    assert not limits._last_acceleration.any()
    limits.accept(limits.position)
    assert limits._last_acceleration.tolist() == [-4.0, 0.0] and not limits.velocity.any()


@pytest.mark.parametrize(
    ("velocity", "steps", "path"),
    [
        ([0.0, 0.0], 0, [0.0]),
        ([0.5, 0.0], 2, [0.0, 0.0]),
        ([1.0, 0.0], 3, [0.0625, 0.0625]),
        ([-1.0, 0.25], 3, [-0.0625, -0.0625]),
        ([0.75, 0.0], 3, [0.03125, 0.03125]),
    ],
)
def test_the_fastest_stop(robot, velocity, steps, path):
    limits = limits_at(robot, velocity=velocity)
    assert limits.braking_steps == steps and limits.braking_time == np.abs(velocity).max() / 4
    assert limits.stop_path(HOME, np.array(velocity), len(path))[:, 0].tolist() == path
    assert limits.decelerated()[0] == path[0] and limits.position.tolist() == [0, 0]


def test_the_fastest_stop_stays_within_the_joints_ranges(robot):
    limits = limits_at(robot, position=[3.09, -3.09], velocity=[1.0, -0.75])
    assert limits.decelerated().tolist() == [3.1, -3.1]


def test_a_robot_rests_at_home_until_it_is_told_otherwise(robot):
    limits = StreamLimits(robot.model_copy(update={"home": (0.5, -0.5)}))
    assert limits.position.tolist() == [0.5, -0.5] and limits.check(np.array([0.5, -0.5])) is None


# Look-ahead


def place(angle: float) -> np.ndarray:
    """The straight arm at an angle; the ball's distance from the post is 2 x 0.5 x sin of half the angle to it."""
    return np.array([angle, 0.0])


@pytest.mark.parametrize("side", [-1, 1])
def test_a_guarded_body_keeps_its_margin_from_a_forbidden_one(robot, side):
    near = 2 * np.arcsin((0.05 + 0.05 + 0.01) / 2 / 0.5)
    ahead = LookAhead(robot.model_copy(update={"workspace": robot.workspace.model_copy(update={"high": (1, 1, 1)})}))
    assert ahead.check(place(np.pi / 2 + side * (near - 1e-3))) == "post would touch two"
    assert ahead.check(place(np.pi / 2 + side * (near + 1e-3))) is None


def test_a_guarded_body_keeps_its_margin_from_an_obstacle(robot):
    """The ball is let down at x = 0, by bending the elbow, to the wall's upper side at y = -0.5."""
    ahead = LookAhead(robot)
    for beyond, touches in ((1e-3, True), (-1e-3, False)):
        depth = 0.5 - 0.05 - MARGIN + beyond
        elbow = np.arccos((depth**2 - 0.13) / 0.12)
        shoulder = -np.pi / 2 - np.arctan2(0.2 * np.sin(elbow), 0.3 + 0.2 * np.cos(elbow))
        assert (ahead.check(np.array([shoulder, elbow])) == "two would touch wall") is touches


@pytest.mark.parametrize(("name", "told"), [("", "world.geom.0"), ('name="ground"', "ground")])
def test_a_shape_of_the_world_has_its_name_or_gets_one(robot, tmp_path, name, told):
    ground = f'<geom {name} type="box" size="0.05 0.05 0.05" pos="0.5 0 0"/>'
    (tmp_path / "arm.xml").write_text(ARM.replace("<worldbody>", f"<worldbody>{ground}"))
    data = robot.model_dump(mode="json") | {"model": "arm.xml"}
    data["lookahead"] |= {"guarded": ["two"], "forbidden": ["world"], "obstacles": []}
    (tmp_path / "arm.yaml").write_text(json.dumps(data))
    ahead = LookAhead(load_robot(tmp_path / "arm.yaml"))
    assert ahead.check(place(0.0)) == f"two would touch {told}" and ahead.check(place(1.0)) is None


def test_bodies_that_are_not_guarded_may_touch_anything(robot):
    inner = LookAhead(robot)
    assert inner.check(np.array([np.pi - 0.05, np.pi / 2])) is None, "the first ball lies in the inner one"
    only = {"guarded": ("one",), "forbidden": ("two",), "obstacles": ()}
    free = LookAhead(robot.model_copy(update={"lookahead": robot.lookahead.model_copy(update=only)}))
    assert free.check(place(np.pi / 2 - 0.1)) is None, "the post is not forbidden there"
    wall = {"guarded": ("two",), "forbidden": ("one",)}
    low = (0.0, -0.3, 0.0)
    at = robot.lookahead.obstacles[0].model_copy(update={"position": low})
    touching = robot.lookahead.model_copy(update=wall | {"obstacles": (at,)})
    resting = LookAhead(robot.model_copy(update={"lookahead": touching}))
    assert resting.check(np.array([-np.pi / 2, np.pi / 2])) is None, "the first ball is in the wall, and not guarded"


@pytest.mark.parametrize(("axis", "angle"), [(0, 0.0), (1, 1.2), (1, -1.2)])
def test_the_end_effector_stays_in_the_workspace(robot, axis, angle):
    ahead = LookAhead(robot)
    where = ahead.end_effector(place(angle))
    assert where == pytest.approx([0.5 * np.cos(angle), 0.5 * np.sin(angle), 0])
    side = "low" if where[axis] < 0 else "high"
    for beyond, inside in ((1e-6, True), (-1e-6, False)):
        box = list(getattr(robot.workspace, side))
        box[axis] = where[axis] + np.sign(where[axis]) * beyond
        other = robot.model_copy(update={"workspace": robot.workspace.model_copy(update={side: tuple(box)})})
        found = LookAhead(other).check(place(angle))
        assert found is None if inside else "outside its workspace" in found
    assert ahead.check(HOME) is None


def test_a_path_is_looked_at_between_its_targets_and_says_when(robot):
    free, touching = np.pi / 2 + 0.25, np.pi / 2
    wide = robot.workspace.model_copy(update={"high": (1.0, 1.0, 1.0)})
    ahead = LookAhead(robot.model_copy(update={"workspace": wide}))
    jump = np.array([place(np.pi / 2 - 0.25)])
    assert ahead.check(jump[0]) is None
    assert ahead.path(place(free), jump) == "post would touch two now", "half the way between"
    assert (
        ahead.path(place(2.6), np.array([place(2.4), place(2.2), place(touching)]))
        == "post would touch two within 3 periods"
    )
    assert ahead.path(place(2.6), np.array([place(2.4), place(2.2)])) is None
    assert ahead.path(place(2.6), np.empty((0, 2))) is None


@pytest.mark.parametrize(
    ("change", "missing"),
    [
        ({"guarded": ("two", "three")}, "body three"),
        ({"forbidden": ("posts",)}, "body posts"),
        ({"end_effector": "top"}, "end_effector: top"),
        ({"joint": "c"}, "joint c"),
    ],
)
def test_names_that_the_model_lacks_are_refused(robot, change, missing):
    if "end_effector" in change:
        other = robot.model_copy(update=change)
    elif "joint" in change:
        other = robot.model_copy(update={"joints": (robot.joints[0], robot.joints[1].model_copy(update={"name": "c"}))})
    else:
        other = robot.model_copy(update={"lookahead": robot.lookahead.model_copy(update=change)})
    with pytest.raises(RobotError, match="missing in the robot's model") as caught:
        LookAhead(other)
    assert caught.value.key == missing


# The supervisor


class Line:
    """A supervisor with a joint state and a command a period; the arm is ``behind`` (2,) rad."""

    def __init__(self, robot: Robot, deadman: bool = False, behind: np.ndarray = HOME) -> None:
        self.supervisor = Supervisor(robot, deadman=deadman)
        self.k, self.joints, self.behind = 0, HOME.copy(), behind

    @property
    def now(self) -> float:
        return self.k * T

    def state(self, joints: np.ndarray | None = None, gripper: float = 0.0, **more):
        joints = self.joints - self.behind if joints is None else joints
        return self.supervisor.on_joint_state(joints, gripper, self.now, self.now, more.get("effort", 0.0))

    def send(self, joints, age: float = 0.0, stamp: float | None = None, plan=NOTHING, gripper: float = 0.0):
        stamp = self.now if stamp is None else stamp
        return self.supervisor.command(Command(np.array(joints, float), gripper, stamp, np.array(plan)), age, self.now)

    def run(self, periods: int, speed: float = 0.25) -> None:
        """Drive joint a at a speed that it reaches within its limits."""
        for n in range(periods):
            self.k += 1
            if n:
                self.joints = self.joints + [speed * T, 0.0]
            self.state(self.joints if not n else None)
            assert self.send(self.joints) is not None, self.supervisor.reason


@pytest.fixture
def line(robot) -> Line:
    made = Line(robot)
    made.run(3)
    assert made.supervisor.mode == RUNNING
    return made


def reason(line: Line) -> str:
    return line.supervisor.reason if line.supervisor.mode == STOPPED else ""


def forward(line: Line, count: int = 1) -> np.ndarray:
    """The next target at the speed of the stream."""
    return line.joints + [0.25 * T * count, 0.0]


def test_the_limits_of_time_are_these():
    times = Timing()
    assert (times.stale, times.age, times.gap, times.clock_jump, times.deadman) == (1.75, 3.0, 2, 0.25, 0.5)
    assert (times.start_distance, times.start_shift, times.start_motion) == (0.01, 0.001, 0.05)
    assert (times.lag, times.jump) == (0.4, 0.1)


def test_a_command_within_all_limits_passes_and_is_counted(line):
    line.k += 1
    line.state()
    sent = line.send(forward(line), gripper=0.5)
    assert (
        sent.joints.tolist() == forward(line).tolist()
        and sent.gripper == 0.5
        and sent.start.tolist() == line.joints.tolist()
    )
    assert line.supervisor.counts == {"commands": 4} and not sent.rests


@pytest.mark.parametrize(
    ("gripper", "allowed"), [(1 + 1e-3, True), (1.0011, False), (-1e-3, True), (-0.0011, False), (np.nan, False)]
)
def test_the_gripper_may_pass_its_ends_by_a_thousandth(line, gripper, allowed):
    line.k += 1
    line.state()
    line.send(forward(line), gripper=gripper)
    assert reason(line) == ("" if allowed else f"gripper: {gripper} is not within 0 to 1")


@pytest.mark.parametrize(
    ("age", "allowed"), [(-T, True), (-T - 1e-6, False), (3 * T, True), (3 * T + 1e-6, False), (np.nan, False)]
)
def test_a_command_is_neither_late_nor_early(line, age, allowed):
    line.k += 1
    line.state()
    line.send(forward(line), age=age)
    assert reason(line).startswith("late") != allowed and bool(reason(line)) != allowed


@pytest.mark.parametrize(("share", "allowed"), [(0.5, True), (0.49, False), (0.0, False), (-1.0, False), (1.0, True)])
def test_two_commands_are_half_a_period_apart(line, share, allowed):
    stamp = line.now + share * T
    line.k += 1
    line.state()
    line.send(forward(line), stamp=stamp)
    assert reason(line).startswith("rate") != allowed and bool(reason(line)) != allowed


def test_a_stream_that_ends_in_motion_is_at_rest_from_then_on(line):
    target = line.supervisor.end()
    assert target.rests and target.joints.tolist() == line.joints.tolist() and line.supervisor.braking_steps == 0
    held = line.supervisor.stop("e-stop", "pressed", line.now)
    assert held.rests and held.joints.tolist() == line.joints.tolist()


def test_a_new_stream_may_begin_at_once(line):
    line.supervisor.end()
    assert line.send(line.joints) is not None and line.supervisor.mode == RUNNING


@pytest.mark.parametrize(("missing", "allowed"), [(0, True), (1, True), (2, True), (3, False)])
def test_two_commands_may_be_missing_and_not_three(robot, missing, allowed):
    line = Line(robot)
    line.run(3, speed=0.0)
    line.k += 1
    line.state()
    line.send(line.joints, stamp=line.now + missing * T)
    assert reason(line) == ("" if allowed else f"sequence: {missing} commands are missing")
    assert line.supervisor.counts["missing commands"] == (missing if allowed else 0)


def test_after_a_gap_the_stream_begins_from_rest(line):
    """At the stream's speed the next target is too sudden from rest only where it is far."""
    line.k += 2
    line.state()
    line.send(line.joints + [0.5 * T * 1.0011, 0.0])
    assert reason(line).startswith("limit: a acceleration")


def test_the_arm_follows_within_its_lag(robot):
    for lag, allowed in ((0.399, True), (0.401, False)):
        line = Line(robot)
        line.run(2, speed=0.0)
        line.k += 5
        for k in range(5):  # the arm is led away, slowly enough for its velocity limits
            line.supervisor.on_joint_state(np.array([-lag * (k + 1) / 5, 0.0]), 0.0, line.now, line.now, 0.0)
        line.send(line.joints, stamp=3 * T)
        assert reason(line) == ("" if allowed else "following: the robot does not follow its commands")


@pytest.mark.parametrize(
    ("spoil", "kind"),
    [
        (lambda line: line.send([0.0, 0.0, 0.0]), "limit: 3 targets for 2 joints"),
        (lambda line: line.send([np.nan, 0.0]), "limit: a joint target is NaN"),
        (lambda line: line.send(forward(line), plan=[[0.0, np.inf]]), "limit: a joint target is NaN"),
        (lambda line: line.send(forward(line), plan=np.zeros((2, 3))), "limit: the plan has another number"),
        (lambda line: line.send(forward(line), plan=np.zeros((2, 1))), "limit: the plan has another number"),
        (lambda line: line.send(forward(line), plan=np.zeros(2)), "limit: the plan has another number"),
        (lambda line: line.send(line.joints + [0.2, 0.0]), "limit: a velocity"),
        (lambda line: line.state(np.zeros(3)), "joint state: not 2 finite positions"),
        (lambda line: line.state(np.array([0, np.nan])), "joint state: not 2 finite positions"),
        (lambda line: line.state(gripper=np.nan), "joint state: not 2 finite positions"),
        (lambda line: line.state(gripper=np.inf), "joint state: not 2 finite positions"),
    ],
)
def test_what_is_no_command_or_joint_state_stops(line, spoil, kind):
    line.k += 1
    line.state()
    spoil(line)
    assert reason(line).startswith(kind) and line.supervisor.counts[f"stop: {kind.partition(':')[0]}"] == 1


@pytest.mark.parametrize(("share", "allowed"), [(1.75, True), (1.76, False)])
def test_joint_states_may_be_nearly_two_periods_old(line, share, allowed):
    last = line.now
    line.supervisor.command(Command(forward(line), 0.0, last + T, NOTHING), 0.0, last + share * T)
    assert reason(line) == ("" if allowed else "joint state: none, or too old")


def test_a_robot_that_was_never_seen_is_not_commanded(robot):
    line = Line(robot)
    assert line.send(HOME) is None and reason(line) == "joint state: none, or too old"


def test_silence_of_commands_and_of_joint_states_are_told_apart(line):
    last = line.now
    assert line.supervisor.tick(last + 1.75 * T, last + 1.75 * T) is None and not reason(line)
    assert line.supervisor.tick(last + 1.76 * T, last + 1.76 * T) is not None
    assert reason(line).startswith("command: none for 0.22")


def test_silence_of_joint_states_alone_stops(line):
    seen = line.now
    line.k += 1
    assert line.send(forward(line)) is not None
    assert line.supervisor.tick(seen + 1.75 * T, seen + 1.75 * T) is None and not reason(line)
    line.supervisor.tick(seen + 1.76 * T, seen + 1.76 * T)
    assert reason(line).startswith("joint state: none for 0.22")


@pytest.mark.parametrize("sign", [-1, 1])
@pytest.mark.parametrize(("jump", "allowed"), [(0.25, True), (0.2501, False)])
def test_a_clock_may_jump_by_a_quarter_of_a_second(line, sign, jump, allowed):
    assert line.supervisor.tick(line.now, 100.0) is None and not reason(line)
    line.supervisor.tick(line.now + 0.125, 100.125 + sign * jump)
    text = f"clock: advanced by {0.125 + sign * jump:.2f} s while 0.12 s passed"
    assert reason(line) == ("" if allowed else text)


def test_the_clocks_are_compared_however_long_nobody_asks(robot):
    line = Line(robot)
    line.run(1)
    line.supervisor.tick(line.now, line.now)
    for _ in range(4):
        line.k += 1
        line.state()
        assert line.send(line.joints) is not None
    line.supervisor.tick(line.now, line.now)
    assert not reason(line)


def test_after_a_reset_the_clock_may_be_another(line):
    line.supervisor.tick(line.now, 100.0)
    line.supervisor.stop("e-stop", "pressed", line.now)
    for _ in range(8):
        line.k += 1
        line.state()
        line.supervisor.tick(line.now, 100.0)
    assert line.supervisor.reset(line.now)[0]
    line.k += 1
    line.state()
    assert line.send(line.joints - line.behind) is not None
    assert line.supervisor.tick(line.now, 500.0) is None and not reason(line)


def jumped(line: Line, step: float, elapsed: float = T) -> None:
    now = line.now + elapsed
    line.supervisor.on_joint_state(line.joints + [0.0, step], 0.0, now, now, 0.0)


@pytest.mark.parametrize("sign", [-1, 1])
@pytest.mark.parametrize(("elapsed", "most"), [(T, 0.1625), (0.01, 0.1625), (2 * T, 0.225)])
def test_a_joint_moves_no_further_than_it_can_and_a_tenth(robot, sign, elapsed, most):
    for beyond, allowed in ((-1e-6, True), (1e-6, False)):
        line = Line(robot)
        line.run(2, speed=0.0)
        jumped(line, sign * (most + beyond), elapsed)
        assert reason(line) == ("" if allowed else f"joint state: b jumped by {sign * most:.3f} rad")


def test_what_a_joint_may_jump_is_allowed_itself(robot):
    line = Line(robot)
    line.supervisor = Supervisor(robot, Timing(jump=0.125))
    line.run(2, speed=0.0)
    jumped(line, 0.0625 + 0.125)
    assert not reason(line)


def test_the_time_between_two_joint_states_is_the_longer_of_both_clocks(robot):
    line = Line(robot)
    line.run(2, speed=0.0)
    line.supervisor.on_joint_state(line.joints + [0.0, 0.2], 0.0, line.now + 2 * T, line.now + 0.01, 0.0)
    assert not reason(line)


def test_the_first_joint_state_says_where_the_robot_is(robot):
    line = Line(robot)
    where = HOME + 0.01
    line.state(where, gripper=0.05)
    held = line.supervisor.stop("e-stop", "pressed", 0.0)
    assert held.joints.tolist() == where.tolist() and held.gripper == 0.05 and held.rests


def test_a_hold_that_begins_with_the_first_joint_state_takes_its_time_to_settle(robot):
    line = Line(robot)
    line.state(HOME)
    line.k += 1
    line.state(HOME - [0.01, 0.0])
    line.k += 1
    led = HOME + [0.15, 0.0]
    line.state(led)
    assert line.supervisor.stop("e-stop", "pressed", line.now).joints.tolist() == led.tolist()


@pytest.mark.parametrize("ended", [True, False])
def test_an_arm_that_lags_behind_is_not_taken_for_one_that_was_moved(robot, ended):
    line = Line(robot, behind=np.array([0.1, 0.0]))
    line.run(6)
    target = line.supervisor.end() if ended else line.supervisor.stop("e-stop", "pressed", line.now)
    commanded = target.joints.copy()
    for _ in range(2):
        line.k += 1
        line.supervisor.on_joint_state(line.joints - line.behind, 0.0, line.now, line.now, 0.0)
        held = line.supervisor.tick(line.now, line.now)
        assert (held is None) == ended
    last = line.supervisor.stop("e-stop", "pressed", line.now) if ended else held
    assert last.joints[0] >= commanded[0], "it is not pulled back"


# The deadman switch


def test_the_deadman_switch_counts_only_where_it_is_asked_for(line):
    assert line.supervisor.on_deadman_released(line.now) is None and line.supervisor.mode == RUNNING
    line.k += 1
    line.state()
    assert line.send(forward(line)) is not None
    line.supervisor.tick(line.now, line.now)
    assert not reason(line)


def test_releasing_the_switch_stops_a_motion_and_nothing_else(robot):
    line = Line(robot, deadman=True)
    line.state()
    assert line.supervisor.on_deadman_released(0.0) is None and line.supervisor.mode == IDLE
    line.supervisor.on_deadman_pressed(0.0)
    line.run(2)
    assert (
        line.supervisor.on_deadman_released(line.now) is not None and reason(line) == "deadman: the switch was released"
    )
    for later in (0.0, 2 * T):
        assert line.supervisor.on_deadman_released(line.now + later) is None
    assert line.supervisor.counts["stop: deadman"] == 1


def test_a_switch_that_was_released_before_the_first_command_is_not_pressed(robot):
    line = Line(robot, deadman=True)
    line.state()
    line.supervisor.on_deadman_pressed(0.0)
    line.supervisor.on_deadman_released(0.0)
    assert line.send(HOME) is not None and reason(line) == "deadman: the switch is not pressed"


@pytest.mark.parametrize(("silent", "allowed"), [(0.5, True), (0.5001, False)])
def test_the_switch_is_pressed_again_within_half_a_second(robot, silent, allowed):
    line = Line(robot, deadman=True)
    line.k = 1
    line.state()
    line.supervisor.on_deadman_pressed(line.now - silent)
    line.send(HOME)
    assert reason(line) == ("" if allowed else "deadman: the switch is not pressed")
    line = Line(robot, deadman=True)
    line.supervisor.on_deadman_pressed(T)
    line.run(2)
    line.supervisor.on_deadman_pressed(line.now + T - silent)
    line.supervisor.tick(line.now + T, line.now + T)
    assert reason(line) == ("" if allowed else "deadman: the switch is silent")


@pytest.mark.parametrize(("silent", "allowed"), [(0.5, True), (0.3, True), (0.5001, False), (np.inf, False)])
def test_a_stop_is_left_only_with_the_switch_pressed(robot, silent, allowed):
    line = Line(robot, deadman=True)
    line.k = 1
    line.state()
    line.supervisor.stop("e-stop", "pressed", line.now)
    line.supervisor.on_deadman_pressed(line.now - silent)
    done, why = line.supervisor.reset(line.now)
    assert done is allowed and (why == "was stopped: e-stop: pressed" or "deadman switch is not pressed" in why)


# Stop and reset


def test_the_first_reason_is_kept_and_told_afterwards(line):
    line.supervisor.stop("e-stop", "pressed", line.now)
    line.supervisor.stop("certificate", "expired", line.now)
    assert reason(line) == line.supervisor.last_stop == "e-stop: pressed"
    assert line.supervisor.counts["stop: e-stop"] == 1 and "stop: certificate" not in line.supervisor.counts
    line.k += 1
    line.state()
    assert line.send(line.joints) is None and line.supervisor.counts["refused while stopped"] == 1
    for _ in range(8):
        line.k += 1
        line.state()
        line.supervisor.tick(line.now, line.now)
    assert line.supervisor.reset(line.now) == (True, "was stopped: e-stop: pressed")
    assert (line.supervisor.mode, line.supervisor.reason, line.supervisor.last_stop) == (IDLE, "", "e-stop: pressed")
    assert line.supervisor.reset(line.now) == (True, "not stopped, idle")


def test_a_moving_arm_is_not_reset_however_slow(robot):
    line = Line(robot)
    line.run(4, speed=0.0625)
    line.supervisor._limits.velocity = np.array([0.55, 0.0])
    line.supervisor.stop("e-stop", "pressed", line.now)
    assert 0 < line.supervisor._limits.velocity.max() < 0.1
    assert line.supervisor.reset(line.now) == (False, "still braking")
    line.k += 1
    line.state()
    line.supervisor.tick(line.now, line.now)
    assert line.supervisor.reset(line.now)[0]


@pytest.mark.parametrize(("share", "allowed"), [(1.75, True), (1.76, False)])
def test_a_stop_is_left_only_with_a_fresh_joint_state(robot, share, allowed):
    line = Line(robot)
    line.state()
    line.supervisor.stop("e-stop", "pressed", 0.0)
    assert line.supervisor.reset(share * T)[0] is allowed


def test_after_a_reset_the_arm_is_where_it_was_measured(robot):
    line = Line(robot)
    line.run(2, speed=0.0)
    line.supervisor.stop("e-stop", "pressed", line.now)
    line.k += 1
    moved = line.joints + [0.75 * DISPLACED, 0.0]
    line.state(moved)
    assert line.supervisor.tick(line.now, line.now).joints.tolist() == line.joints.tolist(), "within the tolerance"
    assert line.supervisor.reset(line.now)[0]
    assert line.supervisor.stop("e-stop", "again", line.now).joints.tolist() == moved.tolist()


def test_targets_of_a_stop_come_once_a_period(line):
    assert line.supervisor.stop("e-stop", "pressed", line.now) is not None
    for share, sent in ((0.0, False), (0.98, False), (0.995, True)):
        now = line.now + share * T
        assert (line.supervisor.tick(now, now) is not None) is sent
    assert line.supervisor.stop("e-stop", "again", line.now + 1.5 * T) is None
    assert line.supervisor.stop("e-stop", "again", line.now + 2 * T) is not None


def test_what_is_last_sent(line):
    final = line.supervisor.final(line.now)
    assert final[-1].rests and len(final) == 2, "it can stop at once"
    assert reason(line) == "end: the program ends" and np.array_equal(final[-1].joints, final[-2].joints)


# The start of a stream


@pytest.mark.parametrize("order", [0, 1, 2])
def test_a_stream_begins_at_the_nearest_of_the_last_places(robot, order):
    """The arm is led through three places; the first command is at one of them."""
    places = [HOME + [0.0, 0.02 * k] for k in range(3)]
    line = Line(robot)
    for k, where in enumerate(places):
        line.k = k + 1
        line.state(where)
    assert line.send(places[order]) is not None, reason(line)


# What is looked at ahead


def looked(line: Line, monkeypatch) -> list[tuple[np.ndarray, np.ndarray]]:
    calls = []
    monkeypatch.setattr(line.supervisor._lookahead, "path", lambda start, targets: calls.append((start, targets)))
    return calls


def test_without_a_plan_the_fastest_stop_is_looked_at(line, monkeypatch):
    calls = looked(line, monkeypatch)
    line.k += 1
    line.state()
    line.send(forward(line))
    ((start, targets),) = calls
    assert np.array_equal(start, line.joints) and targets.shape == (4, 2), "half a second at 8 Hz"
    assert targets[:, 0] == pytest.approx([forward(line)[0]] * 4), "it can stop at once"
    line.joints = forward(line)
    fast = line.joints + [0.7 * T, 0.0]
    line.k += 1
    line.state()
    assert line.send(fast) is not None
    targets = calls[1][1]
    assert targets[:, 0] - fast[0] == pytest.approx([0.0, 0.2 * T, 0.2 * T, 0.2 * T])


def test_a_plan_is_looked_at_up_to_the_horizon_and_then_a_stop(line, monkeypatch):
    calls = looked(line, monkeypatch)
    line.k += 1
    line.state()
    first = forward(line)
    plan = first + np.array([[0.05, 0.0], [0.15, 0.0], [0.3, 0.0], [0.5, 0.0], [0.8, 0.0]])
    supervisor, now = line.supervisor, line.now
    rows = {}
    for length in (1, 2, 3, 4, 5):
        rows[length] = supervisor._rollout(Command(first, 0.0, now, plan[:length]))
    assert not calls
    for length in (1, 2, 3, 4, 5):
        kept = min(length, 3)
        assert np.array_equal(rows[length][: 1 + kept], np.vstack([first, plan[:kept]]))
        before = plan[kept - 2] if kept > 1 else first
        speed = (plan[kept - 1] - before)[0] / T
        braked = plan[kept - 1, 0] + max(speed - 0.5, 0) * T
        assert rows[length][1 + kept, 0] == pytest.approx(braked)
        to_rest = supervisor._limits.steps_to_rest(np.array([speed, 0.0]))
        assert len(rows[length]) == max(4, 1 + kept + to_rest) and to_rest > 1
        assert np.array_equal(rows[length][-1], rows[length][-2]), "the last point rests"
    assert np.array_equal(line.send(first, plan=plan[:2]).path, rows[2]), "what was looked at is what is sent"


def test_a_horizon_shorter_than_a_period_is_one_command_and_a_stop(robot):
    short = robot.model_copy(update={"lookahead": robot.lookahead.model_copy(update={"seconds": 0.01})})
    plan = np.array([[0.05, 0.0], [0.1, 0.0]])
    assert Supervisor(short)._rollout(Command(HOME, 0.0, 0.0, plan)).tolist() == [[0, 0], [0, 0]]


@pytest.mark.parametrize(("row", "allowed"), [(1, False), (2, False), (3, False), (4, True)])
def test_every_row_of_a_plan_within_the_horizon_is_held_to_the_limits(line, row, allowed):
    line.k += 1
    line.state()
    plan = np.array([forward(line, 1 + k) for k in range(1, row + 1)])
    plan[-1, 1] = 0.07
    assert line.send(forward(line), plan=plan) is not None
    assert reason(line) == ("" if allowed else "limit: b velocity 0.56 over 0.50 rad/s in the plan")


def test_a_command_into_an_obstacle_is_refused_and_the_arm_brakes_from_where_it_is(robot):
    line = Line(robot)
    line.k = 1
    start = np.array([np.pi / 2 - 0.28, 0.0])
    inside = robot.workspace.model_copy(update={"high": (1.0, 1.0, 1.0)})
    line.supervisor = Supervisor(robot.model_copy(update={"workspace": inside}))
    line.joints = start
    line.state(start)
    assert line.send(start) is not None, reason(line)
    line.k += 1
    line.state(start)
    plan = start + np.outer(np.arange(2, 5), [0.05, 0.0])
    assert line.send(start + [0.05, 0.0], plan=plan) is not None
    assert reason(line) == "look-ahead: post would touch two within 2 periods"
    assert line.supervisor._limits.position.tolist() == start.tolist()


# The hold alone


def test_a_hold_that_was_never_begun_is_that_of_a_robot_at_home(robot):
    limits = StreamLimits(robot)
    hold = Hold(limits, T)
    assert hold.gripper == 0.0 and hold.target(True).joints.tolist() == [0, 0]
    hold.on_joint_state(HOME, OPENED, 0.0)
    assert hold.gripper == 0.0, "the limit itself is allowed"
    hold = Hold(limits, T)
    hold.on_joint_state(HOME, OPENED + 1e-6, 0.0)
    assert hold.gripper == OPENED + 1e-6
    assert (DISPLACED, OPENED, SETTLE) == (0.02, 0.1, 0.5)
    hold.on_joint_state(HOME, 1.5, 0.1)
    assert hold.gripper == 1.0, "not beyond its end"
    hold = Hold(limits, T)
    hold.on_joint_state(HOME - 0.015, 0.0, 0.0)
    hold.on_joint_state(HOME + 0.2, 0.0, 0.1)
    assert limits.position == pytest.approx([0.215, 0.215]), "it has settled"


@pytest.mark.parametrize("error", [-0.015, 0.015])
def test_an_arm_that_settles_above_or_below_its_target_is_left_there(robot, error):
    limits = limits_at(robot)
    hold = Hold(limits, T)
    hold.begin(HOME - error, 0.0, 0.0)
    hold.on_joint_state(HOME - error, 0.0, 2 * SETTLE)
    assert hold.target(True).joints.tolist() == [0, 0]
    hold.on_joint_state(HOME - error + 0.2, 0.0, 3 * SETTLE)
    assert hold.target(True).joints == pytest.approx([0.2, 0.2]), "its own error is kept where it is moved"


# The gate


def test_a_closed_gate_sends_nothing_at_the_end_and_does_not_wait(line):
    sent, waited = [], []
    gate = CommandGate(line.supervisor, sent.append, "no certificate")
    gate.final(line.now, lambda: waited.append(1))
    assert not sent and not waited and line.supervisor.mode == RUNNING
    gate.permit()
    gate.final(line.now, lambda: waited.append(1))
    assert len(sent) == len(waited) >= 2 and sent[-1].rests
