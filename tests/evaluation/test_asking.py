"""Questions are answered from what is seen; each answer has a confidence, and is drawn."""

import json

import numpy as np
import pytest
from PIL import Image

from benchmarks.shared.seen_maps import SETTINGS, Seen, maps_with
from vla_agent.cli import main
from vla_agent.contract.blank_observation import blank_observation
from vla_agent.errors import OptionError
from vla_agent.evaluation.asking.answerer import Answerer
from vla_agent.evaluation.asking.drawing import draw
from vla_agent.evaluation.asking.question_forms import parse
from vla_agent.policy.doubt.doubter import Doubter
from vla_agent.policy.loading import load_policy

LEFT, RIGHT, NEAR = 12 * 24 + 6, 12 * 24 + 17, 18 * 24 + 12  # cells of the front view
SEEN = ((LEFT, "red", "mug"), (RIGHT, "blue", "cube"), (NEAR, "red", "star"))


@pytest.fixture(scope="module")
def policy():
    return load_policy("policies/tabletop-nano")


@pytest.fixture
def answerer(policy):
    policy.doubt_with(Doubter(Seen(maps_with(*SEEN)), SETTINGS))
    found = Answerer(policy)
    found.look(blank_observation(policy.contract)["images"])
    yield found
    policy.doubt_with(None)


@pytest.mark.parametrize(
    ("question", "kind"),
    [
        ("Is there a red mug?", "exists"),
        ("do you see any mug", "exists"),
        ("how many red objects do you see?", "count"),
        ("count the mugs", "count"),
        ("does the red mug stand left of the blue cube?", "relation"),
        ("which object is in front of the red mug?", "beside"),
        ("what colour is the mug?", "colour"),
        ("which object is red?", "shape"),
        ("Where is  the red mug ?", "where"),
        ("name the objects from left to right", "list"),
        ("describe the picture", "caption"),
    ],
)
def test_questions_of_the_known_forms_are_understood(question, kind):
    assert parse(question).kind == kind


@pytest.mark.parametrize(
    "question", ["", "is the drawer open?", "where is the turquoise mug?", "is there a red zebra?"]
)
def test_other_questions_are_not_guessed(question):
    assert parse(question) is None


@pytest.mark.parametrize(
    ("question", "text"),
    [
        ("is there a red mug?", "yes"),
        ("is there a green mug?", "no"),
        ("is there a mug?", "yes"),
        ("is there a pear?", "no"),
        ("how many objects do you see?", "three"),
        ("how many red objects do you see?", "two"),
        ("count the green things", "none"),
        ("is the red mug left of the blue cube?", "yes"),
        ("is the blue cube left of the red mug?", "no"),
        ("is the blue cube in front of the red mug?", "no"),
        ("is the green pear left of the red mug?", "i see no green pear"),
        ("what is right of the red mug?", "blue cube"),
        ("what is left of the red mug?", "nothing"),
        ("what colour is the cube?", "blue"),
        ("what is the blue object?", "cube"),
        ("what colour is the pear?", "i see no pear thing"),
        ("name the objects from left to right", "red mug, red star, blue cube"),
    ],
)
def test_answers_are_those_of_the_scene(answerer, question, text):
    answer = answerer.answer(question)
    assert answer.text == text and answer.source == "sight" and 0.5 < answer.confidence <= 1


def test_a_caption_is_a_relation_that_is_so(answerer):
    subject, _, rest = answerer.answer("describe the picture").text.removeprefix("a ").partition(" is ")
    direction, _, other = rest.partition(" a ")
    assert answerer.answer(f"is the {subject} {direction} the {other}?").text == "yes"


def test_where_is_told_by_side_and_depth(answerer):
    assert answerer.answer("where is the red mug?").text.startswith("left")


def test_other_questions_go_to_the_decoder_and_say_so(answerer):
    answer = answerer.answer("is the drawer open?")
    assert answer.source == "decoder" and 0 < answer.confidence <= 1 and answer.things == ()


def test_existence_has_the_calibrated_probability(answerer):
    absent = float(SETTINGS.absent(3 * -9.0))
    assert answerer.answer("is there a green pear?").confidence == pytest.approx(absent)


def test_boxes_are_drawn(answerer, policy):
    image = blank_observation(policy.contract)["images"]["front"]
    answer = answerer.answer("where is the red mug?")
    page = np.asarray(draw(image, "where is the red mug?", answer))
    plain = np.asarray(draw(image, "where is the red mug?", answerer.answer("is the drawer open?")))
    changed = np.argwhere((page != plain).any(-1)[: 5 * 96])
    left, top, right, bottom = (5 * 96 * v for v in answer.things[0].box)
    assert changed[:, 1].min() >= left - 2 and changed[:, 0].max() <= bottom + 2
    assert (page[round(bottom), round((left + right) / 2)] == (255, 47, 208)).all() and top < bottom


def test_a_policy_without_a_sight_cannot_answer(policy):
    with pytest.raises(OptionError, match="sight"):
        Answerer(policy)


def test_the_command_answers_about_a_picture(policy, tmp_path, capsys):
    settings = SETTINGS
    from vla_agent.models.backbones.pointing.sight import Sight, SightSizes

    policy.doubt_with(Doubter(Sight(policy.backbone.model.config.stem_channels[0], 2, SightSizes(9, 8)), settings))
    policy.save(tmp_path / "policy")
    policy.doubt_with(None)
    Image.new("RGB", (200, 150), "grey").save(tmp_path / "front.png")
    out = tmp_path / "answer.png"
    words = [str(tmp_path / "policy"), str(tmp_path / "front.png"), "is there a red mug?", "--json", "-o", str(out)]
    assert main(["ask", *words]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["answer"] in ("yes", "no") and answer["question"] == "is there a red mug?"
    assert Image.open(out).size == (480, 480 + 34)
    assert main(["ask", str(tmp_path / "policy"), "nowhere.png", "is there a red mug?"]) == 2
    assert "FAMILY:SEED" in capsys.readouterr().err
    assert main(["ask", *words[:3], "-o", "answer.jpg"]) == 2
