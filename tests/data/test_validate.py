"""`vla-agent data`: planted defects are found where they are, good datasets are clean, v2.1 reads as v3.0 does."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from benchmarks.finetune.finetune_badinput import judge
from benchmarks.inputs.baddata.defects import DEFECTS
from benchmarks.inputs.baddata.good_datasets import COLOURS, FRAMES, LAYOUTS, write_all
from vla_agent import cli
from vla_agent.contract.tabletop import tabletop_contract
from vla_agent.data.lerobot.dataset_reader import load
from vla_agent.data.validate.dataset_page import polylines
from vla_agent.data.validate.validate import validate


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    return write_all(tmp_path_factory.mktemp("good"), tabletop_contract())


@pytest.mark.parametrize("layout", LAYOUTS)
def test_nothing_is_found_in_a_good_dataset(layout, good):
    assert [f.text() for f in validate(good[layout])] == []


@pytest.mark.parametrize("defect", DEFECTS, ids=[d.name for d in DEFECTS])
def test_a_planted_defect_is_found_where_it_is(defect, good, tmp_path):
    folder = shutil.copytree(good[defect.layout], tmp_path / "bad")
    defect.spoil(folder)
    assert judge(defect, validate(folder)) == []


def test_both_layouts_hold_the_same(good):
    new, old = load(good["v3.0 images"]), load(good["v2.1 images"])
    for name, values in new.arrays().items():
        np.testing.assert_array_equal(values, old.arrays()[name], err_msg=name)
    some = [0, FRAMES + 3, 5 * FRAMES + 29]
    np.testing.assert_array_equal(new.frames("front", some), old.frames("front", some))
    video = load(good["v2.1 video"]).frames("wrist", some).astype(int)
    assert np.abs(video - new.frames("wrist", some)).mean() < 8, "the right frames, but for the codec"


def test_the_command_says_what_is_wrong_and_leaves_with_1(good, tmp_path, capsys):
    folder = shutil.copytree(good["v3.0 images"], tmp_path / "bad")
    assert cli.main(["data", "validate", str(folder)]) == 0
    DEFECTS[0].spoil(folder)
    capsys.readouterr()
    assert cli.main(["data", "validate", str(folder), "--json", str(tmp_path / "findings.json")]) == 1
    shown = capsys.readouterr().out
    assert "not finite: episode 2, frame 7: observation.state" in shown and "remedy:" in shown
    assert json.loads((tmp_path / "findings.json").read_text())[0]["episode"] == 2
    assert cli.main(["data", "validate", str(tmp_path / "nowhere")]) == 2


def test_inspect_stats_and_view(good, tmp_path, capsys):
    assert cli.main(["data", "inspect", str(good["v2.1 video"])]) == 0
    shown = capsys.readouterr().out
    assert "v2.1" in shown and "6 episodes, 180 frames at 20 Hz" in shown and f"press the {COLOURS[0]} button" in shown
    assert cli.main(["data", "stats", str(good["v3.0 images"])]) == 0
    shown = capsys.readouterr().out
    assert "ee_translation.0" in shown and "q99" in shown
    page = tmp_path / "page.html"
    assert cli.main(["data", "view", str(good["v3.0 images"]), "-o", str(page), "--episodes", "0-1,4"]) == 0
    text = page.read_text()
    assert text.count("<section") == 3 and text.count("data:image/png") == 3 * 2 * 8 and text.count("<figure") == 3 * 7
    assert cli.main(["data", "view", str(good["v3.0 images"]), "--episodes", "a"]) == 2


def test_a_plot_has_a_gap_where_there_is_no_number():
    lines = polylines(np.array([0.0, 1.0, np.nan, 1.0]), 0.0, 1.0)
    assert len(lines) == 2 and lines[0].startswith("0.0,48.0")
