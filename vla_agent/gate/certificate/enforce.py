"""No certificate, no motion: what a robot's nodes check before a policy may move hardware.

Imports neither torch nor the simulator's engine beyond what hashing files needs, so that the safety node can call it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from os import PathLike
from pathlib import Path
from typing import Any

from vla_agent.contract import Contract
from vla_agent.errors import GateError
from vla_agent.files.canonical_json import changes
from vla_agent.files.policy_files import hash_policy_files
from vla_agent.files.policy_folder import find_folder
from vla_agent.gate.certificate.bound_files import adapter_files, contract_parts, policy_contract, simulator_files
from vla_agent.gate.certificate.certificate import Certificate, read_certificate, require_current, require_signed
from vla_agent.gate.certificate.demands import read_demands, require_demanded
from vla_agent.gate.certificate.keys import keys_folder, revoked, trusted
from vla_agent.policy.sources import is_server, metadata_of

SHARED = "vla_agent/"  # names of the simulator's files that a robot runs, too: see `bound_files.PACKAGE_ROOMS`
NEEDED = ("robot_file", "cameras", "control_hz", "latency_ms", "execution")  # on hardware


@dataclass(frozen=True)
class Deployment:
    """What a policy is about to drive, and how.  None: not known.

    Attributes:
        robot: name, as in the robot's description.
        hardware: whether real motors will move.
        cameras: name -> (height, width) in pixels that the robot delivers to the policy; or the names of all that it
            has, where the size is checked image by image.
        control_hz: rate at which the robot takes actions.
        latency_ms: 99th percentile of an inference on this machine, milliseconds.
        execution: how chunks are executed, one of `vla_agent.policy.execution.MODES`.
        robot_file: SHA-256 of the robot file that was read.
        files: name -> SHA-256 of the policy's files that were loaded.  None: nothing is loaded yet, and those of the
            folder or server are compared.
        unknown: those of `NEEDED` that the caller cannot know, and which are then not compared on hardware, either.
    """

    robot: str
    hardware: bool
    cameras: Mapping[str, tuple[int, int]] | Collection[str] | None = None
    control_hz: float | None = None
    latency_ms: float | None = None
    execution: str | None = None
    robot_file: str | None = None
    files: Mapping[str, str] | None = None
    unknown: Collection[str] = ()


def require_certificate(
    policy_folder: str | PathLike[str],
    certificate_file: str | PathLike[str] | None,
    deployment: Deployment,
    *,
    keys: Path | None = None,
    now: datetime | None = None,
) -> Certificate | None:
    """The certificate that covers exactly this policy in this deployment, and is enough for this robot.

    In simulation none is needed, and None is returned where none is given; one that is given must be valid there, too,
    whatever the robot demands.

    Args:
        policy_folder: folder or hub id of what is loaded, or is about to be; or the address of a server, which is then
            trusted in what it states of its files and its contract.
        certificate_file: ``certificate.json``; None or empty where there is none.
        keys: folder of the trusted keys, of the list of what was revoked, and of the robot's demands (default:
            `keys_folder`).
        now: the time to judge validity by, with its offset from UTC (default: the clock).

    Raises:
        GateError: naming what differs, what was certified or demanded, what was found, and the remedy.
        CheckpointError: there is no such policy, or its contract cannot be read.
    """
    if not certificate_file:
        if not deployment.hardware:
            return None
        raise _refused("the policy has no certificate", None, "certificate", "a certificate.json", "none")
    if deployment.hardware:
        _require_known(deployment)
    certificate = read_certificate(Path(certificate_file))
    folder = keys or keys_folder()
    key = require_signed(certificate, trusted(folder))
    require_current(certificate, revoked(folder, now), now)
    payload, file = certificate.payload, certificate.file
    if payload["verdict"] != "pass":
        raise _refused("the policy did not pass the gate", file, "verdict", "pass", payload["verdict"])
    if payload["robot"]["name"] != deployment.robot:
        expected = payload["robot"]["name"]
        raise _refused("the certificate is for another robot", file, "robot", expected, deployment.robot)
    if deployment.hardware:
        _require_demands(payload, key.fingerprint, deployment, file, folder)
        _require_code(payload["simulator"], file)
    where, files, contract = _policy(policy_folder, deployment)
    _require_policy(payload["policy"], files, where)
    for name, expected, found in changes(payload["contract"], contract_parts(contract)):
        raise _refused("the policy's contract is not the certified one", where, name, expected, found)
    _require_cameras(payload["contract"]["cameras"], deployment, file)
    _require_timing(payload, deployment, file)
    return certificate


def _require_known(deployment: Deployment) -> None:
    """Raise where something that a motor depends on would not be compared."""
    missing = [name for name in NEEDED if name not in deployment.unknown and getattr(deployment, name) is None]
    if missing:
        what = "it is not known what the policy is about to drive"
        expected = f"{', '.join(NEEDED)} on hardware, or named in `unknown`"
        raise _refused(what, None, ", ".join(missing), expected, "nothing", "this is a fault of the program that asks")


def _require_demands(payload: Mapping[str, Any], key: str, deployment: Deployment, file: Path, keys: Path) -> None:
    """Raise unless the certificate is enough for this robot, and the robot is the one that its owner described."""
    demands = read_demands(deployment.robot, keys)
    require_demanded(payload, key, demands, file)
    if deployment.robot_file != demands.robot_file:
        what = "the robot file that runs is not the one that the robot's owner demands"
        remedy = "run that robot file, or as the robot's owner: vla-agent robot demands, and a new gate"
        raise _refused(what, file, "robot_file", demands.robot_file, deployment.robot_file or "none", remedy)


def _require_code(certified: Mapping[str, str], file: Path) -> None:
    """Raise where this machine runs other code than the simulator did: contract, execution of chunks, kinematics."""
    own = {name: sha256 for name, sha256 in simulator_files().items() if name.startswith(SHARED)}
    theirs = {name: sha256 for name, sha256 in certified.items() if name.startswith(SHARED)}
    for name, expected, found in changes(theirs, own):
        what = "this machine runs other code than was certified"
        remedy = "install the release that the gate was run with, or run the gate again with this one"
        raise _refused(what, file, f"simulator.{name}", expected, found, remedy)


def _policy(policy: str | PathLike[str], deployment: Deployment) -> tuple[Path, Mapping[str, str], Contract]:
    """Where the policy is, its files as loaded or found, and its contract."""
    if is_server(str(policy)):
        served = metadata_of(str(policy))
        return Path(policy), served.files if deployment.files is None else deployment.files, served.contract
    where = find_folder(policy)
    if deployment.files is not None:
        return where, deployment.files, policy_contract(where)
    found = hash_policy_files(where)  # files and contract of one reading
    return where, found.hashes, policy_contract(found)


def _require_cameras(certified: Mapping[str, Any], deployment: Deployment, file: Path) -> None:
    cameras = deployment.cameras
    if cameras is None:
        return
    if isinstance(cameras, Mapping):
        delivered = {name: list(size) for name, size in cameras.items()}
    else:
        delivered = {name: size for name, size in certified.items() if name in cameras}
    for key, expected, found in changes(certified, delivered):
        raise _refused("the robot's cameras are not the certified ones", file, f"cameras.{key}", expected, found)


def _require_timing(payload: Mapping[str, Any], deployment: Deployment, file: Path) -> None:
    """Control rate, inference latency and execution mode."""
    certified_hz, certified_ms = payload["contract"]["control_hz"], payload["latency"]["certified_ms"]
    if deployment.control_hz is not None and deployment.control_hz != certified_hz:
        what = "the robot's control rate is not the certified one"
        raise _refused(what, file, "control_hz", certified_hz, deployment.control_hz)
    if deployment.latency_ms is not None and not deployment.latency_ms <= certified_ms:  # NaN is refused
        what = "this machine's inference is slower than certified"
        found = f"{deployment.latency_ms:.1f} ms"
        remedy = "use a faster machine, or run the gate with this latency (delay_ms)"
        raise _refused(what, file, "latency", f"at most {certified_ms:g} ms", found, remedy)
    if deployment.execution is not None and deployment.execution != payload["execution"]:
        what = "the execution mode is not the certified one"
        raise _refused(what, file, "execution", payload["execution"], deployment.execution)


def _require_policy(certified: Mapping[str, Any], files: Mapping[str, str], folder: Path) -> None:
    if not certified["files"]:
        raise _refused("the certificate covers no checkpoint", folder, "policy.files", "files", "none")
    found = {"adapter": adapter_files(files), "files": dict(files)}
    differing = changes({k: certified[k] for k in ("adapter", "files")}, found)
    for key, expected, now in differing:
        adapter = "adapter" in key
        what = f"the policy's {'adapter' if adapter else 'files'} are not the certified ones"
        raise _refused(what, folder, f"policy.{key}", expected, now)


def _refused(
    what: str, file: Path | None, key: str, expected: object, found: object, remedy: str | None = None
) -> GateError:
    return GateError(
        what,
        file=file,
        key=key,
        expected=expected,
        found=found,
        remedy=remedy or "use exactly what was certified, or run vla-agent gate for this deployment",
    )
