"""What a certificate states: an in-toto Statement v1 (in-toto.io/Statement/v1) whose predicate is a gate's result.

The subjects are the policy's files, each with its SHA-256, so that a tool that knows nothing of gates can compare them.
`Predicate` has the parts of the predicate; `gate_predicate` makes one.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from vla_agent.files.canonical_json import digest

if TYPE_CHECKING:
    from vla_agent.gate.decision.gate_file import Gate
    from vla_agent.gate.evidence.attempt import Attempt

FORMAT = 3  # 3: an in-toto statement in a DSSE envelope, with the robot file, the thresholds, the seed and the estimate
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://vla-agent.example.org/attestations/gate/v3"
PARTS = {"_type", "subject", "predicateType", "predicate"}


def _aware(text: str) -> str:
    if datetime.fromisoformat(text).tzinfo is None:
        raise ValueError("a time without its offset from UTC")
    return text


Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Identity = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
Time = Annotated[str, AfterValidator(_aware)]
Rate = Annotated[float, Field(ge=0, le=1)]
Size = Annotated[list[int], Field(min_length=2, max_length=2)]  # height, width in pixels
Count = Annotated[int, Field(ge=0)]


class Part(BaseModel):
    """Plain data of known keys and exact types."""

    model_config = ConfigDict(extra="forbid", strict=True)


class RobotPart(Part):
    """``file``: SHA-256 of the robot file; empty where there is none: then no hardware is certified."""

    name: str
    file: Hash | Literal[""]


class PolicyPart(Part):
    """As `bound_files.policy_parts` makes it; ``files`` is empty for a scripted policy."""

    name: str
    files: dict[str, Hash]
    adapter: list[str]
    normaliser: str
    digest: Hash

    @model_validator(mode="after")
    def _consistent(self) -> PolicyPart:
        if self.files and self.digest != digest(self.files):
            raise ValueError("digest is not that of the files")
        return self


class ContractPart(Part):
    sha256: Hash
    control_hz: float = Field(gt=0)
    cameras: dict[str, Size]


class CheckPart(Part):
    """A check of the gate file; without a threshold it is reported, not judged."""

    threshold: float | None = Field(gt=0, lt=1)
    margin: float = Field(gt=0, lt=1)


class GatePart(Part):
    """``sha256``: of the gate file; ``tasks``: family -> SHA-256 of its file; ``checks``: all that were played."""

    name: str
    sha256: Hash
    tasks: dict[str, Hash] = Field(min_length=1)
    alpha: float = Field(gt=0, lt=1)
    beta: float = Field(gt=0, lt=1)
    checks: dict[str, CheckPart]


class AttemptPart(Part):
    """``entry``: hash of its line in the ledger, of which ``seed`` was derived; ``alpha``: what it could spend."""

    number: int = Field(ge=1)
    alpha: float = Field(gt=0, lt=1)
    run: str
    entry: str
    seed: Count


class LatencyPart(Part):
    certified_ms: float = Field(ge=0)
    measured_ms: float = Field(ge=0)


class CountPart(Part):
    k: Count
    n: Count
    verdict: Literal["pass", "fail", "undecided", "reported"]


class FamilyPart(Part):
    name: str
    k: Count
    n: Count
    interval: list[Rate] = Field(min_length=2, max_length=2)


class EstimatePart(Part):
    """Success over all unperturbed episodes, families balanced, with its 95 % interval."""

    rate: Rate | None
    interval: list[Rate] = Field(min_length=2, max_length=2)
    worst_family: FamilyPart | None


class Predicate(Part):
    """What a certificate says, apart from the statement around it."""

    format: Literal[3]
    id: Identity
    issued: Time
    expires: Time
    robot: RobotPart
    policy: PolicyPart
    contract: ContractPart
    simulator: dict[str, Hash]
    gate: GatePart
    attempt: AttemptPart
    execution: str
    latency: LatencyPart
    versions: dict[str, Any]
    counts: dict[str, CountPart]
    estimate: EstimatePart
    verdict: Literal["pass", "fail", "undecided"]
    evidence: dict[str, Hash]

    @model_validator(mode="after")
    def _consistent(self) -> Predicate:
        if datetime.fromisoformat(self.issued) >= datetime.fromisoformat(self.expires):
            raise ValueError("it expires before it is issued")
        if set(self.counts) != set(self.gate.checks):
            raise ValueError("counts and gate.checks name other checks")
        judged = {name for name, check in self.gate.checks.items() if check.threshold is not None}
        if judged != {name for name, count in self.counts.items() if count.verdict != "reported"}:
            raise ValueError("exactly the checks with a threshold are judged")
        if self.verdict == "pass" and not (judged and all(self.counts[name].verdict == "pass" for name in judged)):
            raise ValueError("the verdict is pass, and not every judged check passed")
        return self


def statement_of(predicate: Mapping[str, Any]) -> dict[str, Any]:
    """The in-toto statement around a predicate."""
    return {
        "_type": STATEMENT_TYPE,
        "subject": subjects(predicate["policy"]),
        "predicateType": PREDICATE_TYPE,
        "predicate": predicate,
    }


def subjects(policy: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The policy's files as in-toto's resource descriptors; a scripted policy has its name's digest alone."""
    files = policy["files"] or {policy["name"]: policy["digest"]}
    return [{"name": name, "digest": {"sha256": files[name]}} for name in sorted(files)]


def gate_predicate(
    *,
    robot: Mapping[str, str],
    policy: Mapping[str, Any],
    contract: Mapping[str, Any],
    simulator: Mapping[str, str],
    gate: Gate,
    attempt: Attempt,
    head: Mapping[str, Any],
    judgement: Mapping[str, Any],
) -> dict[str, Any]:
    """The predicate of a gate that has just been judged, without its evidence.

    Args:
        robot: ``name`` and ``file`` (SHA-256 of the robot file, or empty).
        policy, contract, simulator: as `bound_files` makes them, of what was played.
        head: of the report: ``versions``, and the ``hashes`` of the ``tasks``.
        judgement: of `vla_agent.gate.decision.judge.judge`.
    """
    now = datetime.now(timezone.utc).replace(microsecond=0)
    checks = judgement["checks"]
    return {
        "format": FORMAT,
        "id": uuid.uuid4().hex,
        "issued": now.isoformat(),
        "expires": (now + timedelta(days=gate.validity_days)).isoformat(),
        "robot": dict(robot),
        "policy": dict(policy),
        "contract": dict(contract),
        "simulator": dict(simulator),
        "gate": {
            "name": gate.name,
            "sha256": attempt.gate,
            "tasks": dict(head["hashes"]["tasks"]),
            "alpha": gate.alpha,
            "beta": gate.beta,
            "checks": {name: {key: c[key] for key in ("threshold", "margin")} for name, c in checks.items()},
        },
        "attempt": {
            "number": attempt.number,
            "alpha": checks["success"]["alpha"],
            "run": attempt.run,
            "entry": attempt.entry,
            "seed": attempt.seed,
        },
        "execution": gate.execution,
        "latency": {"certified_ms": attempt.delay_ms, "measured_ms": attempt.measured.get("p99_ms", 0.0)},
        "versions": dict(head["versions"]),
        "counts": counts_of(judgement),
        "estimate": judgement["estimate"],
        "verdict": judgement["verdict"],
    }


def counts_of(judgement: Mapping[str, Any]) -> dict[str, Any]:
    """What a certificate records of the checks."""
    return {name: {key: c[key] for key in ("k", "n", "verdict")} for name, c in judgement["checks"].items()}
