"""The sight: its losses reward what is where, and its maps are probabilities."""

import pytest
import torch

from vla_agent.models.backbones.pointing.sight import Sight, sight_losses

NAMES, SIZE = (3, 2), 6


def logits(cell: int, shape: int, colour: int) -> torch.Tensor:
    """(1, 1, 1 + 3 + 2 + 4, 36): one object in a cell."""
    out = torch.full((1, 1, 10, SIZE * SIZE), -9.0)
    out[0, 0, 0, cell] = out[0, 0, 1 + shape, cell] = out[0, 0, 4 + colour, cell] = 9.0
    out[0, 0, 6:8] = 0.0  # in the middle of the cell
    return out


def target() -> tuple[torch.Tensor, torch.Tensor]:
    """One object of shape 2 and colour 1 in the middle of cell 14 = row 2, column 2; and a place without one."""
    named = torch.tensor([[[2, 1], [-1, -1]]])
    boxes = torch.tensor([[[[2.5 / 6, 2.5 / 6, 1.0, 0.5, 0.5], [torch.nan] * 5]]])
    return named, boxes


@pytest.mark.parametrize(("key", "wrong"), [("object", (20, 2, 1)), ("shape", (14, 0, 1)), ("colour", (14, 2, 0))])
def test_each_loss_rewards_its_part(key, wrong):
    named, boxes = target()
    good = sight_losses(logits(14, 2, 1), named, boxes, NAMES, SIZE)
    bad = sight_losses(logits(*wrong), named, boxes, NAMES, SIZE)
    assert good[key] < 0.1 < 1 < bad[key]


def test_a_box_of_the_right_size_costs_less():
    named, boxes = target()
    right, wrong = logits(14, 2, 1), logits(14, 2, 1)
    right[0, 0, 8:, 14] = 0.0  # a sigmoid of one half
    assert sight_losses(right, named, boxes, NAMES, SIZE)["box"] < 0.01
    assert sight_losses(wrong, named, boxes, NAMES, SIZE)["box"] > 1


def test_a_cell_beside_an_object_is_neither_right_nor_wrong():
    named, boxes = target()
    beside = logits(14, 2, 1)
    beside[0, 0, 0, 15] = 9.0
    same = sight_losses(beside, named, boxes, NAMES, SIZE)["object"]
    assert same == pytest.approx(float(sight_losses(logits(14, 2, 1), named, boxes, NAMES, SIZE)["object"]))
    far = logits(14, 2, 1)
    far[0, 0, 0, 17] = 9.0
    assert sight_losses(far, named, boxes, NAMES, SIZE)["object"] > same + 1


def test_an_object_outside_the_image_teaches_nothing_but_that_no_cell_has_one():
    named, boxes = target()
    boxes[..., 2] = 0.0
    losses = sight_losses(torch.full((1, 1, 10, 36), -9.0), named, boxes, NAMES, SIZE)
    assert losses["object"] < 0.01


def test_maps_are_log_probabilities():
    sight = Sight(4, 2, NAMES, width=8)
    maps = sight.look(torch.randn(1, 2, 4, 6, 6))
    assert maps.pairs().shape == (1, 2, 3, 2)
    assert (maps.objects <= 0).all() and (maps.pairs() <= 0).all()
    torch.testing.assert_close(maps.shapes.exp().sum(2), torch.ones(1, 2, 36))
    assert (maps.boxes[:, :, 2:] >= 0).all() and (maps.boxes.abs() <= 1).all()


def test_shapes_and_colours_begin_with_the_backbones_own_names():
    sight, names = Sight(4, 2, NAMES, width=8), torch.nn.Linear(4, sum(NAMES))
    sight.begin_with(names)
    stem = torch.randn(1, 2, 4, 6, 6)
    maps = sight.look(stem)
    wanted = names(stem.movedim(2, -1)).flatten(2, 3).movedim(-1, 2)  # (1, 2, 5, 36)
    torch.testing.assert_close(maps.shapes, wanted[:, :, :3].log_softmax(2))
    torch.testing.assert_close(maps.colours, wanted[:, :, 3:].log_softmax(2))
    assert (maps.objects.exp() < 0.2).all()
