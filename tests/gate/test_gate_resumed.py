"""A whole gate that was interrupted, and goes on in this process and in others."""

from __future__ import annotations

import shutil

import pytest
from conftest import Lab

from sim.experts.planted_faults import load_planted
from vla_agent.errors import GateError
from vla_agent.gate.evidence import ledger


def stop(played, done, total):
    raise KeyboardInterrupt


def test_a_stopped_gate_goes_on_as_one_attempt_with_any_number_of_workers(lab, tmp_path):
    options = {"load": load_planted, "clips": 0}
    with pytest.raises(KeyboardInterrupt):
        lab.gate("planted.none", "stopped", progress=stop, **options)
    with pytest.raises(GateError, match="unfinished"):
        lab.gate("planted.none", "stopped", **options)
    shutil.copytree(lab.root, tmp_path / "copy")
    report = lab.gate("planted.none", "stopped", resume=True, **options)
    assert report["certified"]["attempt"]["number"] == 1 and report["certified"]["verdict"] == "pass"
    assert lab.verify("stopped") == [] and not (lab.root / "stopped" / ".partial").exists()
    events = [
        e["event"]
        for e in ledger.read_ledger(lab.ledger, lab.signer)
        if e["run"] == report["certified"]["attempt"]["run"]
    ]
    assert events == ["start", "stopped", "resumed", "finish"]
    again = Lab(tmp_path / "copy").gate("planted.none", "stopped", resume=True, workers=2, **options)
    assert again["episodes"] == report["episodes"]
    later = lab.gate("planted.none", "later", **options)["certified"]["attempt"]
    assert later["number"] == 2 and later["alpha"] < report["certified"]["attempt"]["alpha"]
    assert later["seed"] != report["certified"]["attempt"]["seed"]
