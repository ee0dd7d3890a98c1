"""What must not reach hardware, against the function that the robot's nodes ask."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

NAME = "gate-enforce"
TITLE = "uncertified, failed, expired, revoked, tampered, other robot, camera, adapter, rate, slower machine: refused"
TARGET = 1.0
UNIT = "of the cases"
BETTER = "higher"


def run() -> dict[str, Any]:
    import tempfile
    from datetime import datetime, timedelta, timezone

    from benchmarks.gate_case import ROBOT, make
    from vla_agent.errors import VlaAgentError
    from vla_agent.gate import keys
    from vla_agent.gate.certificate import read_certificate, sign, write_certificate
    from vla_agent.gate.enforce import require_certificate
    from vla_agent.gate.statistics import clopper_pearson

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

        def resigned(**changed: Any) -> Path:
            file = Path(folder) / "changed.json"
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
            rows.append({"case": name, "right": right, "refused_because": outcome})
        ask()
    good = sum(bool(r["right"]) for r in rows)
    return {
        "value": good / len(rows),
        "n": len(rows),
        "interval": list(clopper_pearson(good, len(rows))),
        "seeds": "none",
        "rows": rows,
        "notes": "the library function `vla_agent.gate.enforce.require_certificate` with the shipped policy and a real "
        "certificate of the smoke gate; what is certified was let through before and after. The nodes that call it are "
        "not part of this measurement",
    }
