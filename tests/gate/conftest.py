"""A laboratory with one finished gate of the scripted expert: keys, ledger, evidence, certificate."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from vla_agent.gate.certificate import keys
from vla_agent.gate.certificate.certificate import read_certificate, sign, write_certificate
from vla_agent.gate.certificate.lab_key import LabKey
from vla_agent.gate.certificate.verify import verify
from vla_agent.gate.run_gate import GateSettings, run_gate

TINY = """\
format: 2
name: tiny
tasks: [press_button]
block: 2
reported: 1
estimated: 2
checks:
  success: {threshold: 0.05, margin: 0.60}
  family: {threshold: null}
  axes:
    - {axis: lighting, severity: 1, threshold: 0.05, margin: 0.60}
  language:
    - {probe: swap, threshold: 0.30, margin: 0.60}
"""


@dataclass(frozen=True)
class Lab:
    """Files below ``root``: tiny.yaml, keys/, ledger.jsonl, and a folder for each gate."""

    root: Path

    @property
    def private(self):
        return keys.load_private("lab", self.root / "keys")

    @property
    def signer(self) -> LabKey:
        return LabKey(keys.trusted(self.root / "keys"), self.private)

    @property
    def ledger(self) -> Path:
        return self.root / "ledger.jsonl"

    def gate(self, policy, out, suite=None, progress=None, **options):
        suite = suite or self.root / "tiny.yaml"
        settings = GateSettings(policy, suite, self.root / out, "arm", self.private, self.ledger, **options)
        return run_gate(settings, progress)

    def verify(self, out="out", **options) -> list[str]:
        """What differs, as text."""
        return [str(d) for d in verify(self.root / out / "certificate.json", None, keys=self.root / "keys", **options)]

    def report(self, out="out") -> dict:
        return json.loads((self.root / out / "report.json").read_text())

    def forge(self, report=None, payload=None, out="out", private=None) -> None:
        """Write another report and payload as somebody with the key would: with all hashes, and signed."""
        folder = self.root / out
        old = dict(read_certificate(folder / "certificate.json").payload)
        payload = payload or {k: v for k, v in old.items() if k != "evidence"}
        report = (report or self.report(out)) | {"certified": payload}
        (folder / "report.json").write_text(json.dumps(report))
        named = ("report.json", "actions.npz")
        evidence = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in named}
        write_certificate(folder / "certificate.json", sign(payload | {"evidence": evidence}, private or self.private))

    def payload(self, out="out") -> dict:
        payload = json.loads(json.dumps(read_certificate(self.root / out / "certificate.json").payload))
        payload.pop("evidence")
        return payload


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Lab:
    """Not to be changed; see `lab`."""
    lab = Lab(tmp_path_factory.mktemp("lab"))
    (lab.root / "tiny.yaml").write_text(TINY)
    keys.create("lab", lab.root / "keys")
    lab.gate("expert", "out", clips=0)
    return lab


@pytest.fixture
def lab(finished, tmp_path) -> Lab:
    """A copy of the laboratory, to be changed."""
    shutil.copytree(finished.root, tmp_path / "lab")
    return Lab(tmp_path / "lab")
