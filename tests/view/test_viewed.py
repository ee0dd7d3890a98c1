"""`vla-agent view WHAT`: which source a path means, and which options do not belong to it."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest

from vla_agent.cli.judge import viewed
from vla_agent.errors import OptionError


def parsed(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("what", nargs="?")
    viewed.add_options(parser)
    parser.add_argument("--rerun", type=Path)
    parser.add_argument("--seconds", type=float)
    return parser.parse_args(words)


def test_a_path_says_which_source_it_is(tmp_path):
    for name, file in {
        "evaluation": "report.json",
        "dataset": "meta/info.json",
        "recordings": "episode-0000/metadata.yaml",
        "training": "recipe.yaml",
    }.items():
        (tmp_path / name / file).parent.mkdir(parents=True)
        (tmp_path / name / file).write_text(json.dumps({}))
    kinds = {"evaluation": viewed.EPISODE, "evaluation/report.json": viewed.EPISODE, "dataset": viewed.EPISODE}
    kinds |= {"recordings": viewed.EPISODE, "training": viewed.TRAINING, "nothing": viewed.SIMULATOR}
    assert {name: viewed.kind_of_source(parsed(str(tmp_path / name))) for name in kinds} == kinds
    assert viewed.kind_of_source(parsed()) == viewed.SIMULATOR
    assert viewed.kind_of_source(parsed("--ros", "--robot", "ur5e")) == viewed.GRAPH


@pytest.mark.parametrize(
    ("words", "key"),
    [
        (("--episode", "3"), "--episode"),
        (("--ros", "--task", "stack"), "--task"),
        (("--ros", "--seed", "0"), "--seed"),
        (("--seconds", "5"), "--seconds"),
        (("--rerun", "a.rrd", "--seconds", "0"), "--seconds"),
        (("--rerun", "a.rrd", "--seconds", "nan"), "--seconds"),
        (("runs/eval", "--ros"), "--ros"),
    ],
)
def test_an_option_of_another_source_is_refused(words, key):
    with pytest.raises(OptionError) as error:
        viewed.kind_of_source(parsed(*words))
    assert error.value.key == key


def test_a_folder_that_holds_nothing_to_show_is_refused_before_anything_is_loaded(tmp_path):
    for name in ("empty", "other"):
        (tmp_path / name).mkdir()
    (tmp_path / "other" / "notes.txt").write_text("mine")
    for name, found in (("empty", "an empty folder"), ("other", "notes.txt")):
        with pytest.raises(OptionError, match="nothing in this folder") as error:
            viewed.kind_of_source(parsed(str(tmp_path / name)))
        assert error.value.found == found and "report.json" in str(error.value.expected)
    for name in ("adapter.json", "export.json", "policy/policy.json"):
        (tmp_path / "one" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "one" / name).write_text("{}")
        assert viewed.kind_of_source(parsed(str(tmp_path / "one"))) == viewed.SIMULATOR
        (tmp_path / "one" / name).unlink()
