"""What a policy's folder says of its reader: kinds of instruction, values of slots, wordings, calibration.  No torch.

A *kind* is a family of tasks, a form of question, or one of `REFUSED`.  A kind's canonical wording has slots, of which
``{target}`` and ``{other}`` are things (a shape and a colour), ``{colour}`` is a fixture's colour.
"""

from __future__ import annotations

import math
import re
from dataclasses import asdict, dataclass, fields
from typing import Any

REFUSED = ("other", "unsafe")  # nothing that can be done here; what must not be done
OPEN, UNKNOWN = "open", "unknown"  # of a shape or colour: not said; said, but none of this world
ROLES = ("target.shape", "target.colour", "other.shape", "other.colour", "colour", "direction")
SLOT = re.compile(r"\{(target|targets|other|shape|colour|direction)\}")
Curve = tuple[float, float]


@dataclass
class ReadOutputs:
    """Logits: kinds (B, K); of each role (B, its values); pointers (B, R, L), log-probabilities over the tokens.

    Tensors of torch in training, arrays or tensors where a text is read.
    """

    kinds: Any
    values: dict[str, Any]
    pointers: Any


@dataclass(frozen=True)
class ReaderSettings:
    """Settings of a reader.

    tasks, questions: kind -> canonical wording.  shapes, colours, directions: the values of slots, in the order of the
    model's outputs.  templates: wordings that pass unchanged, with slots ``{thing}``, ``{colour}``, ``{direction}``.
    lacking: words for directions that the policy has not learned, such as *behind*.
    scripts: writing systems of the grammars (`scripts_of`); a text with letters of another is refused.  Empty: of a
    reader from before they were recorded, which tries every text.
    curve: slope and offset of the logistic function that turns the model's log-odds into the probability of a right
    reading (Platt 1999).  refuse_below: an instruction is refused below this probability.
    """

    tasks: dict[str, str]
    questions: dict[str, str]
    shapes: tuple[str, ...]
    colours: tuple[str, ...]
    directions: tuple[str, ...]
    templates: tuple[str, ...] = ()
    lacking: tuple[str, ...] = ()
    scripts: tuple[str, ...] = ()
    curve: Curve = (1.0, 0.0)
    refuse_below: float = 0.4

    def __post_init__(self) -> None:
        """Raise `ValueError` for settings that no reader can have."""
        if not self.tasks or not all(math.isfinite(n) for n in self.curve) or not 0 <= self.refuse_below <= 1:
            raise ValueError("a reader needs tasks, a finite curve and a threshold from 0 to 1")
        if set(self.tasks) & set(self.questions) or set(REFUSED) & {*self.tasks, *self.questions}:
            raise ValueError("two kinds of instruction have one name")

    @property
    def kinds(self) -> tuple[str, ...]:
        """Every kind, in the order of the model's output."""
        return (*self.tasks, *self.questions, *REFUSED)

    def canonical(self, kind: str) -> str:
        """The canonical wording of a kind, "" for those that are refused."""
        return self.tasks.get(kind) or self.questions.get(kind, "")

    def roles(self, kind: str) -> tuple[str, ...]:
        """The roles that a kind's wording fills."""
        slots = set(SLOT.findall(self.canonical(kind)))
        found: list[str] = []
        for slot in ("target", "other"):
            if slot in slots or slot + "s" in slots:
                found += [f"{slot}.shape", f"{slot}.colour"]
        found += ["target.shape"] if "shape" in slots else []
        return (*found, *(slot for slot in ("colour", "direction") if slot in slots))

    def values(self, role: str) -> tuple[str, ...]:
        """What a role can be, in the order of the model's output."""
        if role == "direction":
            return (*self.directions, UNKNOWN)
        return (*(self.shapes if role.endswith("shape") else self.colours), OPEN, UNKNOWN)

    @classmethod
    def from_dict(cls, described: Any) -> ReaderSettings:
        """From what `to_dict` gave.

        Raises:
            ValueError, TypeError, KeyError, AttributeError: it is something else.
        """
        if unknown := sorted(described.keys() - {field.name for field in fields(cls)}):
            raise ValueError(f"there is no setting {unknown[0]}")
        slope, offset = described["curve"]
        return cls(
            tasks={str(k): str(v) for k, v in described["tasks"].items()},
            questions={str(k): str(v) for k, v in described["questions"].items()},
            curve=(float(slope), float(offset)),
            refuse_below=float(described["refuse_below"]),
            scripts=tuple(map(str, described.get("scripts", ()))),
            **{k: tuple(map(str, described[k])) for k in ("shapes", "colours", "directions", "templates", "lacking")},
        )

    def to_dict(self) -> dict[str, Any]:
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}
