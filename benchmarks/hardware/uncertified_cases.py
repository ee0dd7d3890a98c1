"""Hardware without a valid certificate, in every way that there is: files of the real forms, each with one fault."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from benchmarks.certificates.certificate_case import CertificateCase, changed_parts, demands, make
from vla_agent.gate.certificate.enforce import Deployment

ROBOT = "panda"


@dataclass(frozen=True)
class Hardware:
    """What a safety node on hardware is given."""

    case: CertificateCase
    certificate: Path | None
    deployment: Deployment

    @property
    def policy(self) -> Path:
        return self.case.policy

    @property
    def keys(self) -> Path:
        return self.case.keys

    def parameters(self) -> dict[str, str]:
        """Of the safety node, besides ``hardware``."""
        return {"policy": str(self.policy), "certificate": str(self.certificate or "")}


def certified(root: Path) -> Hardware:
    """Valid in every respect for the shipped robot file, below ``root``; what the faults begin from."""
    from vla_agent.gate.certificate.demands import write_demands
    from vla_agent.robot.description import read_robot

    robot, robot_file = read_robot(ROBOT)
    case = make(root)
    write_demands(demands(robot_file=robot_file), case.keys)
    shutil.copy(case.signed(robot__file=robot_file), case.certificate)
    case = CertificateCase(root)  # without what was read before
    assert case.payload["robot"]["file"] == robot_file  # read now: a fault may damage the file
    deployment = Deployment(
        robot.name, True, cameras=robot.camera_names, control_hz=robot.control_hz, robot_file=robot_file
    )
    return Hardware(case, case.certificate, deployment)


def _with(hardware: Hardware, **changed: Any) -> Hardware:
    """Another certificate, signed by the trusted key."""
    return replace(hardware, certificate=hardware.case.signed(**changed))


def _expired(hardware: Hardware) -> Hardware:
    now = datetime.now(timezone.utc).replace(microsecond=0)
    times = (now - timedelta(days=2), now - timedelta(days=1))
    return _with(hardware, issued=times[0].isoformat(), expires=times[1].isoformat())


def _future(hardware: Hardware) -> Hardware:
    now = datetime.now(timezone.utc).replace(microsecond=0)
    times = (now + timedelta(days=1), now + timedelta(days=2))
    return _with(hardware, issued=times[0].isoformat(), expires=times[1].isoformat())


def _revoked(hardware: Hardware, what: str) -> Hardware:
    from vla_agent.gate.certificate import keys

    payload = hardware.case.payload
    (key,) = keys.trusted(hardware.keys)
    names = {"certificate": payload["id"], "policy": payload["policy"]["digest"], "key": key}
    if what == "key":
        keys.create("office", hardware.keys)  # it signs the list
    keys.revoke(names[what], "a benchmark", hardware.keys)
    return hardware


def _without(hardware: Hardware, name: str) -> Hardware:
    (hardware.keys / name).unlink()
    return hardware


def _stranger(hardware: Hardware) -> Hardware:
    from vla_agent.gate.certificate import keys
    from vla_agent.gate.certificate.certificate import sign, write_certificate

    folder = hardware.case.root / "elsewhere"
    keys.create("stranger", folder)
    file = hardware.case.root / "stranger.json"
    write_certificate(file, sign(changed_parts(hardware.case.payload, {}), keys.load_private("stranger", folder)))
    return replace(hardware, certificate=file)


def _edited(hardware: Hardware) -> Hardware:
    content = bytearray(hardware.case.certificate.read_bytes())
    content[len(content) // 2] ^= 1
    hardware.case.certificate.write_bytes(bytes(content))
    return hardware


def _failed(hardware: Hardware) -> Hardware:
    return _with(hardware, verdict="fail", counts__success__verdict="fail")


def _changed_weights(hardware: Hardware) -> Hardware:
    weights = hardware.policy / "head.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    return hardware


def _added_file(hardware: Hardware) -> Hardware:
    (hardware.policy / "adapter_model.safetensors").write_bytes(b"x")
    return hardware


def _stricter(hardware: Hardware, **changed: Any) -> Hardware:
    from vla_agent.gate.certificate.demands import write_demands

    write_demands(demands(robot_file=hardware.deployment.robot_file) | changed, hardware.keys)
    return hardware


def _readable_keys(hardware: Hardware) -> Hardware:
    hardware.keys.chmod(0o777)
    return hardware


FAULTS: dict[str, Callable[[Hardware], Hardware]] = {
    "no certificate": lambda h: replace(h, certificate=None),
    "a missing file": lambda h: replace(h, certificate=h.case.root / "none.json"),
    "expired": _expired,
    "not valid yet": _future,
    "a failed gate": _failed,
    "another robot": lambda h: _with(h, robot__name="ur5"),
    "another robot file": lambda h: _with(h, robot__file="0" * 64),
    "another gate file": lambda h: _with(h, gate__sha256="0" * 64),
    "another control rate": lambda h: _with(h, contract__control_hz=10.0),
    "another camera": lambda h: _with(h, contract__cameras={"side": [96, 96]}),
    "a changed certificate": _edited,
    "a stranger's key": _stranger,
    "a revoked certificate": lambda h: _revoked(h, "certificate"),
    "a revoked key": lambda h: _revoked(h, "key"),
    "a revoked policy": lambda h: _revoked(h, "policy"),
    "no revocation list": lambda h: _without(h, "revoked.json"),
    "no demands": lambda h: _without(h, f"demands/{ROBOT}.yaml"),
    "demands of more": lambda h: _stricter(h, latency_ms=1.0),
    "demands for another robot file": lambda h: _stricter(h, robot_file="0" * 64),
    "keys that others can write": _readable_keys,
    "changed weights": _changed_weights,
    "an added adapter": _added_file,
}


def faulty(root: Path) -> dict[str, Hardware]:
    """Every fault with its files below ``root``."""
    return {name: fault(certified(root / f"{k}")) for k, (name, fault) in enumerate(FAULTS.items())}
