"""The VLM, the head and the policy folder, on small sizes and random weights."""

import contextlib
import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForImageTextToText, AutoTokenizer, ViTImageProcessorPil

from benchmarks.shared.plausible_state import plausible_state
from vla_agent.contract.tabletop import tabletop_contract
from vla_agent.errors import CheckpointError, ObservationError
from vla_agent.files import write_aside
from vla_agent.models.backbones.pointing.pointing_backbone import Backbone
from vla_agent.models.backbones.pointing.pointing_config import PointingVLMConfig
from vla_agent.models.backbones.pointing.pointing_layers import Move
from vla_agent.models.backbones.pointing.pointing_vlm import PointingVLM
from vla_agent.models.heads.diffusion_head import DiffusionHead
from vla_agent.models.heads.head_config import HeadConfig, HeadDims, HeadInputs
from vla_agent.models.normaliser import Normaliser
from vla_agent.models.oracle_points import OraclePoints
from vla_agent.policy.loading import load_policy
from vla_agent.policy.policy import VLAPolicy
from vla_agent.training.tokenizer import build_tokenizer

TEXTS = ["put the red mug in the tray", "open the drawer", "left near"]


@pytest.fixture(scope="module")
def contract():
    return tabletop_contract((96, 96))


@pytest.fixture(scope="module")
def policy(contract):
    torch.manual_seed(0)
    tokenizer = build_tokenizer(TEXTS)
    config = PointingVLMConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        stem_channels=(8, 16),
        film_blocks=1,
        text_layers=1,
        fusion_layers=1,
        move_kernel=5,
    )
    processor = ViTImageProcessorPil(size={"height": 96, "width": 96}, image_mean=[0.5] * 3, image_std=[0.25] * 3)
    head = HeadConfig(width=32, depth=1, heads=2, serve_steps=2)
    policy = VLAPolicy(contract, Backbone(PointingVLM(config), tokenizer, processor), head)
    rng = np.random.default_rng(0)
    policy.action_normaliser.fit_range(rng.normal(0, 0.01, (100, contract.action_dim)))
    policy.state_normaliser.fit_moments(rng.normal(size=(100, contract.state_dim)))
    for layer in (policy.head.tokens_out, *(b.cross_out for b in policy.head.blocks)):  # zero until trained
        torch.nn.init.normal_(layer.weight, std=0.3)
    return policy.eval()


def observation(contract, seed=0):
    rng = np.random.default_rng(seed)
    images = {c.name: rng.integers(0, 255, (c.height, c.width, 3), dtype=np.uint8) for c in contract.cameras}
    return {"images": images, "state": plausible_state(contract, rng)}


def test_saved_policy_acts_as_before(policy, contract, tmp_path):
    policy.save(tmp_path / "p")
    once = load_policy(tmp_path / "p")
    once.save(tmp_path / "q")  # bf16 to bf16: nothing is lost any more
    again = load_policy(tmp_path / "q")
    chunks = []
    for p in (once, again):
        p.reset(TEXTS[0])
        chunks.append(p.act(observation(contract)))
    np.testing.assert_array_equal(*chunks)
    assert chunks[0].shape == (contract.chunk_length, contract.action_dim)
    policy.reset(TEXTS[0])
    np.testing.assert_allclose(chunks[0], policy.act(observation(contract)), atol=2e-2)


def test_same_seed_same_chunk_and_the_instruction_matters(policy, contract):
    def chunk(text, seed):
        policy.reset(text, seed)
        return policy.act(observation(contract))

    np.testing.assert_array_equal(chunk(TEXTS[0], 3), chunk(TEXTS[0], 3))
    assert not np.array_equal(chunk(TEXTS[0], 3), chunk(TEXTS[0], 4))
    assert not np.array_equal(chunk(TEXTS[0], 3), chunk(TEXTS[1], 3))


def test_backbone_loads_through_auto_classes(policy, contract, tmp_path):
    policy.backbone.save(tmp_path)
    model = AutoModelForImageTextToText.from_pretrained(tmp_path, dtype=torch.float32).eval()
    batch = AutoTokenizer.from_pretrained(tmp_path)(TEXTS, padding=True, return_tensors="pt")
    pixels = torch.randn(3, 2, 3, 96, 96)
    with torch.no_grad():
        out = model(
            batch["input_ids"], batch["attention_mask"], pixels, labels=torch.tensor([[5, 2], [6, 2], [2, -100]])
        )
    assert out.points.shape == (3, 2, 2, 2)
    assert ((out.points > -0.1) & (out.points < 1.1)).all()
    assert torch.isfinite(out.loss)
    assert model.generate(batch["input_ids"], batch["attention_mask"], pixels, max_new_tokens=3).shape[0] == 3


def test_padding_changes_nothing(policy):
    model = policy.backbone.model
    pixels = torch.randn(1, 2, 3, 96, 96)
    ids, mask = policy.backbone.tokenize([TEXTS[0]])
    with torch.no_grad():
        plain = model(ids, mask, pixels)
        padded = model(torch.nn.functional.pad(ids, (0, 5)), torch.nn.functional.pad(mask, (0, 5)), pixels)
    torch.testing.assert_close(plain.hidden, padded.hidden, atol=1e-4, rtol=1e-3)


def test_one_image_serves_several_prompts(policy):
    model = policy.backbone.model
    pixels = torch.randn(2, 2, 3, 96, 96)
    ids, mask = policy.backbone.tokenize([TEXTS[0], TEXTS[1], TEXTS[0]])
    image_index = torch.tensor([0, 0, 1])
    with torch.no_grad():
        shared = model(ids, mask, pixels, image_index=image_index).hidden
        separate = model(ids, mask, pixels[image_index]).hidden
    torch.testing.assert_close(shared, separate, atol=1e-4, rtol=1e-3)


def test_a_candidate_is_moved_by_the_texts_kernel(policy):
    """An offset of one cell right and two up moves a peak by it, in its own view only."""
    config = policy.backbone.model.config
    move = Move(config)
    with torch.no_grad():
        for layer in (move.centre, move.of_named, move.share):
            layer.weight.zero_()
            layer.bias.zero_()
        move.centre.bias.view(config.num_views, 2)[0] = torch.tensor([1.0, -2.0])
        move.spread.fill_(-2.0)
        queried = torch.full((1, 2, 4, 36), -30.0)
        queried[..., 14] = 0.0
        text = torch.zeros(1, config.hidden_size)
        moved, share = move(queried, move.kernel(text), text, (6, 6))
    assert moved.argmax(-1).flatten().tolist() == [3, 14]
    torch.testing.assert_close(moved.exp().sum(-1), torch.ones(1, 2, 1))
    assert share.shape == (1, 2, 1)


def test_weights_that_do_not_fit_the_architecture_are_refused(policy, tmp_path):
    policy.save(tmp_path / "p")
    file = tmp_path / "p/backbone/config.json"
    config = json.loads(file.read_text())
    file.write_text(json.dumps(config | {"move_kernel": 0}))
    with pytest.raises(CheckpointError, match="unexpected keys"):
        load_policy(tmp_path / "p")
    file.write_text(json.dumps(config | {"fusion_layers": 2}))
    with pytest.raises(CheckpointError, match="missing keys"):
        load_policy(tmp_path / "p")


@pytest.mark.parametrize("objective", ["flow", "ddpm"])
def test_head_learns_a_chunk_and_samples_it(objective):
    torch.manual_seed(0)
    config = HeadConfig(width=32, depth=1, heads=2, objective=objective, serve_steps=10)
    head = DiffusionHead(config, HeadDims(4, 2, 3, 8))
    target = torch.tensor([[[0.5, -0.5]] * 4, [[-0.5, 0.5]] * 4])
    inputs = HeadInputs(torch.zeros(2, 1, 8), torch.tensor([[1.0, 0, 0], [-1.0, 0, 0]]))
    optimiser = torch.optim.Adam(head.parameters(), lr=3e-3)
    generator = torch.Generator().manual_seed(0)
    for _ in range(300):
        loss = head.loss(inputs, target, torch.ones(2, 4), draws=16, generator=generator)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    sampled = head.sample(inputs, generator)
    assert (sampled - target).abs().mean() < 0.2


def test_steps_without_a_label_do_not_count():
    torch.manual_seed(0)
    head = DiffusionHead(HeadConfig(width=16, depth=1, heads=1), HeadDims(4, 2, 3, 8))
    inputs = HeadInputs(torch.zeros(2, 1, 8), torch.zeros(2, 3))
    valid = torch.tensor([[1.0, 1, 0, 0]] * 2)
    chunk = torch.randn(2, 4, 2)
    other = chunk.clone()
    other[:, 2:] = torch.randn(2, 2, 2)
    head.tokens_in.weight.data.zero_()  # nothing may leak in through the noisy input either
    losses = [head.loss(inputs, c, valid, generator=torch.Generator().manual_seed(1)) for c in (chunk, other)]
    assert losses[0] == losses[1]


def test_unfitted_statistics_are_refused(policy, tmp_path):
    with pytest.raises(CheckpointError, match="statistics"):
        Normaliser(3).require_fitted("file", "action_normaliser")
    assert torch.isnan(Normaliser(2)(torch.zeros(1, 2))).all()  # never silently the identity


def test_act_needs_a_reset_and_a_fitting_observation(policy, contract, tmp_path):
    policy.save(tmp_path / "p")
    fresh = load_policy(tmp_path / "p")
    with pytest.raises(CheckpointError, match="reset"):
        fresh.act(observation(contract))
    fresh.reset(TEXTS[0])
    broken = observation(contract)
    broken["images"]["front"] = broken["images"]["front"][:48]
    with pytest.raises(ObservationError, match="images.front"):
        fresh.act(broken)


def test_one_flipped_byte_is_found(policy, tmp_path):
    policy.save(tmp_path / "p")
    file = tmp_path / "p" / "head.safetensors"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(bytes(data))
    with pytest.raises(CheckpointError, match="damaged"):
        load_policy(tmp_path / "p")


def test_saving_keeps_other_files(policy, tmp_path):
    policy.save(tmp_path / "p")
    (tmp_path / "p" / "recipe.yaml").write_text("kept")
    policy.save(tmp_path / "p")
    assert (tmp_path / "p" / "recipe.yaml").read_text() == "kept"
    assert sorted(f.name for f in tmp_path.iterdir()) == ["p"]
    assert json.loads((tmp_path / "p" / "policy.json").read_text())["parameters"]["head"] > 0


@pytest.mark.parametrize("inside_run", [False, True])
def test_a_policy_loads_after_a_kill_between_the_renames_of_its_saving(policy, tmp_path, monkeypatch, inside_run):
    folder = tmp_path / "run" / "policy"
    policy.save(folder)
    monkeypatch.setattr(write_aside, "exchange", lambda *_: False)  # as on a system without an exchange of folders
    rename = Path.rename

    def killed_before_the_second(source, target):
        if source.parent.name.endswith(".new"):
            raise KeyboardInterrupt
        return rename(source, target)

    monkeypatch.setattr(Path, "rename", killed_before_the_second)
    with pytest.raises(KeyboardInterrupt):
        policy.save(folder)
    monkeypatch.undo()
    assert not folder.exists()
    loaded = load_policy(folder.parent if inside_run else folder)
    loaded.reset(TEXTS[0])
    assert loaded.act(observation(policy.contract)).shape == (policy.contract.chunk_length, policy.contract.action_dim)
    assert [f.name for f in folder.parent.iterdir() if not f.name.endswith(".new")] == ["policy"]


def test_a_policy_acts_on_the_oracles_points(policy, contract):
    def chunk(oracle):
        policy.reset(TEXTS[0])
        return policy.act(observation(contract), oracle=oracle)

    points = np.full((2, 2, 3), 0.5)
    near, far = (OraclePoints(points, np.full((2, 3), x)) for x in (0.1, 0.3))
    np.testing.assert_array_equal(chunk(near), chunk(near))
    assert not np.array_equal(chunk(near), chunk(far))
    assert not np.array_equal(chunk(near), chunk(None))
    outside = OraclePoints(np.concatenate([points[..., :2], np.zeros((2, 2, 1))], -1), near.located)
    assert not np.array_equal(chunk(near), chunk(outside))


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize(
    ("file", "auto_map"),
    [
        ("config.json", {"AutoConfig": "evil.Evil", "AutoModelForImageTextToText": "evil.Evil"}),
        ("tokenizer_config.json", {"AutoTokenizer": ["evil.Evil", None]}),
        ("preprocessor_config.json", {"AutoImageProcessor": "evil.Evil"}),
    ],
)
def test_loading_never_runs_code_of_the_folder_whatever_is_answered(
    policy, tmp_path, monkeypatch, file, auto_map, known
):
    """``yes | vla-agent eval`` on a folder that brings a Python file and asks transformers to import it."""
    folder, ran = tmp_path / "p", tmp_path / "ran"
    policy.save(folder)
    (folder / "backbone" / "evil.py").write_text(f"open({str(ran)!r}, 'w').close()\nclass Evil: pass\n")
    path = folder / "backbone" / file
    described = json.loads(path.read_text()) | {"auto_map": auto_map}
    if not known:
        kinds = ("model_type", "tokenizer_class", "image_processor_type", "processor_class")
        described |= {key: "Unheard" for key in kinds if key in described}
    path.write_text(json.dumps(described))
    monkeypatch.setattr("sys.stdin", io.StringIO("yes\n" * 20))
    with contextlib.suppress(CheckpointError):
        load_policy(folder)
    assert not ran.exists()
