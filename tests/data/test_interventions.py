"""A person's frames in a bag: which they are, which are learned from, and that conversion and editing keep them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ruamel.yaml import YAML

pytest.importorskip("rosbags")

from vla_agent.cli import main  # noqa: E402
from vla_agent.data.convert.convert import convert  # noqa: E402
from vla_agent.data.convert.interventions import intervention_columns, read_interventions  # noqa: E402
from vla_agent.data.lerobot.dataset_reader import load  # noqa: E402
from vla_agent.errors import DatasetError  # noqa: E402
from vla_agent.ros.recording.recorder import Recorder  # noqa: E402

TIMES = np.arange(6) * 0.05
MAPPING = {
    "format": "bag",
    "control_hz": 20,
    "storage": "images",
    "cameras": [{"name": "front", "at": "/image", "height": 8, "width": 8}],
    "state": [{"name": "joints", "at": "/joints", "pick": ["a"], "unit": "rad"}],
    "action": [{"name": "joints", "at": "/joints", "pick": ["a"], "unit": "rad"}],
    "instruction": {"custom": "instruction"},
    "success": {"custom": "outcome"},
    "intervention": "/intervention",
}


@pytest.mark.parametrize(
    ("marks", "person", "clean"),
    [
        (None, [0, 0, 0, 0, 0, 0], [1, 1, 1, 1, 1, 1]),
        ([], [0, 0, 0, 0, 0, 0], [1, 1, 1, 1, 1, 1]),
        ([(-1.0, False)], [0, 0, 0, 0, 0, 0], [1, 1, 1, 1, 1, 1]),
        ([(-1.0, True)], [1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1]),
        ([(-1.0, False), (0.1, True), (0.21, False)], [0, 0, 1, 1, 1, 0], [0, 0, 1, 1, 1, 0]),
        ([(0.06, True), (0.07, False), (0.16, True)], [0, 0, 0, 0, 1, 1], [0, 0, 0, 0, 1, 1]),
        ([(9.0, True)], [0, 0, 0, 0, 0, 0], [1, 1, 1, 1, 1, 1]),
    ],
)
def test_only_a_correction_hides_the_policys_own_frames(marks, person, clean):
    columns = intervention_columns(marks, TIMES)
    assert columns["annotation.intervention"].T.tolist() == [person]
    assert columns["annotation.clean"].T.tolist() == [clean]


def record(folder: Path, marks: dict[int, bool], kind: str = "std_msgs/msg/Bool") -> Path:
    """A bag of 12 control periods."""
    from rosbags.typesys import Stores, get_typestore

    types = get_typestore(Stores.ROS2_JAZZY)
    topics = {"/image": "sensor_msgs/msg/Image", "/joints": "sensor_msgs/msg/JointState", "/intervention": kind}
    recorder, random = Recorder(folder, topics, free=0), np.random.default_rng(len(marks))
    recorder.begin("stack the cubes")

    def write(topic: str, nanoseconds: int, **fields: object) -> None:
        message = types.types[topics[topic]](**fields)
        recorder.write(topic, nanoseconds, bytes(types.serialize_cdr(message, topics[topic])))

    for k in range(12):
        nanoseconds = 10**9 + k * 50_000_000
        stamp = types.types["builtin_interfaces/msg/Time"](sec=nanoseconds // 10**9, nanosec=nanoseconds % 10**9)
        header, no = types.types["std_msgs/msg/Header"](stamp=stamp, frame_id=""), np.zeros(0)
        if k in marks:
            write("/intervention", nanoseconds, data=marks[k])
        pixels = random.integers(0, 255, 8 * 8 * 3, np.uint8)
        size = {"height": 8, "width": 8, "encoding": "rgb8", "is_bigendian": 0, "step": 24}
        write("/image", nanoseconds, header=header, data=pixels, **size)
        position = np.array([0.01 * k + 0.1 * len(marks)])
        write("/joints", nanoseconds, header=header, name=["a"], position=position, velocity=no, effort=no)
    return recorder.end("success")


def test_a_takeover_becomes_a_column_that_editing_keeps(tmp_path):
    record(tmp_path / "bags", {0: False, 4: True, 9: False})
    record(tmp_path / "bags", {})
    YAML(typ="safe").dump(MAPPING, tmp_path / "mapping.yaml")
    report = convert(tmp_path / "bags", tmp_path / "mapping.yaml", tmp_path / "made")
    assert [episode["interventions"] for episode in report["episodes"]] == [
        "5 frames by a person",
        "0 frames by a person",
    ]
    dataset = load(tmp_path / "made")
    person = [0, 0, 0, 0, 1, 1, 1, 1, 1, 0, 0, 0]
    columns = dataset.arrays()
    assert columns["annotation.intervention"].reshape(-1).tolist() == [*person, *[0] * 12]
    assert columns["annotation.clean"].reshape(-1).tolist() == [*person, *[1] * 12]
    assert main(["data", "validate", str(tmp_path / "made")]) == 0
    assert main(["data", "edit", str(tmp_path / "made"), "--leave-out", "1", "-o", str(tmp_path / "edited")]) == 0
    kept = load(tmp_path / "edited").arrays()
    assert kept["annotation.intervention"].reshape(-1).tolist() == person


def test_a_topic_of_another_type_is_refused_and_one_that_is_missing_is_told(tmp_path):
    bag = record(tmp_path, {0: "yes"}, kind="std_msgs/msg/String")
    with pytest.raises(DatasetError, match="another message type") as error:
        read_interventions(bag, "/intervention")
    assert error.value.found == "std_msgs/msg/String"
    assert read_interventions(bag, "/nothing") is None
