"""Real nodes, as processes: what they take and refuse, what reaches a robot, and how a graph ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from benchmarks.robots.cases.case import Case, unless
from benchmarks.robots.feed_cells import ARM, GRIPPER, ROBOT, Cell
from vla_agent.robot.description import robot_folders
from vla_agent.ros.process.graph_processes import node_environment

PATIENCE = float(os.environ.get("VLA_AGENT_PATIENCE", "120"))
DRIVERS, PARAMETERS = "policy node beside a driver's process", "parameters of real nodes"
BAGS, UNCERTIFIED = "absolute topics, namespaces, instructions that do not latch", "without a certificate"
ENDS, DIAGNOSTICS = "a node that dies", "diagnostics"
CELLS = (
    Cell(500, 0.04, False, (96, 96), "rgb8"),
    Cell(100, 0.0, True, (96, 96), "rgb8"),
    Cell(100, 0.0, False, (640, 480), "bgra8"),
    Cell(1000, 0.02, True, (640, 480), "yuv422_yuy2"),
)
TRIES = 2  # of a cell: a busy machine may stop a graph


def _beside_a_driver(cell: Cell, _folder: Path) -> str:
    from benchmarks.robots.robots_feed import through_the_node

    heard = [through_the_node(cell)]
    while len(heard) < TRIES and (heard[-1].stops or heard[-1].actions < heard[-1].wanted - 1):
        heard.append(through_the_node(cell))
    last = heard[-1]
    return unless(not last.stops and last.actions >= last.wanted - 1, f"{last} after {len(heard)} runs")


@contextmanager
def node(words: str, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A node of this package as a process; ended by SIGINT."""
    command = [sys.executable, "-m", "vla_agent.ros.process.start", *words.split()]
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, stdout=out, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env=node_environment()
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        process.wait(PATIENCE)


def _refused_by(words: str, said: tuple[str, ...], folder: Path) -> str:
    with node(words, folder / "log") as process:
        process.wait(PATIENCE)
    text = (folder / "log").read_text(errors="replace")
    right = process.returncode == 2 and "Traceback" not in text and all(word in text for word in said)
    return unless(right, f"exit code {process.returncode}: {' '.join(text.split())[-250:]}")


def _runs(words: str, folder: Path) -> str:
    """It starts, and ends with 0 where it is told to."""
    with listener() as heard, node(words, folder / "log") as process:
        name = words.split()[0]
        wait(lambda: name in heard.node.get_node_names() or process.poll() is not None)
        started = process.poll() is None
    text = " ".join((folder / "log").read_text(errors="replace").split())
    return unless(started and process.returncode == 0, f"exit code {process.returncode}: {text[-250:]}")


# -- a listener --------------------------------------------------------------------------------------------------------


@contextmanager
def listener() -> Iterator[Any]:
    """A node in this process that is spun by a thread."""
    import threading

    import rclpy
    from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
    from rclpy.signals import SignalHandlerOptions

    os.environ["ROS_DOMAIN_ID"] = str(1 + os.getpid() % 101)
    os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    found = SimpleNamespace(node=rclpy.create_node("cases"), going=True)
    executor = SingleThreadedExecutor()
    executor.add_node(found.node)

    def spin() -> None:
        while found.going:
            try:
                executor.spin_once(timeout_sec=0.1)
            except ExternalShutdownException:
                return

    thread = threading.Thread(target=spin, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        found.going = False
        thread.join()
        executor.shutdown()
        found.node.destroy_node()
        rclpy.try_shutdown()


def wait(until: Callable[[], bool], seconds: float = PATIENCE) -> bool:
    """Whether something holds within that time."""
    deadline = time.monotonic() + seconds
    while not until():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def call(listening: Any, service: str) -> Any:
    """Call a Trigger service."""
    from std_srvs.srv import Trigger

    client = listening.node.create_client(Trigger, service)
    assert client.wait_for_service(timeout_sec=PATIENCE), f"no service {service}"
    future = client.call_async(Trigger.Request())
    assert wait(future.done), f"no answer of {service}"
    return future.result()


def joint_states(listening: Any, topic: str) -> Callable[[], None]:
    """What publishes one message of the arm at home."""
    from sensor_msgs.msg import JointState

    publisher = listening.node.create_publisher(JointState, topic, 10)

    def publish() -> None:
        message = JointState(name=[GRIPPER, *ARM], position=[0.0, *ROBOT.home], effort=[0.0] * 8)
        message.header.stamp = listening.node.get_clock().now().to_msg()
        publisher.publish(message)

    return publish


# -- bags, certificates, ends, diagnostics -----------------------------------------------------------------------------


def _recorded(reliability: str, folder: Path) -> str:
    """A recorder in a namespace, a camera with an absolute topic, an instruction that does not latch."""
    from rclpy.qos import QoSProfile, ReliabilityPolicy
    from std_msgs.msg import String

    text = (robot_folders()[0] / "panda.yaml").read_text(encoding="utf-8")
    (folder / "mine.yaml").write_text(text.replace("topic: camera/front/image", "topic: /cell/front/image"))
    words = f"recorder_node --ros-args -r __ns:=/arm1 -p robot:={folder}/mine.yaml -p output:={folder}/bags"
    with listener() as heard, node(words, folder / "log"):
        kind = ReliabilityPolicy.BEST_EFFORT if reliability == "best effort" else ReliabilityPolicy.RELIABLE
        told = heard.node.create_publisher(String, "/arm1/instruction", QoSProfile(depth=1, reliability=kind))
        publish = joint_states(heard, "/arm1/joint_states")
        begun = ""

        def started() -> bool:
            nonlocal begun
            told.publish(String(data="put the cup away"))
            publish()
            answer = call(heard, "/arm1/record/start")
            begun = answer.message
            return bool(answer.success)

        if not wait(started):
            return f"record/start: {' '.join(begun.split())}"
        for _ in range(20):
            publish()
            time.sleep(0.02)
        done = call(heard, "/arm1/record/success")
    facts = next((folder / "bags").rglob("metadata.yaml")).read_text(encoding="utf-8")
    wanted = ("/arm1/joint_states", "/cell/front/image", "/arm1/instruction", "put the cup away")
    missing = [word for word in wanted if word not in facts]
    wrong = "//" in facts.replace("://", "")
    return unless(done.success and not missing and not wrong, f"{done.message}; missing: {missing}")


def _nothing(command: str, folder: Path) -> str:
    """Joint states, the e-stop, a reset, a command: nothing reaches the robot's topic."""
    from trajectory_msgs.msg import JointTrajectory

    heard_of: list[Any] = []
    words = "safety_node --ros-args -p hardware:=true -p policy:=policies/tabletop-nano " + command
    with listener() as heard, node(words, folder / "log"):
        heard.node.create_subscription(JointTrajectory, "robot/joint_trajectory", heard_of.append, 10)
        publish = joint_states(heard, "joint_states")
        publish()
        call(heard, "safety/estop")
        for round_ in range(150):
            publish()
            time.sleep(0.02)
            if round_ == 75:
                call(heard, "safety/reset")
    return unless(not heard_of, f"{len(heard_of)} commands")


def _dies(node_name: str, number: int, folder: Path) -> str:
    """`vla-agent up evaluate`, of which a node is killed."""
    words = [sys.executable, "-m", "vla_agent", "up", "evaluate", "--episodes", "1", "--tasks", "lift"]
    words += ["--logs", str(folder / "logs"), "--results", str(folder / "results")]
    environment = node_environment() | {"ROS_DOMAIN_ID": str(1 + os.getpid() % 101)}
    process = subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=folder)
    try:
        wait(lambda: bool(children(process.pid, node_name)) or process.poll() is not None)
        found = children(process.pid, node_name)
        time.sleep(2.0)
        for pid in found:
            os.kill(pid, number)
        code = process.wait(PATIENCE)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            process.wait(PATIENCE)
    return unless(bool(found) and code == 1, f"exit code {code}, {len(found)} killed")


def children(parent: int, word: str) -> list[int]:
    """Children of a process whose command has this word."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                status = (folder / "stat").read_text().rsplit(")", 1)[1].split()
                words = (folder / "cmdline").read_text().split("\0")
            except OSError:
                continue
            if int(status[1]) == parent and word in words:
                found.append(int(folder.name))
    return found


def _reported(message: Callable[[int], str], most: int, _folder: Path) -> str:
    """128 reports in two seconds, as a policy node makes them."""
    from rclpy.time import Time

    from vla_agent.ros.process.status_reporter import StatusReporter

    published: list[Any] = []
    logger = SimpleNamespace(info=lambda _: None, warning=lambda _: None, error=lambda _: None)
    clock = SimpleNamespace(now=lambda: Time())
    stub = SimpleNamespace(
        get_fully_qualified_name=lambda: "/policy_node",
        create_publisher=lambda *_: SimpleNamespace(publish=published.append),
        get_logger=lambda: logger,
        get_clock=lambda: clock,
    )
    reporter = StatusReporter(stub)
    for k in range(128):
        reporter.report("ok", message(k))
        time.sleep(1 / 64)
    return unless(1 <= len(published) <= most, f"{len(published)} messages")


def _cases() -> Iterator[Case]:
    for words, said in (
        ("safety_node --ros-args -p robott:=my.yaml", ("did you mean robot?",)),
        ("policy_node --ros-args -p max_age:=three", ("a number", "max_age")),
        ("camera_node --ros-args -p robot:=pand", ("did you mean panda?",)),
        ("controller_node --ros-args -p robot", ("--ros-args",)),
    ):
        yield Case(PARAMETERS, words, partial(_refused_by, words, said))
    for words in (
        "policy_node --ros-args -p max_age:=3 -p autostart:=false",
        "controller_node --ros-args -p real_time_factor:=1",
    ):
        yield Case(PARAMETERS, words, partial(_runs, words))
    for reliability in ("reliable", "best effort"):
        yield Case(BAGS, f"recorder in /arm1, instruction {reliability}", partial(_recorded, reliability))
    for command in ("", "-p replay:=true", "-p certificate:=no/such.json"):
        yield Case(UNCERTIFIED, f"safety node on hardware {command}".strip(), partial(_nothing, command))
    for name, number in (("policy_node", signal.SIGKILL), ("safety_node", signal.SIGTERM)):
        yield Case(ENDS, f"evaluate: {name}, {signal.Signals(number).name}", partial(_dies, name, number))
    yield Case(DIAGNOSTICS, "numbers that change", partial(_reported, lambda k: f"acting, {k * 0.37:.3f} s", 3))
    yield Case(DIAGNOSTICS, "a state that flickers", partial(_reported, lambda k: "ab"[k % 2], 10))
    for cell in CELLS:
        name = f"{cell.hz:g} Hz, {1000 * cell.delay:g} ms, {'split' if cell.split else 'merged'}, {cell.encoding}"
        yield Case(DRIVERS, f"{name}, {cell.size[0]} x {cell.size[1]}", partial(_beside_a_driver, cell))


CASES = tuple(_cases())
