"""What must not reach hardware, against the function that the robot's nodes call, and against the running nodes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchmarks.certificates.certificate_case import CertificateCase

NAME = "gate-enforce"
TITLE = "uncertified, expired, tampered, other robot, adapter, rate, ...: refused by function, policy and safety node"
TARGET = 1.0
UNIT = "of the cases"
BETTER = "higher"
PATIENT = 2000.0  # ms of latency that the certificate allows: this machine may be busy
NOTES = """\
the shipped policy, and a certificate and demands of the real forms with invented numbers.  function: \
`enforce.require_certificate`; what is certified was let through before and after.  Nodes: real processes with \
hardware:=true; the safety node gets its commands from a controller that this benchmark plays, as behind a patched \
policy node; rows 'certified' must be let through.  Only the policy node knows the execution mode"""
NodeCase = tuple[dict[str, Any], str]  # what differs from a certified node, and the key that its refusal must name


def run() -> dict[str, Any]:
    import tempfile

    from benchmarks.certificates.certificate_case import make
    from benchmarks.gate.gate_nodes import ROBOT
    from benchmarks.shared.evaluations import POLICY
    from vla_agent.evaluation.exact_tests import clopper_pearson
    from vla_agent.robot.description import read_robot

    with tempfile.TemporaryDirectory() as folder:
        case = make(Path(folder) / "case", Path(POLICY), read_robot(ROBOT)[1], PATIENT)
        case.require()
        rows = _function_rows(case)
        case.require()
        rows += _node_rows(case, Path(folder) / "nodes")
    good = sum(bool(r["right"]) for r in rows)
    return {
        "value": good / len(rows),
        "n": len(rows),
        "interval": list(clopper_pearson(good, len(rows))),
        "seeds": "none",
        "rows": rows,
        "notes": NOTES,
    }


def _with_file(case: CertificateCase, name: str, content: bytes) -> None:
    """Ask while a file of the policy has another content, or is there."""
    file = case.policy / name
    before = file.read_bytes() if file.exists() else None
    file.write_bytes(content)
    try:
        case.require(files=None)
    finally:
        if before is None:
            file.unlink()
        else:
            file.write_bytes(before)


def _with_contract(case: CertificateCase, key: str, value: Any) -> None:
    data = json.loads((case.policy / "policy.json").read_text())
    data["contract"][key] = value
    _with_file(case, "policy.json", json.dumps(data).encode())


def _revoked(case: CertificateCase, name: str) -> None:
    """Ask of a copy of the keys in whose list ``name`` stands."""
    from vla_agent.gate.certificate import keys
    from vla_agent.gate.certificate.enforce import require_certificate

    folder = _withdrawn(case, case.root / f"keys-{name[:8]}", name)
    assert keys.revoked(folder)
    require_certificate(case.policy, case.certificate, case.deployment, keys=folder)


def _withdrawn(case: CertificateCase, folder: Path, name: str) -> Path:
    """A copy of the folder of the keys in whose list ``name`` stands."""
    from vla_agent.gate.certificate import keys

    shutil.copytree(case.keys, folder)
    keys.create("second", folder)
    keys.revoke(name, "a benchmark", folder, "second")
    return folder


def _signed_by_stranger(case: CertificateCase) -> None:
    from vla_agent.gate.certificate import keys
    from vla_agent.gate.certificate.certificate import sign, write_certificate

    keys.create("stranger", case.root / "elsewhere")
    file = case.root / "stranger.json"
    write_certificate(file, sign(case.payload, keys.load_private("stranger", case.root / "elsewhere")))
    case.require(file)


def _edited(case: CertificateCase, folder: Path) -> Path:
    """A certificate whose statement was changed after it was signed."""
    from vla_agent.files.canonical_json import readable

    other = json.loads(case.signed(latency__certified_ms=2 * PATIENT).read_text())
    envelope = json.loads(case.certificate.read_text()) | {"payload": other["payload"]}
    file = folder / "tampered.json"
    file.write_text(readable(envelope))
    return file


def _function_rows(case: CertificateCase) -> list[dict[str, Any]]:
    """Every case against `require_certificate`."""
    from datetime import datetime, timedelta, timezone

    from vla_agent.errors import VlaAgentError
    from vla_agent.gate.certificate.enforce import require_certificate

    fits, p = case.deployment, case.payload
    assert isinstance(fits.cameras, dict) and fits.control_hz is not None and fits.latency_ms is not None
    other_size, other_rate, slower = {**fits.cameras, "front": (128, 128)}, 2 * fits.control_hz, fits.latency_ms + 1
    weights = (case.policy / "head.safetensors").read_bytes()
    late = datetime.now(timezone.utc) + timedelta(days=4000)
    key, demands = str(case.signer), case.keys / "demands" / f"{fits.robot}.yaml"
    cases: dict[str, tuple[Callable[[], Any], str]] = {
        "uncertified": (lambda: require_certificate(case.policy, None, fits, keys=case.keys), "certificate"),
        "failed the gate": (lambda: case.require(case.signed(verdict="fail")), "verdict"),
        "expired": (lambda: case.require(now=late), "expires"),
        "revoked certificate": (lambda: _revoked(case, p["id"]), "id"),
        "revoked key": (lambda: _revoked(case, key), "key"),
        "revoked policy": (lambda: _revoked(case, p["policy"]["digest"]), "policy"),
        "key not trusted": (lambda: _signed_by_stranger(case), "signatures.0.keyid"),
        "certificate changed": (lambda: case.require(_edited(case, case.root)), "signatures.0.sig"),
        "other robot": (lambda: case.require(robot="another"), "robot"),
        "other robot file": (lambda: case.require(robot_file="0" * 64), "robot_file"),
        "weaker gate": (lambda: case.require(case.signed(gate__sha256="0" * 64)), "gate.sha256"),
        "other camera": (lambda: case.require(cameras={"side": (96, 96)}), "cameras"),
        "camera's size": (lambda: case.require(cameras=other_size), "cameras.front"),
        "adapter added": (lambda: _with_file(case, "adapter.safetensors", b"x"), "adapter"),
        "adapter merged": (lambda: _with_file(case, "head.safetensors", weights[:-1] + b"x"), "policy.files.head"),
        "contract changed": (lambda: _with_contract(case, "control_hz", 10.0), "policy.json"),
        "faster rate": (lambda: case.require(control_hz=other_rate), "control_hz"),
        "slower machine": (lambda: case.require(latency_ms=slower), "latency"),
        "no demands": (lambda: _without(demands, case), "demands"),
    }
    rows = []
    for name, (request, expected) in cases.items():
        try:
            request()
            outcome, right = "LET THROUGH", False
        except VlaAgentError as error:
            outcome, right = error.what, expected in f"{error.key} {error.file}"
        rows.append({"asked": "function", "case": name, "right": right, "refused_because": outcome})
    return rows


def _without(file: Path, case: CertificateCase) -> None:
    """Ask while a file is missing."""
    content = file.read_bytes()
    file.unlink()
    try:
        case.require()
    finally:
        file.write_bytes(content)


def _node_rows(case: CertificateCase, folder: Path) -> list[dict[str, Any]]:
    """The cases that need no other clock, against both nodes."""
    from benchmarks.gate.gate_nodes import policy_node, safety_node

    folder.mkdir()
    certified_node = {"policy": case.policy, "certificate": case.certificate, "keys": case.keys}
    both = _node_cases(case, folder)
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


def _node_cases(case: CertificateCase, folder: Path) -> dict[str, NodeCase]:
    """Case -> (changed arguments of a node, key of the refusal)."""
    changed = folder / "policy"
    shutil.copytree(case.policy, changed)
    (changed / "adapter.safetensors").write_bytes(b"x")
    without = folder / "keys-without"
    shutil.copytree(case.keys, without, ignore=shutil.ignore_patterns("demands"))

    def signed(name: str, **parts: Any) -> Path:
        return case.signed(**parts).rename(folder / f"{name}.json")

    past = {"issued": "2026-01-01T00:00:00+00:00", "expires": "2026-01-02T00:00:00+00:00"}
    other_camera = _other_robot(folder, "camera", "name: wrist", "name: side")
    other_rate = _other_robot(folder, "rate", "control_hz: 20", "control_hz: 40")
    return {
        "certified": ({}, ""),
        "uncertified": ({"certificate": ""}, "certificate"),
        "failed the gate": ({"certificate": signed("failed", verdict="fail")}, "verdict"),
        "expired": ({"certificate": signed("expired", **past)}, "expires"),
        "revoked certificate": ({"keys": _withdrawn(case, folder / "keys", case.payload["id"])}, "id"),
        "certificate changed": ({"certificate": _edited(case, folder)}, "signatures.0.sig"),
        "other robot": ({"certificate": signed("robot", robot__name="another")}, "robot"),
        "other camera": (_demanded(case, other_camera), "camera"),
        "other robot file": (
            {"robot": _other_robot(folder, "faster", "velocity: 2.175", "velocity: 2.9")},
            "robot_file",
        ),
        "weaker gate": ({"certificate": signed("weak", gate__sha256="0" * 64)}, "gate.sha256"),
        "no demands": ({"keys": without}, "demands"),
        "adapter added": ({"policy": changed}, "does not belong there"),
        "faster rate": (_demanded(case, other_rate), "control_hz"),
        "slower machine": ({"certificate": signed("slow", latency__certified_ms=1.0)}, "latency"),
    }


def _demanded(case: CertificateCase, robot: str) -> dict[str, Any]:
    """Arguments of a node with another robot file that certificate and demands name, too."""
    from benchmarks.certificates.certificate_case import demands
    from vla_agent.gate.certificate.demands import write_demands
    from vla_agent.robot.description import read_robot

    robot_file = read_robot(robot)[1]
    keys = Path(robot).with_suffix(".keys")
    shutil.copytree(case.keys, keys)
    write_demands(demands(robot_file=robot_file, latency_ms=PATIENT), keys)
    certificate = case.signed(robot__file=robot_file).rename(Path(robot).with_suffix(".json"))
    return {"robot": robot, "keys": keys, "certificate": certificate}


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
