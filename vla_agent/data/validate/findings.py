"""What is wrong with a dataset, in a form that says where and what to do."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

LEAVE_OUT = "leave the episode out, or record it again"


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong.

    Args:
        check: which check found it, such as ``missing frames``.
        what: one sentence.
        episode, frame: the place; the frame counts from the episode's first.  None where it concerns the whole dataset.
        key: the feature or file concerned.
        found: what was there.
        remedy: what to do.
        error: False for what is suspicious and may be right.
    """

    check: str
    what: str
    episode: int | None
    frame: int | None
    key: str
    found: str
    remedy: str
    error: bool = True

    def text(self) -> str:
        """Two or three lines, as the command line shows them."""
        place = "dataset" if self.episode is None else f"episode {self.episode}"
        place += "" if self.frame is None else f", frame {self.frame}"
        kind = "error" if self.error else "warning"
        return f"{kind}: {self.check}: {place}: {self.key}\n  {self.what}: {self.found}\n  remedy: {self.remedy}"

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)
