"""LeRobotDatasets whose tables, features and videos say other things than their frames: `load` and `validate` agree."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks.inputs.makers import lerobot_sets, mappings
from vla_agent.cli import main
from vla_agent.data.convert.convert import convert
from vla_agent.data.lerobot import dataset_schema
from vla_agent.data.lerobot.dataset_reader import load
from vla_agent.data.lerobot.dataset_writer import write_dataset
from vla_agent.data.lerobot.episode import encode
from vla_agent.data.lerobot.media import STORAGES, decode_png, decode_video, encode_png, encode_video
from vla_agent.data.validate.validate import validate
from vla_agent.errors import DatasetError, OptionError

EPISODES, FRONT = "meta/episodes/chunk-000/file-000.parquet", "observation.images.front"
FRAMES = lerobot_sets.FRAMES


def change_column(folder: Path, name: str, change, table: str = EPISODES) -> None:
    lerobot_sets.change_table(
        folder, lambda t: lerobot_sets.with_column(t, name, pa.array(change(t[name].to_pylist()))), table
    )


def refused(folder: Path) -> DatasetError:
    """The error of `load`, of which `validate` knows, too."""
    assert any(finding.error for finding in validate(folder))
    with pytest.raises(DatasetError) as caught:
        load(folder)
    error = caught.value
    assert error.file and error.key and error.expected and error.found and error.remedy
    return error


@pytest.mark.parametrize("places", [(1, 13, 25), (0, 24, 12)])
def test_rows_that_are_not_where_the_table_of_episodes_says_are_refused(tmp_path, places):
    folder = lerobot_sets.write_good(tmp_path / "d")
    change_column(folder, "dataset_from_index", lambda _: places)
    change_column(folder, "dataset_to_index", lambda _: [place + FRAMES for place in places])
    assert "from_index" in refused(folder).key


DAMAGE = {
    "infinite": ("from_timestamp", lambda v: [float("inf"), *v[1:]]),
    "a fraction of a file": ("file_index", lambda v: [0.0] * len(v)),
    "no file": ("file_index", lambda v: [None, *v[1:]]),
    "a file before the first": ("file_index", lambda v: [-1, *v[1:]]),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_places_in_videos_that_are_none_are_refused(tmp_path, name):
    folder = lerobot_sets.write_good(tmp_path / "d", "v3.0 video")
    key, change = DAMAGE[name]
    change_column(folder, f"videos/{FRONT}/{key}", change)
    assert "table of episodes" in refused(folder).what


@pytest.mark.parametrize("tasks", [["push", "lift", "push"], [[1], [2], [3]]])
def test_instructions_of_the_table_of_episodes_are_lists_of_text(tmp_path, tasks):
    folder = lerobot_sets.write_good(tmp_path / "d")
    change_column(folder, "tasks", lambda _: tasks)
    assert "tasks" in refused(folder).key


def test_an_index_of_numbers_beside_the_instructions_is_passed_over(tmp_path):
    folder = lerobot_sets.foreign(tmp_path / "d")
    table = pq.read_table(folder / "meta/tasks.parquet")
    texts = table["__index_level_0__"]
    made = {"task_index": table["task_index"], "task": texts, "__index_level_0__": pa.array(range(len(texts)))}
    pq.write_table(pa.table(made), folder / "meta/tasks.parquet")
    assert list(load(folder).tasks.values()) == texts.to_pylist()


def test_two_cameras_of_one_name_are_refused(tmp_path):
    folder = lerobot_sets.foreign(tmp_path / "d")
    lerobot_sets.change_info(folder, lambda info: info["features"].update(front=info["features"][FRONT]))

    def with_negative(table):
        pictures = [encode_png(255 - decode_png(row["bytes"])) for row in table[FRONT].to_pylist()]
        rows = pa.array([{"bytes": p, "path": None} for p in pictures], table.schema.field(FRONT).type)
        return table.append_column("front", rows)

    lerobot_sets.change_table(folder, with_negative)
    with pytest.raises(DatasetError, match="cameras of one name"):
        load(folder)


def test_version_2_0_is_read_and_older_ones_come_with_advice(tmp_path):
    folder = lerobot_sets.write_good(tmp_path / "d", "v2.1 images")
    states = load(folder).columns["observation.state"]
    lerobot_sets.change_info(folder, lambda info: info.update(codebase_version="v2.0"))
    assert (load(folder).columns["observation.state"] == states).all()
    assert not [finding for finding in validate(folder) if finding.error]
    lerobot_sets.change_info(folder, lambda info: info.update(codebase_version="v1.6"))
    with pytest.raises(DatasetError) as caught:
        load(folder)
    assert "v2" in caught.value.remedy


@pytest.mark.parametrize("names", [{"x": 2, "y": 0, "z": 1}, {"arm": ["y", "z"], "hand": ["x"]}, ["y", "z", "x"]])
def test_components_are_found_by_their_names_in_every_form(tmp_path, names):
    folder = lerobot_sets.foreign(tmp_path / "d")
    state = load(folder).columns["observation.state"]
    lerobot_sets.change_info(folder, lambda info: info["features"]["observation.state"].update(names=names))
    field = mappings.field(at="observation.state", pick=("x",))
    dataset = mappings.converted(folder, mappings.lerobot_mapping(state=[field]))
    assert (dataset.columns["observation.state"].ravel() == state[:, 2]).all()


@pytest.mark.parametrize(
    "shape, names, expected",
    [
        ([64, 48, 3], ["width", "height", "channels"], (48, 64, 3)),
        ([3, 64, 48], ["c", "w", "h"], (48, 64, 3)),
        ([3, 48, 64], None, (48, 64, 3)),
        ([48, 64, 3], ["a", "b", "c"], (48, 64, 3)),
    ],
)
def test_the_sides_of_a_picture_by_their_names(shape, names, expected):
    assert dataset_schema.image_shape({"shape": shape, "names": names}) == expected


# Videos


def again(folder: Path, fps: int, more: int = 0) -> None:
    """Encode each video again, with so many copies of its first picture before it."""
    for path in (folder / "videos").rglob("*.mp4"):
        pictures = list(decode_video(path, 0, FRAMES, 20))
        path.write_bytes(encode_video(np.stack(pictures[:1] * more + pictures), fps, STORAGES["video"]))


@pytest.mark.parametrize("fps, more", [(40, 0), (10, 0), (20, 5)])
def test_a_video_of_another_rate_or_length_is_refused(tmp_path, fps, more):
    folder = lerobot_sets.write_good(tmp_path / "d", "v2.1 video")
    again(folder, fps, more)
    assert "video" in refused(folder).what


def test_a_video_that_players_turn_is_refused(tmp_path):
    folder = lerobot_sets.write_good(tmp_path / "d", "v2.1 video")
    for path in (folder / "videos").rglob("*.mp4"):
        data = bytearray(path.read_bytes())
        matrix = data.find(b"tkhd") + 4 + 4 + 20 + 16
        assert int.from_bytes(data[matrix : matrix + 4], "big") == 1 << 16
        for place in (matrix, matrix + 16):  # by half a turn
            data[place : place + 4] = (-1 << 16).to_bytes(4, "big", signed=True)
        path.write_bytes(data)
    with pytest.raises(DatasetError, match="turn by"):
        load(folder).frames("front", [0])
    assert any(finding.error and finding.key == FRONT for finding in validate(folder))


# Conversion


def test_episodes_whose_times_are_not_those_of_the_rate_are_left_out_by_name(tmp_path):
    folder = lerobot_sets.foreign(tmp_path / "d")
    change_column(folder, "timestamp", lambda v: [*v[:6], 0.0, *v[7:]], lerobot_sets.DATA)
    mapping = mappings.write_mapping(tmp_path, mappings.lerobot_mapping())
    report = convert(folder, mapping, tmp_path / "out")
    assert [(e["number"], e["left_out"][:11]) for e in report["left_out"]] == [(0, "time stamps")]
    assert main(["data", "convert", str(folder), "--mapping", str(mapping), "-o", str(tmp_path / "o")]) == 1


def test_datasets_are_found_at_any_depth_and_one_without_info_is_listed(tmp_path):
    for name in ("one", "a/b/two", "broken"):
        (tmp_path / "r" / name).parent.mkdir(parents=True, exist_ok=True)
        lerobot_sets.foreign(tmp_path / "r" / name)
    (tmp_path / "r/broken/meta/info.json").unlink()
    mapping = mappings.write_mapping(tmp_path, mappings.lerobot_mapping())
    report = convert(tmp_path / "r", mapping, tmp_path / "out")
    assert len(report["episodes"]) == 6
    assert report["left_out"] == [{"from": "broken", "success": None, "left_out": "no meta/info.json"}]


def test_a_rate_that_no_mapping_can_have_comes_with_advice(tmp_path):
    folder = lerobot_sets.foreign(tmp_path / "d")
    lerobot_sets.change_info(folder, lambda info: info.update(fps=29.97))
    with pytest.raises(DatasetError) as caught:
        mappings.converted(folder, mappings.lerobot_mapping())
    assert "whole rate" in caught.value.remedy


# The command line


@pytest.mark.parametrize(
    "arguments",
    [
        ["view", "{}", "-o", "{}/meta/info.json"],
        ["validate", "{}", "--json", "{}/meta/stats.json"],
        ["browse", "{}", "-o", "{}/page"],
        ["edit", "{}", "--leave-out", "1", "-o", "{}/videos"],
        ["score", "{}", "--policy", "p", "-o", "{}/scores.json"],
    ],
)
def test_nothing_is_written_into_the_original(tmp_path, capsys, arguments):
    folder = lerobot_sets.write_good(tmp_path / "d", manifest=True)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert main(["data", *(argument.replace("{}", str(folder)) for argument in arguments)]) == 2
    assert "into the original" in capsys.readouterr().err
    assert before == {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    "options",
    [
        ["--trim", "1:0-5", "--trim", "1:6-11"],
        ["--leave-out", "", "--trim", "0:0-5"],
        ["--keep", "", "--trim", "0:0-5"],
        ["--split", "train=0-1", "--split", "Train=2"],
        ["--leave-out", "1", "--mapping", "m.yaml"],
    ],
)
def test_an_edit_that_would_be_done_in_part_is_refused(tmp_path, capsys, options):
    folder = lerobot_sets.write_good(tmp_path / "d")
    assert main(["data", "edit", str(folder), *options, "-o", str(tmp_path / "e")]) == 2
    assert "remedy:" in capsys.readouterr().err and not (tmp_path / "e").exists()


def test_findings_are_not_taken_for_another_dataset(tmp_path):
    folder = lerobot_sets.write_good(tmp_path / "d")
    change_column(folder, "observation.state", lambda v: [[9e9] * 3, *v[1:]], lerobot_sets.DATA)
    findings = tmp_path / "findings.json"
    assert main(["data", "validate", str(folder), "--json", str(findings)]) == 1
    assert json.loads(findings.read_text())[0]["dataset"] == {"name": "d", "episodes": 3, "frames": 36}
    good = lerobot_sets.write_good(tmp_path / "g")
    assert main(["data", "edit", str(good), "--keep", "0-1", "-o", str(tmp_path / "two")]) == 0
    from vla_agent.data.edit.drop_file import dropped_episodes
    from vla_agent.data.lerobot.dataset_reader import read

    assert dropped_episodes(findings, read(folder)) == {0}
    with pytest.raises(OptionError, match="of another dataset"):
        dropped_episodes(findings, read(tmp_path / "two"))


def test_a_dataset_has_the_rate_of_its_contract_and_a_whole_one(tmp_path):
    folder = lerobot_sets.write_good(tmp_path / "d")
    lerobot_sets.change_info(folder, lambda info: info.update(fps=10))
    assert refused(folder).key == "fps"
    contract = replace(lerobot_sets.contract(), control_hz=12.5)
    with pytest.raises(DatasetError, match="cannot have this rate"):
        write_dataset(tmp_path / "new", contract, [encode(lerobot_sets.episode(0), "images", 12)], "images")
    assert not (tmp_path / "new").exists()
