"""No certificate, no motion: what a robot's nodes ask before a policy may move hardware.

Imports neither torch nor the simulator's engine beyond what hashing files needs, so that the safety node can call it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from os import PathLike
from pathlib import Path
from typing import Any

from vla_agent.errors import GateError
from vla_agent.files.canonical_json import changes
from vla_agent.files.policy_folder import find_folder
from vla_agent.gate.certificate.bound_files import adapters, contract_parts, policy_contract, policy_files
from vla_agent.gate.certificate.certificate import Certificate, read_certificate, require_current, require_signed
from vla_agent.gate.certificate.keys import keys_folder, revoked, trusted
from vla_agent.policy.sources import is_server, metadata_of


def require_certificate(
    policy_folder: str | PathLike[str],
    certificate_file: str | PathLike[str] | None,
    robot_name: str,
    hardware: bool,
    *,
    cameras: Mapping[str, tuple[int, int]] | Collection[str] | None = None,
    control_hz: float | None = None,
    latency_ms: float | None = None,
    execution: str | None = None,
    keys: Path | None = None,
    now: datetime | None = None,
) -> Certificate | None:
    """The certificate that covers exactly this policy on this robot.

    In simulation none is needed, and None is returned where none is given; one that is given must hold there, too.

    Args:
        policy_folder: folder or hub id of what is loaded, or is about to be; or the address of a server, which is then
            believed in what it says of its files and its contract.
        certificate_file: ``certificate.json``; None or empty where there is none.
        robot_name: as in the robot's description.
        hardware: whether real motors will move.
        cameras: name -> (height, width) in pixels that the robot delivers to the policy; or the names of all that it
            has, where the sizes are looked at picture by picture.
        control_hz: rate at which the robot takes actions.
        latency_ms: 99th percentile of an inference on this machine, milliseconds.
        execution: how chunks are executed, one of `vla_agent.policy.execution.MODES`.
        keys: folder of the trusted keys and of the list of what was revoked (default: `keys_folder`).
        now: the time to judge validity by (default: the clock).

    Raises:
        GateError: naming what differs, what was certified, what was found, and the remedy.
        CheckpointError: there is no such policy, or its contract cannot be read.
    """
    if not certificate_file:
        if not hardware:
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
    if payload["robot"] != robot_name:
        raise _refused("the certificate is for another robot", file, "robot", payload["robot"], robot_name)
    _require_policy(payload["policy"], served.files if served else policy_files(where), where)
    contract = payload["contract"]
    own = contract_parts(served.contract if served else policy_contract(where))
    for key, expected, found in changes(contract, own):
        raise _refused("the policy's contract is not the certified one", where, key, expected, found)
    if cameras is not None:
        if isinstance(cameras, Mapping):
            delivered = {name: list(size) for name, size in cameras.items()}
        else:
            delivered = {name: size for name, size in contract["cameras"].items() if name in cameras}
        for key, expected, found in changes(contract["cameras"], delivered):
            raise _refused("the robot's cameras are not the certified ones", file, f"cameras.{key}", expected, found)
    if control_hz is not None and control_hz != contract["control_hz"]:
        what = "the robot's control rate is not the certified one"
        raise _refused(what, file, "control_hz", contract["control_hz"], control_hz)
    if latency_ms is not None and not latency_ms <= payload["latency"]["certified_ms"]:
        what = "this machine is slower than what the policy was certified for"
        expected = f"at most {payload['latency']['certified_ms']:g} ms"
        remedy = "use a faster machine, or run the gate with this latency (delay_ms)"
        raise _refused(what, file, "latency", expected, f"{latency_ms:.1f} ms", remedy)
    if execution is not None and execution != payload["execution"]:
        what = "chunks are executed in another way than the certified one"
        raise _refused(what, file, "execution", payload["execution"], execution)
    return certificate


def _require_policy(certified: Mapping[str, Any], files: Mapping[str, str], folder: Path) -> None:
    if not certified["files"]:
        raise _refused("the certificate covers no checkpoint", folder, "policy.files", "files", "none")
    found = {"adapter": adapters(files), "files": dict(files)}
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
        remedy=remedy or "use exactly what was certified, or run vla-agent gate for what is here",
    )
