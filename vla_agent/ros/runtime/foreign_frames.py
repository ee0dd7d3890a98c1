"""Which frames other nodes publish on /tf and /tf_static, so that nobody publishes a frame twice or closes a loop."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable

KEPT = 400  # own publications that are recognised when they come back


class ForeignFrames:
    """Frames of other publishers: child -> parent.

    A node hears what it publishes itself; `sent` tells what that was.
    """

    def __init__(self) -> None:
        self.parents: dict[str, str] = {}
        self._sent: deque[Hashable] = deque(maxlen=KEPT)

    def sent(self, stamp: tuple[int, int], child: str) -> None:
        """This node publishes ``child`` with this stamp (seconds, nanoseconds)."""
        self._sent.append((stamp, child))

    def heard(self, stamp: tuple[int, int], parent: str, child: str) -> bool:
        """A frame came; whether it is another publisher's that was not known."""
        parent, child = parent.lstrip("/"), child.lstrip("/")
        if (stamp, child) in self._sent or self.parents.get(child) == parent:
            return False
        self.parents[child] = parent
        return True

    def gives(self, parent: str, child: str) -> bool:
        """Whether another node publishes ``child``, or has ``child`` above ``parent``: the tree would have a loop."""
        above, seen = parent, {parent}
        while above in self.parents and self.parents[above] not in seen:
            above = self.parents[above]
            seen.add(above)
        return child in self.parents or child in seen
