"""No certificate, no motion: the robot's own nodes, as processes with ``hardware``, whatever stands before them."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

pytest.importorskip("rclpy")

from benchmarks.certificates.certificate_case import CertificateCase, make  # noqa: E402
from benchmarks.gate.gate_nodes import ROBOT, policy_node, safety_node  # noqa: E402
from benchmarks.shared.evaluations import POLICY  # noqa: E402
from vla_agent.errors import NodeError  # noqa: E402
from vla_agent.gate.certificate import keys  # noqa: E402
from vla_agent.policy.inference_timing import p99_ms_in_subprocess  # noqa: E402
from vla_agent.robot.description import read_robot  # noqa: E402

PATIENT = 10_000.0  # ms: this machine may be busy


@pytest.fixture
def case(tmp_path) -> CertificateCase:
    """A copy of the shipped policy, a certificate that covers it on this robot, and the folder of the keys."""
    return make(tmp_path / "case", Path(POLICY), read_robot(ROBOT)[1], PATIENT)


def test_the_safety_node_passes_on_what_is_certified_until_it_is_revoked(case, tmp_path):
    """Also after a reset, at which it looks at all files again."""
    revoke = partial(keys.revoke, case.payload["id"], "a test", case.keys)
    passed, status = safety_node(tmp_path / "logs", case.policy, case.certificate, case.keys, then=revoke, silence=0.5)
    assert not passed and status.startswith("stopped: ") and "revoked" in status, status


def test_behind_a_patched_policy_node_the_safety_node_refuses_changed_weights(case, tmp_path):
    weights = case.policy / "head.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    passed, status = safety_node(tmp_path / "logs", case.policy, case.certificate, case.keys)
    assert not passed and "policy.files.head.safetensors" in status, status


def test_the_safety_node_times_the_policy_by_itself(case, tmp_path):
    slow = case.signed(latency__certified_ms=1.0)
    passed, status = safety_node(tmp_path / "logs", case.policy, slow, case.keys)
    assert not passed and "latency" in status, status


def test_a_policy_that_cannot_be_timed_says_why(tmp_path):
    with pytest.raises(NodeError, match="cannot be timed"):
        p99_ms_in_subprocess(str(tmp_path / "none"), 10.0, "0" * 64)


def test_the_policy_node_is_activated_as_it_was_certified_alone(case, tmp_path):
    active, log = policy_node(tmp_path / "a", case.policy, case.certificate, case.keys)
    assert active, log
    active, log = policy_node(tmp_path / "b", case.policy, case.certificate, case.keys, mode="ensemble")
    assert not active and "execution mode is not the certified one" in log, log
