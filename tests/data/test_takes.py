"""A clock that begins again cuts a recording; late messages do not; joint states without joints are skipped."""

import json
import subprocess
import sys

import numpy as np
import pytest

from vla_agent.data.convert.convert import convert
from vla_agent.data.convert.takes import resets, split
from vla_agent.data.lerobot.dataset_reader import load
from vla_agent.errors import DatasetError

pytest.importorskip("rosbags")
from rosbags.rosbag2 import StoragePlugin, Writer  # noqa: E402
from rosbags.typesys import Stores, get_typestore  # noqa: E402

STORE = get_typestore(Stores.ROS2_HUMBLE)
IMAGE, JOINTS = "sensor_msgs/msg/Image", "sensor_msgs/msg/JointState"
SOURCE = {"name": "q", "at": "/joints", "pick": ["q"], "unit": "rad"}
MAPPING = {
    "format": "bag",
    "control_hz": 10,
    "storage": "images",
    "cameras": [{"name": "front", "at": "/cam", "height": 8, "width": 8}],
    "state": [SOURCE],
    "action": [SOURCE | {"name": "u"}],
    "instruction": {"text": "pick"},
}


def bag(folder, stamps, empty=()):
    """One image and one joint state for each stamp; both show its number."""
    types = STORE.types
    with Writer(folder, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        camera = writer.add_connection("/cam", IMAGE, typestore=STORE)
        joints = writer.add_connection("/joints", JOINTS, typestore=STORE)
        for k, stamp in enumerate(stamps):
            time = types["builtin_interfaces/msg/Time"](int(stamp), int(stamp % 1 * 1e9))
            header, none = types["std_msgs/msg/Header"](time, ""), np.empty(0)
            pixels = np.full(192, k, np.uint8)
            names, values = ([], none) if k in empty else (["q"], np.array([float(k)]))
            for connection, message in (
                (camera, types[IMAGE](header, 8, 8, "rgb8", 0, 24, pixels)),
                (joints, types[JOINTS](header, names, values, none, none)),
            ):
                writer.write(connection, int((1000 + 0.1 * k) * 1e9), STORE.serialize_cdr(message, message.__msgtype__))


def converted(tmp_path, **changes):
    (tmp_path / "mapping.yaml").write_text(json.dumps(MAPPING | changes))
    report = convert(tmp_path / "bag", tmp_path / "mapping.yaml", tmp_path / "out")
    dataset = load(tmp_path / "out")
    shown = dataset.frames("front", range(len(dataset)))[:, 0, 0, 0]
    assert (shown == dataset.columns["observation.state"]).all()  # images and states of one moment
    return report, [shown[e.start : e.stop].tolist() for e in dataset.episodes]


def test_two_takes_on_one_clock_are_two_episodes(tmp_path):
    bag(tmp_path / "bag", [5 + 0.1 * k for k in range(20)] + [5 + 0.1 * k for k in range(8)])
    report, episodes = converted(tmp_path)
    assert episodes == [list(range(20)), list(range(20, 28))]
    assert [(e["take"], e["takes"], e["number"]) for e in report["episodes"]] == [(1, 2, 0), (2, 2, 1)]


def test_a_take_without_a_common_time_is_left_out(tmp_path):
    stamps = [5 + 0.1 * k for k in range(10)] + [2 + 0.1 * k for k in range(8)]
    bag(tmp_path / "bag", stamps, empty=range(10, 18))
    report, episodes = converted(tmp_path)
    assert episodes == [list(range(10))] and "no time at which" in report["left_out"][0]["left_out"]


def test_a_bag_that_lost_its_metadata_is_converted_too(tmp_path):
    for name in ("one", "two"):
        bag(tmp_path / "bag" / name, [5 + 0.1 * k for k in range(10)])
    (tmp_path / "bag" / "two" / "metadata.yaml").unlink()
    report, episodes = converted(tmp_path)
    assert episodes == [list(range(10))] * 2
    assert [e["from"] for e in report["episodes"]] == ["one", "two.mcap"]


def test_joint_states_without_joints_are_skipped_and_counted(tmp_path):
    bag(tmp_path / "bag", [5 + 0.1 * k for k in range(10)], empty=(0,))
    report, episodes = converted(tmp_path)
    assert episodes == [list(range(1, 10))] and report["episodes"][0]["sources"]["state.q"]["empty"] == 1


@pytest.mark.parametrize(
    "stamps, places",
    [
        ([1, 2, 3, 4], []),
        ([10, 11, 5, 6, 7], [2]),
        ([10, 11, 5, 12, 13], []),  # one that came late
        ([10, 11, 10.1, 10.2, 10.3], []),  # less than a second
        ([10, 9, 9, 9], []),
        ([10, 8.9, 8.9, 8.9], [1]),
        ([10, 11, 5, 6, 1, 2], [2, 4]),
        ([], []),
    ],
)
def test_where_a_clock_begins_again(stamps, places):
    assert resets(stamps) == places


def test_rows_by_take():
    assert split({"a": [1, 2, 3], "b": [4]}, {"a": [1], "b": []}) == [{"a": [1], "b": [4]}, {"a": [2, 3], "b": []}]


@pytest.mark.parametrize("name", ["../../evil", "top/left", "", ".hidden", "a" * 101, "a\0"])
@pytest.mark.parametrize("part", ["cameras", "state"])
def test_names_make_no_paths(tmp_path, name, part):
    changed = [MAPPING[part][0] | {"name": name}]
    (tmp_path / "mapping.yaml").write_text(json.dumps(MAPPING | {part: changed}))
    with pytest.raises(DatasetError, match="name"):
        convert(tmp_path / "bag", tmp_path / "mapping.yaml", tmp_path / "out")


def test_a_report_is_printed_where_the_terminal_knows_few_letters(tmp_path):
    bag(tmp_path / "bag", [5 + 0.1 * k for k in range(10)])
    (tmp_path / "mapping.yaml").write_text(json.dumps(MAPPING | {"instruction": {"text": "拿起方块"}}))
    words = ["data", "convert", str(tmp_path / "bag"), "--mapping", str(tmp_path / "mapping.yaml"), "-o", "out"]
    command = [sys.executable, "-m", "vla_agent", *words]
    environment = {
        "PYTHONIOENCODING": "ascii",
        "PYTHONPATH": ":".join(sys.path),
        "PATH": "/usr/bin",
        "HOME": str(tmp_path),
    }
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0 and "1 episodes" in done.stdout, done.stderr
    assert load(tmp_path / "out").tasks == {0: "拿起方块"}
