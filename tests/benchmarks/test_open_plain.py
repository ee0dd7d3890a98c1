"""The copies of `open-plain`: the same demonstrations without annotations."""

import numpy as np

from benchmarks.inputs.makers.lerobot_sets import HZ, contract, episode
from benchmarks.open.plain_copies import VECTORS, write_plain
from vla_agent.data.lerobot import dataset_schema
from vla_agent.data.lerobot.dataset_reader import load
from vla_agent.data.lerobot.dataset_writer import write_dataset
from vla_agent.data.lerobot.episode import Episode, encode


def annotated(number):
    """An episode with annotations for every frame."""
    plain = episode(number)
    sizes = {dataset_schema.SUBGOAL: 6, dataset_schema.POINTS: 6, dataset_schema.CLEAN: 1}
    columns = {name: np.ones((12, size), np.float32) for name, size in sizes.items()}
    return Episode(plain.task, {**plain.columns, **columns}, plain.images)


def test_the_plain_copy_differs_by_the_annotations_alone(tmp_path):
    source = write_dataset(
        tmp_path / "source", contract(), [encode(annotated(k), "images", round(HZ)) for k in range(2)], "images"
    )
    first, second = load(source), load(write_plain(source, tmp_path / "plain"))
    assert not [name for name in second.columns if name.startswith("annotation")]
    assert [name for name in first.columns if name.startswith("annotation")]
    for name in (*VECTORS, "episode_index", "frame_index", "task"):
        np.testing.assert_array_equal(first.arrays()[name], second.arrays()[name])
    frames = range(len(first))
    np.testing.assert_array_equal(first.frames("front", frames), second.frames("front", frames))
    assert first.contract == second.contract
    again = (tmp_path / "plain" / dataset_schema.INFO).stat().st_mtime_ns
    write_plain(source, tmp_path / "plain")
    assert (tmp_path / "plain" / dataset_schema.INFO).stat().st_mtime_ns == again
