"""`vla-agent data browse` on the folder of an evaluation: the episodes are simulated again, with their states."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vla_agent.cli import main
from vla_agent.evaluation.browse_report import show_report


@pytest.fixture(scope="module")
def report(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "eval"
    assert (
        main(["eval", "expert", "--tasks", "press_button", "--episodes", "1", "--controls", "none", "--out", str(out)])
        == 0
    )
    return out


def test_an_episode_has_its_images_states_and_outcome(report, tmp_path):
    with show_report(report / "report.json", None, 5) as shown:
        (episode,) = shown.episodes
    row = json.loads((report / "report.json").read_text())["episodes"][0]
    assert (episode.length, episode.task, episode.success) == (row["steps"], row["instruction"], True)
    assert {c: images.shape for c, images in episode.images.items()} == {
        "front": (5, 192, 192, 3),
        "wrist": (5, 192, 192, 3),
    }
    assert sum(s.values.shape[1] for s in episode.signals) == 7 + 17 and episode.findings == []
    assert shown.dataset is None, "there is nothing to flag"


def test_another_final_state_is_a_finding(report):
    file = report / "report.json"
    data = json.loads(file.read_text())
    data["episodes"][0]["state_hash"] = "0" * 64
    file.write_text(json.dumps(data))
    with show_report(file, [0], 2) as shown:
        (episode,) = shown.episodes
    assert [f["check"] for f in episode.findings] == ["replay"]
    assert main(["data", "browse", str(report), "--episodes", "7"]) == 2
