"""Evaluation, replay, comparison and collection go through the protocol alone; what is not offered is named."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.open.planted_environments import COLOURS, CONTRACT, Sound
from vla_agent.cli import main
from vla_agent.data.collect.collection import Recipe, collect
from vla_agent.data.collect.other_environment import record_other
from vla_agent.data.lerobot import dataset_schema
from vla_agent.data.lerobot.dataset_reader import load
from vla_agent.environments.episode import play_episode
from vla_agent.environments.scripted import EnvironmentExpert, RandomActions
from vla_agent.errors import EnvironmentFault, ObservationError, OptionError, ReportError
from vla_agent.evaluation.browse_report import show_report
from vla_agent.evaluation.compare_reports import compare
from vla_agent.evaluation.evaluate import EvaluationSettings, evaluate, make_plan
from vla_agent.evaluation.replay_episode import replay

SEED = 5_400_000
SOUND = "benchmarks.open.planted_environments:Sound"


class Reader:
    """Goes to the square whose colour the instruction names, by what it sees."""

    contract, execute = CONTRACT, 4

    def reset(self, instruction: str) -> None:
        self._colour = {"red": 0, "green": 1, "blue": 2}[instruction.split()[3]]

    def act(self, observation):
        image = observation["images"]["top"].astype(int)
        others = [k for k in range(3) if k != self._colour]
        rows, columns = np.nonzero((image[..., self._colour] > 120) & (image[..., others] < 60).all(-1))
        way = np.array([columns.mean(), rows.mean()]) - observation["state"]
        return np.tile(np.clip(way / 4, -2, 2), (8, 1)).astype(np.float32)


def reader(name: str) -> Reader:
    return Reader()


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> tuple[Path, dict]:
    out = tmp_path_factory.mktemp("environment") / "out"
    settings = EvaluationSettings("reader", episodes=3, seed=SEED, out=out, load=reader, env=SOUND)
    return out, evaluate(settings)


def test_all_controls_are_played_and_both_means_are_stated(run):
    _, report = run
    controls = report["summary"]["controls"]
    assert list(controls) == ["policy", "shuffled", "random", "expert"]
    assert controls["policy"]["k"] == controls["expert"]["k"] == 9 > controls["random"]["k"]
    groups = report["summary"]["groups"]
    assert {name: row["n"] for name, row in groups["rates"].items()} == {"warm": 3, "cold": 6}
    assert report["suite"] == SOUND and report["environment"]["versions"] == {"squares": "1.0"}


def test_what_the_environment_does_not_offer_is_left_out_and_named(run):
    out, report = run
    assert set(report["environment"]["left_out"]) == {"state_hash", "events", "film"}
    assert {row["failure"] for row in report["episodes"]} <= {None, "not_done"}
    page = (out / "report.html").read_text()
    assert f"--env {SOUND}" in page or all(row["success"] for row in report["episodes"] if row["control"] == "policy")
    assert "Left out" in page and "the failure modes" in page and "never grasped" not in page


def test_an_episode_is_replayed_bit_for_bit_with_its_video(run, tmp_path):
    out, report = run
    number = next(k for k, row in enumerate(report["episodes"]) if row["control"] == "random")
    for episode in (0, number):
        assert replay(out / "report.json", episode, env=SOUND).exact
    assert replay(out / "report.json", 0, 96, tmp_path / "video.mp4", SOUND).control_hz == 10.0
    assert (tmp_path / "video.mp4").stat().st_size > 1000


def test_a_report_runs_no_code_that_the_user_does_not_name(run, tmp_path):
    out, report = run
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    named = json.loads(json.dumps(report))
    named["environment"]["name"] = f"{tmp_path}/evil.py:World"
    (tmp_path / "report.json").write_text(json.dumps(named))
    (tmp_path / "actions.npz").write_bytes((out / "actions.npz").read_bytes())
    for env in (None, SOUND):
        with pytest.raises(ReportError, match="code of its own"):
            replay(tmp_path / "report.json", 0, env=env)
    assert main(["replay", str(tmp_path / "report.json"), "--episode", "0"]) == 2
    assert not (tmp_path / "ran").exists()


def test_a_replay_notices_another_scene_and_another_version(run, tmp_path):
    out, report = run
    changed = json.loads(json.dumps(report))
    changed["episodes"][0]["seed"] += 1
    changed["hashes"]["simulator"] = "0" * 64
    (tmp_path / "report.json").write_text(json.dumps(changed))
    data = dict(np.load(out / "actions.npz"))
    key = f"policy/{report['episodes'][0]['task']}"
    for part in ("actions", "looks"):
        data[f"{key}/{SEED + 1}/{part}"] = data[f"{key}/{SEED}/{part}"]
    np.savez(tmp_path / "actions.npz", **data)
    replayed = replay(tmp_path / "report.json", 0, env=SOUND)
    assert not replayed.exact and "hash of simulator differs" in replayed.differences


def test_reports_are_compared_and_only_of_one_environment(run, tmp_path):
    out, report = run
    random = evaluate(
        EvaluationSettings("random", episodes=3, seed=SEED, out=tmp_path / "r", controls="none", env=SOUND)
    )
    assert compare(out, tmp_path / "r")["verdict"] == "better" and random["summary"]["controls"]["policy"]["n"] == 9
    random["hashes"]["simulator"] = "0" * 64
    (tmp_path / "r" / "report.json").write_text(json.dumps(random))
    with pytest.raises(ReportError, match="hashes.simulator"):
        compare(out, tmp_path / "r")
    with pytest.raises(ReportError, match="tabletop alone"), show_report(out / "report.json", None, 2):
        pass


def test_a_perturbation_holds_in_all_episodes_and_in_their_replay(run, tmp_path):
    settings = EvaluationSettings("reader", episodes=3, seed=SEED, out=tmp_path, load=reader, env=SOUND)
    report = evaluate(replace(settings, controls="none", perturbed=("wind", 2)))
    assert report["environment"]["perturbed"] == ["wind", 2]
    assert replay(tmp_path / "report.json", 0, env=SOUND).exact
    plain = {(row["task"], row["seed"]): row["state_hash"] for row in run[1]["episodes"] if row["control"] == "policy"}
    assert all(row["state_hash"] != plain[row["task"], row["seed"]] for row in report["episodes"])
    with pytest.raises(ReportError, match="hashes.simulator"):
        compare(run[0], tmp_path)


def test_tasks_may_be_groups_and_wrong_names_are_refused_with_the_nearest():
    plan = make_plan(EvaluationSettings("random", "cold", env=SOUND, controls="none"))
    assert plan.world.choice.tasks == ("go_green", "go_blue")
    jobs = make_plan(EvaluationSettings("random", "cold", episodes=2, seed=5, env=SOUND, controls="none")).jobs()
    assert [(j.task, j.seed) for j in jobs] == [("go_green", 5), ("go_green", 6), ("go_blue", 5), ("go_blue", 6)]
    for wrong in ({"tasks": "go_gren"}, {"env": "metawrld"}, {"split": "objects"}, {"perturbed": ("camera", 1)}):
        with pytest.raises(OptionError) as error:
            make_plan(EvaluationSettings(**({"policy": "random", "env": SOUND} | wrong)))
        assert error.value.remedy
    assert main(["eval", "random", "--env", "squares", "--perturb", "camera"]) == 2


def test_an_expert_that_is_not_there_is_refused_before_anything_is_played():
    assert make_plan(EvaluationSettings("random", env="squares")).controls == ()
    with pytest.raises(OptionError, match="expert"):
        make_plan(EvaluationSettings("expert", env="squares"))
    with pytest.raises(OptionError, match="expert"):
        collect(Recipe("tabletop", (), SEED, 0.0, 96, "images", env="squares"), Path("never"), 1, 1)


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("success is a number", EnvironmentFault),
        ("the instruction is empty", EnvironmentFault),
        ("images are floats from 0 to 1", ObservationError),
    ],
)
def test_an_episode_with_a_broken_environment_ends_with_a_typed_error(fault, error):
    with pytest.raises(error):
        play_episode(Sound(fault), Reader(), "go_red", SEED)


def test_a_served_policy_is_asked_from_any_environment(run):
    pytest.importorskip("websockets")
    from vla_agent.serving.server import PolicyServer

    with PolicyServer(Reader(), "reader", port=0) as server:
        settings = EvaluationSettings(server.url, "go_red", episodes=2, seed=SEED, controls="none", env=SOUND)
        report = evaluate(settings)
    mine = {(row["task"], row["seed"]): row for row in run[1]["episodes"] if row["control"] == "policy"}
    for row in report["episodes"]:
        assert row["success"] and row["state_hash"] == mine[row["task"], row["seed"]]["state_hash"]


def test_images_are_rendered_only_when_the_policy_looks():
    class Counting(Sound):
        rendered = 0

        def _images(self):
            Counting.rendered += 1
            return super()._images()

    environment = Counting()
    outcome = play_episode(environment, EnvironmentExpert(environment), "go_red", SEED)
    assert outcome.success and not outcome.looks and Counting.rendered == 1  # the last images, for the hash
    Counting.rendered = 0
    outcome = play_episode(Counting(), Reader(), "go_red", SEED)
    assert Counting.rendered == len(outcome.looks) + 1


def test_random_actions_stay_within_the_limits_and_need_some():
    policy = RandomActions(CONTRACT)
    policy.reset("", seed=3)
    first = policy.act({})
    policy.reset("", seed=3)
    assert (policy.act({}) == first).all() and first.shape == (8, 2) and (np.abs(first) <= 2).all()
    with pytest.raises(EnvironmentFault, match="velocity"):
        RandomActions(replace(CONTRACT, action=(replace(CONTRACT.action[0], low=None),)))


@pytest.mark.parametrize(
    "wrong",
    [
        None,
        {},
        {"points": {"top": np.full((2, 3), 24)}, "located": np.zeros((2, 3))},
        {"points": {"top": np.zeros((2, 3))}},
        {"points": {}, "located": np.full((2, 3), np.nan)},
    ],
    ids=str,
)
def test_annotations_of_another_form_are_refused(wrong, monkeypatch):
    monkeypatch.setattr(Sound, "annotations", lambda self: wrong)
    with pytest.raises(EnvironmentFault, match=r"annotations\(\)"):
        record_other(Sound(), "go_red", SEED, 0.0)


def test_collected_episodes_hold_the_experts_actions_and_validate(tmp_path):
    recipe = Recipe("tabletop", ("cold",), SEED, 1.0, 96, "images", env=SOUND)
    plan = collect(recipe, tmp_path / "data", 4, 1)
    assert plan.complete and set(plan.wanted) == {"go_green", "go_blue"}
    dataset = load(tmp_path / "data")
    assert dataset.contract == CONTRACT and len(dataset.episodes) == 4
    assert dataset.collection["env"] == SOUND and dataset.collection["versions"]["environment.squares"] == "1.0"
    assert main(["data", "validate", str(tmp_path / "data")]) == 0
    points = dataset.arrays()[dataset_schema.POINTS].reshape(-1, 2, 3)  # target and goal
    for frame in range(0, len(dataset), 7):
        image = dataset.frames("top", range(frame, frame + 1))[0]
        column, row = (points[frame, 1, :2] * 48).astype(int)
        wanted = COLOURS[dataset.arrays()["task"][frame].split()[3]]
        near = image[row - 3 : row + 4, column - 3 : column + 4].reshape(-1, 3)
        assert (near == wanted).all(1).any() and points[frame, 1, 2] == 1
    np.testing.assert_allclose(dataset.arrays()[dataset_schema.SUBGOAL][:, :2], points[:, 0, :2] * 48, rtol=1e-6)
