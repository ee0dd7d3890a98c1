"""Goals for an action server: only the answers to the newest goal count, and nothing ever waits for one."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

from action_msgs.msg import GoalStatus
from rclpy.action import ActionClient

ANSWER = 1.0  # seconds within which a server accepts or rejects a goal
ENDINGS = {GoalStatus.STATUS_SUCCEEDED: "reached", GoalStatus.STATUS_CANCELED: "canceled"}


class GoalSender:
    """A client of the action ``name``.

    Args:
        node: of rclpy.
        action: the action's type.
        on_end: called with the ending of the newest goal (reached, canceled or aborted) and its result.
    """

    def __init__(self, node: Any, action: Any, name: str, on_end: Callable[[str, Any], None]) -> None:
        self._client: Any = ActionClient(node, action, name)
        self._name, self._on_end = name, on_end
        self._newest = 0  # number of the newest goal
        self._unanswered: dict[int, float] = {}  # number of a goal -> seconds of the steady clock when it was sent
        self._refusal = ""

    @property
    def ready(self) -> bool:
        """Whether there is a server; what an earlier one did not answer does not count."""
        if bool(self._client.server_is_ready()):
            return True
        self._unanswered.clear()
        return False

    @property
    def waits(self) -> bool:
        """Whether a goal was not answered yet."""
        return bool(self._unanswered)

    @property
    def problem(self) -> str:
        """Why no goal can be carried out; empty where one can."""
        if not self.ready:
            return f"no action server {self._name}: is its controller active?"
        if self._refusal:
            return self._refusal
        return f"the action server {self._name} does not answer" if self._hangs else ""

    @property
    def _hangs(self) -> bool:
        return bool(self._unanswered) and time.monotonic() - next(iter(self._unanswered.values())) > ANSWER

    def clear(self) -> None:
        """Try again after a refusal or a silence."""
        self._refusal = ""
        self._unanswered.clear()

    def refuse(self, why: str) -> None:
        """Something speaks against further goals until `clear`."""
        self._refusal = f"{self._name}: {why}"

    def send(self, goal: Any) -> bool:
        """Send a goal, which replaces the one before; whether there is a server that answers."""
        if not self.ready or self._hangs:
            return False
        self._newest += 1
        number = self._newest
        self._unanswered[number] = time.monotonic()
        self._client.send_goal_async(goal).add_done_callback(partial(self._answered, number))
        return True

    def _answered(self, number: int, future: Any) -> None:
        known = self._unanswered.pop(number, None) is not None
        handle = future.result() if future.exception() is None else None
        if handle is None or not handle.accepted:
            if known:  # an answer after `clear` is that of another attempt
                self.refuse("the goal was rejected")
            return
        if number == self._newest:
            handle.get_result_async().add_done_callback(partial(self._ended, number))

    def _ended(self, number: int, future: Any) -> None:
        if number != self._newest or future.exception() is not None:
            return  # the result of a goal that was replaced
        response = future.result()
        self._on_end(ENDINGS.get(response.status, "aborted"), response.result)
