"""What a robot demands of a certificate before its motors move: a file of the robot's owner.

``demands/ROBOT.yaml`` in the folder of the keys.  A certificate says what was tried; only this file says what is
enough.  It is read where only its owner may change it (`guarded_files`), and demands too weak for hardware are refused.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from vla_agent.errors import GateError, wrong_keys
from vla_agent.files.bounded_reading import as_text
from vla_agent.files.bounded_yaml import parse_yaml
from vla_agent.files.canonical_json import changes, digest
from vla_agent.files.write_aside import write_text
from vla_agent.gate.certificate.guarded_files import make_guarded, read_guarded, require_guarded
from vla_agent.gate.certificate.keys import NAME
from vla_agent.gate.certificate.statement import Hash, Identity, Part

if TYPE_CHECKING:
    from vla_agent.gate.decision.gate_file import Gate

FOLDER = "demands"
MOST_BYTES = 262_144
LEAST_SUCCESS, LEAST_SWAP, LEAST = 0.5, 0.3, 0.25  # of thresholds: below them a pass says nothing for hardware
MOST_ALPHA, MOST_BETA, MOST_DAYS = 0.05, 0.2, 366
Threshold = Annotated[float, Field(ge=LEAST, lt=1)]
HEAD = """\
# What this robot demands of a certificate before its motors move.  Only its owner may change this file.
# docs/gate.md explains the keys; `vla-agent robot demands` writes them from a gate file.
"""


class Demands(Part):
    """A demands file; every key must be there.

    Attributes:
        robot: name of the robot.
        robot_file: SHA-256 of its robot file, with all limits.
        gates: name -> SHA-256 of the gate files that are enough.
        tasks: name of each of these gates -> family -> SHA-256 of the task file that it must have played, no others.
        simulators: digests of the simulators (`digest` of `bound_files.simulator_files`) that are enough.
        validity_days: the longest that a certificate may be valid.
        alpha, beta: the largest error rates of the gate's tests.
        checks: name -> lowest threshold; each must be judged, and passed.
        keys: fingerprints of the keys that may sign; None: every trusted key.
        execution: how chunks may be executed.
        latency_ms: the largest certified latency of an inference, milliseconds.
    """

    format: Literal[1]
    robot: str = Field(pattern=f"^{NAME.pattern}$")
    robot_file: Hash
    gates: dict[str, Hash] = Field(min_length=1)
    tasks: dict[str, Annotated[dict[str, Hash], Field(min_length=1)]]
    simulators: list[Hash] = Field(min_length=1)
    validity_days: int = Field(ge=1, le=MOST_DAYS)
    alpha: float = Field(gt=0, le=MOST_ALPHA)
    beta: float = Field(gt=0, le=MOST_BETA)
    checks: dict[str, Threshold]
    keys: list[Identity] | None = Field(min_length=1)
    execution: list[Literal["open_loop", "ensemble", "adaptive", "realtime"]] = Field(min_length=1)
    latency_ms: float = Field(gt=0, le=10_000)

    @model_validator(mode="after")
    def _strong_enough(self) -> Demands:
        if set(self.tasks) != set(self.gates):
            raise ValueError("tasks and gates name other gates")
        for name, least in (("success", LEAST_SUCCESS), ("probe.swap", LEAST_SWAP)):
            if self.checks.get(name, 0.0) < least:
                raise ValueError(f"checks must demand {name} with a threshold of at least {least:g}")
        return self


def demands_file(robot: str, folder: Path) -> Path:
    """Where the demands of a robot lie, in the folder of the keys.

    Raises:
        GateError: the name cannot be a file's.
    """
    if not NAME.fullmatch(robot):
        raise GateError(
            "the robot's name is invalid",
            key="robot",
            expected="letters, digits, . _ -",
            found=robot,
            remedy="choose a plain name in the robot file, such as panda",
        )
    return folder / FOLDER / f"{robot}.yaml"


def read_demands(robot: str, folder: Path) -> Demands:
    """The demands of a robot.

    Raises:
        CertificateError: others could have written them.
        GateError: there are none, or a key is missing, unknown, wrong or too weak.
    """
    file = demands_file(robot, folder)
    for place in (folder, file.parent):
        require_guarded(place)
    try:
        content = read_guarded(file, MOST_BYTES)
    except FileNotFoundError as error:
        raise GateError(
            "the robot states no demands, so that no certificate is enough",
            file=file,
            key="demands",
            expected="the demands of the robot's owner",
            found="no such file",
            remedy=f"as the robot's owner: vla-agent robot demands {robot} --gate gates/tabletop.yaml",
        ) from error
    try:
        data = parse_yaml(as_text(content, file, GateError), file, GateError)
    except YAMLError as error:
        raise _wrong(file, file.name, "YAML", " ".join(str(error).split())[:300]) from error
    demands = demands_of(data, file)
    if demands.robot != robot:
        raise _wrong(file, "robot", robot, demands.robot)
    return demands


def demands_of(data: Any, file: Path) -> Demands:
    """Demands from plain data; ``file``: where they come from, or go.

    Raises:
        GateError: a key is missing, unknown, wrong or too weak.
    """
    try:
        return Demands.model_validate(data)
    except ValidationError as error:
        wrong = wrong_keys(error, Demands)
        raise _wrong(file, wrong["key"], "the keys that `vla-agent robot demands` writes", wrong["found"]) from error


def _wrong(file: Path, key: str, expected: object, found: object) -> GateError:
    return GateError(
        "the robot's demands are wrong or too weak; nothing will move",
        file=file,
        key=key,
        expected=expected,
        found=found,
        remedy="fix these keys, or write the file again: vla-agent robot demands",
    )


def demands_from_gate(
    gate: Gate,
    gate_hash: str,
    *,
    robot: str,
    robot_file: str,
    simulator: Mapping[str, str],
    latency_ms: float,
    validity_days: int | None = None,
    keys: tuple[str, ...] | None = None,
) -> dict[str, Any]:
    """What a gate shows, as demands in plain data: every judged check with its threshold; see `Demands`.

    Its task files are hashed as they are now.

    Args:
        gate_hash: SHA-256 of the gate file.
        simulator: files of the simulator, `bound_files.simulator_files`.
        validity_days: None: those of the gate file.
    """  # fmt: skip
    from vla_agent.gate.decision.plan import task_files  # a robot's nodes need no simulator

    judged = {name: check.threshold for name, check in gate.checks_by_name().items() if check.threshold is not None}
    return {
        "format": 1,
        "robot": robot,
        "robot_file": robot_file,
        "gates": {gate.name: gate_hash},
        "tasks": {gate.name: task_files(gate)},
        "simulators": [digest(dict(simulator))],
        "validity_days": gate.validity_days if validity_days is None else validity_days,
        "alpha": gate.alpha,
        "beta": gate.beta,
        "checks": judged,
        "keys": None if keys is None else list(keys),
        "execution": [gate.execution],
        "latency_ms": latency_ms,
    }


def write_demands(data: Mapping[str, Any], folder: Path, gate: Path | None = None) -> Path:
    """Write demands for `read_demands`; those that stand there are replaced.

    Args:
        gate: file that the demands were drawn up from, which the error is to name.

    Raises:
        CertificateError: others can write in the folder.
        GateError: a key is wrong or too weak; nothing is written.
    """
    file = demands_file(str(data.get("robot")), folder)
    try:
        demands_of(data, file)
    except GateError as error:
        raise GateError(
            "such demands are wrong or too weak for hardware; nothing is written",
            file=gate or file,
            key=error.key,
            expected="a gate that says enough for hardware: `vla-agent robot demands --help` has the limits",
            found=error.found,
            remedy="demand a stricter gate file; options such as --validity-days only make its demands stricter",
        ) from error
    for place in (folder, file.parent):
        make_guarded(place)
    text, yaml = io.StringIO(), YAML(typ="safe")
    yaml.default_flow_style, yaml.width = False, 200
    yaml.dump(dict(data), text)
    write_text(file, HEAD + text.getvalue())
    file.chmod(0o644)
    return file


def require_demanded(payload: Mapping[str, Any], key: str, demands: Demands, file: Path) -> None:
    """Raise where a certificate shows less than the robot demands.

    Args:
        payload: of a certificate whose signature is valid.
        key: fingerprint of the key that signed it.
        file: the certificate.

    Raises:
        GateError: naming the first that is not enough.
    """
    for name, expected, found, enough in _compared(payload, key, demands):
        if not enough:
            raise GateError(
                "the certificate shows less than the robot demands",
                file=file,
                key=name,
                expected=expected,
                found=found,
                remedy="run a gate that the robot allows (vla-agent robot demands shows it), for this robot file",
            )


Compared = tuple[str, object, object, bool]  # key, expected, found, whether it is enough


def _compared(payload: Mapping[str, Any], key: str, demands: Demands) -> Iterator[Compared]:
    gate, latency = payload["gate"], payload["latency"]["certified_ms"]
    simulator = digest(payload["simulator"])
    validity = datetime.fromisoformat(payload["expires"]) - datetime.fromisoformat(payload["issued"])
    longest = timedelta(days=demands.validity_days)
    robot = payload["robot"]["file"]
    allowed = ", ".join(f"{name} {sha256}" for name, sha256 in demands.gates.items())
    keys = demands.keys if demands.keys is not None else (key,)
    yield "robot.file", demands.robot_file, robot or "none", robot == demands.robot_file
    yield "gate.sha256", allowed, f"{gate['name']} {gate['sha256']}", gate["sha256"] in demands.gates.values()
    tasks = {sha256: demands.tasks[name] for name, sha256 in demands.gates.items()}
    for name, expected, found in changes(tasks[gate["sha256"]], gate["tasks"]):
        yield f"gate.tasks.{name}", expected, found, False
    yield "simulator", ", ".join(demands.simulators), simulator, simulator in demands.simulators
    yield "validity", f"at most {longest}", validity, validity <= longest
    yield "alpha", f"at most {demands.alpha:g}", gate["alpha"], gate["alpha"] <= demands.alpha
    yield "attempt.alpha", f"at most {demands.alpha:g}", *_at_most(payload["attempt"]["alpha"], demands.alpha)
    yield "beta", f"at most {demands.beta:g}", gate["beta"], gate["beta"] <= demands.beta
    yield "key", ", ".join(keys), key, key in keys
    yield "execution", ", ".join(demands.execution), payload["execution"], payload["execution"] in demands.execution
    yield "latency", f"at most {demands.latency_ms:g} ms", f"{latency:g} ms", latency <= demands.latency_ms
    for name, least in demands.checks.items():
        threshold = gate["checks"].get(name, {}).get("threshold")
        verdict = payload["counts"].get(name, {}).get("verdict", "not played")
        shown = threshold is not None and threshold >= least and verdict == "pass"
        found = f"{verdict}, threshold {'none' if threshold is None else f'{threshold:g}'}"
        yield f"checks.{name}", f"pass, with a threshold of at least {least:g}", found, shown


def _at_most(value: float, most: float) -> tuple[float, bool]:
    return value, value <= most
