"""A real certificate of the shipped policy, to be tampered with: the smoke gate, run once per checkpoint and code."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from benchmarks.shared.evaluations import POLICY, ROOT
from vla_agent.files.canonical_json import digest
from vla_agent.gate.certificate import keys
from vla_agent.gate.certificate.bound_files import policy_files, simulator_files
from vla_agent.gate.certificate.certificate import FORMAT
from vla_agent.gate.decision.gate_file import hash_gate
from vla_agent.gate.run_gate import GateSettings, run_gate

GATE = Path(__file__).parents[2] / "gates" / "smoke.yaml"
ROBOT = "bench"


@dataclass(frozen=True)
class Case:
    """Files below ``root``: policy/, out/ (the evidence), keys/, ledger.jsonl."""

    root: Path

    @property
    def policy(self) -> Path:
        return self.root / "policy"

    @property
    def out(self) -> Path:
        return self.root / "out"

    @property
    def certificate(self) -> Path:
        return self.out / "certificate.json"

    @property
    def keys(self) -> Path:
        return self.root / "keys"

    @property
    def ledger(self) -> Path:
        return self.root / "ledger.jsonl"


def make(root: Path) -> Case:
    """The case below ``root``: the shipped policy's copy, with the smoke gate's evidence and certificate."""
    identity = digest([policy_files(POLICY), simulator_files(), hash_gate(GATE), FORMAT])
    kept = ROOT / "runs" / "bench" / f"case-{identity[:12]}"
    if not (kept / "out" / "certificate.json").exists():
        shutil.rmtree(kept, ignore_errors=True)
        case = Case(kept)
        shutil.copytree(POLICY, case.policy, ignore=shutil.ignore_patterns("evaluation", "*.png"))
        keys.create("bench", case.keys)
        private = keys.load_private("bench", case.keys)
        name = os.path.relpath(case.policy)
        run_gate(GateSettings(name, GATE, case.out, ROBOT, private, case.ledger, clips=0))
    shutil.copytree(kept, root, dirs_exist_ok=True)
    return Case(root)
