"""A defect of a dataset: what, where, and what to do."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

from vla_agent.errors import printable

EDIT = " (vla-agent data edit DIR --leave-out EPISODE -o NEW)"
LEAVE_OUT = f"leave the episode out{EDIT}, or record it again"


@dataclass(frozen=True)
class Finding:
    """One defect.

    Args:
        check: which check found it, such as ``missing frames``.
        what: the defect in one sentence.
        episode, frame: where it is; the frame counts from the episode's first.  None for the whole dataset.
        key: the feature or file concerned.
        found: the values found.
        remedy: what to do.
        error: False for a warning: suspicious, but possibly right.
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
        """Three lines for the command line."""
        where = "dataset" if self.episode is None else f"episode {self.episode}"
        where += "" if self.frame is None else f", frame {self.frame}"
        kind = "error" if self.error else "warning"
        lines = f"{kind}: {self.check}: {where}: {self.key}\n  {self.what}: {self.found}\n  remedy: {self.remedy}"
        return printable(lines)

    def without_edit(self) -> Finding:
        """The same without the command that edits: it takes only datasets that have a contract."""
        return replace(self, remedy=self.remedy.replace(EDIT, ""))

    def to_dict(self) -> dict[str, Any]:
        """Plain data: the JSON of ``vla-agent data validate --json``."""
        return asdict(self)
