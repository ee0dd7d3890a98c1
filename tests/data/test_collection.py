"""Collection: the plan, the recorded data, interruption and resumption, and lerobot's own reader."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from vla_agent.data.collect.collection import Recipe, collect
from vla_agent.data.collect.unfinished_collection import Parts, Plan, spread_evenly
from vla_agent.data.lerobot import dataset_schema
from vla_agent.data.lerobot.dataset_reader import load
from vla_agent.data.lerobot.dataset_writer import write_dataset
from vla_agent.data.lerobot.episode import Episode, encode
from vla_agent.data.lerobot.media import STORAGES
from vla_agent.errors import DatasetError, TaskError

ROOT = Path(__file__).parents[2]


# --- the plan of a collection -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_the_plan_does_not_depend_on_order_or_interruption(seed):
    """However attempts overlap and wherever it stops, the same seeds are recorded in the end."""
    rng = np.random.default_rng(seed)
    fails = {("a", 100), ("a", 103), ("b", 104), ("b", 105)}
    wanted = {"a": 5, "b": 3}
    outcomes: dict[tuple[str, int], str] = {}
    while True:
        plan = Plan(wanted, 100, dict(outcomes))
        workers, patience = int(rng.integers(1, 5)), int(rng.integers(1, 6))
        while not plan.complete and patience:
            while len(plan.running) < workers and plan.next():
                pass
            job = sorted(plan.running)[rng.integers(len(plan.running))]
            plan.finish(*job, "failed" if job in fails else "recorded")
            patience -= 1
        outcomes = plan.outcomes  # what was running is lost
        if plan.complete:
            break
    assert plan.recorded("a") == [101, 102, 104, 105, 106]
    assert plan.recorded("b") == [100, 101, 102]
    assert plan.summary()["a"]["attempts"] == 7 and plan.summary()["a"]["failed_seeds"] == [100, 103]


def test_the_plan_gives_up_on_a_hopeless_task():
    plan = Plan({"a": 2}, 0)
    with pytest.raises(DatasetError, match="too few episodes"):
        while job := plan.next():
            plan.finish(*job, "failed")


def test_episodes_are_spread_evenly():
    assert spread_evenly(11, ["a", "b", "c"]) == {"a": 4, "b": 4, "c": 3}
    assert spread_evenly(2, ["a", "b", "c"]) == {"a": 1, "b": 1}


# --- the simulator's demonstrations -----------------------------------------------------------------------------------

RECIPE = Recipe("tabletop", ("press_button", "close_drawer"), 1_000_000, 1.0, 64, "images")


@pytest.fixture(scope="module")
def collected(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("collected") / "dataset"
    assert collect(RECIPE, root, 4, workers=1).complete
    return root


@pytest.fixture(scope="module")
def env():
    from sim.env import TabletopEnv

    env = TabletopEnv("press_button", image_size=(64, 64))
    yield env
    env.close()


def test_the_dataset_holds_the_simulated_data(collected, env):
    from sim.tasks.task import load_suite
    from vla_agent.data.collect.episode_recording import Recording, record

    dataset = load(collected)
    assert [(e.origin["family"], e.origin["seed"]) for e in dataset.episodes] == [
        ("press_button", 1_000_000),
        ("press_button", 1_000_001),
        ("close_drawer", 1_000_000),
        ("close_drawer", 1_000_001),
    ]
    columns = dataset.arrays()
    for info in (dataset.episodes[1], dataset.episodes[2]):
        attempt = record(env, load_suite("tabletop")[info.origin["family"]], info.origin["seed"], Recording())
        rows = slice(info.start, info.stop)
        assert attempt.episode is not None and attempt.episode.task == info.task
        for name, values in attempt.episode.columns.items():
            np.testing.assert_array_equal(columns[name][rows], values[:, 0] if values.shape[1] == 1 else values)
        for camera in dataset.cameras:
            frames = dataset.frames(camera, np.arange(info.start, info.stop))
            np.testing.assert_array_equal(frames, attempt.episode.images[camera])


def test_observations_come_before_their_actions(env):
    """Without noise, carrying out the recorded actions from the start gives the recorded states and images again."""
    from sim.tasks.task import load_suite
    from vla_agent.data.collect.episode_recording import AFTER_SUCCESS, Recording, record

    family = load_suite("tabletop")["press_button"]
    attempt = record(env, family, 1_000_007, Recording(noise=0.0))
    assert attempt.outcome == "recorded" and attempt.episode is not None
    columns, images = attempt.episode.columns, attempt.episode.images
    task = env.begin(1_000_007)
    successes = []
    for k, action in enumerate(columns[dataset_schema.ACTION]):
        np.testing.assert_array_equal(env.world.state(), columns[dataset_schema.STATE][k])
        np.testing.assert_array_equal(env.world.render()["wrist"], images["wrist"][k])
        env.world.step(action)
        successes.append(task.success(env.world))
    assert successes.index(True) == len(successes) - 1 - AFTER_SUCCESS
    assert columns[dataset_schema.CLEAN].all()
    assert (
        (columns[dataset_schema.POINTS].reshape(-1, 4, 3)[..., 2] == 0)
        | (columns[dataset_schema.POINTS].reshape(-1, 4, 3)[..., 0] >= 0)
    ).all()


def test_the_expert_takes_over_where_the_policy_led(env):
    from sim.policies import RandomPolicy
    from sim.tasks.task import load_suite
    from vla_agent.data.collect.episode_recording import Recording, record

    family = load_suite("tabletop")["press_button"]
    plain = record(env, family, 1_000_003, Recording(noise=0.0))
    led = record(env, family, 1_000_003, Recording(0.0, RandomPolicy()))
    again = record(env, family, 1_000_003, Recording(0.0, RandomPolicy()))
    assert plain.episode and led.episode and again.episode
    np.testing.assert_array_equal(
        led.episode.columns[dataset_schema.STATE], again.episode.columns[dataset_schema.STATE]
    )
    moved = led.episode.columns[dataset_schema.STATE][0, :3] - plain.episode.columns[dataset_schema.STATE][0, :3]
    assert np.linalg.norm(moved) > 0.02


def test_a_policy_with_inference_latency_leads_to_other_states(env):
    """With a latency in the loop the expert takes over in another state; an episode draws one of the executions."""
    from sim.policies import RandomPolicy
    from sim.tasks.task import load_suite
    from vla_agent.data.collect.episode_recording import Recording, record
    from vla_agent.policy.execution_settings import Execution

    family = load_suite("tabletop")["press_button"]
    modes = (Execution(), Execution("open_loop", 400.0))

    def led(*executions):
        episode = record(env, family, 1_000_003, Recording(0.0, RandomPolicy(16), executions)).episode
        assert episode
        return episode.columns[dataset_schema.STATE][0]

    assert not np.array_equal(led(modes[0]), led(modes[1]))
    assert any(np.array_equal(led(*modes), led(mode, mode)) for mode in modes)


def test_an_episode_that_the_policy_solves_is_shortened_or_left_out(env):
    from sim.experts.expert import Expert
    from sim.tasks.task import load_suite
    from vla_agent.data.collect.episode_recording import AFTER_SUCCESS, TAKEOVER_STEPS, Recording, record

    class Solver:
        execute = 8
        reset = staticmethod(lambda instruction: None)

        def act(self, observation):
            return Expert(env.world, env.task).action()[None]

    family = load_suite("tabletop")["press_button"]
    outcomes = set()
    for seed in range(1_000_004, 1_000_010):
        plain = record(env, family, seed, Recording(noise=0.0))
        led = record(env, family, seed, Recording(0.0, Solver()))
        assert plain.episode
        alone = len(plain.episode.columns[dataset_schema.ACTION])
        outcomes.add(led.outcome)
        if led.episode:  # the expert's part of a second, shorter drive
            assert AFTER_SUCCESS < len(led.episode.columns[dataset_schema.ACTION]) <= alone - TAKEOVER_STEPS[0]
        else:
            assert alone - AFTER_SUCCESS < 2 * TAKEOVER_STEPS[0]
    assert outcomes == {"recorded", "solved"}


def test_appearance_varies_and_actions_stay(env):
    from sim.tasks.task import load_suite
    from vla_agent.data.collect.episode_recording import Recording, record

    family = load_suite("tabletop")["press_button"]
    plain = record(env, family, 1_000_003, Recording(noise=0.0)).episode
    varied = Recording(0.0, appearance=("lighting", "background"))
    one, two = (record(env, family, 1_000_003, varied).episode for _ in range(2))
    assert plain and one and two
    np.testing.assert_array_equal(one.columns[dataset_schema.ACTION], plain.columns[dataset_schema.ACTION])
    for camera, images in plain.images.items():
        np.testing.assert_array_equal(one.images[camera], two.images[camera])
        assert (one.images[camera] != images).any()


def test_the_split_decides_which_objects_are_shown(tmp_path):
    from sim.tasks.task import HELD_OUT_PAIRS, load_suite

    recipe = Recipe("new", ("lift",), 7, 0.0, 32, "images", split="objects")
    plan = collect(recipe, tmp_path / "d", 2, 1)
    instructions = {e.task for e in load(tmp_path / "d").episodes}
    family = load_suite("new")["lift"]
    assert instructions == {family.episode(seed, "objects").instruction for seed in plan.recorded("lift")}
    assert all(any(f"{colour} {shape}" in text for colour, shape in HELD_OUT_PAIRS) for text in instructions)
    with pytest.raises(TaskError, match="no such split"):
        collect(Recipe(**{**recipe.__dict__, "split": "object"}), tmp_path / "e", 2, 1)
    assert not list(tmp_path.glob("e*"))


def test_two_workers_give_the_same_bytes(collected, tmp_path):
    assert collect(RECIPE, tmp_path / "two", 4, workers=2).complete
    assert load(tmp_path / "two").hash == load(collected).hash


def test_interrupted_and_resumed_gives_the_same_bytes(collected, tmp_path):
    root = tmp_path / "resumed"
    once = iter([lambda: os.kill(os.getpid(), signal.SIGINT)])
    plan = collect(RECIPE, root, 4, 1, report=lambda _: next(once, lambda: None)())
    kept = sum(outcome == "recorded" for outcome in plan.outcomes.values())
    assert not plan.complete and 1 <= kept < 4
    assert not root.exists()
    with pytest.raises(DatasetError, match="--resume"):
        collect(RECIPE, root, 4, 1)
    with pytest.raises(DatasetError, match="noise: 1.0 before, 0.5 now"):
        collect(Recipe(**{**RECIPE.__dict__, "noise": 0.5}), root, 4, 1, resume=True)
    for half in (".press_button-1000001.npz.123.tmp", ".press_button-1000001.json.123.tmp"):
        (root.with_name("resumed.parts") / half).write_text("what a killed worker leaves")
    done = []
    assert collect(RECIPE, root, 4, 1, resume=True, report=done.append).complete
    assert len(done) == 4 - kept
    assert load(root).hash == load(collected).hash
    assert not root.with_name("resumed.parts").exists()


def test_parts_of_unknown_options_are_not_taken(tmp_path):
    parts = Parts(tmp_path / "data")
    parts.folder.mkdir()
    (parts.folder / "press_button-1000000.json").write_text('{"outcome": "failed"}')
    with pytest.raises(DatasetError, match="without its options"):
        parts.open({"seed": 0}, resume=True)
    (parts.folder / "press_button-1000000.json").unlink()
    parts.open({"seed": 0}, resume=True)
    assert (parts.folder / "recipe.json").is_file()


def test_nothing_is_overwritten(collected):
    before = load(collected).hash
    with pytest.raises(DatasetError, match="output folder exists"):
        collect(RECIPE, collected, 2, 1)
    with pytest.raises(TaskError, match="press_button"):
        collect(Recipe("tabletop", ("press_buton",), 0, 1.0, 64, "images"), collected.with_name("new"), 2, 1)
    assert load(collected).hash == before


def test_command_line(collected, tmp_path, capsys):
    from vla_agent.cli import main

    argv = [
        "collect",
        "--tasks",
        "press_button,close_drawer",
        "--episodes",
        "4",
        "--image-size",
        "64",
        "-o",
        str(collected),
    ]
    assert main(argv) == 2
    assert "output folder exists" in capsys.readouterr().err
    parts = collected.with_name(collected.name + ".parts")
    parts.mkdir()  # as after a kill between the dataset's last file and the end
    (parts / "press_button-1000000.json").write_text("{}")
    assert main([*argv, "--resume", "--noise", "0"]) == 2 and parts.exists()
    assert main([*argv, "--resume"]) == 0 and not parts.exists()
    assert "noise" in capsys.readouterr().err
    assert main(["collect", "--episodes", "0", "-o", str(tmp_path / "x")]) == 2
    assert main(["collect", "--episodes", "1", "--takeover", str(tmp_path / "none"), "-o", str(tmp_path / "x")]) == 2
    for wrong in (["--takeover-delays-ms", "fast"], ["--takeover-delays-ms", "-1"], ["--takeover-execution", "later"]):
        assert main(["collect", "--episodes", "1", *wrong, "-o", str(tmp_path / "x")]) == 2
    assert not (tmp_path / "x").exists()


# --- lerobot itself ---------------------------------------------------------------------------------------------------


def lerobot_python() -> Path | None:
    named = os.environ.get("VLA_AGENT_LEROBOT_PYTHON")
    path = Path(named) if named else ROOT / ".venv-lerobot" / "bin" / "python"
    return path if path.exists() else None


@pytest.mark.skipif(
    lerobot_python() is None, reason="no lerobot: run `make lerobot-check` (see tests/lerobot_check/README.md)"
)
def test_lerobot_reads_the_simulated_data(env, tmp_path):
    from sim.tasks.task import load_suite
    from vla_agent.data.collect.episode_recording import Recording, record

    families = load_suite("tabletop")
    attempts = [record(env, families[name], 1_000_000, Recording()) for name in ("press_button", "close_drawer")]
    episodes = [a.episode for a in attempts if a.episode]
    assert len(episodes) == 2
    script = ROOT / "tests" / "lerobot_check" / "read_dataset.py"
    command = [str(lerobot_python()), str(script)]
    for storage in STORAGES:
        root = tmp_path / storage
        write_dataset(root, env.contract, (encode(e, storage, 20) for e in episodes), storage)
        command += [str(root), str(tmp_path / f"{storage}.npz")]
    settings = os.environ | {"PYTHONPATH": str(ROOT)}
    subprocess.run(command, check=True, timeout=1200, stdout=sys.stderr, env=settings)
    for storage in STORAGES:
        _compare(episodes, tmp_path / storage, tmp_path / f"{storage}.npz", 0 if storage == "images" else 4)


def _compare(episodes: list[Episode], root: Path, out: Path, mean_error: float) -> None:
    """Compare what lerobot read (``out``) with the recorded episodes and with our own reader."""
    with np.load(out) as file:
        read = {name: file[name] for name in file.files}
    meta = json.loads(read["meta"].tobytes())
    lengths = [len(e.columns[dataset_schema.STATE]) for e in episodes]
    assert meta["tasks"] == [e.task for e, n in zip(episodes, lengths, strict=True) for _ in range(n)]
    assert (meta["episodes"], meta["fps"], meta["lengths"]) == (2, 20, lengths)
    for name in episodes[0].columns:
        expected = np.concatenate([e.columns[name] for e in episodes])
        np.testing.assert_array_equal(read[name].reshape(expected.shape), expected)
    for camera in episodes[0].images:
        expected = np.concatenate([e.images[camera] for e in episodes])
        frames = read[dataset_schema.image_key(camera)]
        assert np.abs(frames.astype(int) - expected).mean() <= mean_error
        np.testing.assert_array_equal(frames, load(root).frames(camera, np.arange(len(expected))))
    actions = np.concatenate([e.columns[dataset_schema.ACTION] for e in episodes])
    ends = np.repeat(np.cumsum(lengths), lengths)
    rows = np.minimum(np.arange(len(actions))[:, None] + np.arange(4), ends[:, None] - 1)
    np.testing.assert_array_equal(read["chunk"], actions[rows[::5]])
