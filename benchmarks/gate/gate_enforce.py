"""What must not reach hardware, against the function that the robot's nodes call, and against the running nodes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchmarks.gate.gate_case import Case

NAME = "gate-enforce"
TITLE = "uncertified, expired, tampered, other robot, adapter, rate, ...: refused by function, policy and safety node"
TARGET = 1.0
UNIT = "of the cases"
BETTER = "higher"
PATIENT = 2000.0  # ms of latency that the nodes' certificates allow: this machine may be busy
NOTES = """\
the shipped policy and a real certificate of the smoke gate.  function: `enforce.require_certificate`; what is \
certified was let through before and after.  Nodes: real processes with hardware:=true; the safety node gets its \
commands from a controller that this benchmark plays, as behind a patched policy node; rows 'certified' must be let \
through.  Only the policy node knows the execution mode"""
NodeCase = tuple[dict[str, Any], str]  # what differs from a certified node, and the key that its refusal must name


def run() -> dict[str, Any]:
    import tempfile

    from benchmarks.gate.gate_case import make
    from vla_agent.evaluation.exact_tests import clopper_pearson

    with tempfile.TemporaryDirectory() as folder:
        certified = Certified(make(Path(folder)))
        certified.check()
        rows = _function_rows(certified)
        certified.check()
        rows += _node_rows(certified, Path(folder) / "nodes")
    good = sum(bool(r["right"]) for r in rows)
    return {
        "value": good / len(rows),
        "n": len(rows),
        "interval": list(clopper_pearson(good, len(rows))),
        "seeds": "none",
        "rows": rows,
        "notes": NOTES,
    }


class Certified:
    """A certified policy, and requests for a certificate with one thing changed.  Each takes its change back."""

    def __init__(self, case: Case) -> None:
        from benchmarks.gate.gate_case import ROBOT
        from vla_agent.gate.certificate import keys
        from vla_agent.gate.certificate.certificate import read_certificate
        from vla_agent.gate.certificate.enforce import Deployment

        self.case, self.certificate = case, read_certificate(case.certificate)
        self.private = keys.load_private("bench", case.keys)
        contract = self.certificate.payload["contract"]
        cameras = {name: tuple(size) for name, size in contract["cameras"].items()}
        latency_ms = self.certificate.payload["latency"]["certified_ms"]
        self.deployment = Deployment(ROBOT, True, cameras, contract["control_hz"], latency_ms)

    def check(self, file: Path | None = None, now: Any = None, **changed: Any) -> None:
        """Ask for the certificate in ``file`` (default: the real one) in a deployment with ``changed`` fields."""
        from vla_agent.gate.certificate.enforce import require_certificate

        deployment = replace(self.deployment, **changed)
        file = file or self.case.certificate
        require_certificate(self.case.policy, file, deployment, keys=self.case.keys, now=now)

    def check_without_certificate(self) -> None:
        from vla_agent.gate.certificate.enforce import require_certificate

        require_certificate(self.case.policy, None, self.deployment, keys=self.case.keys)

    def resigned(self, name: str = "changed", private: Any = None, **changed: Any) -> Path:
        """A certificate with ``changed`` parts of the payload, signed by the trusted key, or by another."""
        from vla_agent.gate.certificate.certificate import sign, write_certificate

        file = self.case.root / f"{name}.json"
        write_certificate(file, sign({**self.certificate.payload, **changed}, private or self.private))
        return file

    def check_with_file(self, name: str, content: bytes) -> None:
        """Ask while a file of the policy has another content."""
        file = self.case.policy / name
        before = file.read_bytes() if file.exists() else None
        file.write_bytes(content)
        try:
            self.check()
        finally:
            if before is None:
                file.unlink()
            else:
                file.write_bytes(before)

    def check_with_contract(self, key: str, value: Any) -> None:
        data = json.loads((self.case.policy / "policy.json").read_text())
        data["contract"][key] = value
        self.check_with_file("policy.json", json.dumps(data).encode())

    def check_revoked(self, name: str) -> None:
        from vla_agent.gate.certificate import keys

        keys.revoke(name, "a benchmark", self.case.keys)
        try:
            self.check()
        finally:
            (self.case.keys / "revoked.jsonl").unlink()

    def check_signed_by_stranger(self) -> None:
        from vla_agent.gate.certificate import keys

        folder = self.case.root / "elsewhere"
        keys.create("stranger", folder)
        self.check(self.resigned("stranger", keys.load_private("stranger", folder)))

    def check_edited(self) -> None:
        """Ask with a certificate that was changed after it was signed."""
        file = self.case.root / "tampered.json"
        file.write_bytes(self.case.certificate.read_bytes().replace(b'"robot": "bench"', b'"robot": "other"'))
        self.check(file, robot="other")


def _function_rows(certified: Certified) -> list[dict[str, Any]]:
    """Every case against `require_certificate`."""
    from datetime import datetime, timedelta, timezone

    from vla_agent.errors import VlaAgentError

    c, fits = certified, certified.deployment
    assert isinstance(fits.cameras, dict) and fits.control_hz is not None and fits.latency_ms is not None
    other_size, other_rate, slower = {**fits.cameras, "front": (128, 128)}, 2 * fits.control_hz, fits.latency_ms + 1
    weights = (c.case.policy / "head.safetensors").read_bytes()
    late = datetime.now(timezone.utc) + timedelta(days=4000)
    key, policy = str(c.certificate.signature["key"]), c.certificate.payload["policy"]["digest"]
    cases: dict[str, tuple[Callable[[], None], str]] = {
        "uncertified": (c.check_without_certificate, "certificate"),
        "failed the gate": (lambda: c.check(c.resigned(verdict="fail")), "verdict"),
        "expired": (lambda: c.check(now=late), "expires"),
        "revoked certificate": (lambda: c.check_revoked(c.certificate.id), "id"),
        "revoked key": (lambda: c.check_revoked(key), "key"),
        "revoked policy": (lambda: c.check_revoked(policy), "policy"),
        "key not trusted": (c.check_signed_by_stranger, "signature.key"),
        "certificate changed": (c.check_edited, "signature.value"),
        "other robot": (lambda: c.check(robot="another"), "robot"),
        "other camera": (lambda: c.check(cameras={"side": (96, 96)}), "cameras"),
        "camera's size": (lambda: c.check(cameras=other_size), "cameras.front"),
        "adapter added": (lambda: c.check_with_file("adapter_model.safetensors", b"x"), "policy.adapter"),
        "adapter merged": (lambda: c.check_with_file("head.safetensors", weights[:-1] + b"x"), "policy.files.head"),
        "contract changed": (lambda: c.check_with_contract("control_hz", 10.0), "policy.json"),
        "faster rate": (lambda: c.check(control_hz=other_rate), "control_hz"),
        "slower machine": (lambda: c.check(latency_ms=slower), "latency"),
    }
    rows = []
    for name, (request, expected) in cases.items():
        try:
            request()
            outcome, right = "LET THROUGH", False
        except VlaAgentError as error:
            outcome, right = error.what, expected in str(error.key)
        rows.append({"asked": "function", "case": name, "right": right, "refused_because": outcome})
    return rows


def _node_rows(certified: Certified, folder: Path) -> list[dict[str, Any]]:
    """The cases that need no other clock, against both nodes."""
    from benchmarks.gate.gate_nodes import policy_node, safety_node

    folder.mkdir()
    here = _node_payload()
    certified_node = {
        "policy": certified.case.policy,
        "certificate": certified.resigned("good", **here),
        "keys": certified.case.keys,
    }
    both = _node_cases(certified, here, folder)
    policy_alone: dict[str, NodeCase] = {"other execution mode": ({"mode": "open_loop"}, "execution")}
    nodes: list[tuple[str, Callable[..., tuple[bool, str]], dict[str, NodeCase]]] = [
        ("safety node", safety_node, both),
        ("policy node", policy_node, both | policy_alone),
    ]
    rows = []
    for node, start, cases in nodes:
        for k, (name, (changed, key)) in enumerate(cases.items()):
            passed, text = start(folder / f"{node}-{k}", **(certified_node | changed))
            right = passed if not key else not passed and key in text
            outcome = "let through" if passed else _reason(text)
            rows.append({"asked": node, "case": name, "right": right, "refused_because": outcome})
            print(rows[-1], flush=True)
    return rows


def _node_payload() -> dict[str, Any]:
    """Parts of a payload that fit the nodes: robot, a latency for busy machines, the default execution mode."""
    from benchmarks.gate.gate_nodes import ROBOT

    latency = {"certified_ms": PATIENT, "measured_ms": 1.0}
    return {"robot": ROBOT, "latency": latency, "execution": "realtime"}


def _node_cases(certified: Certified, here: dict[str, Any], folder: Path) -> dict[str, NodeCase]:
    """Case -> (changed arguments of a node, key of the refusal)."""
    from vla_agent.gate.certificate import keys

    case, resigned = certified.case, certified.resigned
    changed = folder / "policy"
    shutil.copytree(case.policy, changed)
    (changed / "adapter_model.safetensors").write_bytes(b"x")
    edited = folder / "tampered.json"
    good = resigned("good", **here).read_bytes()
    edited.write_bytes(good.replace(b'"certified_ms": ', b'"certified_ms": 1'))
    withdrawn = folder / "keys"
    shutil.copytree(case.keys, withdrawn)
    keys.revoke("withdrawn", "a benchmark", withdrawn)
    past = {"issued": "2026-01-01T00:00:00+00:00", "expires": "2026-01-02T00:00:00+00:00"}
    fast = {"latency": {"certified_ms": 1.0, "measured_ms": 1.0}}
    other_camera = _other_robot(folder, "camera", "name: wrist", "name: side")
    other_rate = _other_robot(folder, "rate", "control_hz: 20", "control_hz: 40")
    revoked = {"certificate": resigned("revoked", **here, id="withdrawn"), "keys": withdrawn}
    return {
        "certified": ({}, ""),
        "uncertified": ({"certificate": ""}, "certificate"),
        "failed the gate": ({"certificate": resigned("failed", **here, verdict="fail")}, "verdict"),
        "expired": ({"certificate": resigned("expired", **here, **past)}, "expires"),
        "revoked certificate": (revoked, "id"),
        "certificate changed": ({"certificate": edited}, "signature.value"),
        "other robot": ({"certificate": case.certificate}, "robot"),
        "other camera": ({"robot": other_camera}, "camera"),
        "adapter added": ({"policy": changed}, "policy.adapter"),
        "faster rate": ({"robot": other_rate}, "control_hz"),
        "slower machine": ({"certificate": resigned("slow", **here | fast)}, "latency"),
    }


def _other_robot(folder: Path, name: str, before: str, after: str) -> str:
    """A description file of the nodes' robot with one text replaced."""
    from benchmarks.gate.gate_nodes import ROBOT
    from vla_agent.robot.description import robot_folders

    file = next(f / f"{ROBOT}.yaml" for f in robot_folders() if (f / f"{ROBOT}.yaml").is_file())
    description = file.read_text(encoding="utf-8")
    assert before in description
    changed = folder / f"{name}.yaml"
    changed.write_text(description.replace(before, after), encoding="utf-8")
    return str(changed)


def _reason(text: str) -> str:
    """What was refused, from a status or from the end of a node's log."""
    errors = [line for line in text.splitlines() if "[ERROR]" in line]
    return errors[-1].split("]: ")[-1] if errors else text.removeprefix("not certified: ")
