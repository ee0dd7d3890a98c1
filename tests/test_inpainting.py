"""Guided sampling of the flow head: follows what is decided, leaves the rest, and plain sampling is what it was."""

import numpy as np
import pytest
import torch

from vla_agent.errors import OptionError
from vla_agent.execution.realtime import commit
from vla_agent.models.head import DiffusionHead, HeadConfig
from vla_agent.models.inpainting import sample_guided
from vla_agent.policy import load_policy

T, A = 8, 3


class Gaussian(DiffusionHead):
    """A flow head whose network is exact for chunks drawn from N(0, I): E[noise - chunk | x] in closed form."""

    def predict(self, noisy, level, condition, modulation=None):
        s = level[:, None, None]
        return noisy * (2 * s - 1) / ((1 - s) ** 2 + s**2)


def head(kind=DiffusionHead, **options) -> DiffusionHead:
    torch.manual_seed(0)
    made = kind(HeadConfig(width=16, depth=1, heads=2, patch=2, **options), T, A, 5, 16)
    for layer in (made.tokens_out, *(b.cross_out for b in made.blocks)):  # zero until trained
        torch.nn.init.normal_(layer.weight, std=0.3)
    return made.requires_grad_(False)


def inputs(batch=2):
    return torch.randn(batch, 4, 16, generator=torch.Generator().manual_seed(1)), torch.zeros(batch, 5), None


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_no_weight_is_plain_sampling():
    model, free = head(), torch.zeros(T)
    plain = model.sample(*inputs(), generator=generator())
    guided = sample_guided(model, *inputs(), torch.ones(2, T, A), free, generator())
    torch.testing.assert_close(guided, plain)


def test_frozen_rows_follow_the_target_and_free_rows_stay_free():
    model = head(Gaussian, serve_steps=6)
    weights = torch.tensor([1.0, 1, 1, 0.5, 0.1, 0, 0, 0])
    target = torch.full((64, T, A), 0.8)
    batch = inputs(64)
    guided = sample_guided(model, *batch, target, weights, generator())
    plain = model.sample(*batch, generator=generator())
    off = (guided - target).abs().mean(dim=(0, 2))
    assert off[:3].max() < 0.15 < 0.6 < (plain - target).abs().mean(dim=(0, 2)).min()
    torch.testing.assert_close(guided[:, 5:], plain[:, 5:])


def test_guidance_works_in_inference_mode_and_repeats_itself():
    model, weights, target = head(), torch.linspace(1, 0, T), torch.full((2, T, A), 0.3)
    outside = sample_guided(model, *inputs(), target, weights, generator())
    with torch.inference_mode():
        features, state, _ = inputs()
        inside = sample_guided(model, features + 0, state + 0, None, target, weights, generator())
    assert torch.equal(outside, inside) and torch.isfinite(outside).all()


def test_a_ddpm_head_cannot_be_guided():
    with pytest.raises(OptionError, match="flow"):
        sample_guided(head(objective="ddpm"), *inputs(), torch.zeros(2, T, A), torch.ones(T))


def test_the_shipped_policy_continues_what_is_decided():
    policy = load_policy("policies/tabletop-nano")
    contract = policy.contract
    images = {c.name: np.full((c.height, c.width, 3), 120, np.uint8) for c in contract.cameras}
    observation = {"images": images, "state": policy.state_normaliser.shift.numpy()}
    policy.reset("put the red block in the tray", seed=1)
    present = policy.act(observation)
    plain = policy.act(observation)
    guided = {}
    for name, committed in (("none", None), ("guided", commit(present, contract.chunk_length, 4))):
        policy.reset("put the red block in the tray", seed=2)
        guided[name] = policy.act(observation, committed)
    assert plain.shape == guided["guided"].shape == (contract.chunk_length, contract.action_dim)
    scale = policy.action_normaliser.scale.numpy()
    off = {name: np.abs((chunk - present)[:4] / scale).mean() for name, chunk in guided.items()}
    assert off["guided"] == 0 < off["none"]  # the frozen rows are what runs, whatever the head would have liked
    assert np.abs((guided["guided"] - plain)[4:] / scale).max() > 0  # the rows behind them begin elsewhere
