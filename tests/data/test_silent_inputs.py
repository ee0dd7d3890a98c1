"""Inputs that were once read wrongly without a word: each is refused, found or reported, its neighbour read."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from benchmarks.inputs import inputs_silent
from benchmarks.inputs.makers import bags, hdf5_files, lerobot_sets, mappings
from benchmarks.inputs.makers.bags import CAMERA, JOINTS, Said
from benchmarks.inputs.silent import datasets
from benchmarks.inputs.silent.observations import contracts, good
from benchmarks.inputs.silent.plant import checked
from vla_agent.data.convert.conversion_report import episode_lines
from vla_agent.data.convert.convert import convert
from vla_agent.data.convert.field_vectors import field_values
from vla_agent.data.convert.mapping import FieldSource, Mapping, load_mapping
from vla_agent.data.lerobot.arrow_columns import numbered_tasks
from vla_agent.data.lerobot.dataset_reader import load
from vla_agent.data.lerobot.episode import encode
from vla_agent.data.validate.validate import validate
from vla_agent.errors import DatasetError, ObservationError, ServingError
from vla_agent.robot.sensor_messages import joint_positions
from vla_agent.serving.protocol_messages import read_request


@pytest.mark.parametrize(
    "length, taken", [(1.0, True), (0.96, True), (1.04, True), (0.9, False), (1.1, False), (0, False)]
)
def test_a_quaternion_has_length_one(length, taken):
    field = FieldSource(**mappings.field(pick=tuple("abcd"), convert="quaternion_xyzw", rotation="rotation vector"))
    picked = np.array([[0.0, 0.0, 0.0, 1.0], [0.0, 0.0, 0.6 * length, 0.8 * length]])
    if taken:
        turn = field_values(field, picked, None, "here", {})
        np.testing.assert_allclose(turn[1], [0, 0, 2 * np.arcsin(0.6)], atol=1e-6)
    else:
        with pytest.raises(DatasetError, match="in frame 1") as error:
            field_values(field, picked, None, "here", {})
        assert error.value.expected == "quaternions of length 1"


@pytest.mark.parametrize(
    "names, values, found",
    [
        (["q", "g", "q"], [1, 2, 3], "q, g, q"),
        (["q"], [1, 2], "2 values"),
        (["q", "g"], [1], None),
        (["q", "g"], [1, 2], ""),
    ],
)
def test_a_joint_state_says_which_value_is_whose(names, values, found):
    message = bags.joint_state(1.0, names, values)
    if found == "":
        assert joint_positions(message, ["g", "q"]).tolist() == [2, 1]
        return
    with pytest.raises(ObservationError) as error:
        joint_positions(message, ["g"] if found is None else ["q"])
    assert found is None or found in str(error.value.found)


@pytest.mark.parametrize(
    "change, key",
    [
        ({"state": [mappings.field(scale=0.0)]}, "state"),
        ({"tolerance": 50}, "front: tolerance 50 is in seconds"),
        ({"state": [mappings.field(tolerance=10.5)]}, "q: tolerance 10.5"),
        ({"control_hz": 1001}, "control_hz"),
        ({"cameras": [mappings.camera(side=16_385)]}, "height"),
        ({"cameras": [mappings.camera(side=16_384)]}, "cameras"),
    ],
)
def test_numbers_of_a_mapping_that_cannot_be_meant(tmp_path, change, key):
    held = mappings.field(rule="hold", tolerance=60)
    Mapping.model_validate(
        mappings.bag_mapping(state=[held], tolerance=10, control_hz=1000, cameras=[mappings.camera(side=6000)])
    )
    with pytest.raises(DatasetError, match="the mapping file is wrong") as error:
        convert(tmp_path, mappings.write_mapping(tmp_path, mappings.bag_mapping(**change)), tmp_path / "out")
    assert key in f"{error.value.key} {error.value.found}"


@pytest.mark.parametrize("name, told", [("joints.0", True), ("joints.1", False)])
def test_a_name_of_two_components_is_refused(tmp_path, name, told):
    lerobot_sets.foreign(tmp_path / "d")
    datasets.feature("observation.state", names=["joints.0", "joints.0", "joints.1"])(tmp_path / "d")
    mapping = mappings.lerobot_mapping(state=[mappings.field(at="observation.state", pick=(name,))])
    if told:
        with pytest.raises(DatasetError, match="several components"):
            mappings.converted(tmp_path / "d", mapping)
    else:
        state = mappings.converted(tmp_path / "d", mapping).columns["observation.state"]
        np.testing.assert_array_equal(state, load(tmp_path / "d").columns["observation.state"][:, 2])


@pytest.mark.parametrize("hz", [10, 20])
def test_the_rate_that_robomimic_states_is_the_mapping_s(tmp_path, hz):
    rate = {"data": {"env_args": f'{{"env_kwargs": {{"control_freq": {hz}}}}}'}}
    file = hdf5_files.write_hdf5(tmp_path / "a.hdf5", hdf5_files.ordinary(), rate)
    if hz == 10:
        assert len(mappings.converted(file, mappings.hdf5_mapping())) == hdf5_files.FRAMES
    else:
        with pytest.raises(DatasetError, match="set control_hz: 20"):
            mappings.converted(file, mappings.hdf5_mapping())


@pytest.mark.parametrize("frames", [-1, 1, 0])
def test_a_video_that_begins_a_frame_too_late_or_early_is_refused_and_found(tmp_path, frames):
    lerobot_sets.write_good(tmp_path / "d", "v3.0 video")
    begin, end = (f"videos/observation.images.front/{name}_timestamp" for name in ("from", "to"))
    for name in (begin, end):
        datasets.column(name, lambda v: v + np.array([0, frames / 20, 0]), datasets.EPISODES)(tmp_path / "d")
    if not frames:
        assert checked(tmp_path / "d") == ""
        return
    with pytest.raises(DatasetError, match="place in its video"):
        load(tmp_path / "d")
    assert [f.what for f in validate(tmp_path / "d")] == ["an episode's place in its video is not that of its frames"]


@pytest.mark.parametrize("key", ["observation.state", "action"])
def test_degrees_are_found_in_states_and_in_actions(tmp_path, key):
    lerobot_sets.foreign(tmp_path / "d")
    datasets.column(key, datasets.part(0, 2, lambda v: v * 57.3 + 30))(tmp_path / "d")
    convert(tmp_path / "d", mappings.write_mapping(tmp_path, mappings.lerobot_mapping()), tmp_path / "out")
    found = validate(tmp_path / "out")
    assert {(f.check, f.key) for f in found} == {("units", key)}
    assert "it looks like degrees" in found[0].found and key.split(".")[-1] in found[0].found


@pytest.mark.parametrize("offset, told", [(0.45, ""), (0.6, "0.60 s ahead of"), (-0.6, "0.60 s behind")])
def test_a_camera_on_another_clock_is_reported(tmp_path, offset, told):
    said = []
    for k in range(30):
        t = 1000 + k / 10
        said.append(Said(JOINTS, t, bags.joint_state(t, ["q"], [k])))
        said.append(Said(CAMERA, t, bags.coloured(t + (offset if told else -offset), k)))
    bags.write_bag(tmp_path / "b", said)
    mapping = mappings.write_mapping(tmp_path, mappings.bag_mapping())
    report = convert(tmp_path / "b", mapping, tmp_path / "out")
    lines = [line for line in episode_lines(report["episodes"][0]) if "by when they were received" in line]
    assert len(lines) == bool(told) and all(f"cameras.front: its headers are {told}" in line for line in lines)


@pytest.mark.parametrize(
    "change, key",
    [
        ({"state": [[1.0, 2.0], [3.0]]}, "state"),
        ({"reset": "false"}, "reset"),
        ({"reset": 0}, "reset"),
        ({"images": {"front": [[1], [2, 3]]}}, "images"),
        ({"images": {3: np.zeros((48, 64, 3), np.uint8)}}, "images"),
        ({"committed": {"actions": [[1.0], [2.0, 3.0]], "decided": 1, "delay": 0}}, "committed"),
    ],
)
def test_a_request_of_another_form_gets_a_whole_error(change, key):
    contract = contracts()["limited"]
    request = good(contract) | {"prompt": "go", "reset": np.bool_(True)}
    assert read_request(request, contract).reset is True
    with pytest.raises(ServingError) as error:
        read_request(request | change, contract)
    assert error.value.key == key and None not in (error.value.expected, error.value.found, error.value.remedy)


def test_load_refuses_a_frame_that_is_counted_twice(tmp_path):
    lerobot_sets.write_good(tmp_path / "d")
    datasets.column("frame_index", lambda v: np.where(np.arange(len(v)) == 15, 2, v))(tmp_path / "d")
    with pytest.raises(DatasetError) as error:
        load(tmp_path / "d")
    assert error.value.key == "frame_index" and "frame 15" in str(error.value.found)


def test_half_a_letter_is_refused_and_whole_ones_are_read(tmp_path):
    file = mappings.write_mapping(tmp_path, mappings.bag_mapping(instruction={"text": "🦾 pick"}))
    assert load_mapping(file).instruction.text == "🦾 pick"
    file.write_text(file.read_text().replace("🦾", r"\ud83e\uddbe"))
    with pytest.raises(DatasetError) as error:
        load_mapping(file)
    assert error.value.key == "instruction.text" and r"\ud83e" in str(error.value.found)
    with pytest.raises(ValueError, match="surrogates"):
        numbered_tasks([0], ["\ud83e"])
    whole = lerobot_sets.episode(0)
    assert encode(replace(whole, task="🦾 é"), "images", 20).task == "🦾 é"
    with pytest.raises(DatasetError, match="half a letter"):
        encode(replace(whole, task="\ud83e"), "images", 20)


def test_the_benchmark_hears_a_refusal_and_silence(tmp_path):
    from benchmarks.inputs.silent.plant import Plant, said_of

    def refuse(folder):
        raise DatasetError("no", found="x")

    assert said_of(Plant("units", "a", refuse), tmp_path / "a") == "refused: no: x"
    assert said_of(Plant("units", "a", lambda folder: ""), tmp_path / "b") == ""
    assert inputs_silent._kind("") == "silent" and inputs_silent._kind("refused: x") == "refused"
    assert inputs_silent._kind("found: x") == inputs_silent._kind("reported: x") == "found or reported"


def test_units_of_a_message_are_heard():
    said = {name: word for _, name, word in inputs_silent.heard("message, limited: joints")}
    assert len(said) > 15 and all(word.startswith("refused") for word in said.values())


def test_a_number_in_a_list_of_one_is_that_number(tmp_path):
    root = lerobot_sets.foreign(tmp_path / "d")
    frames = lerobot_sets.EPISODES * lerobot_sets.FRAMES
    lerobot_sets.change_info(root, lambda info: info["features"].update(force={"dtype": "float64", "shape": [1]}))
    column = pa.array([[0.5 * k] for k in range(frames)])
    lerobot_sets.change_table(root, lambda table: lerobot_sets.with_column(table, "force", column))
    assert not [finding for finding in validate(root) if finding.error]
    assert load(root).columns["force"].tolist() == [0.5 * k for k in range(frames)]


@pytest.mark.parametrize("kind", [pa.struct([("data", pa.binary())]), pa.struct([("bytes", pa.string())]), pa.int64()])
def test_a_column_of_images_without_their_bytes_is_refused_by_name(tmp_path, kind):
    root, key = lerobot_sets.foreign(tmp_path / "d"), "observation.images.front"
    rows = pa.array([None] * lerobot_sets.EPISODES * lerobot_sets.FRAMES, kind)
    lerobot_sets.change_table(root, lambda table: lerobot_sets.with_column(table, key, rows))
    assert [finding for finding in validate(root) if finding.error]
    with pytest.raises(DatasetError) as error:
        load(root).frames("front", np.arange(3))
    assert error.value.key == key


def test_a_column_of_another_shape_in_one_of_several_files_is_refused_by_name(tmp_path):
    root = lerobot_sets.foreign(tmp_path / "d", "v2.1 images")
    second = sorted((root / "data").rglob("*.parquet"))[1]
    numbers = pa.array(np.zeros(lerobot_sets.FRAMES))
    change = lambda table: lerobot_sets.with_column(table, "action", numbers)  # noqa: E731
    lerobot_sets.change_table(root, change, str(second.relative_to(root)))
    assert [finding for finding in validate(root) if finding.error]
    with pytest.raises(DatasetError, match="another shape") as error:
        load(root)
    assert (error.value.file, error.value.key) == (str(second), "action")
