"""What must not reach hardware, against the function that the robot's nodes ask, and against the running nodes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
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


def run() -> dict[str, Any]:
    import tempfile
    from datetime import datetime, timedelta, timezone

    from benchmarks.gate.gate_case import ROBOT, make
    from vla_agent.errors import VlaAgentError
    from vla_agent.evaluation.exact_tests import clopper_pearson
    from vla_agent.gate.certificate import keys
    from vla_agent.gate.certificate.certificate import read_certificate, sign, write_certificate
    from vla_agent.gate.certificate.enforce import require_certificate

    rows = []
    with tempfile.TemporaryDirectory() as folder:
        case = make(Path(folder))
        certificate = read_certificate(case.certificate)
        contract = certificate.payload["contract"]
        private = keys.load_private("bench", case.keys)
        fits: dict[str, Any] = {
            "cameras": {name: tuple(size) for name, size in contract["cameras"].items()},
            "control_hz": contract["control_hz"],
            "latency_ms": certificate.payload["latency"]["certified_ms"],
            "keys": case.keys,
        }

        def ask(file: Path | None = case.certificate, robot: str = ROBOT, **other: Any) -> None:
            require_certificate(case.policy, file, robot, True, **(fits | other))

        def resigned(name: str = "changed", **changed: Any) -> Path:
            file = Path(folder) / f"{name}.json"
            write_certificate(file, sign({**certificate.payload, **changed}, private))
            return file

        def with_file(name: str, content: bytes) -> None:
            file = case.policy / name
            before = file.read_bytes() if file.exists() else None
            file.write_bytes(content)
            try:
                ask()
            finally:
                if before is None:
                    file.unlink()
                else:
                    file.write_bytes(before)

        def contract_with(key: str, value: Any) -> bytes:
            data = json.loads((case.policy / "policy.json").read_text())
            data["contract"][key] = value
            return json.dumps(data).encode()

        def revoked(what: str) -> None:
            keys.revoke(what, "a benchmark", case.keys)
            try:
                ask()
            finally:
                (case.keys / "revoked.jsonl").unlink()

        def stranger() -> None:
            keys.create("stranger", Path(folder) / "elsewhere")
            other = keys.load_private("stranger", Path(folder) / "elsewhere")
            file = Path(folder) / "stranger.json"
            write_certificate(file, sign(certificate.payload, other))
            ask(file)

        def tampered() -> None:
            file = Path(folder) / "tampered.json"
            file.write_bytes(case.certificate.read_bytes().replace(b'"robot": "bench"', b'"robot": "other"'))
            ask(file, robot="other")

        weights = (case.policy / "head.safetensors").read_bytes()
        late = datetime.now(timezone.utc) + timedelta(days=4000)
        cases: dict[str, tuple[Callable[[], Any], str]] = {
            "uncertified": (lambda: ask(None), "certificate"),
            "failed the gate": (lambda: ask(resigned(verdict="fail")), "verdict"),
            "expired": (lambda: ask(now=late), "expires"),
            "revoked certificate": (lambda: revoked(certificate.id), "id"),
            "revoked key": (lambda: revoked(str(certificate.signature["key"])), "key"),
            "revoked policy": (lambda: revoked(certificate.payload["policy"]["digest"]), "policy"),
            "key not trusted": (stranger, "signature.key"),
            "certificate changed": (tampered, "signature.value"),
            "other robot": (lambda: ask(robot="another"), "robot"),
            "other camera": (lambda: ask(cameras={"side": (96, 96)}), "cameras"),
            "camera's size": (lambda: ask(cameras={**fits["cameras"], "front": (128, 128)}), "cameras.front"),
            "adapter added": (lambda: with_file("adapter_model.safetensors", b"x"), "policy.adapter"),
            "adapter merged": (lambda: with_file("head.safetensors", weights[:-1] + b"x"), "policy.files.head"),
            "contract changed": (lambda: with_file("policy.json", contract_with("control_hz", 10.0)), "policy.json"),
            "faster rate": (lambda: ask(control_hz=2 * contract["control_hz"]), "control_hz"),
            "slower machine": (lambda: ask(latency_ms=fits["latency_ms"] + 1), "latency"),
        }
        ask()  # what is certified is let through, before and after
        for name, (attempt, key) in cases.items():
            try:
                attempt()
                outcome, right = "LET THROUGH", False
            except VlaAgentError as error:
                outcome, right = error.what, key in str(error.key)
            rows.append({"asked": "function", "case": name, "right": right, "refused_because": outcome})
        ask()
        rows += _nodes(case, resigned, Path(folder) / "nodes")
    good = sum(bool(r["right"]) for r in rows)
    return {
        "value": good / len(rows),
        "n": len(rows),
        "interval": list(clopper_pearson(good, len(rows))),
        "seeds": "none",
        "rows": rows,
        "notes": "the shipped policy and a real certificate of the smoke gate.  function: "
        "`enforce.require_certificate`; what is certified was let through before and after.  Nodes: "
        "real processes with hardware:=true; the safety node gets its commands from a controller that this benchmark "
        "plays, as behind a patched policy node; rows 'certified' must be let through.  Another way of execution is "
        "the policy node's to see",
    }


def _nodes(case: Case, resigned: Callable[..., Path], folder: Path) -> list[dict[str, Any]]:
    """The cases that need no other clock, against both nodes."""
    from benchmarks.gate.gate_nodes import ROBOT, policy_node, safety_node
    from vla_agent.gate.certificate import keys
    from vla_agent.robot.description import robot_folders

    folder.mkdir()
    changed = folder / "policy"
    shutil.copytree(case.policy, changed)
    (changed / "adapter_model.safetensors").write_bytes(b"x")
    file = next(f / f"{ROBOT}.yaml" for f in robot_folders() if (f / f"{ROBOT}.yaml").is_file())
    description = file.read_text(encoding="utf-8")
    robots = {}
    for name, before, after in (
        ("camera", "name: wrist", "name: side"),
        ("rate", "control_hz: 20", "control_hz: 40"),
    ):
        assert before in description
        robots[name] = folder / f"{name}.yaml"
        robots[name].write_text(description.replace(before, after), encoding="utf-8")
    here: dict[str, Any] = {"robot": ROBOT, "latency": {"certified_ms": PATIENT, "measured_ms": 1.0}}
    here["execution"] = "realtime"  # as the policy node executes chunks where nothing else is said
    good = resigned("good", **here)
    tampered = folder / "tampered.json"
    tampered.write_bytes(good.read_bytes().replace(b'"certified_ms": ', b'"certified_ms": 1'))
    withdrawn = folder / "keys"
    shutil.copytree(case.keys, withdrawn)
    revoked = resigned("revoked", **here, id="withdrawn")
    keys.revoke("withdrawn", "a benchmark", withdrawn)
    slow = {"certified_ms": 1.0, "measured_ms": 1.0}
    both: dict[str, tuple[dict[str, Any], str]] = {
        "certified": ({}, ""),
        "uncertified": ({"certificate": ""}, "certificate"),
        "failed the gate": ({"certificate": resigned("failed", **here, verdict="fail")}, "verdict"),
        "expired": ({"certificate": resigned("expired", **here, expires="2026-01-02T00:00:00+00:00",
                                             issued="2026-01-01T00:00:00+00:00")}, "expires"),
        "revoked certificate": ({"certificate": revoked, "keys": withdrawn}, "id"),
        "certificate changed": ({"certificate": tampered}, "signature.value"),
        "other robot": ({"certificate": case.certificate}, "robot"),
        "other camera": ({"robot": str(robots["camera"])}, "camera"),
        "adapter added": ({"policy": changed}, "policy.adapter"),
        "faster rate": ({"robot": str(robots["rate"])}, "control_hz"),
        "slower machine": ({"certificate": resigned("slow", **here | {"latency": slow})}, "latency"),
    }  # fmt: skip
    policy_alone: dict[str, tuple[dict[str, Any], str]] = {
        "other way of execution": ({"mode": "open_loop"}, "execution"),
    }
    usual = {"policy": case.policy, "certificate": good, "keys": case.keys}
    rows = []
    nodes: list[tuple[str, Callable[..., tuple[bool, str]], dict[str, tuple[dict[str, Any], str]]]] = [
        ("safety node", safety_node, both),
        ("policy node", policy_node, both | policy_alone),
    ]
    for node, ask, cases in nodes:
        for k, (name, (values, key)) in enumerate(cases.items()):
            passed, told = ask(folder / f"{node}-{k}", **(usual | values))
            right = passed if not key else not passed and key in told
            outcome = "let through" if passed else _reason(told)
            rows.append({"asked": node, "case": name, "right": right, "refused_because": outcome})
            print(rows[-1], flush=True)
    return rows


def _reason(told: str) -> str:
    """Of a status, or of the end of a node's log, what was refused."""
    errors = [line for line in told.splitlines() if "[ERROR]" in line]
    return errors[-1].split("]: ")[-1] if errors else told.removeprefix("not certified: ")
