"""The arithmetic of the comparison with SmolVLA, and what its rows say; the policies themselves: the benchmark."""

from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks.policy import policy_vs_smolvla as comparison
from benchmarks.policy.policy_vs_smolvla import Ours, Terms, Theirs, ratio, row

SAID = {"expert": 35_100_000, "layers": 16}


def policy(head=14_000_000, quantised=""):
    config = SimpleNamespace(vision_config=SimpleNamespace(patch_size=16), scale_factor=4)
    backbone = SimpleNamespace(model=SimpleNamespace(config=config))
    return SimpleNamespace(
        parameter_counts=lambda: {"head": head}, backbone=backbone, quantised=quantised, compiled=False
    )


def test_the_ratio_is_of_rounds_so_that_a_slow_round_counts_for_both():
    mean, low, high = ratio([2.0, 20.0, 4.0], [1.0, 10.0, 2.0])
    assert (mean, low, high) == pytest.approx((2.0, 2.0, 2.0))


def test_the_interval_holds_the_mean_and_widens_with_the_rounds():
    calm, wild = ratio([2.0, 2.1, 1.9, 2.0], [1.0] * 4), ratio([1.0, 3.0, 1.0, 3.0], [1.0] * 4)
    for mean, low, high in (calm, wild):
        assert low < mean < high
    assert wild[2] - wild[1] > 5 * (calm[2] - calm[1])
    assert wild == ratio([1.0, 3.0, 1.0, 3.0], [1.0] * 4)  # the same draws each time


def test_a_row_says_what_is_equal_and_what_is_not():
    said = row(Terms("a", Theirs(512, 50), Ours(256, quantise="int8")), [2.0], [1.0], policy(quantised="int8"), SAID)
    assert said["LeRobot, ms"] == 2000 and said["ours, ms"] == 1000 and said["ratio"] == 2
    assert said["vision px"] == "512 against 256" and said["image tokens"] == "128 against 32"
    assert said["chunk"] == "50 against 16" and said["steps"] == "10" and said["language layers"] == "16"
    assert said["weights"] == "float32 against int8" and said["expert or head, M"] == "35.1 against 14.0"
    assert said["computed by"] == "PyTorch"


def test_the_value_takes_the_faster_precision_of_each_in_every_round():
    terms = comparison.TERMS[1:4]
    half, whole, torch_alone = terms
    taken = {half.theirs: [3.0, 2.0], whole.theirs: [2.0, 4.0], half.ours: [1.0, 1.0], whole.ours: [2.0, 0.5]}
    taken[torch_alone.ours] = [0.1, 0.1]  # not in OpenVINO
    rows = [row(t, taken[t.theirs], taken[t.ours], policy(), SAID) for t in terms]
    said = comparison.fastest(terms, taken, rows)
    assert said["ratio"] == pytest.approx((2 / 1 + 2 / 0.5) / 2) and said["LeRobot, ms"] == 2000
    assert said["weights"] == "bfloat16 against bfloat16" and said["computed by"] == "PyTorch against OpenVINO"


def test_all_rows_have_the_same_backbone_pictures_and_steps_and_the_last_follows_our_recipe():
    for terms in comparison.TERMS:
        theirs, ours = terms.theirs, terms.ours
        assert (theirs.image, theirs.chunk, theirs.steps) == (ours.image, ours.chunk, ours.steps) and ours.layers == 16
    assert {t.ours.quantise for t in comparison.TERMS if t.ours.openvino} == {"int8", "bf16", ""}
    shipped = comparison.shipped()
    assert shipped.theirs == Theirs(512, 50, 10)  # SmolVLA's defaults
    assert shipped.ours == Ours(256, 16, 6, 15)  # policies/smolvlm-256m.yaml


class Deaf:
    """A child whose image tokens are another backbone's."""

    def __init__(self, tokens):
        self.tokens = tokens

    def ask(self, request):
        np.save(request["tokens"], self.tokens)
        return {}


@pytest.mark.parametrize("off", [0.0, 0.5])
def test_it_refuses_to_compare_where_the_backbones_differ(tmp_path, off):
    import torch

    tokens = torch.randn(2, 4, 8)
    backbone = SimpleNamespace(pixels=lambda images: images, image_tokens=lambda pixels: SimpleNamespace(tokens=tokens))
    child = Deaf(tokens.numpy() + off)
    observation = {"images": {"front": np.zeros((2, 2, 3)), "wrist": np.zeros((2, 2, 3))}}
    arguments = child, SimpleNamespace(backbone=backbone), Theirs(), observation, tmp_path / "tokens.npy"
    if off:
        with pytest.raises(RuntimeError, match="are not ours"):
            comparison.token_difference(*arguments)
    else:
        assert comparison.token_difference(*arguments) == 0
