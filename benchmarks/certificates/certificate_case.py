"""A small policy folder with a certificate, keys, revocation list and demands, made in milliseconds, to be attacked.

Files and statement are of the real forms and pass `require_certificate`; only the numbers of the gate are invented, and
the policy's weights are too few to act.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property, lru_cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from vla_agent.gate.certificate.certificate import Certificate
from vla_agent.gate.certificate.enforce import Deployment

ROBOT = "panda"
GATE = "a" * 64  # SHA-256 of the gate file that the demands allow
TASKS = {"stack": "d" * 64}  # family -> SHA-256 of its task file
ROBOT_FILE = "b" * 64
CHECKS = {"success": (0.8, 0.1), "family.stack": (0.5, 0.3), "probe.swap": (0.5, 0.2), "axis.typo.1": (None, 0.1)}
LATENCY_MS = 100.0


@lru_cache
def simulator() -> dict[str, str]:
    """The files of this machine's simulator, and of the rooms that it runs on."""
    from vla_agent.gate.certificate.bound_files import simulator_files

    return simulator_files()


def estimate() -> dict[str, Any]:
    """An estimate in the form of `vla_agent.gate.decision.estimate`."""
    worst = {"name": "stack", "k": 9, "n": 10, "interval": [0.55, 0.99]}
    return {"rate": 0.9, "interval": [0.8, 0.96], "worst_family": worst}


@dataclass(frozen=True)
class CertificateCase:
    """Files below ``root``: policy/, keys/ (private key ``lab``), certificate.json."""

    root: Path

    @property
    def policy(self) -> Path:
        return self.root / "policy"

    @property
    def keys(self) -> Path:
        return self.root / "keys"

    @property
    def certificate(self) -> Path:
        return self.root / "certificate.json"

    @cached_property
    def payload(self) -> dict[str, Any]:
        """The certificate's predicate."""
        from vla_agent.gate.certificate.certificate import read_certificate

        return dict(read_certificate(self.certificate).payload)

    @property
    def signer(self) -> str:
        """Fingerprint of the key that signed the certificate."""
        from vla_agent.gate.certificate.certificate import read_certificate

        return read_certificate(self.certificate).key

    @property
    def deployment(self) -> Deployment:
        """What the certificate and the demands allow."""
        contract = self.payload["contract"]
        cameras = {name: tuple(size) for name, size in contract["cameras"].items()}
        return Deployment(
            ROBOT,
            True,
            cameras,
            contract["control_hz"],
            self.payload["latency"]["certified_ms"],
            self.payload["execution"],
            self.payload["robot"]["file"],
            self.payload["policy"]["files"],
        )

    def signed(self, key: str = "lab", **changed: Any) -> Path:
        """A certificate with other parts of the payload (`changed_parts`), signed by a key of the folder."""
        from vla_agent.gate.certificate import keys
        from vla_agent.gate.certificate.certificate import sign, write_certificate

        file = self.root / "changed.json"
        write_certificate(file, sign(changed_parts(self.payload, changed), keys.load_private(key, self.keys)))
        return file

    def require(
        self, certificate: Path | None = None, now: datetime | None = None, **changed: Any
    ) -> Certificate | None:
        """Ask as a robot's node does, with ``changed`` fields of the deployment."""
        from vla_agent.gate.certificate.enforce import require_certificate

        deployment = replace(self.deployment, **changed)
        return require_certificate(self.policy, certificate or self.certificate, deployment, keys=self.keys, now=now)


def changed_parts(payload: Mapping[str, Any], changed: Mapping[str, Any]) -> dict[str, Any]:
    """A payload with other values: ``gate__alpha=0.2`` changes ``payload["gate"]["alpha"]``."""
    made = json.loads(json.dumps(payload))
    for path, value in changed.items():
        *parts, last = path.split("__")
        inside = made
        for part in parts:
            inside = inside[part]
        inside[last] = value
    return made


def make(
    root: Path, policy: Path | None = None, robot_file: str = ROBOT_FILE, latency_ms: float = LATENCY_MS
) -> CertificateCase:
    """The case below ``root``.

    Args:
        policy: folder that is copied and certified; None: a small one.
        robot_file: SHA-256 of the robot file that is certified and demanded.
        latency_ms: certified, and the most that is demanded, milliseconds.
    """
    from vla_agent.gate.certificate import keys
    from vla_agent.gate.certificate.bound_files import contract_parts, policy_contract, policy_parts
    from vla_agent.gate.certificate.certificate import sign, write_certificate
    from vla_agent.gate.certificate.demands import write_demands
    from vla_agent.gate.certificate.statement import gate_predicate

    case = CertificateCase(root)
    _put_policy(case.policy, policy)
    keys.create("lab", case.keys)
    gate: Any = SimpleNamespace(name="tabletop", alpha=0.05, beta=0.05, validity_days=90, execution="realtime")
    attempt: Any = SimpleNamespace(
        gate=GATE, number=1, run="e" * 32, entry="f" * 64, seed=2**32, delay_ms=latency_ms, measured={}
    )
    predicate = gate_predicate(
        robot={"name": ROBOT, "file": robot_file},
        policy={"name": "policy", **policy_parts(case.policy)},
        contract=contract_parts(policy_contract(case.policy)),
        simulator=simulator(),
        gate=gate,
        attempt=attempt,
        head={"versions": {"vla_agent": "0"}, "hashes": {"tasks": TASKS}},
        judgement=_judgement(),
    )
    predicate["evidence"] = {"report.json": "1" * 64}
    write_certificate(case.certificate, sign(predicate, keys.load_private("lab", case.keys)))
    write_demands(demands(robot_file=robot_file, latency_ms=latency_ms), case.keys)
    return case


def _put_policy(place: Path, source: Path | None) -> None:
    import numpy as np
    from safetensors.numpy import save_file

    from vla_agent.contract.tabletop import tabletop_contract

    if source is not None:
        shutil.copytree(source, place, ignore=shutil.ignore_patterns("evaluation", "*.png"))
        return
    place.mkdir(parents=True)
    contract = {"format": 1, "contract": tabletop_contract().to_dict()}
    (place / "policy.json").write_text(json.dumps(contract))
    save_file({"state_normaliser.shift": np.zeros(17, np.float32)}, place / "head.safetensors")


def demands(**changed: Any) -> dict[str, Any]:
    """The demands that the case's certificate fulfils, each number exactly; with ``changed`` keys."""
    from vla_agent.files.canonical_json import digest

    return {
        "format": 1,
        "robot": ROBOT,
        "robot_file": ROBOT_FILE,
        "gates": {"tabletop": GATE},
        "tasks": {"tabletop": dict(TASKS)},
        "simulators": [digest(simulator())],
        "validity_days": 90,
        "alpha": 0.05,
        "beta": 0.05,
        "checks": {name: threshold for name, (threshold, _) in CHECKS.items() if threshold},
        "keys": None,
        "execution": ["realtime"],
        "latency_ms": LATENCY_MS,
    } | changed


def _judgement() -> dict[str, Any]:
    checks = {
        name: {
            "verdict": "pass" if threshold else "reported",
            "k": 9,
            "n": 10,
            "threshold": threshold,
            "margin": margin,
        }
        for name, (threshold, margin) in CHECKS.items()
    }
    return {
        "checks": {name: c | {"alpha": 0.025} for name, c in checks.items()},
        "estimate": estimate(),
        "verdict": "pass",
    }
