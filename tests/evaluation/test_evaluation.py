"""Evaluation: tables that do not depend on workers, resume, replay, controls, failure classes, the report's schema."""

from __future__ import annotations

import json
import re
import shutil
from argparse import Namespace
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sim.env import TabletopEnv
from sim.policies import ExpertPolicy, ReplayPolicy
from sim.rollout import EpisodeSettings, run_episode
from sim.tasks.events import Events, EventTracker, ObjectEvents
from sim.tasks.task import load_suite
from vla_agent.cli import main
from vla_agent.cli.judge.eval import default_out
from vla_agent.errors import ContractError, OptionError, ReportError
from vla_agent.evaluation.evaluate import EvaluationSettings, evaluate, make_plan
from vla_agent.evaluation.failure_modes import FAILURES, classify, refusal_line
from vla_agent.evaluation.play.player import Job, drawn_from, record
from vla_agent.evaluation.replay_episode import replay
from vla_agent.evaluation.report.evaluation_console import print_summary
from vla_agent.evaluation.report.evaluation_page import family_title, page
from vla_agent.evaluation.report.template import percent
from vla_agent.evaluation.result_store import KEYS, read_report
from vla_agent.evaluation.success_statistics import CONTROLS, paired_difference, summarise, wilson

LIMIT = 60  # control steps: enough for the expert


class Wanderer:
    """Observes, and moves at random from its own generator; remembers its instructions."""

    execute = 8

    def __init__(self) -> None:
        self.instructions: list[str] = []

    def reset(self, instruction: str, seed: int = 0) -> None:
        self.instructions.append(instruction)
        self.rng = np.random.default_rng([seed, len(instruction)])

    def act(self, observation: Mapping[str, Any]) -> np.ndarray:
        assert observation["images"]["front"].shape == (96, 96, 3)
        return np.tile(self.rng.uniform(-0.02, 0.02, 7).astype(np.float32), (16, 1))


def wanderer(name: str) -> Wanderer:
    return Wanderer()


class Stop(Exception):
    pass


@pytest.fixture(scope="module")
def tasks(tmp_path_factory) -> list[str]:
    """Files of two families whose episodes end soon."""
    folder, files = tmp_path_factory.mktemp("tasks"), []
    for name in ("press_button", "put_in_tray"):
        text = load_suite()[name].file.read_text()
        files.append(folder / f"{name}.yaml")
        files[-1].write_text(re.sub(r"time_limit: \d+", f"time_limit: {LIMIT}", text))
    return [str(f) for f in files]


@pytest.fixture(scope="module")
def run(tmp_path_factory, tasks) -> tuple[Path, dict[str, Any]]:
    """A small evaluation of a policy that observes, with all controls, in one process."""
    out = tmp_path_factory.mktemp("evaluation") / "one"
    return out, evaluate(EvaluationSettings("wanderer", tasks, episodes=2, seed=3, out=out, load=wanderer))


def test_report_has_the_promised_keys_and_every_episode(run):
    out, report = run
    stored = read_report(out / "report.json")
    assert tuple(stored) == KEYS and stored["episodes"] == report["episodes"]
    assert len(stored["episodes"]) == 2 * 2 * len(CONTROLS)
    for row in stored["episodes"]:
        assert {"task", "instruction", "seed", "success", "steps", "failure", "control"} <= set(row)
        assert (row["failure"] is None) == row["success"] and row["failure"] in (None, *FAILURES)
        assert row["seed"] in (3, 4) and 1 <= row["steps"] <= LIMIT
    assert {"mujoco", "numpy", "gymnasium", "vla_agent", "python", "renderer"} <= set(stored["versions"])
    assert set(stored["hashes"]) == {"policy", "tasks", "simulator", "contract"}
    assert not (out / ".partial").exists()


def test_summary_counts_what_the_episodes_say(run):
    _, report = run
    for control, numbers in report["summary"]["controls"].items():
        rows = [e for e in report["episodes"] if e["control"] == control]
        assert numbers["n"] == len(rows) and numbers["k"] == sum(e["success"] for e in rows)
        assert sum(f["n"] for f in numbers["families"].values()) == numbers["n"]
        assert sum(numbers["failures"].values()) == numbers["n"] - numbers["k"]
    assert report["summary"]["controls"]["expert"]["success"] > report["summary"]["controls"]["random"]["success"]


def test_same_seeds_give_the_same_table_with_two_workers(run, tasks):
    settings = EvaluationSettings("wanderer", tasks, episodes=2, seed=3, workers=2, load=wanderer)
    assert evaluate(settings)["episodes"] == run[1]["episodes"]


def test_resume_plays_only_what_is_missing_and_ends_with_the_same_table(run, tasks, tmp_path):
    played = []

    def stop_after_five(one, done, total):
        played.append(one.job.key)
        if len(played) == 5:
            raise Stop

    settings = EvaluationSettings("wanderer", tasks, episodes=2, seed=3, out=tmp_path, load=wanderer)
    with pytest.raises(Stop):
        evaluate(settings, progress=stop_after_five)
    assert not (tmp_path / "report.json").exists()
    with (tmp_path / ".partial" / "episodes.jsonl").open("a") as stream:
        stream.write('{"key": "cut off in the mid')
    with pytest.raises(ReportError, match="an unfinished"):
        evaluate(settings)
    again = []
    resumed = replace(settings, resume=True)
    report = evaluate(resumed, progress=lambda one, done, total: again.append(one.job.key))
    assert len(again) == 16 - 5 and not set(again) & set(played)
    assert report["episodes"] == run[1]["episodes"]
    assert len(np.load(tmp_path / "actions.npz").files) == 2 * 16


def test_resume_of_a_finished_run_adds_episodes_and_keeps_the_old(run, tasks, tmp_path):
    shutil.copytree(run[0], tmp_path / "run")
    count = []
    settings = EvaluationSettings(
        "wanderer", tasks, episodes=3, seed=3, out=tmp_path / "run", resume=True, load=wanderer
    )
    report = evaluate(settings, progress=lambda *_: count.append(1))
    assert len(count) == 2 * len(CONTROLS)
    assert len(report["episodes"]) == 16 + 2 * len(CONTROLS)


def test_another_policy_does_not_overwrite_a_report(run, tasks, tmp_path):
    shutil.copytree(run[0], tmp_path / "run")
    before = (tmp_path / "run" / "report.json").read_bytes()
    for resume in (False, True):
        with pytest.raises(ReportError, match="another evaluation") as error:
            evaluate(EvaluationSettings("random", tasks, episodes=1, out=tmp_path / "run", resume=resume))
        assert error.value.key == "policy"
    assert (tmp_path / "run" / "report.json").read_bytes() == before


def test_report_of_other_tasks_is_not_thinned_out(run, tasks, tmp_path):
    shutil.copytree(run[0], tmp_path / "run")
    with pytest.raises(ReportError, match="another evaluation") as error:
        evaluate(EvaluationSettings("wanderer", tasks[:1], out=tmp_path / "run", resume=True, load=wanderer))
    assert error.value.key == "tasks.put_in_tray"


def test_replay_is_bit_for_bit_and_writes_a_video(run, tmp_path):
    import av

    out, report = run
    index = next(i for i, e in enumerate(report["episodes"]) if e["control"] == "expert")
    for episode in (0, index):
        replayed = replay(out / "report.json", episode, size=128, video=tmp_path / "v.mp4")
        assert replayed.exact and not replayed.differences
        with av.open(str(tmp_path / "v.mp4")) as container:
            stream = container.streams.video[0]
            assert stream.codec_context.name == "h264" and stream.width == 128 and stream.height > 128
            frames = sum(1 for _ in container.decode(stream))
        assert frames >= report["episodes"][episode]["steps"]


def test_replay_notices_another_action(run, tmp_path):
    shutil.copytree(run[0], tmp_path / "run")
    with np.load(tmp_path / "run" / "actions.npz") as stored:
        arrays = {name: stored[name] for name in stored.files}
    row = run[1]["episodes"][0]
    arrays[f"{row['control']}/{row['task']}/{row['seed']}/actions"][0, 0] += 1e-3
    np.savez(tmp_path / "run" / "actions.npz", **arrays)
    replayed = replay(tmp_path / "run" / "report.json", 0, size=64)
    assert not replayed.exact and not replayed.same_state and not replayed.same_images


def test_damaged_report_or_actions_are_typed_errors(run, tmp_path, capsys):
    shutil.copytree(run[0], tmp_path / "run")
    report = tmp_path / "run" / "report.json"
    assert main(["replay", str(report), "--episode", "99"]) == 2
    (tmp_path / "run" / "actions.npz").write_bytes(b"PK damaged")
    assert main(["replay", str(report), "--episode", "0"]) == 2
    report.write_text('{"policy": "x"}')
    assert main(["replay", str(report), "--episode", "0"]) == 2
    report.write_text("{")
    assert main(["replay", str(report), "--episode", "0"]) == 2
    text = capsys.readouterr().err
    assert text.count("remedy:") == 4 and "Traceback" not in text


def test_shuffled_control_gets_another_instruction_for_the_same_scene(run):
    _, report = run
    rows = {(e["control"], e["task"], e["seed"]): e for e in report["episodes"]}
    for (control, task, seed), row in rows.items():
        policy = rows["policy", task, seed]
        assert row["task_instruction"] == policy["task_instruction"] == policy["instruction"]
        if control == "shuffled":
            assert row["instruction"] != row["task_instruction"] and row["shuffle"] in ("scene", "foreign")


def test_shuffled_instruction_is_drawn_by_the_seed_from_the_scenes_valid_ones():
    for family in load_suite().values():
        task = family.sample(np.random.default_rng(0))
        texts = task.other_instructions or task.foreign_instructions
        other = drawn_from(texts, 5)
        assert other == drawn_from(texts, 5) and other in texts


def test_policy_of_another_contract_is_refused():
    def refused(name):
        policy = Wanderer()
        env = TabletopEnv("press_button")
        policy.contract = replace(env.contract, control_hz=10.0)
        env.close()
        return policy

    with pytest.raises(ContractError, match="control_hz"):
        evaluate(EvaluationSettings("other", ["press_button"], episodes=1, controls="none", load=refused))


def test_a_chunk_that_is_none_is_refused():
    class Wrong(Wanderer):
        def act(self, observation):
            return np.full((16, 7), np.nan)

    env = TabletopEnv("press_button")
    with pytest.raises(ContractError, match="invalid chunk"):
        run_episode(env, Wrong(), 0)
    env.close()


def test_instruction_override_reaches_the_policy_and_film_is_taken():
    env, policy = TabletopEnv("press_button"), Wanderer()
    result = run_episode(env, policy, 1, EpisodeSettings(instruction="do nothing", frame_every=10))
    assert policy.instructions == ["do nothing"] == [result.instruction] and result.task_instruction != "do nothing"
    assert len(result.frames) == -(-result.steps // 10) + 1
    again = run_episode(env, ReplayPolicy(result.actions, result.looks), 1)
    env.close()
    assert (again.state_hash, again.image_hash, again.looks) == (result.state_hash, result.image_hash, result.looks)


STILL = ObjectEvents(moved=0.0, lifted=0.0, held_at_end=False, fell=0.0, touched_at_end=False, in_zone=None)


def events(kind: str, target: ObjectEvents = STILL, other: ObjectEvents = STILL, **more: Any) -> Events:
    values = {"buttons": (), "goal_colours": (), "drawer": (0.0, 0.0), "done": ()} | more
    targets = ("target",) if kind in ("carry", "push") else ()
    return Events(kind=kind, targets=targets, objects={"target": target, "distractor1": other}, **values)


LIFTED = replace(STILL, lifted=0.08, moved=0.1)


@pytest.mark.parametrize(
    ("expected", "what"),
    [
        ("never_grasped", events("carry")),
        ("wrong_object", events("carry", other=LIFTED)),
        ("dropped", events("carry", replace(LIFTED, fell=0.07))),
        ("wrong_place", events("carry", replace(LIFTED, fell=0.01))),
        ("timeout", events("carry", replace(LIFTED, held_at_end=True))),
        ("never_grasped", events("push", other=replace(STILL, moved=0.01))),
        ("wrong_object", events("push", other=replace(STILL, moved=0.05))),
        ("wrong_object", events("push", replace(STILL, moved=0.1, in_zone="blue"), goal_colours=("red",))),
        ("wrong_place", events("push", replace(STILL, moved=0.1), goal_colours=("red",))),
        ("timeout", events("push", replace(STILL, moved=0.1, touched_at_end=True), goal_colours=("red",))),
        ("wrong_object", events("button", buttons=("blue",), goal_colours=("red",))),
        ("never_grasped", events("button", goal_colours=("red",))),
        ("never_grasped", events("drawer")),
        ("wrong_object", events("drawer", LIFTED)),
        ("wrong_place", events("drawer", drawer=(0.0, 0.4))),
    ],
)
def test_failure_classes(expected, what):
    assert classify(False, what) == expected
    assert classify(True, what) is None


def test_a_target_that_is_done_does_not_decide_the_class():
    two = Events("carry", ("target", "second"), ("target",), {"target": LIFTED, "second": STILL}, (), (), (0.0, 0.0))
    assert classify(False, two) == "never_grasped"


class Refusing(ExpertPolicy):
    """Holds still from the third look to the fifth, and then goes on."""

    def reset(self, instruction, seed=0):
        super().reset(instruction, seed)
        self.looks_so_far, self.refusal = 0, None

    def act(self, observation):
        self.looks_so_far += 1
        self.refusal = "I see no red mug" if 3 <= self.looks_so_far <= 5 else None
        return super().act(observation)


def test_refusals_are_kept_with_their_step_and_reason():
    env = TabletopEnv("put_in_tray")
    result = run_episode(env, Refusing(), 0)
    plain = run_episode(env, ExpertPolicy(), 0)
    env.close()
    assert result.refusals == ((2, "I see no red mug"),) and plain.refusals == ()
    job = Job("policy", "put_in_tray", 0)
    assert record(job, result, False)["refusals"] == [[2, "I see no red mug"]]
    assert "refusals" not in record(job, plain, False)
    assert classify(False, result.events, True) == "refused" and classify(True, result.events, True) is None


class Misled(ExpertPolicy):
    """The expert of the scene's other task: another object, zone or button."""

    def bind(self, world, task):
        other = next(b for b in task.definition.bindings_in(task.scene) if not set(b.goal) & set(task.goal))
        super().bind(world, task.definition.instance(task.scene, other, np.random.default_rng(0)))


@pytest.mark.parametrize("task", ["put_in_tray", "press_button", "close_drawer", "put_in_drawer"])
def test_who_does_another_task_of_the_scene_used_the_wrong_object(task):
    env = TabletopEnv(task)
    right = run_episode(env, ExpertPolicy(), 0)
    assert right.success and classify(right.success, right.events) is None
    if task != "close_drawer":  # there is one drawer
        wrong = run_episode(env, Misled(), 0)
        assert not wrong.success and classify(False, wrong.events) == "wrong_object"
    env.close()


def test_an_expert_cut_off_half_way_is_seen_by_its_events():
    """Cut while it carries: timeout.  Opened in mid-air: dropped.  Set down on the table: wrong place."""
    env = TabletopEnv("put_in_tray")
    actions = run_episode(env, ExpertPolicy(), 0).actions
    heights = [play(env, actions[:i]).objects["target"].lifted for i in range(0, len(actions), 2)]
    high = 2 * next(i for i, height in enumerate(heights) if height > 0.07)
    opened = np.tile(np.array([0, 0, 0, 0, 0, 0, 0], np.float32), (20, 1))
    assert outcome(env, actions[:high]) == "timeout"
    assert outcome(env, np.concatenate([actions[:high], opened])) == "dropped"
    lowered = np.tile(np.array([0, 0, -0.008, 0, 0, 0, 1], np.float32), (14, 1))
    assert outcome(env, np.concatenate([actions[:high], lowered, opened])) == "wrong_place"
    env.close()


def play(env, actions):
    """The events after these actions, without the time limit."""
    task = env.begin(0)
    watcher = EventTracker(env.world, task)
    for action in actions:
        env.world.step(action)
        watcher.update()
    return watcher.events()


def outcome(env, actions):
    return classify(False, play(env, actions))


def test_wilson_interval_of_nine_in_ten():
    low, high = wilson(9, 10)
    assert (round(low, 3), round(high, 3)) == (0.596, 0.982)
    assert wilson(0, 0) == (0.0, 1.0)


def test_paired_difference_against_newcombes_table():
    """Newcombe 1998, table II, (36, 12, 2, 0): 0.2 with 0.0569 to 0.3404 by method 10."""
    a = [True] * 36 + [True] * 12 + [False] * 2
    b = [True] * 36 + [False] * 12 + [True] * 2
    result = paired_difference(a, b)
    assert result["difference"] == pytest.approx(0.2)
    assert result["interval"] == pytest.approx([0.0569, 0.3404], abs=5e-4)
    assert paired_difference(b, a)["interval"] == pytest.approx([-0.3404, -0.0569], abs=5e-4)


def test_deaf_counts_only_scenes_with_another_target():
    rows = [
        {"task": "t", "seed": s, "control": "shuffled", "success": s == 2, "steps": 9, "failure": None, "shuffle": kind}
        for s, kind in enumerate(["scene", "scene", "foreign"])
    ]
    rows += [{**r, "control": "policy", "shuffle": None} for r in rows]
    assert summarise(rows)["deaf"]["k"] == 0 and summarise(rows)["deaf"]["n"] == 2


def test_page_holds_everything_itself(run):
    out, _ = run
    text = (out / "report.html").read_text()
    assert "data:video/mp4;base64," in text and "data:image/jpeg;base64," in text
    assert "http://" not in text and "https://" not in text and ' src="data:' in text
    assert "2 of 4" in text or "0 of 4" in text or "1 of 4" in text
    assert "--episode 0" in text
    assert len(text) < 10_000_000


def test_page_escapes_what_comes_from_outside(run):
    report = json.loads((run[0] / "report.json").read_text())
    report["policy"] = "<script>alert(1)</script>"
    assert "<script>alert(1)" not in page(report, [], Path("out"))


def test_percent_shows_0_and_100_only_where_exact():
    assert (
        percent(1.0) == "100 %" and percent(0.999) == "99.9 %" and percent(0.0) == "0 %" and percent(0.001) == "0.1 %"
    )


def test_plan_leaves_out_controls_that_repeat_the_policy():
    assert make_plan(EvaluationSettings("expert")).controls == ("random",)
    assert make_plan(EvaluationSettings("random")).controls == ("expert",)
    assert make_plan(EvaluationSettings("some/folder")).controls == ("shuffled", "random", "expert")
    alone = EvaluationSettings("expert", "stack", episodes=2, seed=7, controls="none")
    assert [j.seed for j in make_plan(alone).jobs()] == [7, 8]


@pytest.mark.parametrize("options", [{"episodes": 0}, {"seed": -1}, {"split": "sen"}, {"controls": "some"}])
def test_impossible_options_are_typed_errors(options):
    with pytest.raises(OptionError):
        make_plan(EvaluationSettings("expert", **options))


def test_exit_codes(tmp_path, capsys):
    common = ["--tasks", "press_button", "--episodes", "1", "--controls", "none", "--workers", "1"]
    good, bad = str(tmp_path / "good"), str(tmp_path / "bad")
    assert main(["eval", "expert", *common, "--out", good, "--min-success", "1"]) == 0
    assert main(["eval", "random", *common, "--out", bad, "--min-success", "0.9"]) == 1
    assert "is below --min-success" in capsys.readouterr().err
    assert main(["eval", "expert", "--tasks", "press_buton", "--out", bad]) == 2
    assert main(["eval", "expert", "--min-success", "80", "--out", bad]) == 2
    assert main(["eval", "no/such/folder", "--out", str(tmp_path / "none")]) == 2
    assert not (tmp_path / "none").exists()
    error = capsys.readouterr().err
    assert error.count("remedy:") == 3 and "Traceback" not in error
    assert main(["replay", f"{good}/report.json", "--episode", "0", "-o", str(tmp_path / "v.mp4")]) == 0
    assert "bit for bit" in capsys.readouterr().out and (tmp_path / "v.mp4").stat().st_size > 1000


def test_the_default_folder_names_the_tasks():
    def out(tasks=None):
        options = {"policy": "policies/nano", "suite": "tabletop", "split": "seen", "tasks": tasks}
        more = {"execution": "open_loop", "delay_ms": 0.0, "quantise": "", "env": "tabletop", "perturb": None}
        return default_out(Namespace(**options, **more)).name

    assert out() == "eval-nano-tabletop-seen"
    assert out("stack,put_in_tray") == out("put_in_tray, stack") == "eval-nano-tabletop-put_in_tray+stack-seen"
    files = {out("a/stack.yaml"), out("b/stack.yaml"), out("stack"), out(",".join(load_suite()))}
    assert len(files) == 4 and max(map(len, files)) < 80


def test_the_report_names_families_outside_the_suite(run, capsys):
    out, report = run
    assert "press button (own file, outside the suite tabletop)" in (out / "report.html").read_text()
    assert family_title({"suite": "tabletop", "summary": {"settings": {"tasks": {"stack": None}}}}, "stack") == "stack"


@pytest.mark.parametrize("columns", [80, 200])
def test_names_and_numbers_of_the_table_are_not_cut(run, capsys, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    print_summary(run[1], run[0])
    shown = capsys.readouterr().out
    assert "…" not in shown and "shuffled" in shown and "expert" in shown
    assert max(map(len, shown.split("\n\n")[0].splitlines())) <= columns


def test_refusals_are_counted_with_their_last_reasons():
    def row(reason: str, **changes) -> dict:
        refusals = [[0, "I see no blue cube"], [8, reason]]
        return {"control": "policy", "failure": "refused", "refusals": refusals} | changes

    rows = [row("I see no red mug"), row("I see no red mug"), row("that would hurt someone")]
    others = [row("I see no pear", control="shuffled"), row("I see no pear", failure=None)]
    assert refusal_line(rows + others) == "refused: 3; I see no red mug (2), that would hurt someone (1)"
    assert refusal_line(others) == "" == refusal_line([])
    many = refusal_line([row(f"I see no {k}") for k in range(5)])
    assert many.startswith("refused: 5;") and many.endswith("2 other reasons")
