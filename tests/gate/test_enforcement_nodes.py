"""No certificate, no motion: the robot's own nodes, as processes with ``hardware``, whatever stands before them."""

from __future__ import annotations

import json
import shutil
from datetime import datetime, timedelta, timezone
from functools import partial
from pathlib import Path

import pytest

pytest.importorskip("rclpy")

from benchmarks.gate.gate_nodes import ROBOT, policy_node, safety_node  # noqa: E402
from benchmarks.shared.evaluations import POLICY  # noqa: E402
from vla_agent.errors import NodeError  # noqa: E402
from vla_agent.gate.certificate import keys
from vla_agent.gate.certificate.bound_files import contract_parts, policy_contract, policy_parts  # noqa: E402
from vla_agent.gate.certificate.certificate import FORMAT, PAYLOAD, sign, write_certificate  # noqa: E402
from vla_agent.policy.inference_timing import p99_ms_in_subprocess  # noqa: E402


@pytest.fixture
def certified(tmp_path) -> tuple[Path, Path, Path]:
    """A copy of the shipped policy, a certificate that covers it on this robot, and the folder of the keys."""
    policy, trusted = tmp_path / "policy", tmp_path / "keys"
    shutil.copytree(POLICY, policy, ignore=shutil.ignore_patterns("evaluation", "*.png"))
    keys.create("lab", trusted)
    now = datetime.now(timezone.utc)
    payload = dict.fromkeys(PAYLOAD, "") | {
        "format": FORMAT,
        "id": "a",
        "issued": (now - timedelta(hours=1)).isoformat(),
        "expires": (now + timedelta(hours=1)).isoformat(),
        "robot": ROBOT,
        "policy": {"name": "policy", **policy_parts(policy)},
        "contract": contract_parts(policy_contract(policy)),
        "execution": "realtime",
        "latency": {"certified_ms": 10_000.0, "measured_ms": 1.0},
        "verdict": "pass",
    }
    write_certificate(tmp_path / "certificate.json", sign(payload, keys.load_private("lab", trusted)))
    return policy, tmp_path / "certificate.json", trusted


def test_the_safety_node_passes_on_what_is_certified_until_it_is_revoked(certified, tmp_path):
    """Also after a reset, at which it looks at all files again."""
    policy, certificate, trusted = certified
    revoke = partial(keys.revoke, "a", "a test", trusted)
    passed, status = safety_node(tmp_path / "logs", policy, certificate, trusted, then=revoke, silence=0.5)
    assert not passed and status.startswith("stopped: certificate: "), status


def test_behind_a_patched_policy_node_the_safety_node_refuses_changed_weights(certified, tmp_path):
    policy, certificate, trusted = certified
    weights = policy / "head.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    passed, status = safety_node(tmp_path / "logs", policy, certificate, trusted)
    assert not passed and "policy.files.head.safetensors" in status, status


def test_the_safety_node_times_the_policy_by_itself(certified, tmp_path):
    policy, certificate, trusted = certified
    payload = json.loads(certificate.read_text())["payload"] | {"latency": {"certified_ms": 1.0, "measured_ms": 1.0}}
    write_certificate(tmp_path / "slow.json", sign(payload, keys.load_private("lab", trusted)))
    passed, status = safety_node(tmp_path / "logs", policy, tmp_path / "slow.json", trusted)
    assert not passed and "latency" in status, status


def test_a_policy_that_cannot_be_timed_says_why(tmp_path):
    with pytest.raises(NodeError, match="cannot be timed"):
        p99_ms_in_subprocess(str(tmp_path / "none"), 10.0)


def test_the_policy_node_is_activated_as_it_was_certified_alone(certified, tmp_path):
    policy, certificate, trusted = certified
    active, log = policy_node(tmp_path / "a", policy, certificate, trusted)
    assert active, log
    active, log = policy_node(tmp_path / "b", policy, certificate, trusted, mode="ensemble")
    assert not active and "execution mode is not the certified one" in log, log
