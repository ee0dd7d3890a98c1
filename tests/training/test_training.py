"""One short real training: collected demonstrations, generated questions, both stages, interrupt and resume."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from ruamel.yaml import YAML
from safetensors.torch import load_file

from benchmarks.shared.random_vlms import save_small_vlm
from sim.questions.generate import main as make_questions
from vla_agent.cli import main as vla_agent
from vla_agent.contract.blank_observation import blank_observation
from vla_agent.errors import DatasetError, DivergenceError, RecipeError
from vla_agent.files.policy_files import read_policy_files
from vla_agent.models.backbones.pointing.pointing_vlm import Pointing
from vla_agent.policy.loading import load_policy
from vla_agent.training.demonstrations import load_demonstrations, load_questions
from vla_agent.training.loop.stage_run import StageRun
from vla_agent.training.loop.train_stage import train_stage
from vla_agent.training.recipe import Stage, load_recipe
from vla_agent.training.stages.head_stage import ImageDelays
from vla_agent.training.stages.pointing_losses import asked_loss, pointing_losses
from vla_agent.training.starting_backbone import fitting_backbone
from vla_agent.training.tokenizer import build_tokenizer
from vla_agent.training.train import train

RECIPE = """\
name: tiny
data: {{demonstrations: ["{demos}"], questions: ["{questions}"]}}
backbone: {{hidden_size: 32, stem_channels: [8, 16], film_blocks: 1, text_layers: 1, fusion_layers: 1}}
head: {{width: 32, depth: 1, heads: 2, serve_steps: 2}}
name_stem: {{samples: 16, batch: 4}}
pretrain: {{samples: 32, batch: 8, learning_rate: 0.001}}
train_head: {{samples: 64, batch: 16, learning_rate: 0.001, picture_lag: 4, frame_stride: 4}}
"""
YES = ("false", "true")
PARTS_OF = ("vision_model", "text_model")


@pytest.fixture(scope="module")
def recipe_file(tmp_path_factory):
    folder = tmp_path_factory.mktemp("training")
    demos, questions = folder / "demos", folder / "questions"
    chosen = ["--tasks", "put_in_tray,open_drawer", "--episodes", "2", "--noise", "4.0"]
    assert vla_agent(["collect", *chosen, "--workers", "1", "-o", str(demos)]) == 0
    assert make_questions(["--scenes", "8", "--workers", "1", "-o", str(questions)]) == 0
    file = folder / "tiny.yaml"
    file.write_text(RECIPE.format(demos=demos, questions=questions))
    return file


@pytest.fixture(scope="module")
def trained(recipe_file, tmp_path_factory):
    """The policy's folder of an uninterrupted training."""
    return train(load_recipe(recipe_file), tmp_path_factory.mktemp("trained") / "run")


def test_training_gives_a_policy_that_acts(trained):
    folder = trained
    policy = load_policy(folder)
    policy.reset("put the red mug in the tray")
    counts = json.loads((folder / "training.json").read_text())["parameters"]
    assert counts["trained"] == counts["in_all"] == counts["backbone"] + counts["head"]
    images = {c.name: np.zeros((c.height, c.width, 3), np.uint8) for c in policy.contract.cameras}
    chunk = policy.act({"images": images, "state": blank_observation(policy.contract)["state"]})
    assert chunk.shape == (policy.contract.chunk_length, policy.contract.action_dim)
    assert {f.name for f in folder.iterdir()} >= {"recipe.yaml", "training.json", "curve.png", "policy.json"}
    description = json.loads((folder / "training.json").read_text())
    assert description["parameters"]["trained"] == sum(p.numel() for p in policy.parameters())


@pytest.mark.parametrize("freeze", ["[vision, projector, language]", "[vision]"])
def test_a_pretrained_backbone_is_trained_on_from_its_recipe(recipe_file, tmp_path, freeze):
    source = save_small_vlm("smolvlm", tmp_path / "vlm")
    settings = (f"vlm.model={source}", "vlm.layer=2", f"vlm.freeze={freeze}", "name_stem.samples=0")
    folder = train(load_recipe(recipe_file, (*settings, "pretrain.samples=0")), tmp_path / "run")
    policy = load_policy(folder)
    policy.reset("put the red mug in the tray")
    images = {c.name: np.zeros((c.height, c.width, 3), np.uint8) for c in policy.contract.cameras}
    chunk = policy.act({"images": images, "state": blank_observation(policy.contract)["state"]})
    assert chunk.shape == (policy.contract.chunk_length, policy.contract.action_dim)
    kept, new = load_file(source / "model.safetensors"), load_file(folder / "backbone/model.safetensors")
    same = {part: all(torch.equal(v, kept[f"model.{k}"]) for k, v in new.items() if part in k) for part in PARTS_OF}
    assert same == {"vision_model": True, "text_model": "language" in freeze}


def test_a_resumed_training_ends_with_the_same_bits(recipe_file, trained, tmp_path, monkeypatch):
    import vla_agent.training.loop.train_stage as loop

    recipe = load_recipe(recipe_file)
    plain_flag, count = loop._stop_flag, iter(range(1000))

    class Once:
        def __enter__(self):
            return lambda: next(count) >= 4  # asked once a step: stops in the first step of the second stage

        def __exit__(self, *_):
            return None

    monkeypatch.setattr(loop, "_stop_flag", Once)
    with pytest.raises(loop.Interrupted):
        train(recipe, tmp_path / "parts")
    monkeypatch.setattr(loop, "_stop_flag", plain_flag)
    train(recipe, tmp_path / "parts", resume=True)
    for name in ("head.safetensors", "backbone/model.safetensors"):
        assert (tmp_path / "parts/policy" / name).read_bytes() == (trained / name).read_bytes()


@pytest.mark.parametrize("where", ["loss", "gradients"])
def test_a_training_that_diverges_stops_and_keeps_the_checkpoint_before(where, tmp_path):
    layer, steps = torch.nn.Linear(1, 1), []

    def losses(_):
        steps.append(len(steps))
        out = layer(torch.ones(1, 1)).sum()
        if steps[-1] < 3:
            return {"good": out * 0.1, "bad": out}
        # the slope of a square root at 0 is infinite, its value is 0
        return {"good": out * 0.1, "bad": out / 0 if where == "loss" else (out - out.detach()).sqrt()}

    stage = Stage(samples=20, batch=2, warmup_steps=0, checkpoint_minutes=1e-9)
    with pytest.raises(DivergenceError) as caught:
        train_stage(StageRun("tune", tmp_path), layer, losses, stage)
    assert caught.value.key == "tune, step 3" and ("bad" if where == "loss" else "gradients") in caught.value.found
    kept = load_file(tmp_path / "tune" / "model.safetensors")
    assert all(torch.isfinite(v).all() for v in kept.values()) and len(steps) == 4
    assert json.loads((tmp_path / "tune" / "progress.json").read_text())["step"] == 3


def test_a_second_training_does_not_overwrite_the_first(recipe_file, tmp_path):
    (tmp_path / "run").mkdir()
    train(load_recipe(recipe_file, ("train_head.samples=0", "pretrain.samples=0")), tmp_path / "run")
    with pytest.raises(RecipeError, match="already"):
        train(load_recipe(recipe_file), tmp_path / "run")
    with pytest.raises(RecipeError, match="seed"):
        train(load_recipe(recipe_file, ("seed=7",)), tmp_path / "run", resume=True)


def test_chunks_end_with_the_episode_and_before_a_disturbance(recipe_file):
    demos = load_demonstrations(load_recipe(recipe_file).data.demonstrations, 16)
    last = np.flatnonzero(np.diff(demos.episode, append=demos.episode[-1] + 1))
    _, valid = demos.chunks(last - 2, 16)
    assert (valid.sum(axis=1) <= 3).all()
    assert (~demos.clean).any(), "the demonstrations hold no disturbance"
    before = np.flatnonzero(demos.clean[:-1] & ~demos.clean[1:])
    _, valid = demos.chunks(before, 16)
    assert (valid.sum(axis=1) == 1).all()


def test_the_image_may_be_older_than_the_state(recipe_file):
    """The state is the image's, moved by the actions since; the chunk starts there; frames are clean."""
    demos = load_demonstrations(load_recipe(recipe_file).data.demonstrations, 16)
    frames = np.flatnonzero(demos.clean)
    delays, index = ImageDelays(demos, frames, 6), np.arange(len(frames))
    later, state = delays.draw(index, np.random.default_rng(0))
    lag = later - frames
    assert set(lag) == set(range(7)) and 0.4 < (lag == 0).mean() < 0.8
    assert (demos.episode[later] == demos.episode[frames]).all() and demos.clean[later].all()
    moved = np.array([demos.action[f : f + n, :3].sum(axis=0) for f, n in zip(frames, lag, strict=True)])
    np.testing.assert_allclose(state[:, :3], demos.state[frames][:, :3] + moved, atol=1e-5)
    np.testing.assert_array_equal(state[lag == 0], demos.state[frames[lag == 0]])


def test_images_of_demonstrations_are_those_of_the_dataset(recipe_file):
    from vla_agent.data.lerobot.dataset_reader import load

    folder = load_recipe(recipe_file).data.demonstrations[0]
    demos = load_demonstrations((folder, folder), 16)
    n = len(demos) // 2
    images = demos.images_of(np.array([1, n + 1, n + 5]))
    wrist = load(folder).frames("wrist", [1, 5])
    np.testing.assert_array_equal(images[:, 1], wrist[[0, 0, 1]])


def test_pointing_losses_reward_the_right_place_and_skip_unknown_points():
    def out(cell):
        maps = torch.full((1, 1, 2, 576), -10.0)
        maps[..., cell] = 0.0
        points = torch.zeros(1, 1, 2, 2)
        return Pointing(
            tokens=torch.zeros(1, 20, 4),
            place=torch.zeros(1, 1, 2, 3),
            hidden=torch.zeros(1, 1, 4),
            maps=maps,
            seen=torch.zeros(1, 1, 2),
            points=points,
            located=torch.zeros(1, 2, 3),
            query_logits=torch.zeros(1, 4, 17),
            candidates=maps,
            mix=torch.zeros(1, 2, 7),
        )

    points = torch.tensor([[[[0.5 / 24, 0.5 / 24, 1.0], [torch.nan, torch.nan, torch.nan]]]])
    located = torch.full((1, 2, 3), torch.nan)
    right, wrong = (pointing_losses(out(c), points, located, (96, 96)) for c in (0, 100))
    assert right["map"] < wrong["map"]
    assert right["locate"] == 0
    assert all(torch.isfinite(v) for v in wrong.values())


def test_training_starts_from_the_weights_that_fit(recipe_file, tmp_path):
    """A part that the weights do not have yet begins untrained; weights of something else are refused."""
    none = ("train_head.samples=0", "pretrain.samples=0", "name_stem.samples=0")
    first = train(load_recipe(recipe_file, (*none, "backbone.move_kernel=0")), tmp_path / "first")
    sizes = load_recipe(recipe_file, (*none, "backbone.move_kernel=5")).backbone
    backbone, fresh = fitting_backbone(read_policy_files(first), sizes)
    assert fresh == ["move", "move.centre", "move.of_named", "move.share"]
    again = (*none, f"start_from={first}", "head.serve_steps=3")
    heads = [load_policy(train(load_recipe(recipe_file, (*again, f"fresh_head={f}")), tmp_path / f)).head for f in YES]
    same = [torch.equal(h.position, load_policy(first).head.position) for h in heads]
    assert same == [True, False] and [h.config.serve_steps for h in heads] == [3, 3]
    kept = load_policy(first).backbone.model.state_dict()
    torch.testing.assert_close({k: backbone.model.state_dict()[k] for k in kept}, kept)
    with pytest.raises(RecipeError, match="start_from"):
        fitting_backbone(read_policy_files(first), sizes.model_copy(update={"hidden_size": 4 * sizes.hidden_size}))


def test_the_recipe_that_a_training_records_keeps_the_head_as_the_training_did(recipe_file, trained, tmp_path):
    given = YAML(typ="safe").load(recipe_file.read_text())
    kept = {"data": given["data"], "backbone": given["backbone"], "name": "kept", "start_from": str(trained)}
    file, folder = tmp_path / "recipe.yaml", trained
    for name in ("first", "again"):
        YAML().dump(kept, file)
        folder = train(load_recipe(file), tmp_path / name)
        kept = YAML(typ="safe").load((folder / "recipe.yaml").read_text())
        weights = (load_policy(where).head.state_dict() for where in (folder, trained))
        torch.testing.assert_close(*weights)
    with pytest.raises(RecipeError, match=r"head\."):  # another training: its head would begin untrained
        train(load_recipe(file, ("head.kind=diffusion",)), tmp_path / "first", resume=True)


def test_a_share_of_the_weights_to_start_from_is_kept(recipe_file, tmp_path):
    """The result lies between start and trained weights, where the recipe says."""
    stages = ("train_head.samples=64", "train_head.batch=32", "pretrain.samples=0", "name_stem.samples=0")
    first = train(load_recipe(recipe_file, stages), tmp_path / "first")
    far = (
        "train_head.learning_rate=0.03",
        "train_head.warmup_steps=0",
        "train_head.ema=0",
    )  # bf16 is coarse
    more = (*stages, *far, f"start_from={first}", "seed=5")
    heads = [load_policy(first).head]
    for share in ("0", "0.25"):
        heads.append(
            load_policy(train(load_recipe(recipe_file, (*more, f"keep_start={share}")), tmp_path / share)).head
        )
    start, trained, kept = (torch.cat([p.flatten() for p in head.parameters()]) for head in heads)
    between = 0.25 * start + 0.75 * trained
    off = {name: float((kept - other).norm()) for name, other in zip("bst", (between, start, trained), strict=True)}
    assert off["b"] < 0.1 * off["s"] and off["b"] < 0.3 * off["t"]


def test_queries_learn_what_the_prompt_names():
    model = SimpleNamespace(config=SimpleNamespace(num_names=[9, 8]))
    asked = torch.tensor([[[2, 3], [-1, 5]]])  # a shape and a colour, then a colour alone
    good, bad = torch.full((1, 4, 17), -9.0), torch.full((1, 4, 17), -9.0)
    good[0, 0, [2, 9 + 3]] = good[0, 1, 9 + 5] = 9.0
    bad[0, 1, [2, 9 + 3]] = bad[0, 0, 9 + 5] = 9.0  # the two in the wrong order
    assert asked_loss(model, good, asked) < 0.01 < 1 < asked_loss(model, bad, asked)


def test_no_word_is_unknown_to_the_tokenizer():
    tokenizer = build_tokenizer(["put the red mug in the tray"])
    ids = tokenizer("fetch a turquoise zebra, 7!")["input_ids"]
    assert tokenizer.unk_token_id not in ids
    assert tokenizer.decode(tokenizer("put the red mug")["input_ids"]) == "put the red mug"


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (("pretrain.sampels=3",), ("pretrain.sampels", "did you mean samples")),
        (("head.objective=magic",), ("head.objective", "flow")),
        (("head.size=S",), ("head.size", "named size")),
        (("vlm.model=owner/name",), ("pretrain.samples", "0")),
        (("vlm.model=owner/name", "pretrain.samples=0", "name_stem.samples=0", "vlm.freeze=[]", "vlm.dtype=bfloat16"),)
        + (("vlm.dtype", "float32"),),
        (("seed",), ("key.sub=value",)),
    ],
)
def test_recipe_mistakes_are_named(recipe_file, overrides, words):
    with pytest.raises(RecipeError) as error:
        load_recipe(recipe_file, overrides)
    for word in words:
        assert word in str(error.value)


RECIPES = sorted(f for f in Path("policies").glob("*.yaml") if not f.stem.startswith(("finetune-", "reader")))


@pytest.mark.parametrize("file", RECIPES, ids=lambda f: f.stem)
def test_each_recipe_here_is_valid(file):
    assert load_recipe(file).name == file.stem


def test_a_training_continues_after_settings_were_added(recipe_file, tmp_path):
    """A recipe that was kept before a setting existed is not another recipe."""
    none = ("train_head.samples=0", "pretrain.samples=0", "name_stem.samples=0")
    recipe = load_recipe(recipe_file, none)
    policy = train(recipe, tmp_path / "run")
    weights = (policy / "head.safetensors").read_bytes()
    file = tmp_path / "run/recipe.yaml"
    yaml = YAML()
    kept = yaml.load(file.read_text())
    del kept["vlm"], kept["head"]["kind"], kept["train_head"]["keep_features"]
    with file.open("w") as f:
        yaml.dump(kept, f)
    again = train(recipe, tmp_path / "run", resume=True)
    assert (again / "head.safetensors").read_bytes() == weights


def test_missing_questions_name_the_command_that_makes_them(tmp_path):
    with pytest.raises(DatasetError, match=r"python -m sim\.questions"):
        load_questions((str(tmp_path),))
