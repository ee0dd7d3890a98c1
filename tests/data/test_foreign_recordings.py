"""HDF5 files, bags and mapping files as others write them: right, or refused with file, key and remedy."""

from __future__ import annotations

import io
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.inputs.makers import bags, hdf5_files, mappings
from benchmarks.inputs.makers.bags import CAMERA, EPOCH, HZ, JOINTS, Said
from benchmarks.inputs.makers.pictures import coded, encoded
from vla_agent.cli import main
from vla_agent.data.convert.convert import convert
from vla_agent.data.convert.mapping import load_mapping
from vla_agent.data.lerobot.dataset_reader import load
from vla_agent.errors import DatasetError

FRAMES = hdf5_files.FRAMES
DEPTH = np.stack([np.full((8, 8), 300 + 50 * k, np.uint16) for k in range(FRAMES)])


def from_hdf5(folder: Path, arrays=None, mapping=None, attributes=None):
    file = hdf5_files.write_hdf5(folder / "a.hdf5", arrays or hdf5_files.ordinary(), attributes)
    return mappings.converted(file, mappings.hdf5_mapping(**(mapping or {})))


def depth_rows():
    return hdf5_files.byte_rows([encoded(picture) for picture in DEPTH], "padded")


def turned(picture: np.ndarray, orientation: int) -> bytes:
    exif, buffer = Image.Exif(), io.BytesIO()
    exif[0x0112] = orientation
    Image.fromarray(picture).save(buffer, "JPEG", quality=95, subsampling=0, exif=exif)
    return buffer.getvalue()


# Folders


def test_hdf5_files_are_found_at_any_depth_and_a_hidden_one_is_listed(tmp_path, capsys):
    for name in ("x.hdf5", "day/y.HDF5", "day/z.hdf", ".trash/w.h5"):
        (tmp_path / "r" / name).parent.mkdir(parents=True, exist_ok=True)
        hdf5_files.write_hdf5(tmp_path / "r" / name, hdf5_files.ordinary())
    mapping = mappings.write_mapping(tmp_path, mappings.hdf5_mapping())
    command = ["data", "convert", str(tmp_path / "r"), "--mapping", str(mapping), "-o", str(tmp_path / "out")]
    assert main(command) == 1  # not all was taken
    said = capsys.readouterr().out
    assert ".trash/w.h5: left out: a hidden file" in said and "3 episodes" in said
    shutil.rmtree(tmp_path / "r" / ".trash")
    assert main([*command[:-1], str(tmp_path / "all")]) == 0


def test_bags_are_found_at_any_depth_and_what_no_metadata_names_is_listed(tmp_path):
    for name in ("one", "day/one", "day/s/two"):
        (tmp_path / "r" / name).parent.mkdir(parents=True, exist_ok=True)
        bags.write_bag(tmp_path / "r" / name, bags.ordinary(8))
    shutil.copy(next((tmp_path / "r/one").glob("*.mcap")), tmp_path / "r/one/extra.mcap")
    (tmp_path / "r/old.bag").write_bytes(b"#ROSBAG V2.0\n")
    report = convert(tmp_path / "r", mappings.write_mapping(tmp_path, mappings.bag_mapping()), tmp_path / "out")
    assert [e["from"] for e in report["episodes"]] == ["day/one", "two", "one"]
    assert {e["from"] for e in report["left_out"]} == {"one/extra.mcap", "old.bag"}


def test_groups_that_the_pattern_does_not_name_are_listed(tmp_path):
    file = hdf5_files.write_hdf5(tmp_path / "a.hdf5", hdf5_files.ordinary() | hdf5_files.ordinary("data/trial_1"))
    report = convert(file, mappings.write_mapping(tmp_path, mappings.hdf5_mapping()), tmp_path / "out")
    assert [e["from"] for e in report["left_out"]] == ["a.hdf5/data/trial_1"]


def test_a_bag_is_never_written_into(tmp_path):
    bag = bags.write_bag(tmp_path / "b", bags.ordinary(8))
    with pytest.raises(DatasetError, match="into the original"):
        convert(bag, mappings.write_mapping(tmp_path, mappings.bag_mapping()), bag / "out")
    assert not (bag / "out").exists()


def test_a_file_name_that_is_no_text_is_taken(tmp_path):
    hdf5_files.write_hdf5(tmp_path / "a.hdf5", hdf5_files.ordinary())
    (tmp_path / "r").mkdir()
    os.rename(tmp_path / "a.hdf5", os.fsencode(tmp_path / "r") + b"/a\xff.hdf5")
    mapping = mappings.write_mapping(tmp_path, mappings.hdf5_mapping())
    report = convert(tmp_path / "r", mapping, tmp_path / "out")
    assert report["episodes"][0]["from"] == "a\\udcff.hdf5/data/demo_0" and load(tmp_path / "out")


# Mapping files

WRONG = {
    "an empty instruction": ({"instruction": {"text": " \n"}}, "text is empty"),
    "true for a number": ({"control_hz": True}, "true or false"),
    "true for a column": ({"state": [mappings.field(at="obs/q", pick=(True,))]}, "true or false"),
    "keys of a bag": ({"stamps": "received", "gaps": "longest"}, "'stamps', 'gaps'"),
    "a rule of a field": ({"state": [mappings.field(at="obs/q", pick=(0,), rule="hold")]}, "'rule' of q"),
    "a quantity of a joint state": ({"state": [mappings.field(at="obs/q", pick=(0,), of="velocity")]}, "'of' of q"),
    "two dots": ({"cameras": [mappings.camera("obs/img", name="a..b")]}, "cameras.0.name"),
    "capitals alone": (
        {"cameras": [mappings.camera("obs/img"), mappings.camera("obs/img", name="Front")]},
        "front, Front",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_mapping_whose_keys_would_be_read_wrongly_is_refused(tmp_path, name):
    change, words = WRONG[name]
    with pytest.raises(DatasetError, match="mapping file is wrong") as caught:
        load_mapping(mappings.write_mapping(tmp_path, mappings.hdf5_mapping(**change)))
    assert words in str(caught.value)


@pytest.mark.parametrize("form, change", [("bag", {"episodes": "data/*"}), ("lerobot", {"cameras": "range"})])
def test_keys_of_other_formats_are_refused(tmp_path, form, change):
    made = mappings.bag_mapping(**change) if form == "bag" else mappings.lerobot_mapping()
    if form == "lerobot":
        made["cameras"][0]["range"] = [0, 100]
    with pytest.raises(DatasetError, match=f"not for format: {form}"):
        load_mapping(mappings.write_mapping(tmp_path, made))


# Numbers


@pytest.mark.parametrize("unit, turn", [("radians", 2 * np.pi), ("RAD", 2 * np.pi), ("°", 360), ("Degrees", 360)])
def test_an_angle_wraps_by_whatever_word_for_its_unit(tmp_path, unit, turn):
    q = (np.linspace(0.46, 0.56, FRAMES) * turn + turn / 2) % turn - turn / 2
    arrays = hdf5_files.ordinary(**{"obs/q": np.stack([q, q], 1)})
    action = mappings.field("u", "obs/q", (0,), delta="next", unit=unit)
    dataset = from_hdf5(tmp_path, arrays, {"action": [action]})
    assert dataset.columns["action"].ravel() == pytest.approx(0.1 * turn / (FRAMES - 1), rel=1e-3)


@pytest.mark.parametrize("change", [{"scale": 1e300}, {"offset": 1e39}])
def test_numbers_beyond_float32_are_refused_with_their_file(tmp_path, change):
    with pytest.raises(DatasetError, match="cannot be used") as caught:
        from_hdf5(tmp_path, mapping={"state": [mappings.field(at="obs/q", pick=(1,), **change)]})
    assert "a.hdf5" in caught.value.file and caught.value.key == "obs/q (q)"


def test_a_path_is_below_the_episode_also_with_a_slash_before_it(tmp_path):
    arrays = hdf5_files.ordinary() | hdf5_files.ordinary("data/demo_1", **{"obs/q": hdf5_files.ramp() + 5})
    dataset = from_hdf5(tmp_path, arrays, {"state": [mappings.field(at="/obs/q", pick=(0,))]})
    assert dataset.columns["observation.state"].reshape(2, FRAMES)[:, 0].tolist() == pytest.approx([0, 5])
    (tmp_path / "n").mkdir()
    with pytest.raises(DatasetError, match="lacks a dataset"):  # one for all episodes
        from_hdf5(tmp_path / "n", arrays, {"state": [mappings.field(at="/data/demo_0/obs/q", pick=(0,))]})


def test_a_quote_at_the_end_of_an_instruction_is_kept(tmp_path):
    dataset = from_hdf5(tmp_path, None, {"instruction": {"attribute": "t"}}, {"data": {"t": 'pick the "cup"'}})
    assert list(dataset.tasks.values()) == ['pick the "cup"']


def test_an_episode_of_one_frame_has_no_change_to_the_next(tmp_path):
    arrays = {name: value[:1] for name, value in hdf5_files.ordinary().items()}
    action = mappings.field("u", "obs/q", (0,), delta="next")
    with pytest.raises(DatasetError, match="no episode is left"):
        from_hdf5(tmp_path, arrays, {"shortest": 1, "action": [action]})


# Pictures


@pytest.mark.parametrize("kind", ["numbers", "PNG"])
def test_depth_of_hdf5_is_read_with_its_range_alone(tmp_path, kind):
    arrays = hdf5_files.ordinary(**{"obs/img": DEPTH if kind == "numbers" else depth_rows()})
    dataset = from_hdf5(tmp_path, arrays, {"cameras": [mappings.camera("obs/img", range=[300, 850])]})
    assert dataset.frames("front", [0, FRAMES - 1])[:, 0, 0, 0].tolist() == [0, 255]
    (tmp_path / "n").mkdir()
    with pytest.raises(DatasetError) as caught:
        from_hdf5(tmp_path / "n", arrays)
    assert "range: [low, high]" in str(caught.value)


def test_a_range_of_pictures_of_8_bits_is_refused(tmp_path):
    rows = hdf5_files.byte_rows([encoded(p) for p in hdf5_files.pictures()], "padded")
    for k, pictures in enumerate((hdf5_files.pictures(), rows)):
        (tmp_path / str(k)).mkdir()
        with pytest.raises(DatasetError, match="16 bits a channel, as the camera's range"):
            arrays = hdf5_files.ordinary(**{"obs/img": pictures})
            from_hdf5(tmp_path / str(k), arrays, {"cameras": [mappings.camera("obs/img", range=[0, 100])]})
    for k, message in enumerate((bags.coloured(0.0, 1), bags.compressed(0.0, "png", encoded(coded(1))))):
        said = [Said(JOINTS, EPOCH + i / HZ, bags.joint_state(EPOCH + i / HZ, ["q"], [0.1 * i])) for i in range(8)]
        message.header.stamp = bags.header(EPOCH).stamp
        bag = bags.write_bag(tmp_path / f"b{k}", [Said(CAMERA, EPOCH, message), *said])
        mapping = mappings.bag_mapping(cameras=[mappings.camera(range=[0, 100], rule="hold", tolerance=9.0)])
        with pytest.raises(DatasetError, match="no depth"):
            convert(bag, mappings.write_mapping(tmp_path, mapping), tmp_path / "out")


def test_a_picture_is_upright_as_its_exif_data_says(tmp_path):
    rows = hdf5_files.byte_rows([turned(p, 3) for p in hdf5_files.pictures()], "padded")
    frame = from_hdf5(tmp_path, hdf5_files.ordinary(**{"obs/img": rows})).frames("front", [0])[0]
    assert frame[-1, 0, 2] > frame[0, 0, 2] + 4  # `coded`: the first row has more blue


# Bags


def test_a_clock_that_is_set_back_by_half_a_second_cuts_the_episode(tmp_path):
    said = []
    for k in range(24):
        t = EPOCH + k / HZ
        stamp = t - 0.5 * (k >= 12)
        said += [
            Said(JOINTS, t, bags.joint_state(stamp, ["q"], [0.01 * k])),
            Said(CAMERA, t, bags.coloured(stamp, k)),
        ]
    dataset = mappings.converted(bags.write_bag(tmp_path / "b", said), mappings.bag_mapping())
    numbers = dataset.frames("front", np.arange(len(dataset)))[:, 4, 4, 1].tolist()
    assert [e.length for e in dataset.episodes] == [11, 11] and numbers == [*range(11), *range(12, 23)]


@pytest.mark.parametrize("at, pick", [("/t", "q"), ("/n", "data[0]")])
def test_a_quantity_is_of_joint_states_alone(tmp_path, at, pick):
    said = bags.ordinary(8)
    for k in range(8):
        t = EPOCH + k / HZ
        said += [Said("/t", t, bags.trajectory(t, ["q"], [[0.5]])), Said("/n", t, bags.numbers([0.5]))]
    action = mappings.field("u", at, (pick,), of="velocity")
    with pytest.raises(DatasetError, match="of: velocity of u"):
        mappings.converted(bags.write_bag(tmp_path / "b", said), mappings.bag_mapping(action=[action]))


def test_a_path_names_fields_of_the_message_alone(tmp_path):
    said = [*bags.ordinary(8), *(Said("/n", EPOCH + k / HZ, bags.numbers([0.5])) for k in range(8))]
    with pytest.raises(DatasetError, match="nothing at this path"):
        action = [mappings.field("u", "/n", ("data.size",))]  # an attribute of numpy
        mappings.converted(bags.write_bag(tmp_path / "b", said), mappings.bag_mapping(action=action))


def test_the_advice_for_a_recording_is_not_that_for_a_live_robot(tmp_path):
    bag = bags.write_bag(tmp_path / "b", bags.ordinary(8))
    with pytest.raises(DatasetError) as caught:
        mappings.converted(bag, mappings.bag_mapping(state=[mappings.field(of="velocity")]))
    assert "mapping file" in caught.value.remedy and "broadcaster" not in str(caught.value)


def test_an_instruction_is_shown_without_its_control_characters(tmp_path, capsys):
    mapping = mappings.write_mapping(tmp_path, mappings.bag_mapping(instruction={"text": "pick\x1b[2J up"}))
    bag = bags.write_bag(tmp_path / "b", bags.ordinary(8))
    main(["data", "convert", str(bag), "--mapping", str(mapping), "-o", str(tmp_path / "out")])
    main(["data", "inspect", str(tmp_path / "out")])
    said = capsys.readouterr().out
    assert "\x1b" not in said and said.count("pick\\x1b[2J up") == 2
    assert list(load(tmp_path / "out").tasks.values()) == ["pick\x1b[2J up"]
