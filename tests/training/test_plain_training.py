"""Training on demonstrations of any kind: other states, actions and cameras, annotations for some frames or none."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from vla_agent.contract import Camera, Contract, Field
from vla_agent.contract.blank_observation import blank_observation
from vla_agent.data.lerobot import dataset_schema
from vla_agent.data.lerobot.dataset_reader import load
from vla_agent.data.lerobot.dataset_writer import write_dataset
from vla_agent.data.lerobot.episode import Episode, encode
from vla_agent.data.validate.validate import validate
from vla_agent.errors import ContractError, DatasetError, RecipeError
from vla_agent.files.recipe_file import check_recipe
from vla_agent.models.backbones.pointing.pointing_backbone import stack_images
from vla_agent.models.state_fields import gripper_columns, hand_columns
from vla_agent.policy.loading import load_policy
from vla_agent.training.build_policy import build_policy
from vla_agent.training.demonstrations import load_demonstrations
from vla_agent.training.loop import train_stage as loop
from vla_agent.training.next_step import fits_the_simulator, next_step
from vla_agent.training.plain_data import read_contract
from vla_agent.training.recipe import EndToEnd, Recipe, load_recipe
from vla_agent.training.stages.end_to_end_stage import EndToEndBatches, EndToEndLosses
from vla_agent.training.stages.head_stage import head_inputs
from vla_agent.training.stages.task_balance import TaskBalance
from vla_agent.training.train import train

SIDE, FRAMES, HZ = 16, 12, 10.0
HAND = Field("ee_position", 3, "m", "base")
JOINTS = Field("joint_position", 4, "rad")
GRIPPER = Field("gripper", 1, "0 open to 1 closed", low=0.0, high=1.0)
TWO = (Camera("front", SIDE, SIDE), Camera("wrist", SIDE, SIDE))
LAYOUTS = {  # state, action, cameras
    "joint first": ((JOINTS, GRIPPER, HAND), (JOINTS, GRIPPER), TWO),
    "pusher": ((Field("tip", 2, "m", "table"),), (Field("tip", 2, "m", "table"),), TWO[:1]),
    "mobile": ((Field("speed", 2, "m/s"),), (Field("base_speed", 2, "m/s"), Field("turn", 1, "rad/s")), TWO[:1]),
    "deltas": ((HAND, GRIPPER), (Field("ee_translation", 3, "m per period", "base"),), TWO),
}
SMALL = {
    "name": "tiny",
    "chunk_length": 4,
    "execute": 2,
    "backbone": {"hidden_size": 16, "stem_channels": [4, 8], "film_blocks": 1, "text_layers": 1, "fusion_layers": 1}
    | {"move_kernel": 3, "keypoints": 3},
    "head": {"kind": "regression", "width": 16, "depth": 1, "heads": 2},
    "end_to_end": {
        "samples": 32,
        "batch": 8,
        "warmup_steps": 0,
        "early_frames": 2,
        "augment": {"shift": 1, "share": 0.5},
    },
}


def contract(layout, cameras=None):
    state, action, own = LAYOUTS[layout]
    return Contract(cameras or own, state, action, control_hz=HZ, chunk_length=4)


def write(folder, layout, tasks=("push the cup", "lift the cup"), annotated="none", agreed=None):
    """A dataset with an episode for each of ``tasks``; ``annotated``: "none", "half" of the frames, or "all"."""
    agreed, rng = agreed or contract(layout), np.random.default_rng(0)
    episodes = []
    for number, task in enumerate(tasks):
        wave = np.sin(np.arange(FRAMES)[:, None] / 3 + np.arange(8) + number)
        columns = {
            dataset_schema.STATE: _fit(wave, agreed.state),
            dataset_schema.ACTION: _fit(wave[:, ::-1], agreed.action),
        }
        if annotated != "none":
            known = np.arange(FRAMES)[:, None] % 2 == 0 if annotated == "half" else np.ones((FRAMES, 1), bool)
            columns[dataset_schema.SUBGOAL] = known * rng.random((FRAMES, 6))
            columns[dataset_schema.POINTS] = known * rng.random((FRAMES, 6 * len(agreed.cameras)))
            columns[dataset_schema.CLEAN] = np.ones((FRAMES, 1))
            columns |= {dataset_schema.KNOWN: known} if annotated == "half" else {}
        columns = {name: values.astype(np.float32) for name, values in columns.items()}
        images = {c.name: rng.integers(0, 256, (FRAMES, c.height, c.width, 3), np.uint8) for c in agreed.cameras}
        episodes.append(encode(Episode(task, columns, images), "images", round(HZ)))
    return write_dataset(folder, agreed, episodes, "images")


def _fit(wave, layout):
    """Numbers of the layout's size within its ranges."""
    columns = []
    for field in layout:
        part = wave[:, : field.size] * 0.4
        columns.append(part if field.low is None else (part > 0).astype(np.float64))
    return np.concatenate(columns, axis=1)


def recipe(*folders, **changed):
    settings = {**SMALL, **changed}
    settings["data"] = {"demonstrations": [str(f) for f in folders]} | changed.get("data", {})
    return check_recipe(settings, "a test", (), Recipe)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_that_validates_can_be_trained_and_acts(layout, tmp_path, capsys):
    folder = write(tmp_path / "data", layout)
    assert not [finding for finding in validate(folder) if finding.error]
    policy = load_policy(train(recipe(folder), tmp_path / "run"))
    policy.reset("push the cup")
    observation = blank_observation(policy.contract)
    chunk = policy.act(observation)
    assert chunk.shape == (4, policy.contract.action_dim)
    observation["images"] = {name: 255 - image for name, image in observation["images"].items()}
    assert not np.array_equal(policy.act(observation), chunk), "the images change nothing"
    described = json.loads((tmp_path / "run/policy/training.json").read_text())
    assert described["parameters"]["trained"] == described["parameters"]["in_all"]
    assert "target_located_within_2cm_on_training_frames" not in described
    assert "vla-agent eval" not in capsys.readouterr().out


def test_the_hand_is_found_by_name_and_a_missing_gripper_hides_nothing(tmp_path):
    folders = {layout: write(tmp_path / layout, layout) for layout in ("joint first", "pusher")}
    assert hand_columns(contract("joint first")) == slice(5, 8) and hand_columns(contract("pusher")) is None
    assert hand_columns(replace(contract("deltas"), state=(replace(HAND, unit="mm"),))) is None
    assert gripper_columns(contract("pusher")) == slice(0, 0)
    for layout, visible in (("joint first", [4]), ("pusher", [])):
        settings = recipe(folders[layout], end_to_end=SMALL["end_to_end"] | {"state_dropout": 1.0})
        demos = load_demonstrations(settings.data.demonstrations, 4, annotated=False)
        policy = build_policy(settings, demos, None)
        seen = []
        policy.backbone.geometry_of = lambda features, hand, seen=seen: seen.append(hand)
        state, generator = torch.from_numpy(demos.state[3:5]), torch.Generator().manual_seed(0)
        inputs = head_inputs(policy, {"hidden": torch.zeros(2, 1, 16)}, state, settings.end_to_end, generator)
        shown = [k for k in range(state.shape[1]) if inputs.state[:, k].abs().sum() > 0]
        assert shown == visible
        assert (seen[0] is None) if layout == "pusher" else torch.equal(seen[0], state[:, 5:8])


def test_without_a_hand_the_policy_serves_what_it_was_trained_with(tmp_path):
    """`act` finds the hand as training does: joints before it do not move the geometry."""
    policy = load_policy(train(recipe(write(tmp_path / "data", "joint first")), tmp_path / "run"))
    seen = []
    own = policy.backbone.geometry_of
    policy.backbone.geometry_of = lambda features, hand: (seen.append(hand), own(features, hand))[1]
    policy.reset("lift the cup")
    observation = blank_observation(policy.contract)
    observation["state"] = np.arange(8, dtype=np.float32) / 10
    observation["state"][4] = 0.5
    policy.act(observation)
    np.testing.assert_allclose(seen[0].numpy(), observation["state"][None, 5:8])


def test_annotations_are_used_where_they_are(tmp_path):
    half = write(tmp_path / "half", "deltas", annotated="half")
    assert not [finding for finding in validate(half) if finding.error]
    demos = load_demonstrations((str(half),), 4, annotated=False)
    assert demos.pointed.tolist() == demos.placed.tolist() == [k % 2 == 0 for k in range(FRAMES)] * 2
    mixed = recipe(half, write(tmp_path / "none", "deltas", annotated="none"))
    train(mixed, tmp_path / "run")
    row = json.loads((tmp_path / "run/end_to_end.jsonl").read_text().splitlines()[-1])
    assert all(row[name] > 0 for name in ("chunk", "map", "point", "seen", "locate", "move"))
    described = json.loads((tmp_path / "run/policy/training.json").read_text())
    assert described["target_located_within_2cm_on_training_frames"]["n"] == FRAMES
    off = recipe(half, end_to_end=SMALL["end_to_end"] | {"pointing": 0.0})
    train(off, tmp_path / "off")
    row = json.loads((tmp_path / "off/end_to_end.jsonl").read_text().splitlines()[-1])
    assert "chunk" in row and "map" not in row


def test_stages_that_need_annotations_say_so_and_name_the_one_that_does_not(tmp_path):
    folder = write(tmp_path / "data", "deltas")
    with pytest.raises(DatasetError, match=r"annotation\.points[\s\S]*plain\.yaml"):
        train(recipe(folder, pretrain={"samples": 8}), tmp_path / "run")
    wrong = write(tmp_path / "one", "pusher", annotated="all")
    info = json.loads((wrong / dataset_schema.INFO).read_text())
    assert info["features"][dataset_schema.POINTS]["shape"] == [6]
    with pytest.raises(ContractError, match="cameras"):
        train(recipe(wrong, folder), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("wrist", "problem"), [((24, 16), "different sizes"), ((18, 18), "does not fit the small backbone")]
)
def test_cameras_that_do_not_fit_are_refused_before_anything_is_written(wrist, problem, tmp_path):
    sizes = ((SIDE, SIDE), wrist) if problem == "different sizes" else (wrist, wrist)
    cameras = tuple(Camera(name, *size) for name, size in zip(("front", "wrist"), sizes, strict=True))
    folder = write(tmp_path / "data", "deltas", agreed=contract("deltas", cameras))
    with pytest.raises((DatasetError, RecipeError), match=problem) as caught:
        train(recipe(folder), tmp_path / "run")
    assert "data convert" in caught.value.remedy
    assert not (tmp_path / "run").exists()


def test_cameras_of_any_sizes_are_resized_alike_in_training_and_by_the_policy(tmp_path):
    cameras = (Camera("front", 30, 41), Camera("wrist", SIDE, SIDE))
    agreed = contract("deltas", cameras)
    folder = write(tmp_path / "data", "deltas", agreed=agreed, annotated="all")
    settings = recipe(folder, data={"image_size": [12, SIDE]})
    policy = load_policy(train(settings, tmp_path / "run"))
    assert policy.contract.cameras == cameras
    demos = load_demonstrations(settings.data.demonstrations, 4, image_size=(12, SIDE))
    dataset = load(folder)
    shown = {c.name: dataset.frames(c.name, [5])[0] for c in cameras}
    assert shown["front"].shape == (30, 41, 3)
    seen = policy.backbone.fitted(stack_images(shown, policy.contract.camera_names))
    np.testing.assert_array_equal(seen.numpy(), demos.images_of(np.array([5])))
    policy.reset("push the cup")
    chunk = policy.act({"images": shown, "state": demos.state[5]})
    other = shown | {"front": 255 - shown["front"]}
    assert not np.array_equal(policy.act({"images": other, "state": demos.state[5]}), chunk)
    for wrong in ({"pretrain": {"samples": 8}}, {"data": {"image_size": [12]}}):
        file = tmp_path / "wrong.yaml"
        changed = {"data": {"demonstrations": ["one"], "image_size": [12, 12]}, "name": "wrong"} | wrong
        changed["data"] |= {"demonstrations": ["one"]}
        file.write_text(json.dumps(changed))
        with pytest.raises(RecipeError, match=r"data\.image_size"):
            load_recipe(file)


def test_a_frame_without_instruction_is_refused(tmp_path):
    folder = write(tmp_path / "data", "pusher")
    (folder / dataset_schema.MANIFEST).unlink()
    file = folder / dataset_schema.TASKS
    table = pq.read_table(file)
    texts = [name for name in table.column_names if name != "task_index"][0]
    place = table.column_names.index(texts)
    pq.write_table(table.set_column(place, texts, pa.array(["push the cup", " "])), file)
    assert [finding for finding in validate(folder) if finding.error and finding.check == "instructions"]
    with pytest.raises(DatasetError, match=r"no instruction[\s\S]*frame 12"):
        train(recipe(folder), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_tasks_are_drawn_equally_often_however_many_frames_they_have(tmp_path):
    folder = write(tmp_path / "data", "pusher", tasks=("a long one",) * 9 + ("a rare one",))
    counts = {}
    for balance in ("tasks", "frames"):
        settings = recipe(folder, end_to_end=SMALL["end_to_end"] | {"batch": 400, "balance": balance})
        demos = load_demonstrations(settings.data.demonstrations, 4, annotated=False)
        batches = EndToEndBatches(build_policy(settings, demos, None), demos, settings.end_to_end)
        drawn = batches.frames[batches.rows.draw(settings.end_to_end, np.random.default_rng(0))]
        counts[balance] = float((demos.task[drawn] == demos.instructions.index("a rare one")).mean())
        assert (demos.frame[drawn] < 2).mean() > settings.end_to_end.early_share
    assert abs(counts["tasks"] - 0.5) < 0.08 and abs(counts["frames"] - 0.1) < 0.05


def test_within_a_task_rows_are_drawn_by_weight():
    group, early = np.array([0, 1, 0, 1, 2]), np.array([True, False, False, True, True])
    weights = np.array([1.0, 3.0, 0.0, 1.0, 0.0])
    settings = EndToEnd(samples=1, batch=4000, early_share=0.25)
    drawn = TaskBalance(group, early, weights).draw(settings, np.random.default_rng(0))
    first, rest = drawn[:1000], drawn[1000:]
    assert set(first) == {0, 3} and set(rest) == {0, 1, 3}
    shares = [(rest == k).mean() for k in (0, 1, 3)]
    np.testing.assert_allclose(shares, [0.5, 0.375, 0.125], atol=0.03)


@given(
    rows=st.lists(st.tuples(st.integers(0, 4), st.booleans(), st.sampled_from([0.0, 1e-9, 0.5, 7.0])), min_size=1),
    seed=st.integers(0, 1000),
)
def test_only_rows_with_a_weight_are_drawn_and_the_first_ones_are_early(rows, seed):
    group, early, weights = (np.array(part) for part in zip(*rows, strict=True))
    assume((weights > 0).any())
    drawn = TaskBalance(group, early, weights).draw(EndToEnd(batch=20, early_share=0.5), np.random.default_rng(seed))
    assert len(drawn) == 20 and (weights[drawn] > 0).all()
    if (early & (weights > 0)).any():
        assert early[drawn[:10]].all()


def test_an_interrupted_training_ends_with_the_same_bits(tmp_path, monkeypatch):
    settings = recipe(write(tmp_path / "data", "deltas", annotated="half"))
    whole = train(settings, tmp_path / "whole")
    plain_flag, count = loop._stop_flag, iter(range(1000))

    class Once:
        def __enter__(self):
            return lambda: next(count) >= 1

        def __exit__(self, *_):
            return None

    monkeypatch.setattr(loop, "_stop_flag", Once)
    with pytest.raises(loop.Interrupted):
        train(settings, tmp_path / "parts")
    monkeypatch.setattr(loop, "_stop_flag", plain_flag)
    parts = train(settings, tmp_path / "parts", resume=True)
    for name in ("head.safetensors", "backbone/model.safetensors"):
        assert (whole / name).read_bytes() == (parts / name).read_bytes()


def test_a_dataset_of_another_program_is_trained_with_the_contract_that_the_recipe_names(tmp_path):
    agreed, folder = contract("joint first"), write(tmp_path / "data", "joint first")
    (folder / dataset_schema.CONTRACT).unlink()
    (folder / dataset_schema.MANIFEST).unlink()
    with pytest.raises(DatasetError, match="no contract"):
        train(recipe(folder), tmp_path / "run")
    file = tmp_path / "contract.json"
    file.write_text(json.dumps(agreed.to_dict()))
    policy = load_policy(train(recipe(folder, data={"contract": str(file)}), tmp_path / "run"))
    assert policy.contract.differences(agreed) == []
    file.write_text(json.dumps(contract("deltas").to_dict()))
    with pytest.raises(DatasetError, match="lacks a feature of its contract"):
        train(recipe(folder, data={"contract": str(file)}), tmp_path / "other")
    example = Path("docs/policy.md").read_text().split("```json\n")[1].split("```")[0]
    file.write_text(example)
    assert read_contract(str(file)).state_dim == 6
    file.write_text("{")
    with pytest.raises(ContractError, match=r"data\.contract"):
        train(recipe(folder, data={"contract": str(file)}), tmp_path / "other")


def test_only_what_the_simulator_has_is_sent_to_its_evaluation(tmp_path):
    from vla_agent.contract.tabletop import tabletop_contract

    assert fits_the_simulator(replace(tabletop_contract((128, 128), "joint_position"), chunk_length=8))
    assert not fits_the_simulator(contract("deltas"))
    assert next_step(tmp_path, tabletop_contract()).startswith("vla-agent eval")
    assert next_step(tmp_path, contract("pusher")).startswith("vla-agent serve")


def test_the_shipped_recipe_for_plain_data_is_valid_and_a_pretrained_model_is_refused(tmp_path):
    plain = load_recipe("policies/plain.yaml")
    assert plain.end_to_end.samples and not plain.pretrain.samples and plain.is_plain
    with pytest.raises(RecipeError, match=r"end_to_end\.samples"):
        load_recipe("policies/plain.yaml", ("vlm.model=somewhere",))


def test_a_step_leaves_nothing_on_another_device_than_the_policy(tmp_path):
    """Tensors of the device "meta" do not mix with those of the CPU, as those of a GPU do not."""
    settings = recipe(
        write(tmp_path / "data", "deltas", annotated="half"),
        end_to_end=SMALL["end_to_end"] | {"picture_lag": 2, "state_dropout": 0.5},
    )
    demos = load_demonstrations(settings.data.demonstrations, 4, annotated=False)
    policy = build_policy(settings, demos, None)
    batches = EndToEndBatches(policy, demos, settings.end_to_end)
    losses = EndToEndLosses(policy, settings.end_to_end, 1.0).to("meta")
    generator = torch.Generator().manual_seed(0)
    named = losses(batches.draw(generator).to(torch.device("meta")), generator)
    assert {loss.device.type for loss in named.values()} == {"meta"}
    torch.stack(list(named.values())).sum().backward()
    assert all(p.grad.device.type == "meta" for p in policy.head.parameters() if p.grad is not None)


@pytest.mark.parametrize(
    ("settings", "changes"),
    [({"colour": 0.0}, False), ({"colour": 0.4}, True), ({"colour": 0.0, "shift": 3, "share": 1.0}, True)],
)
def test_the_stage_shows_the_backbone_augmented_pixels(settings, changes, tmp_path):
    made = recipe(write(tmp_path / "data", "pusher"), end_to_end=SMALL["end_to_end"] | {"augment": settings})
    demos = load_demonstrations(made.data.demonstrations, 4, annotated=False)
    policy = build_policy(made, demos, None)
    seen, own = [], policy.backbone.pixels
    policy.backbone.pixels = lambda images: (seen.append(images), own(images))[1]
    generator = torch.Generator().manual_seed(0)
    batch = EndToEndBatches(policy, demos, made.end_to_end).draw(generator)
    EndToEndLosses(policy, made.end_to_end, 0.0)(batch, generator)
    different = (seen[0] != batch.images).flatten(1).any(1)
    assert different.float().mean() > 0.8 if changes else not different.any()
    if settings.get("shift"):
        inner = slice(3, SIDE - 3)
        moved, still = seen[0][:, 0, inner, inner].float(), batch.images[:, 0].float()
        places = [(dy, dx) for dy in range(7) for dx in range(7)]
        cut = [still[:, dy : dy + SIDE - 6, dx : dx + SIDE - 6] for dy, dx in places]
        nearest = torch.stack([(moved - part).abs().mean((1, 2, 3)) for part in cut]).amin(0)
        assert (nearest < 1).all(), "a shift by whole pixels leaves them as they are"
