"""Values of recordings: angles, encoded pictures, files that are one episode, joints of several publishers."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from ruamel.yaml import YAML

from vla_agent.data.convert.convert import convert
from vla_agent.data.convert.field_vectors import field_values
from vla_agent.data.convert.mapping import FieldSource
from vla_agent.data.lerobot.dataset_reader import load
from vla_agent.errors import DatasetError

N = 12
HDF5 = {
    "format": "hdf5",
    "control_hz": 10,
    "storage": "images",
    "episodes": "/",
    "cameras": [{"name": "front", "at": "images/top", "height": 16, "width": 24}],
    "state": [{"name": "q", "at": "qpos", "pick": [0, 1], "unit": "rad"}],
    "action": [{"name": "u", "at": "action", "pick": [0, 1], "unit": "rad"}],
    "instruction": {"text": "pick"},
}
BAG = {
    "format": "bag",
    "control_hz": 10,
    "storage": "images",
    "cameras": [{"name": "front", "at": "/cam", "height": 8, "width": 8}],
    "state": [{"name": "q", "at": "/joints", "pick": ["arm", "jaw"], "unit": "rad"}],
    "action": [{"name": "u", "at": "/joints", "pick": ["arm"], "delta": "next", "unit": "rad"}],
    "instruction": {"text": "pick"},
}


def mapping_file(folder, mapping, **changes):
    YAML().dump(json.loads(json.dumps(mapping | changes)), folder / "mapping.yaml")
    return folder / "mapping.yaml"


@settings(max_examples=60, deadline=None)
@given(
    start=st.floats(-50, 50),
    steps=st.lists(st.floats(-3.1, 3.1), min_size=1, max_size=20),
    unit=st.sampled_from(["rad", "deg", "rad per period"]),
)
def test_changes_of_an_angle_go_the_shorter_way_around(start, steps, unit):
    scale = 180 / np.pi if unit == "deg" else 1.0
    angles = start + np.cumsum([0.0, *steps])
    counted = (angles + np.pi) % (2 * np.pi) - np.pi  # as an encoder of one turn counts
    field = FieldSource(name="u", at="q", pick=(0,), unit=unit, delta="next", scale=scale)
    counts = {}
    changes = field_values(field, counted[:, None], None, "here", counts)
    np.testing.assert_allclose(changes[:, 0], scale * np.array(steps), atol=1e-3)
    assert counts.get("around", 0) == int((np.abs(np.diff(counted)) > np.pi).sum())


def test_lengths_do_not_wrap_and_what_is_clipped_is_counted():
    picked, counts = np.array([[0.0], [5.0], [4.0]]), {}
    field = FieldSource(name="u", at="q", pick=(0,), unit="m", delta="next")
    assert field_values(field, picked, None, "here", counts).tolist() == [[5.0], [-1.0]] and not counts
    clipped = FieldSource(name="u", at="q", pick=(0,), unit="m", low=0, high=4, clip=True)
    assert field_values(clipped, picked, None, "here", counts).tolist() == [[0.0], [4.0], [4.0]]
    assert counts == {"clipped": 1}


def picture(k):
    image = np.zeros((16, 24, 3), np.uint8)
    image[..., 0], image[..., 2] = 200, 5 * k
    return image


def encoded(image, kind):
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, kind, **({"quality": 95} if kind == "JPEG" else {}))
    return buffer.getvalue()


def write_hdf5(path, images, kind=None):
    h5py = pytest.importorskip("h5py")
    with h5py.File(path, "w") as file:
        file["action"] = file["qpos"] = np.linspace(0, 1, 2 * N).reshape(N, 2)
        if kind == "ragged":
            rows = file.create_dataset("images/top", (N,), h5py.vlen_dtype(np.uint8))
            for k, row in enumerate(images):
                rows[k] = np.frombuffer(row, np.uint8)
        else:
            file["images/top"] = images
    return path


def padded(rows):
    longest = max(map(len, rows))
    return np.stack([np.frombuffer(row.ljust(longest, b"\0"), np.uint8) for row in rows])


@pytest.mark.parametrize("stored", ["pixels", "channel first", "padded JPEG", "padded PNG", "ragged JPEG", "bytes PNG"])
def test_a_file_can_be_one_episode_with_pictures_of_any_kind(stored, tmp_path):
    pictures = np.stack([picture(k) for k in range(N)])
    rows = [encoded(p, "PNG" if "PNG" in stored else "JPEG") for p in pictures]
    images = {
        "pixels": lambda: pictures,
        "channel first": lambda: pictures.transpose(0, 3, 1, 2),
        "padded JPEG": lambda: padded(rows),
        "padded PNG": lambda: padded(rows),
        "ragged JPEG": lambda: rows,
        "bytes PNG": lambda: np.array([row.ljust(max(map(len, rows)) + 3, b"\0") for row in rows], dtype="S"),
    }[stored]()
    file = write_hdf5(tmp_path / "episode_0.hdf5", images, stored.split()[0])
    report = convert(file, mapping_file(tmp_path, HDF5), tmp_path / "made")
    made = load(tmp_path / "made")
    assert report["episodes"][0]["from"] == "episode_0.hdf5" and len(made) == N
    found = made.frames("front", range(N)).astype(int)
    assert np.abs(found - pictures).max() <= (3 if "JPEG" in stored else 0)


@pytest.mark.parametrize("episodes", ["/", ".", ""])
def test_every_name_of_the_files_root_is_read(episodes, tmp_path):
    file = write_hdf5(tmp_path / "e.hdf5", np.stack([picture(k) for k in range(N)]))
    convert(file, mapping_file(tmp_path, HDF5, episodes=episodes), tmp_path / "made")
    assert len(load(tmp_path / "made").episodes) == 1


def test_blue_first_is_said_in_the_mapping(tmp_path):
    rows = [encoded(picture(k)[..., ::-1], "PNG") for k in range(N)]  # as OpenCV encodes RGB arrays
    file = write_hdf5(tmp_path / "e.hdf5", padded(rows))
    camera = HDF5["cameras"][0] | {"channels": "bgr"}
    convert(file, mapping_file(tmp_path, HDF5, cameras=[camera]), tmp_path / "made")
    assert (load(tmp_path / "made").frames("front", [3])[0] == picture(3)).all()
    with pytest.raises(DatasetError, match="mapping file is wrong"):
        convert(file, mapping_file(tmp_path, BAG, cameras=[BAG["cameras"][0] | {"channels": "bgr"}]), tmp_path / "no")


def test_damaged_pictures_and_odd_shapes_are_named(tmp_path):
    rows = [encoded(picture(k), "JPEG") for k in range(N)]
    rows[4] = b"\xff\xd8\xff" + bytes(40)
    for images, key in ((padded(rows), "images/top, frame 4"), (np.zeros((N, 16, 24, 4), np.uint8), "images/top")):
        file = write_hdf5(tmp_path / "e.hdf5", images)
        with pytest.raises(DatasetError) as caught:
            convert(file, mapping_file(tmp_path, HDF5), tmp_path / "made")
        assert caught.value.key == f"/{key}" and not (tmp_path / "made").exists()


def write_bag(folder, messages):
    """``messages``: (milliseconds, joint names, positions); and an image every 100 ms for 2 s."""
    rosbag2 = pytest.importorskip("rosbags.rosbag2")
    from rosbags.typesys import Stores, get_typestore

    store = get_typestore(Stores.ROS2_JAZZY)
    kinds, nothing = store.types, np.zeros(0)
    with rosbag2.Writer(folder, version=9, storage_plugin=rosbag2.StoragePlugin.MCAP) as writer:
        camera = writer.add_connection("/cam", "sensor_msgs/msg/Image", typestore=store)
        joints = writer.add_connection("/joints", "sensor_msgs/msg/JointState", typestore=store)

        def write(connection, at, kind, *values):
            stamp = kinds["builtin_interfaces/msg/Time"](1000 + at // 1000, at % 1000 * 10**6)
            message = kinds[kind](kinds["std_msgs/msg/Header"](stamp, ""), *values)
            writer.write(connection, (1000_000 + at) * 10**6, store.serialize_cdr(message, kind))

        for at in range(0, 2000, 100):
            pixels = np.full(192, at // 100, np.uint8)
            write(camera, at, "sensor_msgs/msg/Image", 8, 8, "rgb8", 0, 24, pixels)
        for at, names, values in messages:
            write(joints, at, "sensor_msgs/msg/JointState", names, np.array(values, float), nothing, nothing)
    return folder


def arm(at):
    return (at, ["arm"], [at / 1000])


def jaw(at):
    return (at, ["jaw"], [0.5 + at / 10_000])


def test_joints_of_several_publishers_on_one_topic_are_joined_by_name(tmp_path):
    messages = [m for at in range(0, 2000, 50) for m in (arm(at), jaw(at + 10))]
    messages += [(at, ["lift"], [9.0]) for at in range(0, 2000, 500)]
    bag = write_bag(tmp_path / "bag", sorted(messages, key=lambda m: m[0]))
    report = convert(bag, mapping_file(tmp_path, BAG), tmp_path / "made")
    sources = report["episodes"][0]["sources"]
    assert {"state.q (arm)", "state.q (jaw)", "action.u"} <= set(sources)
    made = load(tmp_path / "made")
    state, t = made.columns["observation.state"], 0.01 + np.arange(len(made)) / 10
    np.testing.assert_allclose(state[:, 0], np.round(t / 0.05) * 0.05, atol=0.001)
    np.testing.assert_allclose(state[:, 1], 0.5 + t / 10, atol=1e-4)
    np.testing.assert_allclose(made.columns["action"].reshape(-1), 0.1, atol=1e-5)


def test_an_episode_begins_when_every_joint_was_heard_though_another_field_is_of_the_same_topic(tmp_path):
    messages = [m for at in range(0, 2000, 100) for m in (arm(at), jaw(at + 60))]
    report = convert(write_bag(tmp_path / "bag", messages), mapping_file(tmp_path, BAG), tmp_path / "made")
    sources = report["episodes"][0]["sources"]
    assert sources["state.q (jaw)"]["gaps"] == sources["state.q (arm)"]["gaps"] == 0
    jaws = load(tmp_path / "made").columns["observation.state"][:, 1]
    np.testing.assert_allclose(jaws, 0.506 + 0.01 * np.arange(len(jaws)), atol=1e-4)


def test_a_publisher_that_falls_silent_leaves_gaps(tmp_path):
    messages = [
        m for at in range(0, 2000, 50) for m in (arm(at), jaw(at + 10)) if m[1] != ["jaw"] or not 600 < at < 1400
    ]
    bag = write_bag(tmp_path / "bag", messages)
    with pytest.raises(DatasetError, match=r"no episode is left[\s\S]*gaps in state.q \(jaw\)"):
        convert(bag, mapping_file(tmp_path, BAG), tmp_path / "made")


def test_a_joint_that_no_message_names_is_refused(tmp_path):
    bag = write_bag(tmp_path / "bag", [arm(at) for at in range(0, 2000, 50)])
    with pytest.raises(DatasetError) as caught:
        convert(bag, mapping_file(tmp_path, BAG), tmp_path / "made")
    assert caught.value.key == "/joints: jaw" and caught.value.found == "arm"


def said(folder, texts):
    """A bag whose instructions come at these times (milliseconds)."""
    rosbag2 = pytest.importorskip("rosbags.rosbag2")
    from rosbags.typesys import Stores, get_typestore

    store = get_typestore(Stores.ROS2_JAZZY)
    write_bag(folder, [arm(at) for at in range(0, 2000, 50)])
    with rosbag2.Writer(folder.with_name("said"), version=9, storage_plugin=rosbag2.StoragePlugin.MCAP) as writer:
        from rosbags.highlevel import AnyReader

        with AnyReader([folder]) as reader:
            to = {c.topic: writer.add_connection(c.topic, c.msgtype, typestore=store) for c in reader.connections}
            rows = [(when, to[c.topic], raw) for c, when, raw in reader.messages()]
        text = writer.add_connection("/instruction", "std_msgs/msg/String", typestore=store)
        string = store.types["std_msgs/msg/String"]
        for at, words in texts:
            rows.append(((1000_000 + at) * 10**6, text, store.serialize_cdr(string(words), "std_msgs/msg/String")))
        for when, connection, raw in sorted(rows, key=lambda row: row[0]):
            writer.write(connection, when, raw)
    return folder.with_name("said")


def test_an_instruction_that_changes_within_an_episode_holds_from_its_time_on(tmp_path):
    bag = said(tmp_path / "bag", [(200, "push"), (900, "pull")])
    state = [BAG["state"][0] | {"pick": ["arm"]}]
    file = mapping_file(tmp_path, BAG, state=state, instruction={"topic": "/instruction"})
    report = convert(bag, file, tmp_path / "made")
    assert report["episodes"][0]["instructions"] == ["push", "pull"]
    texts = load(tmp_path / "made").arrays()["task"].tolist()
    assert texts[:9] == ["push"] * 9 and set(texts[9:]) == {"pull"}
