"""The parts of the robust options: images that move with their points, wordings, interpolation, verdicts."""

from __future__ import annotations

import copy
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from vla_agent.errors import RecipeError
from vla_agent.evaluation.compare_tuned import judge
from vla_agent.finetuning.finetune_recipe import make_finetune
from vla_agent.finetuning.robust.consistency import consistency_loss
from vla_agent.finetuning.robust.tram import sharpness_aware
from vla_agent.finetuning.robust.wordings import rewordings, task_wordings
from vla_agent.models.heads.diffusion_head import DiffusionHead
from vla_agent.models.heads.head_config import HeadConfig, HeadDims, HeadInputs
from vla_agent.models.weight_interpolation import interpolate
from vla_agent.training.recipe import Augment
from vla_agent.training.stages.augmentation import augment


def spot(u=0.4, v=0.6, size=48):
    """Two views with one white spot each, (1, 2, size, size, 3), and its point in both, (1, 2, 1, 3)."""
    images = torch.zeros(1, 2, size, size, 3, dtype=torch.uint8)
    row, column = int(v * size), int(u * size)
    images[:, :, row - 1 : row + 2, column - 1 : column + 2] = 255
    points = torch.tensor([(column + 0.5) / size, (row + 0.5) / size, 1.0]).expand(1, 2, 1, 3).clone()
    return images, points, torch.zeros(1, 1, 3)


def test_points_move_with_images_that_are_shifted_and_cropped():
    images, points, located = spot()
    for seed in range(8):
        generator = torch.Generator().manual_seed(seed)
        moved, places, where = augment(images, points, located, Augment(shift=4, crop=0.2, colour=0), generator)
        assert where.isnan().all(), "the map from image to table no longer holds"
        for view in range(2):
            bright = moved[0, view, ..., 0].numpy().astype(float)
            rows, columns = np.indices(bright.shape) + 0.5
            centre = np.array([(columns * bright).sum(), (rows * bright).sum()]) / bright.sum() / 48
            np.testing.assert_allclose(places[0, view, 0, :2], centre, atol=0.5 / 48)
            assert places[0, view, 0, 2] == 1


def test_points_that_leave_the_image_are_no_longer_inside_and_unknown_ones_stay_unknown():
    images, points, located = spot(u=0.02)
    points[0, 1] = torch.nan
    gone = 0
    for seed in range(20):
        generator = torch.Generator().manual_seed(seed)
        _, places, _ = augment(images, points, located, Augment(shift=6, colour=0), generator)
        assert places[0, 1].isnan().all()
        assert places[0, 0, 0, 2] == float(places[0, 0, 0, 0] >= 0)
        gone += int(places[0, 0, 0, 2] == 0)
    assert 0 < gone < 20


def test_only_a_share_of_the_samples_is_moved_and_keeps_no_position():
    images, points, located = (part.expand(400, *part.shape[1:]) for part in spot())
    settings = Augment(shift=4, share=0.25, colour=0)
    moved, places, where = augment(images, points, located, settings, torch.Generator().manual_seed(0))
    lost = where.isnan().all(-1).all(-1)
    assert 0.18 < lost.float().mean() < 0.32
    assert torch.equal(moved[~lost], images[~lost]) and torch.equal(places[~lost], points[~lost])
    changed = (moved[lost] != images[lost]).flatten(1).any(1)
    assert changed.float().mean() > 0.9, "a shift by nothing in both views is rare"


@pytest.mark.parametrize("key", ["flip", "mirror"])
def test_a_mirrored_image_is_refused_for_what_it_would_do(key):
    base = {"base": "policies/tabletop-nano", "data": {"demonstrations": ["one"]}}
    with pytest.raises(RecipeError, match="left and right in instructions, and the actions"):
        make_finetune(base | {"robust": {"augment": {key: "horizontal"}}})


def test_light_changes_colours_alone_and_the_draws_decide():
    images, points, located = spot()
    settings = Augment(colour=0.3)
    one, same = (augment(images, points, located, settings, torch.Generator().manual_seed(1))[0] for _ in range(2))
    assert torch.equal(one, same) and not torch.equal(one, images)
    assert torch.equal(augment(images, points, located, Augment(colour=0), torch.Generator())[0], images)


def test_other_words_keep_the_objects():
    variants = rewordings("put the red mug in the tray")
    assert variants[0] == "put the red mug in the tray" and len(set(variants)) == len(variants) > 10
    assert all("the red mug" in v and "the tray" in v for v in variants)
    assert "place the red mug in the tray" in variants and "please set the red mug in the tray" in variants
    assert all("in the open box" in v for v in rewordings("close the lid in the open box"))


def test_a_task_is_given_in_the_wordings_of_its_file_but_never_in_held_out_ones():
    from sim.tasks.task import load_suite

    filled = {"target": "red mug", "reference": "blue cube", "direction": "left of", "colour": "green", "zone": "red"}
    filled |= {"second": "green star"}
    for name, family in load_suite().items():
        wordings = family.wordings
        for wording in wordings.train:
            variants = rewordings(wording.format(**filled))
            assert {w.format(**filled) for w in wordings.train} <= set(variants), name
            assert not {w.format(**filled) for w in wordings.held_out} & set(variants), name
    swapped = rewordings("put the blue cube on the red mug")
    assert "stack the blue cube on the red mug" in swapped and "stack the red mug on the blue cube" not in swapped
    assert task_wordings("dance on the table") == {"train": (), "held_out": ()}
    assert task_wordings("put the red house on the blue cube")["train"] == ()


def test_consistency_is_the_distance_of_tuned_on_perturbed_from_frozen_on_clean_input():
    """CoPrompt (Roy and Etemad 2024): 1 - cosine of the features; here also the answers' squared distance."""
    head = DiffusionHead(HeadConfig(width=8, depth=1, heads=2), HeadDims(4, 2, 3, 6))
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    base = SimpleNamespace(head=head)
    tuned = SimpleNamespace(head=copy.deepcopy(head))
    chunk, state = torch.zeros(2, 4, 2), torch.zeros(2, 3)
    clean = torch.randn(2, 5, 6, generator=torch.Generator().manual_seed(2))

    def distance(hidden, mask=None):
        generator = torch.Generator().manual_seed(3)
        given, base_given = HeadInputs(hidden, state, None, mask), HeadInputs(clean, state, None, mask)
        return consistency_loss(tuned, given, base, base_given, chunk, generator)

    assert distance(clean).item() < 1e-6
    hidden = (-clean).requires_grad_()
    far = distance(hidden)
    assert far.item() > 2 - 1e-5, "opposite features are at the cosine distance 2"
    far.backward()
    assert hidden.grad.abs().sum() > 0 and all(p.grad is None for p in base.head.parameters())
    one = torch.tensor([[1, 0, 0, 0, 0]] * 2)
    padding = clean.clone()
    padding[:, 1:] *= -1
    assert distance(padding, one).item() < 1e-6, "padding does not count"


def test_a_steady_function_is_trained_by_its_plain_gradient():
    """TRAM (Sherborne et al. 2024): where the outputs do not move under perturbed input, the step up is 0."""
    layer = torch.nn.Linear(1, 1, bias=False)
    layer.weight.data.fill_(2.0)
    module = torch.nn.Module()
    module.layer = layer
    module.forward = lambda x: {"loss": module.layer(x).square().sum()}
    losses = sharpness_aware(
        module, {"layer.weight": layer.weight}, lambda: (torch.ones(1, 1),), torch.tensor(0.0), 5.0
    )
    losses["loss"].backward()
    assert losses["loss"].item() == 4.0 and layer.weight.grad.item() == 4.0


def test_interpolation_has_the_very_bits_at_its_ends():
    base, tuned = ({"w": torch.randn(7), "n": torch.tensor(k)} for k in (1, 2))
    assert all(torch.equal(interpolate(base, tuned, 1.0)[k], tuned[k]) for k in base)
    assert all(torch.equal(interpolate(base, tuned, 0.0)[k], base[k]) for k in base)
    torch.testing.assert_close(interpolate(base, tuned, 0.25)["w"], 0.75 * base["w"] + 0.25 * tuned["w"])


def test_the_sharpness_aware_gradient_is_taken_up_the_slope():
    layer = torch.nn.Linear(1, 1, bias=False)
    layer.weight.data.fill_(2.0)

    class Square(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = layer

        def forward(self, x):
            return {"loss": self.layer(x).square().sum()}

    losses = sharpness_aware(
        Square(), {"layer.weight": layer.weight}, lambda: (torch.ones(1, 1),), torch.tensor(2.0), 0.25
    )
    losses["loss"].backward()
    assert losses["loss"].item() == 2.5**2  # 2 + 0.25 * 2 along a unit step
    assert layer.weight.grad.item() == 5.0 and layer.weight.item() == 2.0


def outcomes(task, good):
    return {(task, seed): seed < good for seed in range(40)}


def test_the_verdict_says_better_only_where_the_interval_leaves_zero_out():
    groups = {"new": ("stack",), "old": ("press",)}
    base = outcomes("stack", 4) | outcomes("press", 36)
    clear = judge(base, outcomes("stack", 30) | outcomes("press", 20), groups)
    assert "better: base 4 of 40, tuned 30 of 40, +65 points" in clear["verdict"][0]
    assert "forgotten" in clear["verdict"][1]
    unclear = judge(base, outcomes("stack", 5) | outcomes("press", 36), groups)
    assert "not better" in unclear["verdict"][0] and "no difference shown" in unclear["verdict"][1]
    assert unclear["new"]["difference"]["interval"][0] < 0 < unclear["new"]["difference"]["interval"][1]
    worse = judge(base, outcomes("stack", 0) | outcomes("press", 36), {"new": ("press",), "old": ()})
    assert len(worse["verdict"]) == 1


def test_the_gain_of_lora_over_fulls_is_taken_over_families_sizes_and_scenes():
    from benchmarks.finetune.finetune_new_task import summarise

    def pair(method, before, after, old):
        was = outcomes("lift", before) | {("stack", seed): seed < 40 for seed in range(40)}
        return method, "lift", was, outcomes("lift", after) | {("stack", seed): seed < old for seed in range(40)}

    row = {"method": "lora", "base": 0.1, "demonstrations": 50, "share": 0.04}
    pairs = [pair("lora", 4, 24, 40), pair("lora", 4, 32, 39), pair("full", 4, 30, 10), pair("full", 4, 28, 10)]
    found = summarise([row | {"success": 0.6}, row | {"success": 0.8}], pairs)
    assert found["value"] == 48 / 50
    assert found["interval"][0] < found["value"] < found["interval"][1]
    assert "it loses 1.2 points of the old" in found["notes"] and not found["passed"]  # one of two rows has under 70 %
    assert summarise([row | {"success": 0.8}], pairs)["passed"]
    assert not summarise([row | {"success": 0.8, "base": 0.3}], pairs)["passed"]
    forgetful = [pair("lora", 4, 32, 30), pair("full", 4, 30, 40)]
    assert not summarise([row | {"success": 0.8}], forgetful)["passed"]
