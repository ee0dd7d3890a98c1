"""A training from nothing: it makes its data, goes through a round of corrections, and goes on after a kill."""

import json
import os
import signal
import time

import forked_program
import numpy as np
import pytest

from vla_agent.cli import main
from vla_agent.contract.blank_observation import blank_observation
from vla_agent.errors import DatasetError, RecipeError
from vla_agent.policy.loading import load_policy
from vla_agent.training import train as whole
from vla_agent.training.recipe import load_recipe
from vla_agent.training.train import runs_of, train
from vla_agent.training.training_plan import RATES, steps_of

RECIPE = """\
name: tiny
collect:
  - {name: demos, tasks: [open_drawer], episodes: 1, seed: 1000000}
questions:
  - {name: questions, scenes: 6, seed: 2000000}
backbone: {hidden_size: 32, stem_channels: [8, 16], film_blocks: 1, text_layers: 1, fusion_layers: 1}
head: {width: 32, depth: 1, heads: 2, serve_steps: 2}
name_stem: {samples: 8, batch: 4}
pretrain: {samples: 16, batch: 8}
train_head: {samples: 32, batch: 16, frame_stride: 8}
rounds:
  - corrections:
      - {name: corrections, tasks: [open_drawer], episodes: 1, seed: 1500000, execution: [realtime], delays_ms: [100]}
    train_head: {samples: 32, batch: 16, frame_stride: 8}
    sight: {samples: 8, batch: 4, width: 8, context: 4}
    keep_start: 0.5
"""


@pytest.fixture(scope="module")
def recipe_file(tmp_path_factory):
    file = tmp_path_factory.mktemp("recipe") / "tiny.yaml"
    file.write_text(RECIPE)
    return file


@pytest.fixture(scope="module")
def killed_and_resumed(recipe_file, tmp_path_factory):
    """The folder of a training that was killed while it collected corrections, and then went on."""
    out = tmp_path_factory.mktemp("whole") / "run"
    words = ("-m", "vla_agent", "train", recipe_file, "-o", out, "--workers", "1")
    process = forked_program.start(words, tmp_path_factory.mktemp("output"))
    deadline = time.monotonic() + 240
    while not (out / "data" / "corrections.parts").exists() and process.is_alive() and time.monotonic() < deadline:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.join()
    assert not (out / "policy").exists() and (out / "run-0" / "done.json").is_file(), "it was not killed in the round"
    first = (out / "run-0" / "policy" / "policy.json").stat().st_mtime_ns
    train(load_recipe(recipe_file), out, resume=True, workers=1)
    assert (out / "run-0" / "policy" / "policy.json").stat().st_mtime_ns == first, "the first run was done again"
    return out


def test_a_policy_comes_from_nothing_after_a_kill(killed_and_resumed):
    policy = load_policy(killed_and_resumed)
    policy.reset("open the drawer")
    images = {c.name: np.zeros((c.height, c.width, 3), np.uint8) for c in policy.contract.cameras}
    chunk = policy.act({"images": images, "state": blank_observation(policy.contract)["state"]})
    assert chunk.shape == (policy.contract.chunk_length, policy.contract.action_dim)
    assert policy.doubter is not None and policy.doubter.settings.width == 8, "the round's sight is there"
    assert load_policy(killed_and_resumed / "run-0").doubter is None


def more(killed_and_resumed, folder, *overrides):
    """A recipe that goes on from the finished training's policy, with its demonstrations."""
    text = RECIPE[RECIPE.index("backbone:") : RECIPE.index("name_stem:")]
    demonstrations = f"data: {{demonstrations: ['{killed_and_resumed}/data/demos']}}\n"
    (folder / "more.yaml").write_text(
        f"name: more\nstart_from: {killed_and_resumed}\nfresh_head: true\n{text}{demonstrations}"
        "train_head: {samples: 16, batch: 16, frame_stride: 8}\npretrain: {samples: 0, batch: 4}\n"
    )
    return load_recipe(folder / "more.yaml", overrides)


@pytest.mark.parametrize(("samples", "kept"), [(0, True), (4, False)])
def test_a_further_run_keeps_the_doubt_only_where_the_backbone_is_the_same(killed_and_resumed, tmp_path, samples, kept):
    questions = f"data.questions=[{killed_and_resumed}/data/questions]"
    recipe = more(killed_and_resumed, tmp_path, questions, f"pretrain.samples={samples}")
    assert (load_policy(train(recipe, tmp_path / "out")).doubter is not None) == kept


def test_a_sight_without_images_is_refused(killed_and_resumed, tmp_path):
    recipe = more(killed_and_resumed, tmp_path, "sight.samples=4", "sight.batch=2", "train_head.samples=0")
    with pytest.raises(DatasetError, match="sight"):
        train(recipe, tmp_path / "out")


@pytest.mark.parametrize("samples", [0, 4])
def test_a_sight_goes_on_from_the_one_before(killed_and_resumed, tmp_path, samples):
    changes = (f"sight.samples={samples}", "sight.batch=2", "sight.go_on=true", "sight.learning_rate=1e-12")
    changes += (f"data.questions=[{killed_and_resumed}/data/questions]", "train_head.samples=0")
    found = load_policy(
        train(more(killed_and_resumed, tmp_path, *changes, "sight.width=8", "sight.context=4"), tmp_path / "out")
    )
    before = load_policy(killed_and_resumed).doubter.sight.state_dict()
    for name, weight in found.doubter.sight.state_dict().items():
        np.testing.assert_allclose(weight, before[name], atol=1e-6 * bool(samples), err_msg=name)
    with pytest.raises(RecipeError, match=r"sight\.go_on"):
        train(more(killed_and_resumed, tmp_path, *changes, "sight.width=12"), tmp_path / "other")


def test_the_training_is_described_with_the_hashes_of_its_data(killed_and_resumed):
    described = json.loads((killed_and_resumed / "policy" / "training.json").read_text())
    data = {name: set_ for run in described["runs"] for name, set_ in run["data"].items()}
    assert set(data) == {"demos", "questions", "corrections"}
    assert all(len(set_["sha256"]) == 64 for set_ in data.values())
    steps = [step["step"] for step in described["steps"]]
    assert steps[:3] == ["data/demos", "data/questions", "run-0"] and steps[-2:] == ["data/corrections", "run-1"]
    assert all(step["processor_seconds"] > 0 for step in described["steps"])


def test_the_policy_so_far_drives_in_a_round(killed_and_resumed):
    from vla_agent.data.lerobot.dataset_reader import load

    collected = load(killed_and_resumed / "data" / "corrections").collection
    assert collected["takeover"] == str(killed_and_resumed / "run-0" / "policy")
    assert collected["takeover_execution"] == ["realtime"] and collected["takeover_delays_ms"] == [100.0]


def test_a_finished_training_is_resumed_to_the_same_policy(killed_and_resumed, recipe_file):
    before = load_policy(killed_and_resumed).digest
    train(load_recipe(recipe_file), killed_and_resumed, resume=True)
    assert load_policy(killed_and_resumed).digest == before


def test_a_training_does_not_go_on_with_another_recipe_or_other_data(killed_and_resumed, recipe_file, tmp_path):
    with pytest.raises(RecipeError, match="already holds"):
        train(load_recipe(recipe_file), killed_and_resumed)
    with pytest.raises(RecipeError, match="rounds"):
        other = RECIPE.replace("keep_start: 0.5", "keep_start: 0.4")
        (tmp_path / "other.yaml").write_text(other)
        train(load_recipe(tmp_path / "other.yaml"), killed_and_resumed, resume=True)
    options = whole.runs_of(load_recipe(recipe_file), killed_and_resumed)[0]
    item = options.made[0].model_copy(update={"seed": 1_000_001})
    with pytest.raises(DatasetError, match="seed"):
        whole.make_data(item, killed_and_resumed / "data" / "demos", 96, 1)


def test_each_run_has_the_data_so_far_and_starts_from_the_one_before(recipe_file, tmp_path):
    first, second = runs_of(load_recipe(recipe_file), tmp_path)
    assert first.recipe.data.demonstrations == (str(tmp_path / "data" / "demos"),)
    assert second.recipe.data.demonstrations == tuple(str(tmp_path / "data" / n) for n in ("demos", "corrections"))
    assert second.recipe.data.questions == first.recipe.data.questions == (str(tmp_path / "data" / "questions"),)
    assert (first.recipe.start_from, second.recipe.start_from) == ("", str(first.folder / "policy"))
    assert second.recipe.keep_start == 0.5 and second.recipe.pretrain.samples == 0
    assert second.recipe.seed != first.recipe.seed


def test_the_plan_names_every_step_with_its_cost(recipe_file, tmp_path):
    steps = steps_of(load_recipe(recipe_file), tmp_path)
    assert [(s.run, s.what) for s in steps] == [
        *((0, "collect demos"), (0, "questions questions"), (0, "name stem"), (0, "pretrain"), (0, "train head")),
        *((1, "corrections corrections"), (1, "train head"), (1, "sight")),
    ]
    assert steps[3].seconds == 16 / RATES["pretrain"] and not any(s.done for s in steps)


def test_a_dry_run_prints_the_plan_and_makes_nothing(recipe_file, tmp_path, capsys):
    assert main(["train", str(recipe_file), "-o", str(tmp_path / "out"), "--dry-run"]) == 0
    printed = capsys.readouterr().out
    assert "corrections" in printed and "hours" in printed and not (tmp_path / "out").exists()
    assert main(["train", str(recipe_file), "-o", str(tmp_path / "out"), "--workers", "0"]) == 2
    assert "--workers" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("seed: 1500000", "seed: 1000024", ("corrections.seed", "1000025")),  # 20 + 5 attempts belong to demos
        ("seed: 1500000", "seed: 6999976", ("corrections.seed", "7000000")),
        ("name: corrections", "name: demos", ("name", "demos")),
        ("name: corrections", "name: ../x", ("name",)),
        ("seed: 2000000", "seed: 999999", ("seed", "1000000")),
    ],
)
def test_data_of_a_recipe_does_not_clash(old, new, words, tmp_path):
    file = tmp_path / "clash.yaml"
    file.write_text(RECIPE.replace(old, new))
    with pytest.raises(RecipeError) as error:
        load_recipe(file)
    for word in words:
        assert word in str(error.value)


@pytest.mark.parametrize("seed", [1_000_025, 6_999_975])
def test_seeds_just_inside_the_limits_are_taken(seed, tmp_path):
    file = tmp_path / "inside.yaml"
    file.write_text(RECIPE.replace("seed: 1500000", f"seed: {seed}"))
    assert load_recipe(file).rounds[0].corrections[0].seed == seed


def test_a_recipe_without_any_demonstrations_is_refused(tmp_path):
    file = tmp_path / "none.yaml"
    file.write_text("name: none\ntrain_head: {samples: 0}\n")
    with pytest.raises(RecipeError, match="collect"):
        load_recipe(file)
