"""What a robot takes: the ``controller`` of a robot file, the message or action of each output, and who gets what.

Every joint, and the gripper, goes to exactly one output.  Which message each type is: `ros.outputs`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, PositiveFloat, model_validator

POSITIONS = ("joint_trajectory", "follow_joint_trajectory", "forward_position")  # types that take some of the joints
OF_SERVO = ("twist", "pose", "joint_jog")  # command types of MoveIt Servo
CARTESIAN = ("twist", "pose")
ACTIONS = ("follow_joint_trajectory", "gripper_command", "parallel_gripper_command", "franka")
FRANKA_ACTIONS = ("move", "grasp")


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class ArmOutput(_Part):
    """A message or action that moves joints.

    Attributes:
        type: see docs/ros2.md, "What a robot takes".
        topic: of the message; the name of the action for ``follow_joint_trajectory``.
        joints: names, in the order in which the controller has them; left out: all joints of the arm.  The gripper's
            joint may be among them, where one controller has both.
        servo: name of MoveIt Servo's node: its command type is set before the first message, and it must take
            ``speed_units``.
        frame: name that the robot's TF tree has for ``base_frame``, the same frame; for twist and pose.
    """

    type: Literal["joint_trajectory", "forward_position", "twist", "pose", "joint_jog", "follow_joint_trajectory"]
    topic: str = Field(min_length=1)
    joints: tuple[str, ...] | None = Field(default=None, min_length=1)
    servo: str | None = Field(default=None, min_length=1)
    frame: str | None = Field(default=None, min_length=1)

    @model_validator(mode="after")
    def _check_type(self) -> ArmOutput:
        if self.servo is not None and self.type not in OF_SERVO:
            raise ValueError(f"servo belongs to the types {', '.join(OF_SERVO)}, not to {self.type}")
        if self.frame is not None and self.type not in CARTESIAN:
            raise ValueError(f"frame belongs to the types {', '.join(CARTESIAN)}, not to {self.type}")
        return self


class _GripperOutput(_Part):
    """``open``, ``closed``: the interface's own positions, where they are not those of the gripper's joint."""

    topic: str = Field(min_length=1)
    open: float | None = None
    closed: float | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Its topics or actions."""
        return (self.topic,)

    @model_validator(mode="after")
    def _check_ends(self) -> _GripperOutput:
        if (self.open is None) != (self.closed is None) or (self.open is not None and self.open == self.closed):
            raise ValueError("open and closed are two different positions, or both are left out")
        return self


class TopicGripper(_GripperOutput):
    """The position of the gripper's joint: a Float64MultiArray, or a trajectory of one joint."""

    type: Literal["forward_position", "joint_trajectory"]


class GripperCommandGripper(_GripperOutput):
    """control_msgs/action/GripperCommand named ``topic``; ``max_effort``: N or N m, 0 where the driver has its own."""

    type: Literal["gripper_command"]
    max_effort: NonNegativeFloat


class ParallelGripper(_GripperOutput):
    """control_msgs/action/ParallelGripperCommand; effort N or N m, velocity m/s or rad/s, where they are given."""

    type: Literal["parallel_gripper_command"]
    max_effort: PositiveFloat | None = None
    max_velocity: PositiveFloat | None = None


class FrankaGripper(_GripperOutput):
    """The actions ``topic``/move and ``topic``/grasp of franka_gripper; ``open`` and ``closed`` are widths in metres.

    Attributes:
        speed: m/s.
        force: N, of a grasp.
        grasp_from: fraction (0 open to 1 closed) from which on the target is a grasp.
    """

    type: Literal["franka"]
    speed: PositiveFloat
    force: PositiveFloat
    grasp_from: float = Field(gt=0, le=1)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(f"{self.topic}/{action}" for action in FRANKA_ACTIONS)

    @model_validator(mode="after")
    def _check_widths(self) -> FrankaGripper:
        if self.open is None or self.closed is None or not 0 <= self.closed < self.open:
            raise ValueError("open and closed are widths in metres, such as open: 0.08, closed: 0.0")
        return self


GripperOutput = TopicGripper | GripperCommandGripper | ParallelGripper | FrankaGripper


class ControllerSpec(ArmOutput):
    """The outputs of a robot: the first one for the arm, further ones for the rest of its joints, and the gripper's.

    Attributes:
        gripper_topic: of a gripper that takes a Float64MultiArray; the same as ``gripper: {type: forward_position}``.
        gripper: any other gripper; both are left out where the gripper's joint is among the ``joints`` of an output.
        further: outputs for joints that the first one does not have.
    """

    gripper_topic: str | None = Field(default=None, min_length=1)
    gripper: Annotated[GripperOutput, Field(discriminator="type")] | None = None
    further: tuple[ArmOutput, ...] = ()

    @model_validator(mode="after")
    def _check_outputs(self) -> ControllerSpec:
        if self.gripper_topic is not None and self.gripper is not None:
            raise ValueError("gripper_topic and gripper are two answers to one question; leave one out")
        if self.further and any(output.joints is None for output in self.arms):
            raise ValueError("with further outputs each one, the first too, says its joints")
        twice = [name for name, n in Counter(self.topics(hardware=True)).items() if n > 1]
        if twice:
            raise ValueError(f"two outputs have the topic {', '.join(twice)}")
        return self

    @property
    def arms(self) -> tuple[ArmOutput, ...]:
        """The outputs that move joints."""
        return (self, *self.further)

    @property
    def gripper_output(self) -> GripperOutput | None:
        """The gripper's own output; None where its joint belongs to another one."""
        if self.gripper_topic is not None:
            return TopicGripper(type="forward_position", topic=self.gripper_topic)
        return self.gripper

    def outputs(self, hardware: bool) -> tuple[tuple[str, str], ...]:
        """Type and topic of each output, the first of the arm first, then the gripper's.

        Without ``hardware`` under ``sim/``, so that a simulated graph reaches no motor.  For an action the topic is its
        name.
        """
        found: list[tuple[str, str]] = [(self.type, self.topic)]
        gripper = self.gripper_output
        found += [(gripper.type, name) for name in gripper.names] if gripper is not None else []
        found += [(output.type, output.topic) for output in self.further]
        return tuple((kind, topic if hardware else simulated(topic)) for kind, topic in found)

    def topics(self, hardware: bool) -> tuple[str, ...]:
        """The topics and actions of `outputs`."""
        return tuple(topic for _, topic in self.outputs(hardware))

    def require_each_once(self, joints: Sequence[str], gripper: str) -> None:
        """Check that each joint, and the gripper, goes to exactly one output.

        Raises:
            ValueError: one does not, or is unknown, or belongs to an output that cannot take it.
        """
        given = Counter(name for output in self.arms for name in (joints if output.joints is None else output.joints))
        if self.gripper_output is not None:
            given[gripper] += 1
        known = (*joints, gripper)
        for name in given:
            if name not in known:
                nearest = get_close_matches(name, known, 1)
                raise ValueError(f"there is no joint {name}" + (f"; did you mean {nearest[0]}?" if nearest else ""))
        missing, twice = [n for n in known if not given[n]], [n for n in known if given[n] > 1]
        if missing or twice:
            told = [f"goes nowhere: {', '.join(missing)}"] * bool(missing)
            told += [f"goes to two outputs: {', '.join(twice)}"] * bool(twice)
            raise ValueError("; ".join(told))
        for output in self.arms:
            own = output.joints or tuple(joints)
            if output.type in CARTESIAN and set(own) != set(joints):
                raise ValueError(f"{output.type} moves the end effector: it takes all joints of the arm, and no other")
            if gripper in own and output.type not in POSITIONS:
                raise ValueError(f"{output.type} cannot take the gripper's joint {gripper}")


def simulated(topic: str) -> str:
    """The topic under ``sim/``, where no motor listens."""
    return f"/sim{topic}" if topic.startswith("/") else f"sim/{topic}"
