"""The normaliser: what goes where, back again, and statistics that are refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vla_agent.errors import CheckpointError
from vla_agent.models.normaliser import Normaliser

QUICK = settings(derandomize=True, max_examples=50, deadline=None, database=None)
RAMP = np.linspace(-3.0, 5.0, 1001)  # its 0.5 % and 99.5 % quantiles: -2.96, 4.96


def made(shift: list[float], scale: list[float]) -> Normaliser:
    normaliser = Normaliser(len(shift))
    normaliser.shift.copy_(torch.tensor(shift))
    normaliser.scale.copy_(torch.tensor(scale))
    return normaliser


def test_the_map_and_its_inverse():
    normaliser = made([1.0, -2.0], [2.0, 0.5])
    x = torch.tensor([[3.0, -2.0], [1.0, -1.0]])
    assert normaliser(x).tolist() == [[1.0, 0.0], [0.0, 2.0]]
    assert normaliser.inverse(torch.tensor([[1.0, 0.0], [0.0, 2.0]])).tolist() == x.tolist()


def test_quantiles_go_to_minus_one_and_one():
    normaliser = Normaliser(2)
    normaliser.fit_range(np.stack([RAMP, 0.5 * RAMP + 7], axis=1))
    assert normaliser.shift.tolist() == pytest.approx([1.0, 7.5], rel=1e-6)
    assert normaliser.scale.tolist() == pytest.approx([3.96, 1.98], rel=1e-6)
    ends = normaliser(torch.tensor([[-2.96, 5.52], [4.96, 9.48]]))
    assert ends.tolist() == [pytest.approx([-1, -1], abs=1e-5), pytest.approx([1, 1], abs=1e-5)]


def test_one_in_a_thousand_does_not_stretch_the_range():
    spoilt = RAMP.copy()
    spoilt[-1] = 1e6
    normaliser = Normaliser(1)
    normaliser.fit_range(spoilt[:, None])
    assert normaliser.scale.item() == pytest.approx(3.96, rel=1e-3)


def test_moments_become_zero_and_one():
    x = np.array([[1.0, 10.0], [3.0, 30.0]])
    normaliser = Normaliser(2)
    normaliser.fit_moments(x)
    assert normaliser.shift.tolist() == [2.0, 20.0] and normaliser.scale.tolist() == [1.0, 10.0]


@pytest.mark.parametrize("fit", ["fit_range", "fit_moments"])
def test_what_hardly_varies_gets_the_floor(fit):
    flat = Normaliser(2)
    getattr(flat, fit)(np.stack([np.full(100, 3.0), np.tile([2.99, 3.01], 50)], axis=1))
    assert flat.scale.tolist() == pytest.approx([0.01, 0.01]) and flat.shift.tolist() == pytest.approx([3.0, 3.0])
    own = Normaliser(1)
    getattr(own, fit)(np.tile([2.0, 4.0], 50)[:, None], floor=0.5)
    assert own.scale.item() == pytest.approx(1.0)
    getattr(own, fit)(np.tile([2.0, 4.0], 50)[:, None], floor=1.5)
    assert own.scale.item() == pytest.approx(1.5)


def test_an_unfitted_normaliser_is_never_the_identity():
    assert (
        torch.isnan(Normaliser(2)(torch.zeros(1, 2))).all() and torch.isnan(Normaliser(2).inverse(torch.ones(2))).all()
    )
    with pytest.raises(CheckpointError) as caught:
        Normaliser(2).require_fitted("head.safetensors", "state_normaliser")
    assert (caught.value.file, caught.value.key) == ("head.safetensors", "state_normaliser")


def test_statistics_travel_with_the_weights():
    state = made([1.0, 2.0], [3.0, 4.0]).state_dict()
    assert {name: values.tolist() for name, values in state.items()} == {"shift": [1.0, 2.0], "scale": [3.0, 4.0]}
    loaded = Normaliser(2)
    loaded.load_state_dict(state)
    loaded.require_fitted("", "")


@pytest.mark.parametrize(
    ("shift", "scale"),
    [
        ([0.0, float("nan")], [1.0, 1.0]),
        ([0.0, float("-inf")], [1.0, 1.0]),
        ([0.0, 0.0], [1.0, float("inf")]),
        ([0.0, 0.0], [float("nan"), 1.0]),
        ([0.0, 0.0], [1.0, 0.0]),
        ([0.0, 0.0], [1.0, -1.0]),
    ],
)
def test_each_unusable_statistic_is_refused(shift, scale):
    with pytest.raises(CheckpointError, match="missing or unusable"):
        made(shift, scale).require_fitted("file", "key")


def test_the_smallest_scale_and_any_shift_are_usable():
    made([-3e38, 0.0], [1e-45, 3e38]).require_fitted("file", "key")


NUMBERS = st.floats(-100, 100, width=32)


@QUICK
@given(st.lists(st.tuples(NUMBERS, NUMBERS), min_size=2, max_size=20), st.sampled_from(["fit_range", "fit_moments"]))
def test_whatever_it_is_fitted_to_it_goes_there_and_back(rows, fit):
    x = np.array(rows)
    normaliser = Normaliser(2)
    getattr(normaliser, fit)(x)
    normaliser.require_fitted("", "")
    there = normaliser(torch.tensor(x, dtype=torch.float32))
    assert torch.isfinite(there).all()
    assert torch.allclose(normaliser.inverse(there), torch.tensor(x, dtype=torch.float32), atol=1e-3)
