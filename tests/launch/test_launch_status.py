"""A node's status on /diagnostics: once a second, at changes of state, without measured numbers in the message."""

from __future__ import annotations

import pytest

rclpy = pytest.importorskip("rclpy")

from vla_agent.ros.process import status_reporter  # noqa: E402


@pytest.fixture
def reporter(monkeypatch):
    """A reporter of a real node, with the published statuses in a list, and a clock that the test sets."""
    rclpy.init(args=["--ros-args", "-r", "__ns:=/arm1"])
    node = rclpy.create_node("speaker")
    made = status_reporter.StatusReporter(node)
    sent: list = []
    monkeypatch.setattr(made._publisher, "publish", lambda array: sent.extend(array.status), raising=False)
    now = [100.0]
    monkeypatch.setattr(status_reporter.time, "monotonic", lambda: now[0])
    yield made, sent, now
    node.destroy_node()
    rclpy.shutdown()


def values(status) -> dict[str, str]:
    return {pair.key: pair.value for pair in status.values}


def test_a_status_comes_once_a_second_and_at_changes_of_state(reporter):
    made, sent, now = reporter
    for k in range(640):  # ten seconds of a node that reports 64 times a second, each time another age
        now[0] = 100.0 + k / 64
        made.report("warn", f"waiting: front is {k / 1000 + 0.1:.3f} s old; 0.113 s are allowed")
    assert len(sent) == 10
    assert {status.message for status in sent} == {"waiting: front is ... s old; ... s are allowed"}
    assert values(sent[0])["detail"] == "waiting: front is 0.100 s old; 0.113 s are allowed"
    made.report("error", "stopped: joint3 jumped by 0.230 rad")
    assert len(sent) == 11 and sent[-1].message == "stopped: joint3 jumped by ... rad", "at once"
    assert sent[-1].name == "arm1/speaker", "two robots share the topic"


def test_a_state_that_flickers_is_published_a_few_times_a_second_and_the_last_one_is_not_lost(reporter):
    made, sent, now = reporter
    for k in range(640):
        now[0] = 100.0 + k / 64
        made.report("ok", ("acting", "inference running")[k % 2], steps=k)
    assert len(sent) <= 10 * (status_reporter.CHANGES + 1)
    for k in range(66):
        now[0] = 110.0 + k / 64
        made.report("error", "stopped")
    assert sent[-1].message == "stopped" and values(sent[-2])["steps"]


def test_sizes_names_and_counts_stay_in_the_message(reporter):
    made, sent, _ = reporter
    made.report("error", "front is 640 x 480, not 96 x 96; joint_3 and /arm1 and v1.2.3")
    assert sent[0].message == "front is 640 x 480, not 96 x 96; joint_3 and /arm1 and v1.2.3" and not values(sent[0])


def test_a_graphs_statuses_are_those_of_its_namespace():
    from vla_agent.ros.process.diagnostics_listener import DiagnosticsListener, Status

    node = rclpy_node()
    listener = DiagnosticsListener(node)
    for name in ("safety_node", "arm1/safety_node", "arm1/tools/camera_node", "arm10/safety_node"):
        listener.statuses[name] = Status(0, name)
    assert {n: s.message for n, s in listener.of_namespace("/arm1").items()} == {"safety_node": "arm1/safety_node"}
    assert list(listener.of_namespace("")) == ["safety_node"]
    node.destroy_node()
    rclpy.shutdown()


def rclpy_node():
    """A node of its own."""
    rclpy.init(args=[])
    return rclpy.create_node("listener")
