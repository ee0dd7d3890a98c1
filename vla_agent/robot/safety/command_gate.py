"""The one gate where commands leave for the robot: nothing else has the robot's topics, and it is closed by default.

Plain class; `ros.nodes.safety_node` gives it the messages that come in, the clock, and the way out.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from vla_agent.robot.safety.hold import Target
from vla_agent.robot.safety.supervisor import RUNNING, STOPPED, Command, Supervisor


class CommandGate:
    """A supervisor whose targets reach the robot only while the gate is open.

    On hardware it is closed until `permit` is called, and closed again by `withdraw`.  A robot that moves when the
    permission is withdrawn is stopped, and the targets of that stop pass, up to the first that rests: a moving arm
    without commands would be worse, and so would a resting one that still has a plan to move.  After them nothing
    passes, whatever happens.

    Args:
        supervisor: it judges every command; after this only the gate may be asked for anything that has an effect.
        deliver: sends a target to the robot.
        refused: why nothing may pass yet; empty where no permission is needed, as in simulation.
        prepare: asks the robot's side for what is needed before the first target; while the gate is open, at each tick.
    """

    def __init__(
        self,
        supervisor: Supervisor,
        deliver: Callable[[Target], None],
        refused: str,
        prepare: Callable[[], None] = lambda: None,
    ) -> None:
        self._supervisor, self._deliver, self._prepare = supervisor, deliver, prepare
        self._refused = refused
        self._braking = False  # whether the targets of the last stop pass, although the gate is closed
        self._planned = False  # whether what was sent last goes on moving by itself

    @property
    def refused(self) -> str:
        """Why nothing passes; empty where the gate is open."""
        return self._refused

    @property
    def stopped(self) -> bool:
        """Whether the robot may not move."""
        return self._supervisor.mode == STOPPED or bool(self._refused)

    def permit(self) -> None:
        """The robot may be commanded from now on."""
        self._refused = ""

    def withdraw(self, reason: str, now: float) -> None:
        """The robot may not be commanded any more; ``reason`` is not empty.

        A robot that moves is stopped first.
        """
        was_open, self._refused = not self._refused, reason or "no permission"
        if was_open:
            self._braking = self._supervisor.braking_steps > 0 or self._planned
            self._send(self._supervisor.stop("certificate", reason, now))

    # -- what comes in: everything that may make the supervisor command the robot ---------------------------------

    def on_joint_state(
        self, joints: np.ndarray, gripper: float, stamp: float, now: float, effort: float | None = None
    ) -> None:
        """See `Supervisor.on_joint_state`."""
        self._send(self._supervisor.on_joint_state(joints, gripper, stamp, now, effort))

    def on_deadman(self, pressed: bool, now: float) -> None:
        """The deadman switch is pressed, or was released."""
        if pressed:
            self._supervisor.on_deadman_pressed(now)
        else:
            self._send(self._supervisor.on_deadman_released(now))

    def command(self, command: Command, age: float, now: float) -> None:
        """See `Supervisor.command`."""
        if self._refused:
            self._supervisor.counts["refused without a certificate"] += 1
        else:
            self._send(self._supervisor.command(command, age, now))

    def end(self) -> None:
        """See `Supervisor.end`."""
        self._send(self._supervisor.end())

    def stop(self, kind: str, reason: str, now: float) -> None:
        """See `Supervisor.stop`."""
        self._send(self._supervisor.stop(kind, reason, now))

    def reset(self, now: float) -> tuple[bool, str]:
        """See `Supervisor.reset`; refused while the gate is closed."""
        return (False, self._refused) if self._refused else self._supervisor.reset(now)

    def tick(self, now: float, clock: float) -> None:
        """See `Supervisor.tick`."""
        if not self._refused:
            self._prepare()
        self._send(self._supervisor.tick(now, clock))

    def final(self, now: float, wait: Callable[[], None]) -> None:
        """The robot is commanded to rest before this program ends; ``wait`` waits for a control period."""
        if self._refused and not self._braking:
            return
        for target in self._supervisor.final(now):
            wait()
            self._send(target)

    @property
    def brakes(self) -> bool:
        """Whether the robot was commanded to stop and does not rest yet."""
        return self._supervisor.mode == STOPPED and self._supervisor.braking_steps > 0

    @property
    def runs(self) -> bool:
        """Whether the robot follows commands."""
        return self._supervisor.mode == RUNNING

    def _send(self, target: Target | None) -> None:
        if target is None or (self._refused and not self._braking):
            return
        if self._refused:
            self._braking = not target.rests
        self._planned = bool((target.path != target.joints).any())
        self._deliver(target)
