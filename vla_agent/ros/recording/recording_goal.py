"""The action RecordEpisode, where vla_agent_interfaces is installed: it drives a recorder's services."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

from vla_agent.errors import VlaAgentError
from vla_agent.ros.recording.recorder import OUTCOMES, Recorder
from vla_agent.ros.tasks.goal_server import GoalServer
from vla_agent.ros.tasks.own_interfaces import own_interfaces

DISCARD = "discard"
PERIOD = 0.2  # seconds between two looks, and two feedbacks


class RecordingGoal:
    """Serves record_episode; without the interface package it does nothing.

    Args:
        node: of the recorder.
        recorder: what it writes.
        begin: starts an episode with an instruction (empty: the one that holds).
        end: ends it with an outcome.
        discard: discards it.
    """

    def __init__(
        self,
        node: Any,
        recorder: Recorder,
        begin: Callable[[str], str],
        end: Callable[[str], str],
        discard: Callable[[], str],
    ) -> None:
        self._recorder, self._begin, self._end, self._discard = recorder, begin, end, discard
        self._began, self._limit, self._at_limit = 0.0, 0.0, DISCARD
        self._server: GoalServer | None = None
        interfaces = own_interfaces()
        self.offered = interfaces.offered("record_episode")
        if not interfaces.missing:
            self._kind = interfaces.action.RecordEpisode
            self._server = GoalServer(node, self._kind, "record_episode", self._start, self._refused)
            node.create_timer(PERIOD, self._look)

    def _start(self, goal: Any) -> str:
        at_limit = goal.outcome_at_limit or "failure"
        if at_limit not in (*OUTCOMES, DISCARD):
            return f"outcome_at_limit is success, failure or discard; found '{at_limit}'"
        if not (math.isfinite(goal.time_limit) and goal.time_limit >= 0):
            return f"time_limit is in seconds, 0 for none; found {goal.time_limit:g}"
        try:
            self._begin(goal.instruction.strip())
        except VlaAgentError as error:
            return str(error)
        self._began, self._limit, self._at_limit = time.monotonic(), goal.time_limit, at_limit
        return ""

    def _refused(self, reason: str) -> Any:
        return self._kind.Result(outcome="refused", reason=reason)

    def _look(self) -> None:
        if self._server is None or not self._server.active:
            return
        seconds = time.monotonic() - self._began
        if self._server.cancelled:
            self._discard()
        elif self._limit and seconds >= self._limit:
            if self._at_limit == DISCARD:
                self._discard()
            else:
                self._end(self._at_limit)
        else:
            messages, size = self._recorder.messages, self._recorder.bytes
            self._server.feedback(self._kind.Feedback(messages=messages, bytes=size, seconds=seconds))

    def ended(self, outcome: str, why: str, path: str = "") -> None:
        """The episode has ended, by whatever means: so does the goal, if there is one."""
        if self._server is None or not self._server.active:
            return
        seconds = time.monotonic() - self._began
        if self._server.cancelled:
            why = "the caller cancelled the recording"
        elif self._limit and seconds >= self._limit:
            why = f"the time limit of {self._limit:g} s is over"
        result = self._kind.Result(outcome=outcome, reason=why, path=path, seconds=seconds)
        result.messages = self._recorder.messages
        self._server.end(result, outcome in OUTCOMES)
