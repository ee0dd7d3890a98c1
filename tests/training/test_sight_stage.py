"""The sight's stage: images that calibrate are not trained on, and the calibration keeps what it promises."""

import numpy as np
import pytest
import torch
from transformers import ViTImageProcessorPil

from sim.questions.annotated_images import FIXTURES, PLACES
from sim.tasks.predicates import DIRECTIONS
from sim.world.scene import COLOURS, SHAPES
from vla_agent.errors import DatasetError
from vla_agent.models.backbones.pointing.pointing_backbone import Backbone
from vla_agent.models.backbones.pointing.pointing_config import PointingVLMConfig
from vla_agent.models.backbones.pointing.pointing_vlm import PointingVLM
from vla_agent.models.backbones.pointing.sight import Sight, SightSizes
from vla_agent.policy.doubt.doubt_settings import CURVES, DoubtSettings
from vla_agent.training.demonstrations import Questions
from vla_agent.training.recipe import TrainSight
from vla_agent.training.stages.sight_stage import LEAST_HELD_BACK, SightBatches
from vla_agent.training.tokenizer import build_tokenizer

NAMES = (len(SHAPES), len(COLOURS))
SETTINGS = {"samples": 8, "batch": 4, "width": 8}


@pytest.fixture(scope="module")
def backbone():
    torch.manual_seed(0)
    tokenizer = build_tokenizer(["put the red mug in the tray"])
    sizes = {"hidden_size": 16, "stem_channels": (8, 16), "film_blocks": 1, "text_layers": 1, "fusion_layers": 1}
    model = PointingVLM(PointingVLMConfig(vocab_size=len(tokenizer), image_size=(32, 32), **sizes))
    processor = ViTImageProcessorPil(size={"height": 32, "width": 32}, image_mean=[0.5] * 3, image_std=[0.25] * 3)
    return Backbone(model, tokenizer, processor)


def questions(images: int) -> Questions:
    """Images of noise with three objects each, all in view."""
    rng = np.random.default_rng(0)
    named = np.stack([rng.integers(0, n, (images, 6)) for n in NAMES], -1).astype(np.int8)
    named[:, 3:] = -1
    points = rng.random((images, 2, 6, 3)).astype(np.float32)
    points[..., 2] = 1.0
    return Questions(
        images=[rng.integers(0, 255, (images, 2, 32, 32, 3), dtype=np.uint8)],
        shard=np.zeros(images, int),
        row=np.arange(images),
        prompts=[""] * images,
        answers=[""] * images,
        points=np.full((images, 2, 2, 3), np.nan, np.float32),
        located=np.full((images, 2, 3), np.nan, np.float32),
        asked=np.full((images, 2, 2), -1, np.int8),
        named=[named],
        named_points=[points],
        named_sizes=[np.full((images, 2, 6, 2), 0.2, np.float32)],
        named_positions=[rng.random((images, 6, 3)).astype(np.float32)],
        named_places=[np.tile(np.array([0, 1, 0, -1, -1, -1], np.int8), (images, 1))],
        fixtures=[np.tile(np.array([(0, 0), (0, 1), (0, 2), (1, 0), (1, 1)], np.int8), (images, 1, 1))],
        fixture_points=[np.full((images, 2, 5, 3), 0.7, np.float32)],
    )


def batches(backbone, images: int, **changes) -> SightBatches:
    torch.manual_seed(1)
    settings = TrainSight.model_validate(SETTINGS | changes)
    return SightBatches(backbone, Sight(8, 2, SightSizes(*NAMES), width=8), questions(images), settings)


def test_images_that_calibrate_are_not_trained_on(backbone):
    found = batches(backbone, 20, hold_back=0.25)
    drawn, held = ({tuple(place) for place in places} for places in (found.drawn, found.held_back))
    assert len(held) == 5 and not drawn & held and len(drawn | held) == 20
    assert np.diff(found.held_back[:, 1]).max() <= 5, "from all sets of images, not from the last one"


def test_a_batch_teaches_the_sight_and_not_the_backbone(backbone):
    found = batches(backbone, 6)
    losses = found.losses(torch.Generator().manual_seed(0))
    assert set(losses) == {"object", "shape", "colour", "box", "height", "place", "fixture"}
    sum(losses.values()).backward()
    assert all(p.grad is not None for p in found.sight.parameters())
    assert all(p.grad is None for p in backbone.parameters())


@pytest.mark.parametrize("refused", [0.05, 0.3])
def test_the_threshold_holds_few_present_objects_for_absent(backbone, refused):
    found = batches(backbone, 40, hold_back=0.8, refused=refused)
    settings = found.calibrate(SHAPES, tuple(COLOURS), seed=3).settings
    fits, absent = found.held_back_claims(np.random.default_rng(3))["object"]
    probabilities = settings.absent(fits)
    assert (probabilities[~absent] > settings.hold_above).mean() <= refused
    assert settings.hold_above >= 0.5
    assert probabilities.mean() == pytest.approx(absent.mean(), abs=0.02), "a logistic fit is right on average"


def test_kept_features_give_the_same_losses_and_are_computed_once(backbone, monkeypatch):
    def losses(**changes) -> tuple[SightBatches, dict[str, torch.Tensor]]:
        found = batches(backbone, 6, colour_jitter=0.0, **changes)
        return found, found.losses(torch.Generator().manual_seed(0))

    kept, of_kept = losses(keep_stems=True)
    for name, value in losses()[1].items():
        assert of_kept[name].item() == pytest.approx(value.item(), rel=1e-2), name
    monkeypatch.setattr(kept.backbone.model, "encode_images", None)  # it must not be asked again
    kept.losses(torch.Generator().manual_seed(0))


def test_half_of_the_claims_that_calibrate_are_false(backbone):
    claims = batches(backbone, 12, hold_back=0.5).held_back_claims(np.random.default_rng(0))
    assert set(claims) == {"object", *CURVES}
    for kind, (fits, false) in claims.items():
        assert len(fits) == len(false) >= 6 and false.mean() == pytest.approx(0.5, abs=0.1), kind
        assert kind == "relation" or (fits <= 0).all()


def test_names_of_the_doubt_are_those_of_the_images():
    settings = DoubtSettings(SHAPES, tuple(COLOURS), -1.0, 0.0, 0.5)
    assert settings.places == PLACES and settings.fixtures == FIXTURES
    assert {name: vector for name, *vector in settings.directions}.items() >= {
        name: list(vector) for name, vector in DIRECTIONS.items()
    }.items()


def test_too_few_images_are_refused(backbone):
    with pytest.raises(DatasetError, match="hold_back"):
        batches(backbone, LEAST_HELD_BACK)
    assert len(batches(backbone, LEAST_HELD_BACK + 1).drawn) == 1
