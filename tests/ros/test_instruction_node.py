"""The instruction node as a process over Fast DDS: typed, set and spoken instructions reach late subscribers, too."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy")

from benchmarks.ros.ros_graph import ANSWER, DOMAIN, PATIENCE  # noqa: E402
from benchmarks.shared.random_speech import quiet, save_small_whisper, tone, write_wav  # noqa: E402

ROOT = Path(__file__).parents[2]
ASKED = 5  # times, until a service has not answered


class Listener:
    """A node that hears instructions and the instruction node's status."""

    def __init__(self) -> None:
        import rclpy
        from diagnostic_msgs.msg import DiagnosticArray
        from rclpy.executors import SingleThreadedExecutor
        from rclpy.signals import SignalHandlerOptions
        from std_msgs.msg import String

        from vla_agent.ros.process.node_base import LATCHED

        os.environ["ROS_DOMAIN_ID"] = DOMAIN
        os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
        rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
        self.node: Any = rclpy.create_node("listener")
        self.heard: list[str] = []
        self.status: dict[str, str] = {}
        self.hear = lambda: self.node.create_subscription(
            String, "instruction", lambda message: self.heard.append(message.data), LATCHED
        )
        self.node.create_subscription(DiagnosticArray, "/diagnostics", self._status, 10)
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self.node)

    def _status(self, message: Any) -> None:
        for status in message.status:
            self.status = {"message": status.message} | {pair.key: pair.value for pair in status.values}

    def wait(self, until: Callable[[], object], seconds: float = PATIENCE) -> bool:
        deadline = time.monotonic() + seconds
        while not until() and time.monotonic() < deadline:
            self._executor.spin_once(timeout_sec=0.1)
        return bool(until())

    def ask(self, kind: Any, service: str, request: Any) -> Any:
        client = self.node.create_client(kind, service)
        assert self.wait(client.service_is_ready), f"no service {service}"
        for _ in range(ASKED):  # Fast DDS can lose the answer to a client that the node has just discovered
            future = client.call_async(request)
            if self.wait(future.done, ANSWER):
                return future.result()
        raise AssertionError(f"no answer from {service}")

    def set_text(self, value: Any) -> Any:
        from rcl_interfaces.srv import SetParameters
        from rclpy.parameter import Parameter

        request = SetParameters.Request(parameters=[Parameter("text", value=value).to_parameter_msg()])
        return self.ask(SetParameters, "instruction_node/set_parameters", request).results[0]

    def close(self) -> None:
        import rclpy

        self._executor.shutdown()
        self.node.destroy_node()
        rclpy.try_shutdown()


@pytest.fixture
def listener() -> Iterator[Listener]:
    listener = Listener()
    yield listener
    listener.close()


def start(*parameters: str, stdin: int = subprocess.PIPE) -> subprocess.Popen[str]:
    words = [sys.executable, "-m", "vla_agent.ros.process.start", "instruction_node", "--ros-args"]
    words += [word for parameter in parameters for word in ("-p", parameter)]
    return subprocess.Popen(words, cwd=ROOT, text=True, stdin=stdin, stdout=subprocess.DEVNULL)


def client(command_name: str, words: tuple[str, ...] = ()) -> str:
    """What the client prints; it exits with 0."""
    command = [sys.executable, "-m", "vla_agent.ros.client", command_name, *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_what_is_set_and_typed_is_latched_and_the_service_stops(listener):
    from std_srvs.srv import Trigger

    node = start()
    try:
        assert listener.set_text(" put the red mug in the tray \n").successful
        listener.hear()  # only now: it is latched
        assert listener.wait(lambda: listener.heard == ["put the red mug in the tray"])
        assert listener.set_text("put the red mug in the tray").successful
        assert listener.wait(lambda: len(listener.heard) == 2), "the same text is published again"
        for wrong, word in (("two\nlines", "control characters"), ("x" * 501, "at most"), (5, "type")):
            result = listener.set_text(wrong)
            assert not result.successful and word in result.reason
        assert listener.ask(Trigger, "instruction/stop", Trigger.Request()).success
        assert listener.wait(lambda: listener.heard[2:] == [""])
        assert node.stdin is not None
        node.stdin.write("open the drawer\n")
        node.stdin.flush()
        assert listener.wait(lambda: listener.heard[3:] == ["open the drawer"])
        assert listener.set_text("").successful
        assert listener.wait(lambda: listener.heard[4:] == [""])
        assert listener.wait(lambda: listener.status.get("message") == "ready")
        node.terminate()
        assert node.wait(PATIENCE) == 0
    finally:
        node.kill()


def test_at_the_end_of_its_input_the_node_ends_once_the_instruction_has_arrived(listener):
    listener.hear()
    node = start()
    try:
        node.communicate("open the drawer\n", timeout=PATIENCE)
        assert node.returncode == 0
        assert listener.wait(lambda: listener.heard == ["open the drawer"])
    finally:
        node.kill()


def test_without_an_input_the_node_runs_on_and_the_client_speaks_to_it(listener):
    listener.hear()
    node = start(stdin=subprocess.DEVNULL)
    try:
        assert listener.wait(lambda: listener.status.get("message") == "ready")
        client("set", ("instruction_node", "text", "open the drawer"))
        assert listener.wait(lambda: listener.heard == ["open the drawer"])
        assert client("call", ("instruction/stop",)) == "done: no instruction\n"
        assert listener.wait(lambda: listener.heard[1:] == [""])
        with ThreadPoolExecutor() as clients:
            status, topics, given = clients.map(
                client, ("status", "topics", "instruct"), ((), (), ("close the drawer",))
            )
        assert "instruction_node: ready" in status and "std_msgs/msg/String" in topics
        assert given == 'given: "close the drawer"\n'
        assert listener.wait(lambda: listener.heard[2:] == ["close the drawer"])
        assert node.poll() is None
    finally:
        node.kill()


def test_what_is_spoken_is_recognised(listener, tmp_path):
    """By a random model: its transcript is published, or dropped where it has no words."""
    file = tmp_path / "said.wav"
    write_wav(file, np.concatenate([quiet(0.5), tone(0.6), quiet(1.2), tone(0.6)]), 16_000)
    listener.hear()
    node = start(f"speech:={save_small_whisper(tmp_path / 'whisper')}", f"microphone:={file}")
    try:
        assert listener.wait(lambda: listener.status.get("heard") == "2"), listener.status
        assert listener.wait(lambda: len(listener.heard) + int(listener.status["dropped"]) == 2)
        assert listener.status["message"] == "microphone ended"
    finally:
        node.kill()


def test_a_speech_model_that_is_missing_ends_the_node_with_an_error(tmp_path):
    words = [sys.executable, "-m", "vla_agent.ros.process.start", "instruction_node"]
    words += ["--ros-args", "-p", f"speech:={tmp_path / 'nothing'}"]
    env = dict(os.environ, ROS_DOMAIN_ID=DOMAIN)
    done = subprocess.run(words, cwd=ROOT, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert done.returncode == 2 and "remedy" in done.stderr and "Traceback" not in done.stderr
