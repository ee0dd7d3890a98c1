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

from vla_agent.errors import GateError
from vla_agent.files.canonical_json import changes
from vla_agent.files.policy_folder import find_folder
from vla_agent.gate.certificate.bound_files import adapter_files, contract_parts, policy_contract, policy_files
from vla_agent.gate.certificate.certificate import Certificate, read_certificate, require_current, require_signed
from vla_agent.gate.certificate.keys import keys_folder, revoked, trusted
from vla_agent.policy.sources import is_server, metadata_of


@dataclass(frozen=True)
class Deployment:
    """What a policy is about to drive, and how.  None: not known yet, and not compared.

    Attributes:
        robot: name, as in the robot's description.
        hardware: whether real motors will move.
        cameras: name -> (height, width) in pixels that the robot delivers to the policy; or the names of all that it
            has, where the size is checked image by image.
        control_hz: rate at which the robot takes actions.
        latency_ms: 99th percentile of an inference on this machine, milliseconds.
        execution: how chunks are executed, one of `vla_agent.policy.execution.MODES`.
    """

    robot: str
    hardware: bool
    cameras: Mapping[str, tuple[int, int]] | Collection[str] | None = None
    control_hz: float | None = None
    latency_ms: float | None = None
    execution: str | None = None


def require_certificate(
    policy_folder: str | PathLike[str],
    certificate_file: str | PathLike[str] | None,
    deployment: Deployment,
    *,
    keys: Path | None = None,
    now: datetime | None = None,
) -> Certificate | None:
    """The certificate that covers exactly this policy in this deployment.

    In simulation none is needed, and None is returned where none is given; one that is given must be valid there, too.

    Args:
        policy_folder: folder or hub id of what is loaded, or is about to be; or the address of a server, which is then
            trusted in what it states of its files and its contract.
        certificate_file: ``certificate.json``; None or empty where there is none.
        keys: folder of the trusted keys and of the list of what was revoked (default: `keys_folder`).
        now: the time to judge validity by (default: the clock).

    Raises:
        GateError: naming what differs, what was certified, what was found, and the remedy.
        CheckpointError: there is no such policy, or its contract cannot be read.
    """
    if not certificate_file:
        if not deployment.hardware:
            return None
        raise _refused("the policy has no certificate", None, "certificate", "a certificate.json", "none")
    served = metadata_of(str(policy_folder)) if is_server(str(policy_folder)) else None
    where = Path(policy_folder) if served else find_folder(policy_folder)
    certificate = read_certificate(Path(certificate_file))
    folder = keys or keys_folder()
    require_signed(certificate, trusted(folder))
    require_current(certificate, revoked(folder), now)
    payload, file = certificate.payload, certificate.file
    if payload["verdict"] != "pass":
        raise _refused("the policy did not pass the gate", file, "verdict", "pass", payload["verdict"])
    if payload["robot"] != deployment.robot:
        raise _refused("the certificate is for another robot", file, "robot", payload["robot"], deployment.robot)
    _require_policy(payload["policy"], served.files if served else policy_files(where), where)
    own = contract_parts(served.contract if served else policy_contract(where))
    for key, expected, found in changes(payload["contract"], own):
        raise _refused("the policy's contract is not the certified one", where, key, expected, found)
    _require_cameras(payload["contract"]["cameras"], deployment, file)
    _require_timing(payload, deployment, file)
    return certificate


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
