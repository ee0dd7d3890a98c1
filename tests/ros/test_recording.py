"""What is recorded: chosen topics by the names that the node sees, facts in each bag, sessions, and record_episode."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

pytest.importorskip("rclpy")
pytest.importorskip("rosbags")

from benchmarks.ros.ros_graph import DOMAIN, PATIENCE  # noqa: E402
from vla_agent.errors import NodeError  # noqa: E402
from vla_agent.ros.recording.bag_types import BagTypes, definition, message_class  # noqa: E402
from vla_agent.ros.recording.recorder import Recorder, open_session  # noqa: E402
from vla_agent.ros.recording.topic_choice import TopicChoice  # noqa: E402

OWN = {"/arm1/joint_states", "/camera/front/image", "/tf"}


@pytest.mark.parametrize(
    ("include", "exclude", "wanted"),
    [
        ("robot", "", {"/arm1/joint_states", "/camera/front/image", "/tf"}),
        ("*", "", {"/arm1/joint_states", "/camera/front/image", "/tf", "/arm1/other", "/far/other"}),
        ("robot, other", "/tf*", {"/arm1/joint_states", "/camera/front/image", "/arm1/other"}),
        ("all", "robot", {"/arm1/other", "/far/other"}),
        ("/far/*", "", {"/far/other"}),
        ("*", "/camera/*/image,joint_states", {"/tf", "/arm1/other", "/far/other"}),
    ],
)
def test_topics_are_chosen_by_names_and_patterns(include, exclude, wanted):
    choice = TopicChoice(OWN, include, exclude, namespace="/arm1")
    assert {topic for topic in (*OWN, "/arm1/other", "/far/other") if choice.wants(topic)} == wanted


@pytest.mark.parametrize(("include", "exclude"), [("", ""), ("robot,,tf", ""), ("robot", "tf,")])
def test_an_empty_entry_of_a_list_of_topics_is_refused(include, exclude):
    with pytest.raises(NodeError, match="empty entry"):
        TopicChoice(OWN, include, exclude)


def test_a_types_definition_is_that_of_the_installed_package(interfaces, tmp_path):
    types = BagTypes()
    types.know("control_msgs/msg/JointJog")
    names = [name for name, _ in types.store.fielddefs["control_msgs/msg/JointJog"][1]]
    assert names == ["header", "joint_names", "displacements", "velocities", "duration"]
    assert message_class("control_msgs/msg/JointJog").__name__ == "JointJog"
    for unknown in ("control_msgs/msg/Nothing", "no_such_msgs/msg/A", "std_msgs"):
        with pytest.raises(NodeError, match="definition"):
            definition(unknown)
        with pytest.raises(NodeError, match="not installed"):
            message_class(unknown)
    recorder = Recorder(tmp_path, {}, free=0)
    recorder.begin("open the drawer")
    recorder.add("/jog", "control_msgs/msg/JointJog")
    with pytest.raises(NodeError, match="definition"):
        recorder.add("/other", "no_such_msgs/msg/A")
    recorder.end("success")


def test_a_session_goes_on_and_is_of_one_robot(tmp_path):
    first = open_session(tmp_path / "new", "panda")
    recorder = Recorder(tmp_path / "new", {"/a": "std_msgs/msg/String"}, free=0)
    for _ in range(2):
        recorder.begin("wipe the table", {"session": first["id"]})
        recorder.end("success")
    again = open_session(tmp_path / "new", "panda")
    assert again["id"] == first["id"] and (first["episodes"], again["episodes"]) == (0, 2)
    later = Recorder(tmp_path / "new", {"/a": "std_msgs/msg/String"}, free=0)
    later.begin("wipe the table")
    assert (tmp_path / "new" / "episode-0002.partial").is_dir(), "until it is closed"
    assert later.end("failure").name == "episode-0002"
    assert not list((tmp_path / "new").glob("*.partial"))
    with pytest.raises(NodeError, match="another robot") as error:
        open_session(tmp_path / "new", "so101")
    assert (error.value.expected, error.value.found) == ("so101", "panda")
    for text in ("{}", "[1]", "{", '{"id": 1, "robot": "panda"}'):
        (tmp_path / "session.json").write_text(text)
        with pytest.raises(NodeError):
            open_session(tmp_path, "panda")


class Graph:
    """A recorder node in a namespace, and a node that publishes and asks, in one process."""

    def __init__(self, folder: Path, *parameters: str) -> None:
        import rclpy

        from vla_agent.ros.nodes.recorder_node import RecorderNode
        from vla_agent.ros.process.node_base import make_executor

        words = [word for parameter in (f"output:={folder}", *parameters) for word in ("-p", parameter)]
        rclpy.init(args=["--ros-args", "-r", "__ns:=/arm1", *words], domain_id=int(DOMAIN))
        self.recorder, self.node = RecorderNode(), rclpy.create_node("robot", namespace="arm1")
        self.executor = make_executor()
        self.written: list[str] = []
        write = self.recorder._recorder.write

        def note(topic: str, *message: Any) -> None:
            write(topic, *message)
            self.written.append(topic)

        self.recorder._recorder.write = note
        for each in (self.recorder, self.node):
            self.executor.add_node(each)

    def wait(self, until: Callable[[], object]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not until():
            assert time.monotonic() < deadline, "it did not come"
            self.executor.spin_once(timeout_sec=0.05)

    def publish(self, kind: Any, topic: str, message: Any, qos: Any = 10) -> None:
        """Publish until the recorder has it."""
        publisher = self.node.create_publisher(kind, topic, qos)
        self.recorder._discover()
        self.wait(lambda: self.recorder._discover() or publisher.get_subscription_count())
        self.written.clear()
        publisher.publish(message)
        self.wait(lambda: publisher.topic_name in self.written)

    def ask(self, future: Any) -> Any:
        self.wait(future.done)
        return future.result()

    def close(self) -> None:
        import rclpy

        self.executor.shutdown()
        for each in (self.recorder, self.node):
            each.destroy_node()
        rclpy.try_shutdown()


@pytest.fixture
def start() -> Iterator[Callable[..., Graph]]:
    made: list[Graph] = []

    def make(*arguments: Any) -> Graph:
        made.append(Graph(*arguments))
        return made[-1]

    yield make
    for graph in made:
        graph.close()


def bag(path: Path) -> tuple[list[str], dict[str, Any]]:
    """Topics with messages, and the custom data."""
    from rosbags.rosbag2 import Reader

    with Reader(path) as reader:
        topics = sorted({connection.topic for connection, _, _ in reader.messages()})
    marks = YAML(typ="safe").load(path / "metadata.yaml")["rosbag2_bagfile_information"]["custom_data"]
    return topics, {key: json.loads(value) for key, value in marks.items()}


def test_all_topics_are_recorded_by_the_names_that_the_node_sees(interfaces, start, tmp_path):
    from control_msgs.msg import JointJog
    from geometry_msgs.msg import TransformStamped
    from sensor_msgs.msg import Image, JointState
    from std_msgs.msg import String
    from tf2_msgs.msg import TFMessage

    from vla_agent.ros.process.node_base import LATCHED

    text = Path("config/robots/panda.yaml").read_text()
    (tmp_path / "panda.yaml").write_text(text.replace("topic: camera/front/image", "topic: /far/front/image"))
    exclude = "exclude:=/diagnostics,/rosout,/parameter_events"
    graph = start(tmp_path / "bags", "include:=all", exclude, f"robot:={tmp_path / 'panda.yaml'}")
    graph.publish(String, "policy/contract", String(data='{"action": []}'), LATCHED)
    graph.publish(String, "policy/loaded", String(data="abc"), LATCHED)
    graph.publish(String, "instruction", String(data="stack the cubes"))  # does not latch
    graph.wait(lambda: graph.recorder._facts["contract"] and graph.recorder._instruction)
    graph.recorder._begin()
    graph.publish(JointState, "joint_states", JointState(name=["joint1"], position=[0.0]))
    graph.publish(Image, "/far/front/image", Image())
    graph.publish(JointJog, "jog", JointJog(duration=0.5))
    graph.publish(TFMessage, "/tf", TFMessage(transforms=[TransformStamped()]))
    graph.recorder._end("success")
    topics, facts = bag(tmp_path / "bags" / "episode-0000")
    assert {"/arm1/instruction", "/arm1/joint_states", "/arm1/jog", "/tf", "/far/front/image"} <= set(topics)
    assert not {"/diagnostics", "/rosout", "/joint_states"} & set(topics)
    session = json.loads((tmp_path / "bags" / "session.json").read_text())
    assert facts.pop("run") and len(facts.pop("robot_file")) == 64
    assert facts == {
        "instruction": "stack the cubes",
        "outcome": "success",
        "session": session["id"],
        "robot": "panda",
        "contract": '{"action": []}',
        "policy": "abc",
    }


def test_record_episode_ends_with_an_outcome_and_a_reason(own_interfaces, start, tmp_path):
    from rclpy.action import ActionClient
    from std_srvs.srv import Trigger

    from vla_agent_interfaces.action import RecordEpisode

    graph = start(tmp_path)
    client: Any = ActionClient(graph.node, RecordEpisode, "record_episode")
    stop: Any = graph.node.create_client(Trigger, "record/success")
    graph.wait(lambda: client.server_is_ready() and stop.service_is_ready())
    feedback: list[Any] = []

    def send(**goal: Any) -> Any:
        future = client.send_goal_async(
            RecordEpisode.Goal(**goal), feedback_callback=lambda message: feedback.append(message.feedback)
        )
        return graph.ask(future)

    def result(handle: Any) -> Any:
        return graph.ask(handle.get_result_async()).result

    assert "there is no instruction" in result(send()).reason
    for goal, word in (({"time_limit": -1.0}, "time_limit"), ({"outcome_at_limit": "maybe"}, "'maybe'")):
        refused = result(send(instruction="a", **goal))
        assert refused.outcome == "refused" and word in refused.reason

    handle = send(instruction="open the drawer")
    graph.wait(lambda: feedback and feedback[-1].seconds > 0)
    assert "another goal" in result(send(instruction="b")).reason
    assert graph.ask(stop.call_async(Trigger.Request())).success
    done = result(handle)
    assert (done.outcome, done.path) == ("success", str(tmp_path / "episode-0000"))
    assert bag(tmp_path / "episode-0000")[1]["instruction"] == "open the drawer"

    done = result(send(instruction="open the drawer", time_limit=0.3))
    assert (done.outcome, done.reason) == ("failure", "the time limit of 0.3 s is over") and done.path

    handle = send(instruction="open the drawer")
    graph.wait(lambda: graph.recorder._recorder.recording)
    graph.ask(handle.cancel_goal_async())
    done = result(handle)
    assert (done.outcome, done.reason, done.path) == ("discard", "the caller cancelled the recording", "")
    assert sorted(path.name for path in tmp_path.glob("episode-*")) == ["episode-0000", "episode-0001"]


def test_what_cannot_be_recorded_is_told(start, tmp_path, monkeypatch):
    from std_msgs.msg import String

    from vla_agent.ros.nodes import recorder_node

    def missing(kind: str) -> Any:
        raise NodeError("a message type is not installed", key=kind)

    monkeypatch.setattr(recorder_node, "message_class", missing)
    graph = start(tmp_path, "include:=other")
    graph.node.create_publisher(String, "other", 10)
    graph.wait(lambda: graph.recorder._discover() or graph.recorder._problems)
    values = graph.recorder._values()
    assert values["not recorded: /arm1/other"] == "a message type is not installed: std_msgs/msg/String"
    assert str(values["record_episode"]).startswith(("offered", "not offered"))
