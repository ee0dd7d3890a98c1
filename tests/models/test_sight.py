"""The sight: its losses reward what is where, and its maps are probabilities."""

import numpy as np
import pytest
import torch

from vla_agent.models.backbones.pointing.sight import Sight, SightLabels, SightSizes, sight_losses

SIZES, SIZE = SightSizes(shapes=3, colours=2), 6
HEIGHT, PLACE, FIXTURE = 10, 11, 14  # first channels of these


def logits(cell: int, shape: int, colour: int) -> torch.Tensor:
    """(1, 1, channels, 36): one object in a cell, in the tray; fixture 3, a zone of colour 1, in cell 8."""
    out = torch.full((1, 1, sum(SIZES.parts), SIZE * SIZE), -9.0)
    out[0, 0, 0, cell] = out[0, 0, 1 + shape, cell] = out[0, 0, 4 + colour, cell] = 9.0
    out[0, 0, 6:8] = 0.0  # in the middle of the cell
    out[0, 0, HEIGHT] = 0.3
    out[0, 0, PLACE + 1, cell] = out[0, 0, FIXTURE + 3, 8] = 9.0
    return out


def target(inside: float = 1.0) -> SightLabels:
    """One object of shape 2, colour 1 in the middle of cell 14 = row 2, column 2; a place without one; one zone."""
    return SightLabels(
        named=torch.tensor([[[2, 1], [-1, -1]]]),
        boxes=torch.tensor([[[[2.5 / 6, 2.5 / 6, inside, 0.5, 0.5], [torch.nan] * 5]]]),
        heights=torch.tensor([[0.03, torch.nan]]),
        places=torch.tensor([[1, -1]]),
        fixtures=torch.tensor([[[1, 1]]]),
        fixture_points=torch.tensor([[[[2.5 / 6, 1.5 / 6, 1.0]]]]),
    )


def losses(found: torch.Tensor, labels: SightLabels | None = None) -> dict[str, torch.Tensor]:
    return sight_losses(found, labels or target(), SIZES, SIZE)


@pytest.mark.parametrize(("key", "wrong"), [("object", (20, 2, 1)), ("shape", (14, 0, 1)), ("colour", (14, 2, 0))])
def test_each_loss_rewards_its_part(key, wrong):
    assert losses(logits(14, 2, 1))[key] < 0.1 < 1 < losses(logits(*wrong))[key]


@pytest.mark.parametrize(
    ("key", "channel", "cell", "value"),
    [("height", HEIGHT, 14, 3.0), ("place", PLACE + 2, 14, 18.0), ("fixture", FIXTURE + 3, 20, 9.0)],
)
def test_heights_places_and_fixtures_are_rewarded(key, channel, cell, value):
    wrong = logits(14, 2, 1)
    assert losses(wrong)[key] < 0.1
    wrong[0, 0, channel, cell] = value
    assert losses(wrong)[key] > 1


def test_an_object_in_the_gripper_lies_nowhere():
    labels = target()._replace(places=torch.tensor([[-1, -1]]))
    assert losses(logits(14, 2, 1), labels)["place"] == 0


def test_a_fixture_of_another_colour_in_the_same_cell_is_wrong():
    wrong = logits(14, 2, 1)
    wrong[0, 0, FIXTURE + 2, 8] = 9.0
    assert losses(wrong)["fixture"] > 5


def test_a_box_of_the_right_size_costs_less():
    right = logits(14, 2, 1)
    right[0, 0, 8:10, 14] = 0.0  # a sigmoid of one half
    assert losses(right)["box"] < 0.01
    assert losses(logits(14, 2, 1))["box"] > 1


def test_a_cell_beside_an_object_is_neither_right_nor_wrong():
    beside, far = logits(14, 2, 1), logits(14, 2, 1)
    beside[0, 0, 0, 15] = far[0, 0, 0, 17] = 9.0
    same = losses(beside)["object"]
    assert same == pytest.approx(float(losses(logits(14, 2, 1))["object"]))
    assert losses(far)["object"] > same + 1


def test_an_object_outside_the_image_teaches_nothing_but_that_no_cell_has_one():
    assert losses(torch.full((1, 1, sum(SIZES.parts), 36), -9.0), target(inside=0.0))["object"] < 0.01


def test_maps_are_log_probabilities():
    sight = Sight(4, 2, SIZES, width=8)
    maps = sight.look(torch.randn(1, 2, 4, 6, 6)).arrays()
    assert maps.pairs().shape == (1, 2, 3, 2) and maps.fixtures.shape == (1, 2, 2, 2, 36)
    assert (maps.fixtures <= 0).all() and (maps.places <= 0).all()
    assert (maps.objects <= 0).all() and (maps.pairs() <= 0).all()
    np.testing.assert_allclose(np.exp(maps.shapes).sum(2), 1, rtol=1e-5)
    assert (maps.boxes[:, :, 2:] >= 0).all() and (abs(maps.boxes) <= 1).all()


def test_shapes_and_colours_begin_with_the_backbones_own_names():
    sight, names = Sight(4, 2, SIZES, width=8), torch.nn.Linear(4, 5)
    sight.begin_with(names)
    stem = torch.randn(1, 2, 4, 6, 6)
    _, shapes, colours, *_ = sight(stem).split(SIZES.parts, dim=2)
    wanted = names(stem.movedim(2, -1)).flatten(2, 3).movedim(-1, 2)  # (1, 2, 5, 36)
    torch.testing.assert_close(shapes, wanted[:, :, :3])
    torch.testing.assert_close(colours, wanted[:, :, 3:])
    assert (sight.look(stem).objects.exp() < 0.2).all()


@pytest.mark.parametrize("context", [0, 8])
def test_with_context_names_depend_on_what_the_other_view_shows(context):
    torch.manual_seed(0)
    sight, stem = Sight(4, 2, SIZES, width=8, context=context), torch.randn(1, 2, 4, 6, 6)
    torch.nn.init.normal_(sight.out.weight)
    brighter = torch.stack([stem[:, 0], 3 * stem[:, 1]], dim=1)

    def moved() -> float:
        return float((sight(stem) - sight(brighter))[:, 0].detach().abs().max())

    assert moved() == 0  # an untrained one changes nothing yet
    if context:
        torch.nn.init.normal_(sight.scene[2].weight)
        assert moved() > 0.1


def test_each_scene_has_its_own_context():
    torch.manual_seed(0)
    sight, stems = Sight(4, 2, SIZES, width=8, context=8).requires_grad_(False), torch.randn(3, 2, 4, 6, 6)
    torch.nn.init.normal_(sight.out.weight)
    torch.nn.init.normal_(sight.scene[2].weight)
    torch.testing.assert_close(sight(stems), torch.cat([sight(stem[None]) for stem in stems]))


def test_a_name_is_read_where_the_centre_lies():
    sight, stem = Sight(4, 1, SIZES, width=8), torch.zeros(1, 1, 4, 6, 6)
    for part in sight.parameters():
        torch.nn.init.zeros_(part)
    torch.nn.init.constant_(sight.out.bias[6:7], 0.5493061443340548)  # a tanh of one half: to the right, by half a cell
    torch.nn.init.eye_(sight.names_before.weight[:3, :3, 0, 0])
    stem[0, 0, 0, 2, 3] = 4.0  # the first shape at row 2, column 3; as likely as others elsewhere
    found = np.exp(sight.look(stem).arrays().shapes[0, 0, 0]).reshape(6, 6)
    sure = np.exp(4) / (np.exp(4) + 2)
    assert found[2, 2:5] == pytest.approx([(sure + 1 / 3) / 2, (sure + 1 / 3) / 2, 1 / 3], abs=1e-5)


def test_an_object_is_where_no_neighbour_is_more_probable():
    torch.manual_seed(0)
    stem = torch.randn(1, 2, 4, 6, 6)
    sight = Sight(4, 2, SIZES, width=8)
    torch.nn.init.normal_(sight.out.weight)
    kept = torch.as_tensor(sight.look(stem).objects).isfinite().unflatten(2, (6, 6))[0]
    raw = sight(stem)[0, :, 0].unflatten(1, (6, 6))
    for view, row, column in torch.cartesian_prod(torch.arange(2), torch.arange(6), torch.arange(6)).tolist():
        around = raw[view, max(0, row - 1) : row + 2, max(0, column - 1) : column + 2]
        assert bool(kept[view, row, column]) == bool(raw[view, row, column] == around.max())
    assert 2 < kept.sum() < 36
