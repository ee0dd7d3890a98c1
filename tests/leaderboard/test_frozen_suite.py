"""The frozen suite: its file, its episodes, its scores, result files that are believed and those that are not."""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vla_agent.cli import main
from vla_agent.errors import ReportError, TaskError
from vla_agent.leaderboard import freeze, frozen_suite
from vla_agent.leaderboard.__main__ import main as check
from vla_agent.leaderboard.evaluate_suite import BLIND, SHUFFLED, SuiteSettings, evaluate_suite, job_of
from vla_agent.leaderboard.frozen_suite import GROUNDING, HELD_OUT, ROBUSTNESS, SUCCESS, read_suite
from vla_agent.leaderboard.play_frozen import Blind, lay_player, play
from vla_agent.leaderboard.recheck import differences
from vla_agent.leaderboard.result_file import RESULT, read_result, result_of, result_text
from vla_agent.leaderboard.result_page import page, summary
from vla_agent.leaderboard.scores import scores

SUITE = read_suite("tabletop-1")
NOTHING = {"blank", "blind"}  # probes in which the goal must not be reached
SAMPLE = SUITE.episodes[::29]


def row_of(episode, success=True):
    name = episode.cell.removeprefix("probe.")
    return {
        "control": episode.cell,
        "task": episode.task,
        "seed": episode.seed,
        "fingerprint": episode.fingerprint,
        "outcome": success != (name in NOTHING),
        "success": success,
        "steps": 12,
        "state_hash": "a" * 64,
    }


def report(successes=lambda episode: True):
    rows = [row_of(e, successes(e)) for e in SUITE.episodes]
    return {
        "policy": "policies/mine",
        "control": "",
        "versions": {"vla_agent": "0.1.0", "mujoco": "3", "numpy": "2", "torch": "2"},
        "hashes": {"policy": {"policy.json": "b" * 64}, "simulator": "c" * 64},
        "episodes": rows,
        "summary": {"settings": {}, "scores": scores(rows, SUITE)},
    }


@pytest.fixture
def result(tmp_path):
    """A result file, and how it is written again with other content."""
    found, file = json.loads(result_text(result_of(report(), SUITE))), tmp_path / RESULT

    def write(**changed):
        file.write_text(json.dumps(found | changed))
        return file

    return found, write


def test_the_suite_is_held_out_and_whole():
    assert min(e.seed for e in SUITE.episodes) >= HELD_OUT
    assert len({e.key for e in SUITE.episodes}) == len({e.fingerprint for e in SUITE.episodes}) == len(SUITE.episodes)
    cells = {cell for cells in SUITE.parts.values() for cell in cells}
    assert cells == {e.cell for e in SUITE.episodes} and set(SUITE.parts) == {SUCCESS, ROBUSTNESS, GROUNDING}
    assert len(SUITE.tasks) == 10


def test_this_simulator_lays_out_the_frozen_episodes():
    """In another order than when they were frozen: nothing of the episode before is in a fingerprint."""
    jobs = {job.key: job for job in freeze.jobs()}
    assert list(jobs) == [e.key for e in SUITE.episodes]
    with closing(lay_player(SUITE)) as player:
        for episode in reversed(SAMPLE):
            assert freeze.frozen(player, jobs[episode.key]) == episode


def test_another_world_is_another_fingerprint(monkeypatch):
    job = job_of(SUITE, next(e for e in SUITE.episodes if e.cell.startswith("axis.lighting")), "")
    with closing(lay_player(SUITE)) as player:
        other = replace(job, control="axis.lighting.3")
        with pytest.raises(TaskError) as error:
            play(player, other)
        assert error.value.expected == job.fingerprint
        assert play(player, job).record["success"], "the expert reaches the goal in the frozen one"


def test_a_changed_file_of_the_suite_is_refused(tmp_path, monkeypatch):
    text = (frozen_suite.FOLDER / "tabletop-1.json").read_text()
    (tmp_path / "tabletop-1.json").write_text(text.replace("7900000", "7900001", 1))
    monkeypatch.setattr(frozen_suite, "FOLDER", tmp_path)
    with pytest.raises(TaskError) as error:
        read_suite.__wrapped__("tabletop-1")
    assert error.value.key == "SHA-256"
    with pytest.raises(TaskError, match="no such frozen suite"):
        read_suite("tabletop-0")


def test_scores_follow_their_definition():
    found = scores([row_of(e) for e in SUITE.episodes], SUITE)
    assert found["parts"][SUCCESS]["rate"] == found["parts"][ROBUSTNESS]["rate"] == 1.0
    assert found["parts"][GROUNDING]["rate"] == pytest.approx(4 / 6, abs=1e-6), "it acts without instruction, and blind"
    assert found["score"] == pytest.approx((4 / 6) ** (1 / 3), abs=1e-4)
    assert found["interval"][0] < found["score"] < found["interval"][1] < 1
    idle = scores([row_of(e, success=False) for e in SUITE.episodes], SUITE)
    assert idle["score"] == 0 and idle["parts"][GROUNDING]["rate"] == pytest.approx(2 / 6, abs=1e-6)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0, 1))
def test_one_more_success_never_lowers_a_score(seed, share):
    drawn = np.random.default_rng(seed).random(len(SUITE.episodes)) < share
    rows = [row_of(e, bool(s)) for e, s in zip(SUITE.episodes, drawn, strict=True)]
    better = [dict(r) for r in rows]
    chosen = int(seed % len(rows))
    better[chosen]["outcome"] = True
    assert scores(better, SUITE)["score"] >= scores(rows, SUITE)["score"]


def test_a_result_is_read_as_it_was_written(result, tmp_path):
    found, write = result
    assert read_result(write()) == found
    assert found["policy"]["digest"] and found["execution"] == {"mode": "open_loop", "delay_ms": 0.0}
    assert "policies/mine on tabletop-1" in summary(found) and "20 of 20" in page(found, SUITE)
    assert read_result(write(about="4 million parameters"))["about"]
    assert check([str(tmp_path / RESULT)]) == 0 and check([str(write(more=1))]) == 2


def changed_row(rows, number, column, value):
    rows = [list(row) for row in rows]
    rows[number][column] = value
    return rows


@pytest.mark.parametrize(
    ("change", "key"),
    [
        (lambda r: {"suite": r["suite"] | {"sha256": "0" * 64}}, "suite.sha256"),
        (lambda r: {"suite": r["suite"] | {"name": "tabletop-9"}}, "suite.name"),
        (lambda r: {"episodes": r["episodes"][:-1]}, "episodes"),
        (lambda r: {"episodes": [*r["episodes"][:-1], r["episodes"][0]]}, "episodes.579"),
        (lambda r: {"episodes": changed_row(r["episodes"], 3, 2, 1)}, "episodes.3"),
        (lambda r: {"episodes": changed_row(r["episodes"], 3, 3, "0" * 16)}, "episodes.3"),
        (lambda r: {"episodes": changed_row(r["episodes"], 3, 5, False)}, "episodes.3"),
        (lambda r: {"episodes": changed_row(r["episodes"], 3, 4, "yes")}, "episodes.3.4"),
        (lambda r: {"scores": r["scores"] | {"score": 0.99}}, "scores.score"),
        (lambda r: {"more": 1}, "more"),
        (lambda r: {"about": "x" * 501}, "about"),
    ],
)
def test_what_cannot_be_compared_or_does_not_follow_is_refused(result, change, key):
    found, write = result
    with pytest.raises(ReportError) as error:
        read_result(write(**change(found)))
    assert str(error.value.key).startswith(key) and error.value.remedy


def test_a_shuffled_instruction_is_another_one():
    for episode in SAMPLE:
        told = job_of(SUITE, episode, SHUFFLED).told
        assert (told != episode.instruction) == bool(episode.instruction)
        assert job_of(SUITE, episode, "").told == episode.instruction


def test_a_blind_policy_gets_black_images():
    class Bright:
        contract, execute = None, 8

        def reset(self, instruction, seed=0):
            self.seen = None

        def act(self, observation):
            self.seen = observation
            return np.zeros((8, 7), np.float32)

    policy = Bright()
    blind = Blind(policy)
    blind.reset("go", seed=1)
    blind.act({"images": {"front": np.ones((4, 4, 3), np.uint8)}, "state": np.ones(17)})
    assert not policy.seen["images"]["front"].any() and policy.seen["state"].all()


def test_the_command_takes_no_other_episodes(capsys, tmp_path):
    words = ["eval", "expert", "--suite", "tabletop-1", "-o", str(tmp_path / "out")]
    assert main([*words, "--episodes", "5"]) == 2 and "--episodes" in capsys.readouterr().err
    assert main([*words, "--controls", "some"]) == 2 and "--controls" in capsys.readouterr().err
    assert main([*words, "--controls", BLIND]) == 2 and "scripted" in capsys.readouterr().err


def test_a_run_writes_a_result_that_can_be_read(tmp_path, monkeypatch):
    """A small suite of the frozen one's episodes, played by the expert, stopped and gone on with."""
    cells = {"control": SUCCESS, "axis.sensor.1": ROBUSTNESS, "probe.removed": GROUNDING}
    some = [next(e for e in SUITE.episodes if e.cell == cell and e.task != "press_button") for cell in cells]
    parts = {part: (cell,) for cell, part in cells.items()}
    small = replace(SUITE, episodes=tuple(some), parts=parts)
    for module in ("evaluate_suite", "result_file"):
        monkeypatch.setattr(f"vla_agent.leaderboard.{module}.read_suite", lambda name: small)
    out = SuiteSettings("expert", "tabletop-1", tmp_path / "out")
    found = evaluate_suite(out)
    assert [row[5] for row in found["episodes"][:2]] == [True, True], "the expert reaches both goals"
    assert read_result(tmp_path / "out" / RESULT) == json.loads(json.dumps(found))
    monkeypatch.setattr("vla_agent.leaderboard.recheck.read_suite", lambda name: small)
    assert list(differences(found, "expert", 2, seed=1)) == []
    worse = found | {"episodes": [[*row[:6], 1, row[7]] for row in found["episodes"]]}
    assert [text.split(", ")[1].split(":")[0] for text in differences(worse, "expert", 2, seed=1)] == ["steps"] * 2
    with pytest.raises(ReportError, match="another policy"):
        next(differences(found, "random", 1, seed=1))
    with pytest.raises(ReportError, match="finished"):
        evaluate_suite(out)
    assert evaluate_suite(replace(out, resume=True))["episodes"] == found["episodes"]
