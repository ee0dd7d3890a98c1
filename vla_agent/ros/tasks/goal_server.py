"""An action server for one goal at a time, which ends when its node says so, within the node's own executor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rclpy.action import ActionServer, CancelResponse
from rclpy.task import Future

BUSY = "another goal is active: cancel it, or wait for its end"


class GoalServer:
    """Serves an action.

    ROS rejects a goal without a word.  So every goal is accepted, and one that is refused is aborted at once with a
    result that says why.

    Args:
        node: of the server.
        kind: the action's type.
        name: of the action.
        begin: called with the goal; returns why it is refused, empty where it has begun.
        refused: the result of a goal that is refused, from the reason.
    """

    def __init__(
        self, node: Any, kind: Any, name: str, begin: Callable[[Any], str], refused: Callable[[str], Any]
    ) -> None:
        self._node, self._begin, self._refused = node, begin, refused
        self._goal: Any = None
        self._result: Any = None
        self._server = ActionServer(node, kind, name, self._execute, cancel_callback=lambda _: CancelResponse.ACCEPT)

    @property
    def active(self) -> bool:
        """Whether a goal has begun and not ended."""
        return self._goal is not None

    @property
    def cancelled(self) -> bool:
        """Whether the active goal's client asks for its end."""
        return self._goal is not None and self._goal.is_cancel_requested

    async def _execute(self, goal: Any) -> Any:
        reason = BUSY if self.active else self._begin(goal.request)
        if reason:
            goal.abort()
            return self._refused(reason)
        self._goal, self._result = goal, Future(executor=self._node.executor)
        return await self._result

    def feedback(self, message: Any) -> None:
        """Tell the client of the active goal."""
        if self._goal is not None and self._goal.is_active:
            self._goal.publish_feedback(message)

    def end(self, result: Any, succeeded: bool) -> None:
        """End the active goal: as cancelled where its client asked for it, else as succeeded or aborted."""
        goal, self._goal = self._goal, None
        if goal.is_cancel_requested and not succeeded:
            goal.canceled()
        elif succeeded:
            goal.succeed()
        else:
            goal.abort()
        self._result.set_result(result)
