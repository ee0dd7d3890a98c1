"""Which families a comparison plays: those of a suite by name, and those of task files of one's own."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import sim
from vla_agent.cli.learn.finetune import add_parser, recipe_of
from vla_agent.contract.tabletop import tabletop_contract
from vla_agent.data.lerobot import dataset_schema
from vla_agent.data.lerobot.dataset_writer import write_dataset
from vla_agent.data.lerobot.episode import Episode, encode
from vla_agent.errors import RecipeError, TaskError
from vla_agent.evaluation.compare_tuned import compare
from vla_agent.finetuning.compared_families import compared_families
from vla_agent.finetuning.finetune_recipe import make_finetune

PRESS_BUTTON = Path(sim.__file__).parent / "tasks" / "tabletop" / "press_button.yaml"


def dataset(folder, family, collection=None):
    """A dataset of one short episode that names its family, with a record of its collection."""
    contract = tabletop_contract()
    columns = {
        name: np.zeros((3, feature["shape"][0]), np.float32)
        for name, feature in dataset_schema.vector_features(contract, annotations=False).items()
    }
    images = {c.name: np.zeros((3, c.height, c.width, 3), np.uint8) for c in contract.cameras}
    origin = {"family": family, "seed": 0} if family else {}
    episode = encode(Episode("do it", columns, images, origin), "images", 20)
    return str(write_dataset(folder, contract, [episode], "images", collection=collection))


def recipe(folders, *changes):
    return make_finetune({"base": "random", "data": {"demonstrations": folders}}, changes)


def own_task(folder, name="my_press"):
    """A task file outside the suites: another name, and a time limit that keeps episodes short."""
    text = PRESS_BUTTON.read_text().replace("name: press_button", f"name: {name}")
    file = folder / f"{name}.yaml"
    file.write_text(text.replace("time_limit: 240", "time_limit: 5"))
    return str(file)


def test_replayed_families_count_as_old(tmp_path):
    folders = [dataset(tmp_path / name, name) for name in ("lift", "stack")]
    families = compared_families(recipe(folders))
    assert families.new == ("lift",) and "stack" in families.old and len(families.old) == 10
    assert families.tasks == [*families.new, *families.old] and not families.files
    assert compared_families(recipe(folders, "compare.new=[stack]")).new == ("stack",)


def test_the_task_file_of_the_collection_is_found(tmp_path):
    file = own_task(tmp_path)
    folder = dataset(tmp_path / "data", "my_press", {"tasks": ["press_button", file]})
    families = compared_families(recipe([folder]))
    assert families.new == ("my_press",) and len(families.old) == 10
    assert families.tasks[0] == file and families.tasks[1:] == list(families.old)


def test_a_task_file_that_is_gone_must_be_given(tmp_path):
    file = own_task(tmp_path)
    folder = dataset(tmp_path / "data", "my_press", {"tasks": [file]})
    moved = Path(file).rename(tmp_path / "moved.yaml")
    with pytest.raises(RecipeError) as caught:
        compared_families(recipe([folder]))
    assert caught.value.key == "compare.tasks" and "my_press" in caught.value.expected
    assert file in caught.value.found and "--tasks FILE" in caught.value.remedy
    families = compared_families(recipe([folder], f"compare.tasks=[{moved}]"))
    assert families.new == ("my_press",) and families.tasks[0] == str(moved)


def test_families_may_be_given_as_paths(tmp_path):
    mine, other = own_task(tmp_path), own_task(tmp_path, "my_other_press")
    unnamed = dataset(tmp_path / "unnamed", None)
    with pytest.raises(RecipeError, match="not known"):
        compared_families(recipe([unnamed]))
    families = compared_families(recipe([unnamed], f"compare.tasks=[{mine}, {other}]", "compare.old=[my_other_press]"))
    assert families.groups == {"new": ("my_press",), "old": ("my_other_press",)}
    families = compared_families(recipe([unnamed], f"compare.new=[{mine}]", f"compare.old=[{other}, stack]"))
    assert families.groups == {"new": ("my_press",), "old": ("my_other_press", "stack")}
    assert families.tasks == [mine, other, "stack"]
    with pytest.raises(TaskError):
        compared_families(recipe([unnamed], f"compare.tasks=[{tmp_path / 'nowhere.yaml'}]"))


def test_a_family_of_ones_own_is_played_and_counted(tmp_path):
    file = own_task(tmp_path)
    folder = dataset(tmp_path / "data", "my_press", {"tasks": [file]})
    mine = recipe([folder], "compare.episodes=2", f"compare.old=[{own_task(tmp_path, 'old_press')}]")
    result = compare(mine, "random", tmp_path / "out")
    assert result["new"]["families"]["my_press"]["base"]["n"] == 2 and result["old"]["tuned"]["n"] == 2
    assert json.loads((tmp_path / "out/comparison.json").read_text()) == result
    assert result["verdict"][0].startswith("new families, not better: base ")


def test_the_command_line_names_task_files():
    import argparse

    parser = argparse.ArgumentParser()
    add_parser(parser.add_subparsers())
    words = ["finetune", "random", "--data", "d", "--compare", "3", "--tasks", "a.yaml,b.yaml"]
    compared = recipe_of(parser.parse_args(words)).compare
    assert (compared.episodes, compared.tasks) == (3, ("a.yaml", "b.yaml"))
