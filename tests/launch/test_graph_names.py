"""Names of the nodes' topics and services: relative, so that two robots run side by side; the layouts' exist."""

from __future__ import annotations

import json
import os
import re
from importlib import import_module
from pathlib import Path

import pytest
from ruamel.yaml import YAML

rclpy = pytest.importorskip("rclpy")

from benchmarks.ros.ros_graph import DOMAIN  # noqa: E402

CONFIG = Path(__file__).parents[2] / "config"
OF_ROS = {"/diagnostics", "/tf", "/tf_static", "/rosout", "/parameter_events", "/clock"}
CLASSES = {"sim_robot_node": "SimRobotNode", "safety_node": "SafetyNode", "controller_node": "ControllerNode"} | {
    "policy_node": "PolicyNode",
    "frames_node": "FramesNode",
}
NAME = re.compile(r"(/[a-z_]+(?:/[a-z_]+)*)(?:[.\[].*)?")


def foxglove() -> tuple[set[str], set[str]]:
    """Topics and services that the layout names; the panels of its tree are all there."""
    layout = json.loads((CONFIG / "foxglove" / "vla_agent.json").read_text())
    topics, services = set(), set()
    for panel in layout["configById"].values():
        for key in ("topicToRender", "topicPath", "topicName", "cameraTopic"):
            topics |= {panel[key]} if key in panel else set()
        topics |= {NAME.fullmatch(path["value"])[1] for path in panel.get("paths", [])}
        topics |= set(panel.get("topics", {}))
        services |= {panel["serviceName"]} if "serviceName" in panel else set()
    assert set(re.findall(r'"(\w+!\w+)"', json.dumps(layout["layout"]))) == set(layout["configById"])
    return topics, services


def rviz() -> set[str]:
    """Topics of the configuration's displays."""
    data = YAML(typ="safe").load((CONFIG / "rviz" / "vla_agent.rviz").read_text())
    displays = data["Visualization Manager"]["Displays"]
    return {display["Topic"]["Value"] for display in displays if "Topic" in display}


@pytest.fixture
def names(interfaces, monkeypatch, tmp_path):
    """(topics that are published, topics that are subscribed to, services) of real nodes in a namespace."""
    monkeypatch.setitem(os.environ, "ROS_DOMAIN_ID", DOMAIN)
    monkeypatch.setitem(os.environ, "ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    file = tmp_path / "params.yaml"
    quiet: dict = {f"/**/{node}": {"ros__parameters": {"real_time": False}} for node in list(CLASSES)[:4]}
    quiet["/**/policy_node"]["ros__parameters"]["autostart"] = False
    file.write_text(json.dumps(quiet))
    rclpy.init(args=["--ros-args", "-r", "__ns:=/arm1", "--params-file", str(file)])
    nodes = [getattr(import_module(f"vla_agent.ros.nodes.{module}"), name)() for module, name in CLASSES.items()]
    published = {publisher.topic_name for node in nodes for publisher in node.publishers}
    taken = {subscription.topic_name for node in nodes for subscription in node.subscriptions}
    services = {service.srv_name for node in nodes for service in node.services}
    for node in nodes:
        if hasattr(node, "final"):
            node.final()
        node.destroy_node()
    rclpy.shutdown()
    return published, taken, services


def test_nodes_have_no_absolute_names_of_their_own_and_the_layouts_name_what_they_publish(names):
    published, taken, services = names
    everything = {name for name in published | taken | services if name.startswith("/")}
    absolute = {name for name in everything if not name.startswith("/arm1/")} - OF_ROS
    assert not absolute, "a second robot on this host would hear them"
    plain = {name.removeprefix("/arm1") for name in published}
    (topics, called) = foxglove()
    assert topics - {"/instruction"} <= plain and rviz() <= plain
    assert "/instruction" in plain, "the scene's"
    assert called <= {"/" + name.removeprefix("/arm1/") for name in services}
    assert {"/camera/front/image", "/camera/wrist/image"} <= topics & rviz()
