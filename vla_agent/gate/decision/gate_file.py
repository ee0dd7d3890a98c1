"""The gate file: what a policy must show, fixed before it is tried.  Its SHA-256 goes into the certificate."""

from __future__ import annotations

import difflib
import hashlib
from dataclasses import dataclass
from os import PathLike
from pathlib import PurePath
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, ValidationError, field_validator, model_validator
from ruamel.yaml.error import YAMLError

from sim.perturbations.catalogue import AXES, PROBES
from sim.tasks.task import select
from vla_agent.errors import GateError, TaskError
from vla_agent.files.bounded_reading import as_text, read_bytes
from vla_agent.files.bounded_yaml import parse_yaml
from vla_agent.files.hashing import hash_file
from vla_agent.files.input_limits import YAML_BYTES
from vla_agent.files.shipped import find_shipped

ORACLE = "oracle"  # the cell, and the check of the gate file
DELAY = "delay"  # kind of the cells that are played with another latency
AxisName = Literal[AXES]  # type: ignore[valid-type]  # from the catalogue, the one list of their names
ProbeName = Literal[PROBES]  # type: ignore[valid-type]  # likewise


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Check(_Strict):
    """H0: rate <= threshold, against threshold + margin.  Without a threshold the rate is reported, not judged."""

    threshold: float | None = Field(gt=0, lt=1)
    margin: float = Field(0.1, gt=0, lt=1)

    @model_validator(mode="after")
    def _below_one(self) -> Check:
        if self.threshold is not None and self.threshold + self.margin >= 1:
            raise ValueError(f"threshold + margin must be below 1, is {self.threshold + self.margin:g}")
        return self


class Demand(Check):
    """A check that must have a threshold."""

    threshold: float = Field(gt=0, lt=1)


class CellCheck(Check):
    """A check with episodes of its own, in the cell that ``CELL`` names from its fields."""

    CELL: ClassVar[str]

    @property
    def cell(self) -> str:
        return self.CELL.format_map(dict(self))


class Axis(CellCheck):
    """Success under a perturbation, on the seeds of the unperturbed control."""

    CELL = "axis.{axis}.{severity}"
    axis: AxisName
    severity: int = Field(ge=1, le=3)


class Probe(CellCheck):
    """A language or vision probe; docs/gate.md says which outcome counts."""

    CELL = "probe.{probe}"
    probe: ProbeName


class Delay(CellCheck):
    """Success with another latency than the certified one, on the seeds of the control."""

    CELL = DELAY + ".{delay_ms:g}"
    delay_ms: float = Field(ge=0, le=10_000)


class Checks(_Strict):
    """``success``: the mean over all tasks; ``family``: each task separately; ``oracle``: given the true places."""

    success: Demand
    family: Check
    axes: tuple[Axis, ...] = ()
    language: tuple[Probe, ...] = Field(min_length=1)
    delays: tuple[Delay, ...] = ()
    oracle: Check | None = Field(None, description="success with the true places of target and goal; null: not played")

    @model_validator(mode="after")
    def _sound(self) -> Checks:
        cells = [check.cell for check in (*self.axes, *self.language, *self.delays)]
        double = sorted({c for c in cells if cells.count(c) > 1})
        if double:
            raise ValueError(f"named twice: {', '.join(double)}")
        if not any(p.probe == "swap" and p.threshold is not None for p in self.language):
            raise ValueError("language must judge the probe swap: a policy that ignores its instruction must not pass")
        return self


class Gate(_Strict):
    """A whole gate file."""

    format: Literal[2]
    name: str
    suite: str = "tabletop"
    tasks: tuple[str, ...] = Field((), description="families of the suite; empty: all")
    split: Literal["seen", "objects"] = "seen"
    alpha: float = Field(0.05, gt=0, lt=0.5, description="false-pass rate over all attempts with one checkpoint")
    beta: float = Field(0.05, gt=0, lt=0.5, description="false-fail rate of each check at threshold + margin")
    block: PositiveInt = Field(20, description="episodes that an undecided check gets at a time")
    reported: PositiveInt = Field(20, description="episodes of a check without a threshold")
    estimated: PositiveInt = Field(
        20, description="unperturbed episodes of every family that are played in any case, for the estimate of success"
    )
    validity_days: PositiveInt = 90
    delay_ms: float | None = Field(
        None, ge=0, description="latency that the policy is certified for; null: what is measured, rounded up"
    )
    execution: Literal["open_loop", "ensemble", "adaptive", "realtime"] = Field(
        "open_loop", description="execution mode of chunks, in the gate and then on the robot"
    )
    checks: Checks

    @field_validator("tasks")
    @classmethod
    def _below_here(cls, tasks: tuple[str, ...]) -> tuple[str, ...]:
        for name in tasks:
            if PurePath(name).is_absolute() or ".." in PurePath(name).parts:
                raise ValueError(f"{name}: a family of the suite, or a task file below the working directory")
        return tasks

    def checks_by_name(self) -> dict[str, Check]:
        """Name -> check: success, family.NAME, axis.NAME.SEVERITY, probe.NAME, delay.MS, oracle."""
        families = {f"family.{name}": self.checks.family for name in self.families()}
        cells = {c.cell: c for c in (*self.checks.axes, *self.checks.language, *self.checks.delays)}
        oracle = {} if self.checks.oracle is None else {ORACLE: self.checks.oracle}
        return {"success": self.checks.success, **families, **cells, **oracle}

    def families(self) -> tuple[str, ...]:
        """Names of the task families, in the order of play."""
        return tuple(select(list(self.tasks) or None, self.suite))


@dataclass(frozen=True)
class GateFile:
    """A gate file as it was read, once: its content and the bytes that it was read from."""

    gate: Gate
    data: bytes

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()


def load_gate(path: str | PathLike[str]) -> Gate:
    """The content of a gate file; see `read_gate`."""
    return read_gate(path).gate


def read_gate(path: str | PathLike[str]) -> GateFile:
    """Read a gate file.

    Raises:
        GateError: the file is missing, not YAML, or has a wrong key or value; names file, line, key and valid names.
    """
    file = find_shipped(path)
    try:
        content = read_bytes(file, GateError, YAML_BYTES)
        data = parse_yaml(as_text(content, file, GateError), file, GateError, "rt")
    except OSError as error:
        raise GateError(
            "there is no such gate file",
            file=file,
            expected="a YAML file such as gates/tabletop.yaml",
            found=getattr(error, "strerror", None) or error,
            remedy="check the path",
        ) from error
    except YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        raise GateError(
            "the gate file is not valid YAML",
            file=f"{file}:{mark.line + 1}" if mark else file,
            expected="YAML: key: value",
            found=getattr(error, "problem", str(error)),
            remedy="fix the line",
        ) from error
    return GateFile(parse_gate(data, file), content)


def parse_gate(data: Any, file: str | PathLike[str]) -> Gate:
    """Check plain data, as read from ``file``.

    Raises:
        GateError: a wrong key, value, suite or task.
    """
    if not isinstance(data, dict):
        raise GateError(
            "the gate file is not a mapping",
            file=file,
            expected=", ".join(Gate.model_fields),
            found=type(data).__name__,
            remedy="start from gates/tabletop.yaml",
        )
    _require_format(data, file)
    try:
        gate = Gate.model_validate(data)
    except ValidationError as error:
        # an unknown key is more telling than the missing key that it stands for
        first = min(error.errors(), key=lambda e: e["type"] != "extra_forbidden")
        keys = [str(k) for k in first["loc"]]
        unknown = first["type"] == "extra_forbidden"
        names = _valid_names(first["loc"])
        near = difflib.get_close_matches(keys[-1], names, n=1) if unknown else []
        raise GateError(
            "the gate file has a wrong key or value",
            file=f"{file}{_line(data, first['loc'])}",
            key=".".join(keys),
            expected=", ".join(names) if unknown else first["msg"],
            found=", ".join(map(str, first["input"])) if isinstance(first["input"], dict) else str(first["input"]),
            remedy=f"did you mean {near[0]}?" if near else "fix the value",
        ) from error
    try:
        gate.families()
    except TaskError as error:
        line = _line(data, (error.key,)) if error.key else ""
        raise GateError(
            error.what, file=f"{file}{line}", key=error.key, expected=error.expected, found=error.found,
            remedy=error.remedy,
        ) from error  # fmt: skip
    return gate


def _require_format(data: dict[str, Any], file: str | PathLike[str]) -> None:
    """Refuse what earlier releases wrote, with the reason."""
    for key, old in (("seed", "seed" in data), ("format", "format" not in data or data["format"] == 1)):
        if old:
            raise GateError(
                "the gate file is of format 1, whose fixed seed let a policy be tried on the gate's scenes beforehand",
                file=f"{file}{_line(data, (key,))}",
                key=key,
                expected="format: 2, and no seed",
                found=data.get(key, "no format"),
                remedy="write `format: 2` and remove `seed`: seeds are drawn when an attempt is entered in the ledger",
            )


def hash_gate(path: str | PathLike[str]) -> str:
    """SHA-256 of the gate file's bytes."""
    return hash_file(path)


def _valid_names(location: tuple[Any, ...]) -> list[str]:
    model: Any = Gate
    for part in location[:-1]:
        found = getattr(model, "model_fields", {}).get(part)
        annotation = found.annotation if found else model
        model = annotation.__args__[0] if getattr(annotation, "__origin__", None) is tuple else annotation
    return list(getattr(model, "model_fields", {}))


def _line(data: Any, location: tuple[Any, ...]) -> str:
    line = ""
    for part in location:
        try:
            line = f":{(data.lc.item(part) if isinstance(part, int) else data.lc.key(part))[0] + 1}"
            data = data[part]
        except (KeyError, AttributeError, TypeError, IndexError):
            break
    return line
