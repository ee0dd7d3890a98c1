"""Each check of a dataset alone: at its limit and just inside it, on tables in memory."""

from __future__ import annotations

import json
import shutil
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vla_agent.contract import Camera, Contract, Field
from vla_agent.data.lerobot.dataset_reader import Dataset, load, read
from vla_agent.data.lerobot.dataset_tables import EpisodeInfo
from vla_agent.data.lerobot.dataset_writer import write_dataset
from vla_agent.data.lerobot.episode import Episode, encode
from vla_agent.data.lerobot.media import STORAGES, encode_video
from vla_agent.data.validate.check_frames import count_findings, frame_findings, instruction_findings
from vla_agent.data.validate.check_images import image_findings, swapped_findings, thumbnail, video_findings
from vla_agent.data.validate.check_values import (
    clipped_findings,
    first_run,
    names_of,
    range_findings,
    repeated_findings,
    stats_findings,
    value_findings,
)
from vla_agent.data.validate.validate import (
    _check_images,
    _first_episode_in,
    _unreadable,
    contract_findings,
    validate,
)
from vla_agent.errors import DatasetError

FPS = 8.0  # a period of 0.125 s is exact
CONTRACT = Contract(
    (Camera("front", 8, 8), Camera("wrist", 8, 8)),
    (Field("position", 2, "m", low=-1.0, high=1.0), Field("free", 1, "m")),
    (Field("move", 2, "m", low=-0.5), Field("gripper", 1, "1", high=1.0)),
    FPS,
    4,
)
QUICK = settings(derandomize=True, max_examples=50, deadline=None, database=None)


class InMemory(Dataset):
    """A dataset whose images are given: camera -> (N, 8, 8, 3) uint8, or None where they cannot be decoded."""

    def frames(self, camera, indices):
        images = self.info["pictures"][camera]
        if any(images[i] is None for i in indices):
            raise DatasetError("the image cannot be decoded", found="nothing")
        return np.array([images[i] for i in indices], np.uint8)


def tables(lengths: tuple[int, ...] = (10,), root: Path = Path("/nowhere"), **columns) -> InMemory:
    """Episodes of these lengths: right counts, an arm that moves, and noise for images; ``columns`` replace some."""
    n, stops = sum(lengths), np.cumsum(lengths)
    rng = np.random.default_rng(0)
    usual: dict[str, Any] = {
        "timestamp": np.concatenate([np.arange(k) / FPS for k in lengths]).astype(np.float32),
        "frame_index": np.concatenate([np.arange(k) for k in lengths]),
        "episode_index": np.repeat(np.arange(len(lengths)), lengths),
        "index": np.arange(n),
        "task_index": np.zeros(n, np.int64),
        "observation.state": rng.uniform(-0.4, 0.4, (n, 3)).astype(np.float32),
        "action": rng.uniform(-0.4, 0.4, (n, 3)).astype(np.float32),
    }
    vector = {"dtype": "float32", "shape": [3], "names": None}
    image = {"dtype": "video", "shape": [8, 8, 3], "names": ["height", "width", "channels"]}
    info = {
        "fps": FPS,
        "total_frames": n,
        "total_episodes": len(lengths),
        "features": {
            **{f"observation.images.{c}": dict(image) for c in ("front", "wrist")},
            "observation.state": dict(vector),
            "action": dict(vector),
            **{k: {"dtype": "int64", "shape": [1], "names": None} for k in usual if usual[k].ndim == 1},
        },
        "video_path": "{video_key}-{file_index}.mp4",
        "pictures": {c: list(rng.integers(0, 255, (n, 8, 8, 3))) for c in ("front", "wrist")},
    }
    episodes = tuple(
        EpisodeInfo(k, "go", int(stop) - length, int(stop), (0, 0), int(stop) - length, {}, {})
        for k, (length, stop) in enumerate(zip(lengths, stops, strict=True))
    )
    given_ = {
        "root": root,
        "info": info,
        "episodes": episodes,
        "tasks": {0: "go", 1: "stop"},
        "columns": usual | columns,
    }
    return InMemory(**{f.name: given_.get(f.name, {}) for f in fields(Dataset) if f.init})


def rows_of(dataset: Dataset) -> dict[int, slice]:
    return {e.index: slice(e.start, e.stop) for e in dataset.episodes}


def of_episode(check, dataset: Dataset, index: int = 0) -> list:
    episode = dataset.episodes[index]
    return list(check(dataset, episode, slice(episode.start, episode.stop)))


def changed(dataset: Dataset, column: str, row: Any, value: Any) -> Dataset:
    dataset.columns[column] = dataset.columns[column].copy()
    dataset.columns[column][row] = value
    return dataset


def test_tables_without_a_defect():
    dataset = tables((10, 12))
    rows = rows_of(dataset)
    for check in (frame_findings, instruction_findings, value_findings):
        assert of_episode(check, dataset) == of_episode(check, dataset, 1) == []
    assert [list(c(dataset, rows)) for c in (clipped_findings, range_findings, repeated_findings)] == [[], [], []]
    assert list(count_findings(dataset)) == list(stats_findings(dataset)) == list(video_findings(dataset)) == []


# Counts


@pytest.mark.parametrize(("key", "found"), [("total_episodes", "2"), ("total_frames", "22")])
@pytest.mark.parametrize("off", [-1, 1])
def test_each_stated_number_is_compared(key, found, off):
    dataset = tables((10, 12))
    dataset.info[key] += off
    (finding,) = count_findings(dataset)
    assert (finding.check, finding.key, finding.episode, finding.frame) == ("counts", key, None, None)
    assert finding.found == f"{int(found) + off} stated, {found} in the tables" and finding.error


def test_an_episode_of_another_length_than_stated_is_named():
    dataset = tables((10, 12, 5))
    owner = dataset.columns["episode_index"]
    keep = np.delete(np.arange(27), [10, 11])  # two frames of the second episode
    dataset.columns.update({k: v[keep] for k, v in dataset.columns.items()})
    dataset.info["total_frames"] = 25
    (finding,) = count_findings(dataset)
    assert (finding.check, finding.episode, finding.frame, finding.key) == ("missing frames", 1, 10, "length")
    assert finding.found == "10 of 12 frames" and len(owner) == 27


# Frames and times


@pytest.mark.parametrize(
    ("numbers", "frame", "what", "found"),
    [
        ([0, 1, 2, 4, 5, 6], 3, "1 frame(s) are missing", "frame 4 after frame 2"),
        ([2, 3, 4, 5, 6, 7], 0, "2 frame(s) are missing", "frame 2 after frame -1"),
        ([0, 1, 1, 3, 4, 5], 2, "a frame is repeated or out of order", "frame 1 after frame 1"),
        ([0, 2, 1, 3, 4, 5], 1, "1 frame(s) are missing", "frame 2 after frame 0"),
        ([0, 1, 2, 1, 4, 5], 3, "a frame is repeated or out of order", "frame 1 after frame 2"),
    ],
)
def test_frame_numbers_that_are_not_one_after_the_other(numbers, frame, what, found):
    finding = of_episode(
        frame_findings, tables((6,), frame_index=np.array(numbers), timestamp=np.array(numbers) / FPS)
    )[0]
    assert (finding.check, finding.episode, finding.frame, finding.key) == ("missing frames", 0, frame, "frame_index")
    assert (finding.what, finding.found) == (what, found)


@pytest.mark.parametrize("sign", [-1, 1])
def test_timestamps_may_be_off_by_a_quarter_of_a_period_and_no_more(sign):
    times = np.arange(10) / FPS
    times[6] += sign * 0.25 / FPS
    assert of_episode(frame_findings, tables(timestamp=times)) == []
    times[6] += sign * 2**-20
    (finding,) = of_episode(frame_findings, tables(timestamp=times))
    assert (finding.check, finding.episode, finding.frame, finding.key) == ("time stamps", 0, 6, "timestamp")
    late = "+31" if sign > 0 else "-31"
    assert finding.found == f"{times[6]:.3f} s in frame 6, {late} ms off at 8 Hz, 8.00 Hz by the timestamps"
    assert finding.error


def test_timestamps_count_from_the_episodes_first_and_by_the_frame_numbers():
    assert of_episode(frame_findings, tables((6,), timestamp=100 + np.arange(6) / FPS)) == []
    late = np.arange(3, 9)
    found = of_episode(frame_findings, tables((6,), timestamp=late / FPS, frame_index=late))
    assert [f.check for f in found] == ["missing frames"], "a cut is not a drift"
    slow = of_episode(frame_findings, tables((6,), timestamp=np.arange(6) / 4))
    assert [(f.check, f.frame) for f in slow] == [("time stamps", 1)] and "4.00 Hz by the timestamps" in slow[0].found
    still = of_episode(frame_findings, tables((6,), timestamp=np.zeros(6)))
    assert [(f.check, f.frame) for f in still] == [("time stamps", 1)] and still[0].found.endswith("off at 8 Hz")


def test_timestamps_that_are_not_finite_are_left_to_the_values():
    times = np.arange(10) / FPS
    for value in (np.inf, np.nan):
        times[3] = value
        assert of_episode(frame_findings, tables(timestamp=times)) == []
    assert [f.key for f in of_episode(value_findings, tables(timestamp=times))] == ["timestamp"]


@pytest.mark.parametrize("length", [0, 1, 4, 5])
def test_four_frames_are_too_few_and_five_are_not(length):
    found = of_episode(frame_findings, tables((length,)))
    assert [(f.check, f.error, f.episode, f.frame) for f in found] == [("short", False, 0, 0)] * (length < 5)
    assert all(f.found == f"{length} frames" for f in found)


# Instructions


@pytest.mark.parametrize(("index", "wrong"), [(-1, True), (2, True), (3, True), (0, False)])
def test_an_instruction_that_does_not_exist(index, wrong):
    found = of_episode(instruction_findings, changed(tables(), "task_index", slice(4, None), index))
    assert [(f.check, f.episode, f.frame, f.key) for f in found] == [("instructions", 0, 4, "task_index")] * wrong
    assert all(f.found == f"task {index}; there are 0, 1" for f in found)


@pytest.mark.parametrize("text", ["", "  ", "123 ?", None])
def test_an_instruction_without_a_word(text):
    dataset = changed(tables(), "task_index", slice(7, None), 1)
    object.__setattr__(dataset, "tasks", {0: "go", 1: text})
    (finding,) = of_episode(instruction_findings, dataset)
    assert (finding.what, finding.frame, finding.key) == ("the instruction is empty", 7, "task")
    assert finding.found == repr(text) and finding.episode == 0


def test_frames_with_another_instruction_than_their_episode():
    (finding,) = of_episode(instruction_findings, tables((6,), task_index=np.ones(6, np.int64)))
    assert (finding.key, finding.frame, finding.found) == ("tasks", 0, "'go'; the frames have 'stop'")
    assert not finding.error, "the frames count"
    assert of_episode(instruction_findings, changed(tables(), "task_index", 9, 1)) == [], "one of them is enough"
    assert of_episode(instruction_findings, tables((0,))) == []


# Values


def test_names_of_the_numbers_of_a_vector():
    dataset = tables()
    feature = dataset.info["features"]["action"]
    found = []
    for names in (["a", "b", "c"], {"motors": ["a", "b", "c"]}, None, ["a", "b"], {}, "abc"):
        feature["names"] = names
        found.append(names_of(dataset, "action"))
    assert found == [["a", "b", "c"]] * 2 + [["0", "1", "2"]] * 4
    feature.update(shape=[1, 3], names=["a", "b", "c"])
    assert names_of(dataset, "action") == ["a", "b", "c"]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_each_value_that_is_not_finite_is_located(value):
    dataset = changed(tables((10, 10)), "action", (14, 2), value)
    changed(dataset, "action", (16, 0), value)
    dataset.info["features"]["action"]["names"] = ["x", "y", "z"]
    (finding,) = of_episode(value_findings, dataset, 1)
    assert (finding.check, finding.episode, finding.frame, finding.key) == ("not finite", 1, 4, "action")
    assert finding.found == f"{value} in z" and of_episode(value_findings, dataset) == []


def test_a_number_that_stands_alone_has_the_features_own_name():
    pair = np.ones((10, 2))
    pair[4, 1] = np.inf
    dataset = tables(pair=pair)
    dataset.info["features"]["pair"] = {"dtype": "float32", "shape": [2], "names": ["left", "right"]}
    assert [f.found for f in of_episode(value_findings, dataset)] == ["inf in right"]
    (finding,) = of_episode(value_findings, tables(reward=np.where(np.arange(10) == 3, np.nan, 0.0)))
    assert (finding.key, finding.found, finding.frame) == ("reward", "nan in reward", 3)


@pytest.mark.parametrize(("key", "word"), [("action", "action"), ("observation.state", "state")])
def test_what_never_changes(key, word):
    dataset = changed(tables(), key, slice(None), 0.25)
    (finding,) = of_episode(value_findings, dataset)
    assert (finding.check, finding.key, finding.frame, finding.episode) == ("constant", key, 0, 0)
    assert (finding.what, finding.found) == (f"the {word} never changes", "the same 3 numbers in all 10 frames")
    dataset.columns[key][9, 1] += 1e-6
    assert of_episode(value_findings, dataset) == []


def test_one_frame_alone_does_not_stand_still_and_two_do():
    assert of_episode(value_findings, tables((1,))) == of_episode(value_findings, tables((10, 1)), 1) == []
    assert [f.check for f in of_episode(value_findings, tables((2,), action=np.zeros((2, 3))))] == ["constant"]
    without = tables()
    del without.columns["action"], without.columns["observation.state"]
    assert of_episode(value_findings, without) == []


@pytest.mark.parametrize(
    ("mask", "length", "start"),
    [("0110", 2, 1), ("0110", 3, None), ("1", 1, 0), ("", 1, None), ("110111", 3, 3), ("1101", 2, 0)],
)
def test_the_first_long_enough_run(mask, length, start):
    assert first_run(np.array([c == "1" for c in mask], bool), length) == start


@QUICK
@given(st.lists(st.booleans(), max_size=12), st.integers(1, 4))
def test_a_run_is_the_first_of_its_length(mask, length):
    text = "".join("1" if m else "0" for m in mask)
    at = text.find("1" * length)
    assert first_run(np.array(mask, bool), length) == (None if at < 0 else at)


def clipped(
    length: int, side: int = 1, levels: int = 40, where: int = 10, episodes: tuple[int, ...] = (40,)
) -> Dataset:
    """One dimension of noise that stays at its largest (or least) value for ``length`` frames from frame ``where``."""
    rng = np.random.default_rng(1)
    action = rng.uniform(-0.4, 0.4, (sum(episodes), 3))
    action[:, 1] = rng.permutation(np.resize(np.linspace(-0.3, 0.3, levels), sum(episodes)))
    inner = np.abs(action[:, 1]) > 0.299  # the ends occur in the run alone
    action[inner, 1] = np.linspace(-0.3, 0.3, levels)[1]
    action[where : where + length, 1] = side * 0.3
    dataset = tables(episodes, action=action)
    dataset.info["features"]["action"]["names"] = ["x", "y", "z"]
    return dataset


@pytest.mark.parametrize(("side", "word"), [(1, "upper"), (-1, "lower")])
def test_four_frames_at_a_limit_are_clipped_and_three_are_not(side, word):
    dataset = clipped(4, side)
    (finding,) = clipped_findings(dataset, rows_of(dataset))
    assert (finding.check, finding.episode, finding.frame, finding.key) == ("clipped", 0, 10, "action: y")
    assert finding.found == f"4 frames in a row at {side * 0.3:.4g}, the {word} limit"
    assert list(clipped_findings(clipped(3, side), {0: slice(0, 40)})) == []


@pytest.mark.parametrize(("side", "limit", "found"), [(1, 0.3, 0), (1, 0.31, 1), (-1, 0.3, 0), (-1, 0.29, 1)])
def test_the_contracts_own_limit_is_no_clipping(side, limit, found, tmp_path):
    dataset = clipped(6, side)
    object.__setattr__(dataset, "root", tmp_path)
    action = (Field("a", 3, "m", low=-limit, high=limit),)
    contract = Contract((Camera("front", 8, 8),), (Field("q", 3, "m"),), action, FPS, 4)
    (tmp_path / "meta").mkdir()
    (tmp_path / "meta/contract.json").write_text(json.dumps(contract.to_dict()))
    assert len(list(clipped_findings(dataset, rows_of(dataset)))) == found


def test_at_a_higher_rate_a_longer_run_is_needed():
    for length, found in ((8, 1), (7, 0)):  # 0.4 s at 20 Hz
        dataset = clipped(length)
        dataset.info["fps"] = 20.0
        assert len(list(clipped_findings(dataset, rows_of(dataset)))) == found


def test_a_run_up_to_the_end_is_an_arm_that_waits_at_its_goal():
    for length, found in ((30, 0), (29, 1)):
        dataset = clipped(length, where=30, episodes=(60,))
        assert len(list(clipped_findings(dataset, rows_of(dataset)))) == found


def test_a_dimension_of_few_values_is_a_switch():
    def of(levels: int) -> int:
        dataset = clipped(5, levels=levels)
        values = dataset.columns["action"][:, 1]
        assert len(np.unique(values)) in (levels - 1, levels)
        return len(np.unique(values)), len(list(clipped_findings(dataset, rows_of(dataset))))

    switch = clipped(5)
    switch.columns["action"][:, 0] = (np.arange(40) // 8) % 2
    assert [f.key for f in clipped_findings(switch, rows_of(switch))] == ["action: y"], (
        "what comes after it is looked at"
    )
    counted = dict(of(levels) for levels in range(11, 17))
    assert {n: found for n, found in counted.items() if n in (12, 13)} == {12: 0, 13: 1}


def test_the_clipped_episode_is_named_and_nothing_else_is_in_the_way():
    dataset = clipped(6, where=45, episodes=(40, 40))
    dataset.columns["action"][3, 0] = np.nan
    (finding,) = clipped_findings(dataset, rows_of(dataset))
    assert (finding.episode, finding.frame) == (1, 5) and finding.found.startswith("6 frames")
    assert list(clipped_findings(dataset, {})) == []
    del dataset.columns["action"]
    assert list(clipped_findings(dataset, {0: slice(0, 40)})) == []


@pytest.fixture
def with_contract(tmp_path):
    (tmp_path / "meta").mkdir()
    (tmp_path / "meta" / "contract.json").write_text(json.dumps(CONTRACT.to_dict()))
    return tmp_path


@pytest.mark.parametrize(
    ("key", "dimension", "limit", "name", "text"),
    [
        ("observation.state", 1, 1.0, "position", "range -1 to 1 m"),
        ("observation.state", 0, -1.0, "position", "range -1 to 1 m"),
        ("action", 0, -0.5, "move", "range -0.5 to inf m"),
        ("action", 2, 1.0, "gripper", "range -inf to 1 1"),
    ],
)
def test_a_range_may_be_passed_by_rounding_and_no_more(with_contract, key, dimension, limit, name, text):
    dataset = tables((10, 10), with_contract)
    beyond = np.sign(limit) * 1e-4
    dataset.columns[key] = dataset.columns[key].astype(np.float64)
    changed(dataset, key, (13, dimension), limit + 0.9 * beyond)
    assert list(range_findings(dataset, rows_of(dataset))) == []
    changed(dataset, key, ([13, 17], dimension), limit + 1.1 * beyond)
    (finding,) = range_findings(dataset, rows_of(dataset))
    assert (finding.check, finding.episode, finding.frame, finding.key) == ("range", 1, 3, f"{key}: {name}")
    assert finding.found.endswith(text) and finding.what == f"{name} is outside the contract's range"


def test_without_a_contract_or_a_range_any_value_is_taken(with_contract, tmp_path):
    dataset = changed(tables(root=with_contract), "observation.state", (2, 2), 99.0)
    changed(dataset, "action", (2, 1), 99.0)
    assert list(range_findings(dataset, rows_of(dataset))) == []
    assert list(range_findings(changed(tables(), "action", (2, 0), -99.0), {0: slice(0, 10)})) == []


def test_copies_are_found_and_waiting_is_no_copy():
    dataset = tables((10, 10, 10))
    dataset.columns["action"][20:] = dataset.columns["action"][:10]
    (finding,) = repeated_findings(dataset, rows_of(dataset))
    assert (finding.check, finding.episode, finding.frame, finding.key) == ("copies", 2, 0, "action")
    assert finding.found == "the actions of episode 0"
    dataset.columns["action"][25, 1] += 1e-3
    assert list(repeated_findings(dataset, rows_of(dataset))) == []
    assert (
        list(repeated_findings(tables((10, 10), action=np.zeros((20, 3))), {0: slice(0, 10), 1: slice(10, 20)})) == []
    )
    del dataset.columns["action"]
    assert list(repeated_findings(dataset, rows_of(dataset))) == []


def with_stats(root: Path, dataset: Dataset, **means) -> Dataset:
    (root / "meta").mkdir(exist_ok=True)
    text = json.dumps({key.replace("__", "."): {"mean": list(map(float, mean))} for key, mean in means.items()})
    (root / "meta" / "stats.json").write_text(text)
    return dataset


@pytest.mark.parametrize("key", ["observation__state", "action"])
def test_a_stated_mean_may_be_off_by_a_tenth_of_the_spread(tmp_path, key):
    name = key.replace("__", ".")
    dataset = tables(root=tmp_path)
    mean, spread = dataset.columns[name].mean(0), dataset.columns[name].std(0)
    for share, wrong in ((0.09, False), (-0.09, False), (0.11, True), (-0.11, True)):
        with_stats(tmp_path, dataset, **{key: mean + [0, share * spread[1], 0]})
        found = list(stats_findings(dataset))
        assert [(f.check, f.key, f.episode, f.frame) for f in found] == [("statistics", name, None, None)] * wrong


def test_what_hardly_spreads_may_be_off_by_a_tenth_of_a_thousandth(tmp_path):
    dataset = tables(root=tmp_path, action=np.full((10, 3), 0.5))
    for off, wrong in ((0.9e-4, 0), (1.1e-4, 1)):
        assert len(list(stats_findings(with_stats(tmp_path, dataset, action=np.full(3, 0.5 + off))))) == wrong


def test_statistics_of_another_size_are_wrong_and_those_of_broken_values_are_left(tmp_path):
    dataset = tables(root=tmp_path)
    mean = dataset.columns["action"].mean(0)
    assert len(list(stats_findings(with_stats(tmp_path, dataset, action=mean[:1])))) == 1
    assert list(stats_findings(with_stats(tmp_path, dataset, reward=[3.0]))) == []
    changed(dataset, "observation.state", (0, 0), np.nan)
    found = list(stats_findings(with_stats(tmp_path, dataset, observation__state=[9, 9, 9], action=[9, 9, 9])))
    assert [f.key for f in found] == ["action"], "each by itself"
    del dataset.columns["observation.state"], dataset.columns["action"]
    assert list(stats_findings(dataset)) == []


# Images


def images_of(dataset: Dataset, index: int = 0) -> tuple[list, dict]:
    thumbnails: dict = {}
    return list(image_findings(dataset, dataset.episodes[index], thumbnails)), thumbnails


def test_good_images_leave_their_mean_thumbnails():
    dataset = tables((9, 9))
    found, thumbnails = images_of(dataset, 1)
    assert found == [] and set(thumbnails) == {"front", "wrist"} and list(thumbnails["front"]) == [1]
    picked = np.array([dataset.info["pictures"]["front"][k] for k in (9, 13, 17)])
    assert np.allclose(thumbnails["front"][1], picked.mean(0) / 255, atol=1e-6), "first, middle, last"


def test_an_image_that_cannot_be_decoded_is_located_and_the_other_camera_is_looked_at():
    dataset = tables((9, 9))
    dataset.info["pictures"]["front"][12] = dataset.info["pictures"]["front"][13] = None
    found, thumbnails = images_of(dataset, 1)
    (finding,) = found
    assert (finding.check, finding.episode, finding.frame) == ("missing images", 1, 3)
    assert finding.key == "observation.images.front" and finding.found == "the image cannot be decoded"
    assert set(thumbnails) == {"wrist"}
    dataset.info["pictures"]["front"][12] = dataset.info["pictures"]["front"][14]
    dataset.info["pictures"]["front"][13] = np.zeros((4, 4, 3), np.uint8)
    assert [f.frame for f in images_of(dataset, 1)[0]] == [0], "each can be decoded, and yet they do not fit together"


@pytest.mark.parametrize(("high", "blank"), [(103, True), (104, False), (105, False)])
def test_an_image_of_a_spread_under_two_is_blank(high, blank):
    dataset = tables((9,))
    checked = np.where(np.indices((8, 8)).sum(0)[..., None] % 2, high, 100) * np.ones(3)
    dataset.info["pictures"]["wrist"][4] = checked  # a standard deviation of half the difference
    found, _ = images_of(dataset)
    assert [(f.check, f.frame, f.key) for f in found] == [("blank images", 4, "observation.images.wrist")] * blank
    assert all(f.found == "all values near 102 of 255" and f.episode == 0 for f in found)


def test_one_blank_image_of_a_camera_is_named_once():
    dataset = tables((9,))
    dataset.info["pictures"]["wrist"] = [np.zeros((8, 8, 3))] * 9
    assert [(f.check, f.frame) for f in images_of(dataset)[0]] == [("blank images", 0)]


def test_images_that_stand_still_while_the_arm_moves():
    dataset = tables((9,))
    dataset.info["pictures"]["front"] = [dataset.info["pictures"]["front"][0]] * 9
    (finding,), _ = images_of(dataset)
    assert (finding.check, finding.episode, finding.frame) == ("frozen images", 0, 0)
    assert finding.key == "observation.images.front" and finding.found == "the same image in frames 0, 4, 8"
    dataset.info["pictures"]["front"][4] = dataset.info["pictures"]["front"][4] + np.eye(8, dtype=int)[..., None]
    assert images_of(dataset)[0] == [], "one of the three differs"


@pytest.mark.parametrize(("travel", "frozen"), [(0.0009, False), (0.0011, True)])
def test_an_arm_that_moves_less_than_a_thousandth_stands(travel, frozen):
    dataset = tables((9, 9))
    dataset.info["pictures"]["front"] = [dataset.info["pictures"]["front"][0]] * 18
    dataset.columns["observation.state"][:9] = [0.1, 0.2, 0.5]
    dataset.columns["observation.state"][5, 2] = 0.5 + travel
    assert [f.check for f in images_of(dataset)[0]] == ["frozen images"] * frozen
    del dataset.columns["observation.state"]
    assert [f.check for f in images_of(dataset)[0]] == ["frozen images"], "without a state it may move"


def test_one_image_alone_cannot_stand_still():
    dataset = tables((1,))
    del dataset.columns["observation.state"]
    assert images_of(dataset)[0] == []
    dataset = tables((2,))
    dataset.info["pictures"]["front"] = [dataset.info["pictures"]["front"][0]] * 2
    assert [f.check for f in images_of(dataset)[0]] == ["frozen images"]


def test_a_thumbnail_is_the_means_of_blocks():
    image = np.zeros((2, 17, 25, 3), np.uint8)
    image[1, 2:4, 3:6, 1] = 255
    image[1, 16:, 24:] = 255  # cut off
    small = thumbnail(image)
    assert small.shape == (2, 8, 8, 3) and small[1, 1, 1].tolist() == [0, 1, 0] and small.sum() == 1


def looks(**values: list[float]) -> dict[str, dict[int, np.ndarray]]:
    return {camera: {k: np.full((8, 8, 3), v) for k, v in enumerate(each)} for camera, each in values.items()}


def test_cameras_that_look_like_each_other_are_swapped():
    (finding,) = swapped_findings(looks(front=[0.1, 0.9, 0.1, 0.1], wrist=[0.9, 0.1, 0.9, 0.9]))
    assert (finding.check, finding.episode, finding.frame) == ("swapped cameras", 1, 0)
    assert finding.key == "observation.images.front"
    assert finding.found == "front looks like wrist in other episodes, and wrist like front"
    one = swapped_findings(looks(front=[0.1, 0.9, 0.1], wrist=[0.9, 0.9, 0.9]))
    assert list(one) == [], "both must look like the other"
    three = looks(front=[0.1, 0.1, 0.1], wrist=[0.5, 0.9, 0.5], side=[0.9, 0.5, 0.9])
    assert [(f.episode, f.key) for f in swapped_findings(three)] == [(1, "observation.images.wrist")]
    del three["side"][1]
    assert list(swapped_findings(three)) == [], "an episode without one of them"


@pytest.mark.parametrize(("value", "swapped"), [(0.59, False), (0.61, True)])
def test_swapped_is_what_is_twice_as_near_to_the_other(value, swapped):
    """Usual 0.2 and 0.8: at 0.6 and 0.4 the straight distance is twice the crossed one."""
    found = list(swapped_findings(looks(front=[0.2, value, 0.2], wrist=[0.8, 1.0 - value, 0.8])))
    assert [f.episode for f in found] == [1] * swapped


# Videos


def video(folder: Path, camera: str, frames: int) -> None:
    images = np.random.default_rng(0).integers(0, 255, (frames, 16, 16, 3), np.uint8)
    (folder / f"observation.images.{camera}-3.mp4").write_bytes(encode_video(images, 8, STORAGES["video"]))


def filmed(root: Path, lengths: tuple[int, ...]) -> Dataset:
    """Episodes one after the other in the video 3 of the camera front."""
    dataset = tables(lengths, root)
    episodes = tuple(
        EpisodeInfo(e.index, e.task, e.start, e.stop, e.data_file, e.data_start, {"front": (0, 3)}, {"front": e.start})
        for e in dataset.episodes
    )
    object.__setattr__(dataset, "episodes", episodes)
    return dataset


def test_a_video_must_last_to_the_end_of_its_last_episode(tmp_path):
    video(tmp_path, "front", 12)
    assert list(video_findings(filmed(tmp_path, (5, 7)))) == []
    (finding,) = video_findings(filmed(tmp_path, (5, 8)))
    assert (finding.check, finding.episode, finding.frame) == ("missing images", 1, 7)
    assert finding.key == "observation.images.front"
    assert finding.found == "12 frames in observation.images.front-3.mp4"
    late = list(video_findings(filmed(tmp_path, (5, 8, 2))))
    assert [(f.episode, f.frame) for f in late] == [(1, 7), (2, 0)]


@pytest.mark.parametrize("content", [None, b"", b"no video"])
def test_a_video_that_is_missing_or_damaged_lacks_all_images(tmp_path, content):
    if content is not None:
        (tmp_path / "observation.images.front-3.mp4").write_bytes(content)
    found = list(video_findings(filmed(tmp_path, (5, 7))))
    assert [(f.episode, f.frame) for f in found] == [(0, 0), (1, 0)]
    assert found[0].found.startswith("observation.images.front-3.mp4: ")
    assert list(video_findings(filmed(tmp_path, (0,)))) == [], "no frames need no images"


# The whole folder


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A real dataset: three episodes of six frames, images as PNG."""
    rng = np.random.default_rng(2)
    episodes = []
    for k in range(3):
        columns = {
            "observation.state": rng.uniform(-0.4, 0.4, (6, 3)),
            "action": rng.uniform(-0.4, 0.4, (6, 3)),
            "annotation.subgoal": np.zeros((6, 6)),
            "annotation.points": np.zeros((6, 12)),
            "annotation.clean": np.ones((6, 1)),
        }
        shade = {"front": 0, "wrist": 150}
        images = {c: (shade[c] + rng.integers(0, 100, (6, 8, 8, 3))).astype(np.uint8) for c in shade}
        columns = {name: values.astype(np.float32) for name, values in columns.items()}
        episodes.append(encode(Episode(f"press button {'abc'[k]}", columns, images), "images", 8))
    return write_dataset(tmp_path_factory.mktemp("written") / "data", CONTRACT, episodes, "images")


@pytest.fixture
def folder(written, tmp_path):
    copy = shutil.copytree(written, tmp_path / "copy")
    (copy / "meta" / "manifest.json").unlink(missing_ok=True)
    return copy


def info_of(folder: Path, **changes) -> None:
    file = folder / "meta" / "info.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def data_of(folder: Path, change) -> None:
    """Write the frames' table again, with ``change(columns)`` of its columns as lists."""
    (file,) = (folder / "data").rglob("*.parquet")
    table = pq.read_table(file, partitioning=None)
    columns = table.to_pydict()
    change(columns)
    pq.write_table(type(table).from_pydict(columns, schema=table.schema), file)


def test_a_written_dataset_is_clean_and_its_progress_told(folder):
    told = []
    assert validate(folder, progress=lambda done, n: told.append((done, n))) == []
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_findings_come_by_episode_the_datasets_own_first(folder):
    info_of(folder, total_frames=19)

    def spoil(columns):
        columns["action"][15] = [float("nan"), 0.0, 0.0]
        columns["observation.state"][8] = [float("nan"), 0.0, 0.0]
        columns["frame_index"][10] = 9

    data_of(folder, spoil)
    assert [(f.check, f.episode, f.frame) for f in validate(folder, images=False)] == [
        ("counts", None, None),
        ("not finite", 1, 2),
        ("missing frames", 1, 4),
        ("time stamps", 1, 4),
        ("not finite", 2, 3),
    ]


def test_what_load_alone_refuses_is_found_where_nothing_else_is(folder):
    def spoil(columns):
        columns["index"][3] = 7

    data_of(folder, spoil)
    with pytest.raises(DatasetError, match="not in order"):
        load(folder)
    found = [f for f in validate(folder, images=False) if f.error and f.check != "statistics"]
    assert [(f.check, f.episode, f.found) for f in found] == [("unreadable", 0, "7 in frame 3; expected 3")]


def test_what_is_compared_over_all_episodes_is_found_too(folder):
    def spoil(columns):
        columns["action"][6:12] = columns["action"][:6]
        columns["observation.state"][13] = [2.0, 0.0, 0.0]

    data_of(folder, spoil)
    assert [(f.check, f.episode, f.frame) for f in validate(folder, images=False) if f.check != "statistics"] == [
        ("copies", 1, 0),
        ("range", 2, 1),
        ("units", 2, 1),
    ]


def test_an_episodes_findings_come_by_frame(folder):
    info_of(folder, total_frames=19)

    def spoil(columns):
        columns["observation.state"][:6] = [[0.5, 0.5, 0.5]] * 6
        columns["frame_index"][6] = 3
        columns["task_index"][7] = 9

    data_of(folder, spoil)
    found = [(f.check, f.episode, f.frame) for f in validate(folder, images=False) if f.check != "statistics"]
    assert found[:4] == [
        ("counts", None, None),
        ("constant", 0, 0),
        ("missing frames", 1, 0),
        ("instructions", 1, 1),
    ]


def test_an_episode_of_one_frame_has_its_image_checked_and_one_of_none_has_not():
    dataset = tables((1, 0, 9))
    dataset.info["pictures"]["front"][0] = np.zeros((8, 8, 3))
    told = []
    found = _check_images(dataset, set(), lambda done, n: told.append((done, n)))
    assert [(f.check, f.episode, f.frame) for f in found] == [("blank images", 0, 0)] and told[-1] == (3, 3)
    assert _check_images(dataset, {0}, lambda done, n: None) == []


def test_images_are_looked_at_only_where_asked_for_and_where_they_can_be_found(folder):
    def spoil(columns):
        columns["observation.images.front"][9] = {"bytes": b"no picture", "path": None}

    data_of(folder, spoil)
    assert validate(folder, images=False) == []
    (finding,) = validate(folder)
    assert (finding.check, finding.episode, finding.frame) == ("missing images", 1, 3)
    told = []
    data_of(folder, lambda columns: columns["episode_index"].__setitem__(slice(9, 10), [2]))
    found = validate(folder, progress=lambda done, n: told.append(done))
    assert "missing images" not in {f.check for f in found} and told == [1, 2, 3], "not where frames are misplaced"
    assert ("short", 2) in {(f.check, f.episode) for f in found}


def test_an_episode_without_frames_is_named(folder):
    data_of(folder, lambda columns: columns["episode_index"].__setitem__(slice(6, 12), [0] * 6))
    data_of(folder, lambda columns: columns["action"].__setitem__(14, [float("inf"), 0.0, 0.0]))
    findings = validate(folder, images=False)
    assert ("not finite", 2, 2) in [(f.check, f.episode, f.frame) for f in findings], "the next one is looked at"
    found = [f for f in findings if f.episode == 1]
    assert ("missing frames", "the episode has no frames", 0, "episode_index", "none") in [
        (f.check, f.what, f.frame, f.key, f.found) for f in found
    ]


def test_the_contract_and_the_tables_must_fit(folder):
    info_of(folder, fps=10)
    found = contract_findings_of(folder)
    assert [(f.check, f.key, f.found) for f in found] == [("rate", "fps", "10 Hz, contract 8 Hz")]
    info = json.loads((folder / "meta" / "info.json").read_text())
    info["fps"] = 8
    info["features"]["observation.images.front"]["shape"] = [16, 8, 3]
    del info["features"]["annotation.clean"]
    (folder / "meta" / "info.json").write_text(json.dumps(info))
    (finding,) = contract_findings_of(folder)
    assert (finding.check, finding.key) == ("contract", "observation.images.front")
    assert finding.found == "[16, 8, 3], contract [8, 8, 3]" and finding.episode is finding.frame is None
    (folder / "meta" / "contract.json").write_text(json.dumps(CONTRACT.to_dict() | {"version": 9}))
    (finding,) = contract_findings_of(folder)
    assert (finding.check, finding.key) == ("contract", "meta/contract.json")
    assert finding.found == "the contract has another version"
    (folder / "meta" / "contract.json").unlink()
    assert contract_findings_of(folder) == []


def contract_findings_of(folder: Path) -> list:
    return contract_findings(read(folder))


def test_a_feature_that_the_contract_names_must_be_there(folder):
    dataset = read(folder)
    del dataset.info["features"]["action"]
    (finding,) = contract_findings(dataset)
    assert (finding.key, finding.found) == ("action", "absent, contract [3]")


def test_a_folder_that_is_no_dataset_is_an_error_and_no_finding(tmp_path, folder):
    with pytest.raises(DatasetError):
        validate(tmp_path / "nowhere")
    (folder / "meta" / "info.json").write_text("{")
    with pytest.raises(DatasetError):
        validate(folder)


def test_a_table_that_cannot_be_read_is_a_finding_with_its_first_episode(folder):
    (file,) = (folder / "data").rglob("*.parquet")
    file.write_bytes(b"no table")
    (finding,) = validate(folder)
    assert (finding.check, finding.episode, finding.frame) == ("unreadable", 0, 0)
    assert finding.key == str(file.relative_to(folder)) and "expected" in finding.found and finding.remedy
    (tasks,) = (folder / "meta").glob("tasks*")
    tasks.write_bytes(b"no table")
    (finding,) = validate(folder)
    assert (finding.check, finding.episode, finding.frame) == ("unreadable", None, None)
    assert finding.key == str(tasks.relative_to(folder))


@pytest.mark.parametrize("remedy", ["mount the disk", None])
def test_the_remedy_is_the_errors_own_where_it_has_one(folder, remedy):
    error = DatasetError("broken", file=folder / "meta" / "x", expected="a", found="b", remedy=remedy)
    (finding,) = _unreadable(folder, error)
    assert finding.remedy == (remedy or "get the dataset again") and finding.found == "b; expected a"
    assert (finding.key, finding.what) == ("meta/x", "broken")


def test_the_first_episode_of_a_file_is_told_by_its_name_or_by_the_table(folder, tmp_path):
    (table,) = (folder / "meta" / "episodes").rglob("*.parquet")
    columns = pq.read_table(table, partitioning=None).to_pydict()
    columns["data/file_index"], columns["data/chunk_index"] = [0, 3, 3], [0, 0, 1]
    schema = pq.read_schema(table)
    pq.write_table(type(pq.read_table(table, partitioning=None)).from_pydict(columns, schema=schema), table)
    named = {
        f"data/chunk-{c:03d}/file-{f:03d}.parquet": e for c, f, e in ((0, 0, 0), (0, 3, 1), (1, 3, 2), (1, 0, None))
    }
    assert {name: _first_episode_in(folder, folder / name) for name in named} == named
    assert _first_episode_in(folder, folder / "data/chunk-000/episode_000042.parquet") == 42
    assert _first_episode_in(folder, folder / "meta/episodes/chunk-000/file-000.parquet") is None
    assert _first_episode_in(folder, folder / "data/chunk-000/other.parquet") is None
