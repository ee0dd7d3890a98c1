"""The action heads: each learns, ignores what it must, and travels in the policy folder."""

import json

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from benchmarks.shared.plausible_state import plausible_state
from vla_agent.contract.tabletop import tabletop_contract
from vla_agent.errors import CheckpointError, OptionError
from vla_agent.models.heads.build_head import build_head
from vla_agent.models.heads.head_config import HeadConfig, HeadDims, HeadInputs

SMALL = {"width": 32, "depth": 1, "heads": 2, "serve_steps": 10}
HEADS = {
    "flow": {"objective": "flow"},
    "ddim": {"objective": "ddpm"},
    "dpmsolver": {"objective": "ddpm", "sampler": "dpmsolver++"},
    "guided": {"condition_dropout": 0.1, "guidance": 1.5},
    "tokens": {"kind": "tokens", "bins": 32},
    "regression": {"kind": "regression"},
}
T, A, D, C = 4, 2, 3, 8


def head(name, **options):
    torch.manual_seed(0)
    return build_head(HeadConfig(**{**SMALL, **HEADS[name], **options}), HeadDims(T, A, D, C))


def with_random_outputs(model):
    """The head with random weights in the layers that start at zero, so that its inputs have an effect."""
    for layer in (model.tokens_out, *(block.cross_out for block in model.blocks)):
        torch.nn.init.normal_(layer.weight, std=0.5)
    return model.eval()


def inputs(batch=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return HeadInputs(torch.randn(batch, 5, C, generator=generator), torch.randn(batch, D, generator=generator))


@pytest.mark.parametrize("name", HEADS)
def test_a_head_learns_a_chunk_from_the_features(name):
    model = head(name)
    target = torch.tensor([[[0.5, -0.5]] * T, [[-0.5, 0.5]] * T])
    features = torch.stack([torch.eye(5, C), torch.eye(5, C).flip(1)])
    state = torch.zeros(2, D)
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
    generator = torch.Generator().manual_seed(0)
    for _ in range(200):
        loss = model.loss(HeadInputs(features, state), target, torch.ones(2, T), draws=16, generator=generator)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    sampled = model.sample(HeadInputs(features, state), generator)
    assert (sampled - target).abs().mean() < 0.25


@pytest.mark.parametrize("name", HEADS)
def test_padding_of_the_features_changes_nothing(name):
    model = with_random_outputs(head(name, condition_dropout=0.1 if name == "guided" else 0.0))
    features, state, *_ = inputs()
    padded = torch.cat([features, torch.full((2, 3, C), 7.0)], dim=1)
    mask = torch.tensor([[1] * 5 + [0] * 3] * 2)
    chunk, valid = torch.rand(2, T, A) - 0.5, torch.ones(2, T)

    def outcome(features, mask):
        generator = torch.Generator().manual_seed(1)
        given = HeadInputs(features, state, None, mask)
        loss = model.loss(given, chunk, valid, draws=2, generator=generator)
        return loss, model.sample(given, generator)

    for plain, other in zip(outcome(features, None), outcome(padded, mask), strict=True):
        torch.testing.assert_close(plain, other, atol=1e-5, rtol=1e-4)
    assert not torch.allclose(outcome(features, None)[0], outcome(padded, None)[0])


@pytest.mark.parametrize("name", ["tokens", "regression"])
def test_steps_without_a_label_do_not_count(name):
    model = with_random_outputs(head(name))
    chunk = torch.rand(2, T, A) - 0.5
    other = chunk.clone()
    other[:, 2:] = 1.0
    valid = torch.tensor([[1.0, 1, 0, 0]] * 2)
    assert model.loss(inputs(), chunk, valid) == model.loss(inputs(), other, valid)
    assert model.loss(inputs(), chunk, torch.ones(2, T)) != model.loss(inputs(), other, torch.ones(2, T))


def test_tokens_decoded_one_by_one_are_those_of_the_whole_sequence():
    """`sample`, with cached keys and values, gives the most likely bins of one causal pass over its own output."""
    model = with_random_outputs(head("tokens", depth=2))
    bins = model.to_bins(model.sample(inputs()))
    condition = model.encode(*inputs())
    previous = torch.nn.functional.pad(bins[:, :-1], (1, 0), value=32)
    modulation = model.modulate(condition.summary)
    logits = model.run(model.embed(previous) + model.position, modulation, condition, causal=True)
    assert torch.equal(logits.argmax(-1), bins)
    assert len(bins.unique()) > 1


def test_bins_lose_at_most_half_their_width():
    model = head("tokens", bins=256)
    chunk = torch.rand(3, T, A) * 3 - 1.5
    assert (model.to_chunk(model.to_bins(chunk)) - chunk).abs().max() <= 1.5 / 256 + 1e-6


def test_guidance_leads_away_from_the_null_condition():
    features, state, *_ = inputs()
    outcome = {}
    for guidance in (0.0, 0.999999, 1.0, 2.0):
        model = with_random_outputs(head("guided", guidance=guidance))
        noisy, level = torch.ones(2, T, A), torch.full((2,), 0.5)
        outcome[guidance] = model.serve(noisy, level, model.serving_condition(features, state, None))
    torch.testing.assert_close(outcome[0.999999], outcome[1.0], atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(outcome[2.0], 2 * outcome[1.0] - outcome[0.0], atol=1e-4, rtol=1e-3)
    other = with_random_outputs(head("guided", guidance=0.0))
    condition = other.serving_condition(*inputs(seed=5)[:1], state, None)
    torch.testing.assert_close(other.serve(noisy, level, condition), outcome[0.0])  # null: independent of the features


def test_the_null_condition_learns():
    model = head("guided")
    torch.nn.init.normal_(model.blocks[0].cross_out.weight)
    torch.nn.init.normal_(model.tokens_out.weight)
    model.loss(inputs(64), torch.zeros(64, T, A), torch.ones(64, T)).backward()
    assert model.null_feature.grad.abs().sum() > 0


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"patch": 3}, "head.patch"),
        ({"heads": 5}, "head.heads"),
        ({"guidance": 1.5}, "head.guidance"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(options, key):
    with pytest.raises(OptionError, match=key):
        build_head(HeadConfig(**{**SMALL, **options}), HeadDims(T, A, D, C))


@pytest.mark.parametrize("options", [{"kind": "magic"}, {"widht": 32}, {"width": 0}])
def test_settings_that_do_not_exist_are_refused(options):
    with pytest.raises(ValidationError, match=next(iter(options))):
        HeadConfig(**options)


def test_a_named_size_is_cogacts():
    named = HeadConfig(size="S", kind="regression")
    config = build_head(named, HeadDims(T, A, D, C)).config
    assert config == named.resolved() and "size" not in named.to_dict()
    assert (config.width, config.depth, config.heads, config.kind) == (384, 6, 4, "regression")


@pytest.mark.parametrize("name", HEADS)
def test_each_head_travels_in_the_policy_folder(name, tmp_path):
    from benchmarks.shared.random_vlms import save_small_vlm
    from vla_agent.models.backbones.pretrained.pretrained_backbone import VLMOptions
    from vla_agent.models.backbones.pretrained.pretrained_files import open_vlm
    from vla_agent.policy.loading import load_policy
    from vla_agent.policy.policy import VLAPolicy

    contract = tabletop_contract()
    backbone = open_vlm(save_small_vlm("smolvlm", tmp_path / "vlm"), VLMOptions(layer=1))
    policy = VLAPolicy(contract, backbone, HeadConfig(**{**SMALL, **HEADS[name], "serve_steps": 2}))
    rng = np.random.default_rng(0)
    policy.action_normaliser.fit_range(rng.normal(size=(64, contract.action_dim)))
    policy.state_normaliser.fit_moments(rng.normal(size=(64, contract.state_dim)))
    with_random_outputs(policy.head)
    policy.save(tmp_path / "p")
    once = load_policy(tmp_path / "p")
    once.save(tmp_path / "q")
    observation = {
        "images": {c.name: rng.integers(0, 256, (c.height, c.width, 3), dtype=np.uint8) for c in contract.cameras},
        "state": plausible_state(contract, rng),
    }
    chunks = []
    for p in (once, load_policy(tmp_path / "q")):
        p.reset("open the drawer", seed=3)
        chunks.append(p.act(observation))
    np.testing.assert_array_equal(*chunks)
    file = tmp_path / "p/policy.json"
    description = json.loads(file.read_text())
    assert description["head"]["kind"] == HEADS[name].get("kind", "diffusion")
    for key in ("kind", "sampler", "condition_dropout", "guidance", "bins"):  # as policies were written before
        del description["head"][key]
    file.write_text(json.dumps(description))
    if name in ("flow", "ddim", "dpmsolver"):
        load_policy(tmp_path / "p")
    else:
        with pytest.raises(CheckpointError, match="head's weights"):
            load_policy(tmp_path / "p")
