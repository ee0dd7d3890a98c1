"""Whether the frames that a robot file names exist in TF, where somebody publishes it."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches

from vla_agent.files.input_limits import NAME

WAIT = 5.0  # seconds from the first frame that is heard until the others are missed
KEPT = 1024  # names of frames that are remembered, for the nearest one


class FrameCheck:
    """Hears frames, and says once which of the wanted ones are missing.

    A frame is a robot's own name for a place: where there is no TF, or not yet, nothing is missing.
    """

    def __init__(self, wanted: Sequence[str]) -> None:
        self._missing = list(dict.fromkeys(wanted))
        self._heard: set[str] = set()
        self._since: float | None = None  # seconds, when the first frame was heard
        self.done = False  # nothing more to hear

    def hear(self, frames: Sequence[str], now: float) -> None:
        """Names of frames came; ``now``: seconds of a steady clock."""
        self._since = now if self._since is None else self._since
        names = {frame.removeprefix("/")[:NAME] for frame in frames}
        self._missing = [frame for frame in self._missing if frame not in names]
        if len(self._heard) < KEPT:
            self._heard |= names
        self.done = self.done or not self._missing

    def report(self, now: float) -> str:
        """The frames that are missing, in words, once; else empty."""
        if self.done or self._since is None or now - self._since < WAIT:
            return ""
        self.done = True
        near = get_close_matches(self._missing[0], sorted(self._heard), 1)
        meant = f"; did you mean {near[0]}?" if near else ""
        return f"not in TF: {', '.join(self._missing)}, frames of the robot file{meant}"
