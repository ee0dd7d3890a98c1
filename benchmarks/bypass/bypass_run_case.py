"""A laboratory in a folder: keys, ledger, a finished gate of the expert, and two of a bad policy that were stopped."""

from __future__ import annotations

import atexit
import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sim.policies import ExpertPolicy, Policy
from vla_agent.gate.certificate import keys
from vla_agent.gate.certificate.certificate import read_certificate, sign, write_certificate
from vla_agent.gate.certificate.lab_key import LabKey
from vla_agent.gate.certificate.verify import replay_sample, verify
from vla_agent.gate.run_gate import GateSettings, run_gate

GATE = """\
format: 2
name: bypass
tasks: [press_button]
block: 2
reported: 1
estimated: 2
delay_ms: 50
checks:
  success: {threshold: 0.05, margin: 0.60}
  family: {threshold: null}
  axes:
    - {axis: lighting, severity: 1, threshold: 0.05, margin: 0.60}
  language:
    - {probe: swap, threshold: 0.30, margin: 0.60}
"""
STOP_AFTER = 4  # episodes


def load_expert(name: str) -> Policy:
    """A patched loader: the expert, whatever is named."""
    return ExpertPolicy()


@dataclass(frozen=True)
class RunCase:
    """Files below ``root``: gate.yaml, keys/, ledger.jsonl, good/ (finished), bad/ (stopped), other/ (stopped)."""

    root: Path

    @property
    def private(self) -> Ed25519PrivateKey:
        return keys.load_private("lab", self.root / "keys")

    @property
    def signer(self) -> LabKey:
        return LabKey(keys.trusted(self.root / "keys"), self.private)

    @property
    def ledger(self) -> Path:
        return self.root / "ledger.jsonl"

    @property
    def scratch(self) -> Path:
        return self.root / "bad" / ".partial" / "episodes.jsonl"

    def gate(self, policy: str, out: str, **options: Any) -> dict[str, Any]:
        options = dict[str, Any](suite=self.root / "gate.yaml", clips=0, private=self.private) | options
        progress = options.pop("progress", None)
        settings = GateSettings(policy=policy, out=self.root / out, robot="sim", ledger_file=self.ledger, **options)
        return run_gate(settings, progress)

    def resume(self) -> Any:
        """Go on with the bad policy's gate."""
        return self.gate("random", "bad", resume=True)

    def verify(self, out: str = "good") -> str:
        """The differences of a finished gate, as text; empty where it is valid."""
        return "; ".join(map(str, verify(self.root / out / "certificate.json", None, keys=self.root / "keys")))

    def replay(self, out: str, policy: str, **options: Any) -> str:
        """The differences of a replay of all episodes; empty where there is none."""
        return "; ".join(map(str, replay_sample(self.root / out / "certificate.json", policy, 99, 0, **options)))

    def report(self) -> dict[str, Any]:
        report: dict[str, Any] = json.loads((self.root / "good" / "report.json").read_text())
        return report

    def forge(self, report: Mapping[str, Any], private: Ed25519PrivateKey | None = None, **changed: Any) -> None:
        """Write another report and certificate of the finished gate, all hashes computed again, and sign it."""
        folder = self.root / "good"
        old = dict(read_certificate(folder / "certificate.json").payload)
        payload = {key: value for key, value in old.items() if key != "evidence"} | changed
        (folder / "report.json").write_text(json.dumps(dict(report) | {"certified": payload}))
        evidence = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in old["evidence"]}
        signed = sign(payload | {"evidence": evidence}, private or self.private)
        write_certificate(folder / "certificate.json", signed)


@cache
def _made() -> RunCase:
    case = RunCase(Path(tempfile.mkdtemp(prefix="bypass-")))
    atexit.register(shutil.rmtree, case.root, ignore_errors=True)
    (case.root / "gate.yaml").write_text(GATE)
    keys.create("lab", case.root / "keys")
    case.gate("expert", "good")
    for out in ("bad", "other"):
        try:
            case.gate("random", out, progress=_stop)
        except KeyboardInterrupt:
            continue
    return case


def _stop(played: Any, done: int, total: int) -> None:
    if done == STOP_AFTER:
        raise KeyboardInterrupt


@contextmanager
def made() -> Iterator[RunCase]:
    """A copy, to be changed; it is made once per process."""
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(_made().root, folder, dirs_exist_ok=True)
        yield RunCase(Path(folder))
