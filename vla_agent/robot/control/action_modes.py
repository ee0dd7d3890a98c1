"""What an action is, by the names of its components: the controller's mode follows from what the policy sends."""

from __future__ import annotations

from collections.abc import Sequence

from vla_agent.errors import RobotError

MODES = ("ee_delta", "joint_position")
EE_DELTA = [f"{part}.{k}" for part in ("ee_translation", "ee_rotation") for k in range(3)] + ["gripper"]


def action_layouts(joints: int) -> dict[str, list[str]]:
    """Mode -> names of the components of an action, for an arm of so many joints."""
    return {"ee_delta": EE_DELTA, "joint_position": [f"joint_position.{k}" for k in range(joints)] + ["gripper"]}


def stream_mode(names: Sequence[str], joints: int, demanded: str) -> str:
    """The mode of a stream of actions with these component names, in any order.

    Args:
        joints: number of joints of the arm.
        demanded: the only mode that is allowed; empty: either.

    Raises:
        RobotError: no action of this arm, or of another mode than is demanded.
    """
    layouts = action_layouts(joints)
    found = next((mode for mode, layout in layouts.items() if sorted(names) == sorted(layout)), "")
    if not found:
        raise RobotError(
            "the policy's actions are none that this arm takes",
            key="policy/action: joint_names",
            expected="; ".join(f"{mode}: {', '.join(layout)}" for mode, layout in layouts.items()),
            found=", ".join(names[: 2 * joints + 2]),
            remedy="use the same robot file in every node, and a policy of this robot",
        )
    if demanded and found != demanded:
        raise RobotError(
            f"the policy's actions are {found}, and the controller was told {demanded}",
            key="mode",
            expected=demanded,
            found=found,
            remedy="leave the controller's parameter mode out: it follows from the policy",
        )
    return found
