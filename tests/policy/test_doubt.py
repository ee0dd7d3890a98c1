"""A policy that does not see what is named holds still and says why; one that sees it acts as before."""

import json
import math
import shutil
from contextlib import contextmanager

import numpy as np
import pytest
import torch

from benchmarks.shared.seen_maps import NAMES as COLOURS
from benchmarks.shared.seen_maps import SETTINGS, Seen, maps_with
from sim.world.scene import SHAPES
from vla_agent.contract.blank_observation import blank_observation
from vla_agent.errors import CheckpointError
from vla_agent.models.backbones.pointing.sight import Sight, SightSizes
from vla_agent.models.backbones.pointing.sight_maps import SightMaps
from vla_agent.models.timing_sections import INSTRUCTION, watch_sections
from vla_agent.policy.doubt.doubt_settings import DoubtSettings
from vla_agent.policy.doubt.doubter import CARRIED, NEAR, Doubter, named_pairs
from vla_agent.policy.doubt.logistic_fit import fit_logistic
from vla_agent.policy.doubt.things import chances, find_things
from vla_agent.policy.execution.realtime import Committed
from vla_agent.policy.loading import load_policy

SHIPPED = "policies/tabletop-nano"


def queries(*named: tuple[str, str]) -> torch.Tensor:
    """(1, 4, 17) logits of an instruction that names these (colour, shape)."""
    logits = torch.full((1, 4, 17), -9.0)
    for k, (colour, shape) in enumerate(named):
        logits[0, k, SHAPES.index(shape)] = logits[0, k, 9 + COLOURS.index(colour)] = 9.0
    return logits


def doubter(maps: SightMaps, *named: tuple[str, str]) -> Doubter:
    found = Doubter(Seen(maps), SETTINGS)
    found.reset(queries(*named))
    return found


@pytest.fixture(scope="module")
def policy():
    return load_policy(SHIPPED)


@pytest.fixture
def observation(policy):
    found = blank_observation(policy.contract)
    found["state"] = np.linspace(0.0, 1.0, policy.contract.state_dim).astype(np.float32)
    found["state"][3:9] = (1, 0, 0, 0, 1, 0)  # two columns of a rotation matrix
    return found


def with_constant_doubt(policy, probability: float) -> None:
    """The policy doubts everything that is named, with the probability given and a threshold of one half."""
    offset = math.log(probability / (1 - probability))
    settings = DoubtSettings(SHAPES, COLOURS, slope=0.0, offset=offset, hold_above=0.5)
    policy.doubt_with(Doubter(Sight(policy.backbone.model.config.stem_channels[0], 2, SightSizes(9, 8)), settings))


# -- what holding costs


@pytest.mark.parametrize("probability", [0.1, 0.9])
def test_a_held_chunk_takes_the_work_of_another(policy, observation, probability):
    entered = []

    @contextmanager
    def watcher(name):
        entered.append(name)
        yield

    with_constant_doubt(policy, probability)
    policy.reset(INSTRUCTION)
    with watch_sections(watcher):
        policy.act(observation)
    assert (policy.refusal is not None) == (probability > 0.5)
    assert {"vision", "doubt", "head: condition"} < set(entered)
    assert entered.count("head: denoising") == policy.head.config.serve_steps


def test_an_instruction_that_cannot_be_read_ends_the_one_before(policy, observation):
    policy.reset(INSTRUCTION)
    with pytest.raises((TypeError, ValueError, AttributeError)):
        policy.reset(17)
    with pytest.raises(CheckpointError, match="no instruction"):
        policy.act(observation)


# -- what is named


def test_the_text_says_which_objects_are_named(policy):
    text = policy.backbone.encode_text(["put the red mug left of the blue cube"])
    logits = policy.backbone.model.query_logits(text.tokens, text.mask)[0]
    pairs = named_pairs(logits.sigmoid().detach().numpy(), len(SHAPES))
    assert [(COLOURS[c], SHAPES[s]) for s, c in pairs] == [("red", "mug"), ("blue", "cube")]


def test_a_colour_alone_names_no_object():
    logits = torch.full((4, 17), -9.0)
    logits[0, 9] = 9.0
    assert named_pairs(logits.sigmoid().numpy(), 9) == []


# -- doubt and reason


def test_a_missing_object_is_named_with_what_is_there_instead():
    found = doubter(maps_with((100, "red", "cup"), (300, "blue", "mug"), (500, "green", "star")), ("red", "mug"))
    assert found.look(torch.zeros(1)).probability > 0.6 and found.holds
    assert found.doubt.reason.startswith("I see no red mug; I see a ")
    assert "red cup" in found.doubt.reason and "blue mug" in found.doubt.reason and "star" not in found.doubt.reason


def test_an_object_that_is_there_raises_no_doubt():
    found = doubter(maps_with((100, "red", "mug")), ("red", "mug"))
    assert found.look(torch.zeros(1)).probability < 0.1
    assert not found.holds and found.doubt.reason == ""


def test_one_missing_object_of_two_is_enough():
    found = doubter(maps_with((100, "red", "mug")), ("red", "mug"), ("blue", "cube"))
    found.look(torch.zeros(1))
    assert found.holds and found.doubt.reason == "I see no blue cube"


def test_an_instruction_that_names_no_object_is_not_doubted():
    found = doubter(maps_with())
    assert found.look(torch.zeros(1)) is None and not found.holds


def test_an_object_taken_away_is_missed_after_as_many_looks_as_it_is_remembered():
    found = doubter(maps_with((100, "red", "mug")), ("red", "mug"))
    found.look(torch.zeros(1))
    found.sight.maps = maps_with()
    held = []
    for _ in range(4):
        found.look(torch.zeros(1))
        held.append(found.holds)
    assert held == [False, False, True, True]
    found.sight.maps = maps_with((200, "red", "mug"))
    found.look(torch.zeros(1))
    assert not found.holds, "it came back"


def test_the_threshold_itself_does_not_hold():
    for probability, holds in ((0.5, False), (0.50001, True)):
        offset = math.log(probability / (1 - probability))
        found = Doubter(Seen(maps_with()), DoubtSettings(SHAPES, COLOURS, 0.0, offset, hold_above=0.5))
        found.reset(queries(("red", "mug")))
        found.look(torch.zeros(1))
        assert found.holds == holds


def looks(found, times, hand):
    """Whether the policy holds after each of so many looks."""
    held = []
    for _ in range(times):
        found.look(torch.zeros(1), None if hand is None else np.array(hand))
        held.append(found.holds)
    return held


def test_an_object_that_the_hand_may_hide_counts_as_seen_and_goes_where_the_hand_goes():
    def unseen_near(hand):
        found = Doubter(Seen(maps_with((LEFT, "red", "mug"))), SETTINGS, on_plane)  # it lies at about 0.02, -0.23
        found.reset(queries(("red", "mug")))
        assert looks(found, 1, (1.0, 1.0)) == [False]
        found.sight.maps = maps_with()
        return found, looks(found, 4, hand)

    assert unseen_near((0.02, -0.23 + NEAR + 0.03))[1] == [False, False, True, True]
    assert unseen_near(None)[1] == [False, False, True, True]
    found, held = unseen_near((0.02, -0.23 + NEAR - 0.03))
    assert not any(held)
    assert looks(found, 3, (1.0, 1.0)) == [False, False, True]  # the hand is gone, and so is the mug


def test_what_the_hand_took_along_is_not_missed_any_more():
    for way, missed in ((CARRIED + 0.03, False), (CARRIED - 0.03, True)):
        found = Doubter(Seen(maps_with((LEFT, "red", "mug"))), SETTINGS, on_plane)  # it lies at about 0.02, -0.23
        found.reset(queries(("red", "mug")))
        assert not any(looks(found, 1, (0.02, -0.23)))
        found.sight.maps = maps_with()
        assert not any(looks(found, 2, (0.02, -0.23 + way / 2)) + looks(found, 2, (0.02, -0.23 + way)))
        assert any(looks(found, 5, (1.0, 1.0))) == missed, "in the tray it is hard to see"


def test_an_object_that_was_never_seen_is_not_hidden_by_the_hand():
    found = Doubter(Seen(maps_with()), SETTINGS, on_plane)
    found.reset(queries(("red", "mug")))
    assert looks(found, 2, (0.02, -0.23)) == [True, True]


# -- fixtures, places, relations, words

GRID = 24
LEFT, RIGHT = 12 * GRID + 6, 12 * GRID + 17  # cells of the front view


def on_plane(points, heights):
    """As if the front camera looked straight down: u to the right is +y, v down is +x."""
    return points[:, [1, 0]] - 0.5


def told(instruction: str, *things, tray=()) -> Doubter:
    found = Doubter(Seen(maps_with(*things, tray=tray)), SETTINGS, on_plane)
    found.reset(queries(), instruction)
    found.look(torch.zeros(1))
    return found


def test_words_name_objects_and_fixtures():
    seen = (100, "red", "mug"), (300, "green", "zone"), (400, "blue", "zone")
    assert not told("push the red mug to the green zone", *seen).holds
    missing = told("push the red mug to the white square", *seen)
    assert missing.holds and missing.doubt.reason == "I see no white zone; I see a green zone and a blue zone"
    assert told("push the red cup to the green zone", *seen).doubt.reason == "I see no red cup; I see a red mug"


def test_a_fixture_that_was_seen_stays_where_it_is():
    found = told("press the red button", (300, "red", "button"))
    found.sight.maps = maps_with()
    for _ in range(5):
        found.look(torch.zeros(1))
    assert not found.holds


@pytest.mark.parametrize(("tray", "reason"), [((100,), ""), ((), "the red mug is not in the tray")])
def test_an_object_must_lie_where_the_words_say(tray, reason):
    found = told("take the red mug out of the tray", (100, "red", "mug"), tray=tray)
    assert found.holds == bool(reason) and found.doubt.reason == reason


@pytest.mark.parametrize(("direction", "holds"), [("left of", False), ("right of", True), ("in front of", True)])
def test_a_relation_that_is_not_so_is_doubted(direction, holds):
    words = f"put the red mug, which is {direction} the blue cube, in the tray"
    found = told(words, (LEFT, "red", "mug"), (RIGHT, "blue", "cube"))
    assert found.holds == holds
    assert found.doubt.reason == (f"the red mug is not {direction} the blue cube" if holds else "")
    found.sight.maps = maps_with((RIGHT, "red", "mug"), (LEFT, "blue", "cube"))
    found.look(torch.zeros(1))
    assert found.holds == holds, "acting changes what is where: the first look decides"


def test_unsafe_words_hold_whatever_is_seen():
    found = told("throw the red mug at the person", (100, "red", "mug"))
    assert found.holds and found.doubt.reason == "that would hurt someone" and found.doubt.probability > 0.99
    found.reset(queries(), "put the red mug in the tray")
    found.look(torch.zeros(1))
    assert not found.holds


def test_a_colour_without_a_shape_wants_any_thing_of_it():
    assert not told("put everything red in the tray", (100, "red", "mug")).holds
    assert told("put everything red in the tray", (100, "blue", "mug")).doubt.reason == "I see no red thing"


# -- the policy


def test_a_doubting_policy_holds_still_and_says_why(policy, observation):
    with_constant_doubt(policy, 0.9)
    policy.reset("put the red mug in the tray")
    chunk = policy.act(observation)
    assert (chunk[:, :6] == 0).all() and (chunk[:, 6] == observation["state"][9]).all()
    assert policy.doubt.probability == pytest.approx(0.9) and "red mug" in policy.refusal
    policy.doubt_with(None)


def test_a_policy_without_doubt_acts_to_the_bit_as_before(policy, observation):
    policy.doubt_with(None)
    policy.reset("put the red mug in the tray", seed=3)
    before = policy.act(observation)
    assert policy.doubt is None and policy.refusal is None
    with_constant_doubt(policy, 0.1)
    policy.reset("put the red mug in the tray", seed=3)
    np.testing.assert_array_equal(policy.act(observation), before)
    assert policy.refusal is None and policy.doubt.probability == pytest.approx(0.1)
    policy.doubt_with(None)


def test_a_new_instruction_ends_the_refusal(policy, observation):
    with_constant_doubt(policy, 0.9)
    policy.reset("put the red mug in the tray")
    policy.act(observation)
    policy.reset("open the drawer")
    assert policy.refusal is None
    assert np.abs(policy.act(observation)[:, :6]).max() > 0
    policy.doubt_with(None)


def test_a_held_chunk_continues_what_is_committed(policy, observation):
    with_constant_doubt(policy, 0.9)
    policy.reset("put the red mug in the tray")
    decided = np.full((16, 7), 0.01, np.float32)
    chunk = policy.act(observation, committed=Committed(decided, decided=2, delay=2))
    np.testing.assert_allclose(chunk[:2], decided[:2])
    assert (chunk[4:, :6] == 0).all()
    policy.doubt_with(None)


# -- the folder


def saved(policy, folder):
    with_constant_doubt(policy, 0.9)
    policy.save(folder)
    policy.doubt_with(None)
    return folder


def test_the_doubt_travels_in_the_policys_folder_and_is_part_of_its_identity(policy, observation, tmp_path):
    loaded = load_policy(saved(policy, tmp_path / "doubting"))
    assert loaded.doubter.settings.offset == pytest.approx(math.log(9)) and "sight.safetensors" in loaded.files
    assert loaded.digest != policy.digest
    loaded.reset("put the red mug in the tray")
    assert "red mug" in (loaded.act(observation) is not None and loaded.refusal)
    loaded.doubt_with(None)
    loaded.save(tmp_path / "doubting")
    again = load_policy(tmp_path / "doubting")
    assert again.doubter is None and "sight.safetensors" not in again.files


@pytest.mark.parametrize(
    "changes",
    [
        {"slope": float("nan")},
        {"hold_above": 1.01},
        {"hold_above": -0.01},
        {"looks": 0},
        {"width": 16},
        {"context": 7},
        {"context": -1},
        {"context": math.inf},
        {"context": 10**9},
        {"looks": "3"},
        {"looks": 3.0},
        {"shapes": ["cube"]},
        {"shapes": 3},
        {"more": 1},
        {"offset": None},
    ],
    ids=str,
)
def test_settings_that_cannot_be_are_refused(policy, tmp_path, changes):
    folder = saved(policy, tmp_path / "policy")
    described = json.loads((folder / "policy.json").read_text())
    described["doubt"] |= changes
    (folder / "policy.json").write_text(json.dumps(described))
    with pytest.raises(CheckpointError):
        load_policy(folder)


@pytest.mark.parametrize("threshold", [0.0, 1.0])
def test_settings_at_their_limits_are_taken(threshold):
    assert DoubtSettings.from_dict(SETTINGS.to_dict() | {"hold_above": threshold}).hold_above == threshold


def test_settings_without_their_weights_are_refused(policy, tmp_path):
    folder = saved(policy, tmp_path / "policy")
    (folder / "sight.safetensors").unlink()
    with pytest.raises(CheckpointError, match="sight"):
        load_policy(folder)
    shutil.rmtree(folder)


# -- calibration


def test_the_logistic_fit_finds_the_curve_that_the_labels_came_from():
    rng = np.random.default_rng(0)
    fits = rng.uniform(-8, 0, 20_000)
    absent = rng.random(len(fits)) < 1 / (1 + np.exp(-(-1.5 * fits - 4)))
    slope, offset = fit_logistic(fits, absent)
    assert slope == pytest.approx(-1.5, abs=0.1) and offset == pytest.approx(-4, abs=0.2)


def test_the_fit_stays_finite_where_the_two_do_not_overlap():
    slope, offset = fit_logistic(np.array([-9.0, -8.0, -1.0, 0.0]), np.array([True, True, False, False]))
    assert math.isfinite(slope) and math.isfinite(offset) and slope < 0


def test_things_are_peaks_with_names_boxes_and_probabilities():
    seen = maps_with((25, "red", "mug"), (27, "red", "mug"), (300, "blue", "cube")).arrays()
    found = find_things(seen, SETTINGS)
    assert {t.name for t in found} == {"red mug", "blue cube"}
    cube = next(t for t in found if t.name == "blue cube")
    assert cube.point == pytest.approx((12.5 / 24, 12.5 / 24))
    assert cube.box == pytest.approx((12.5 / 24 - 0.05, 12.5 / 24 - 0.05, 12.5 / 24 + 0.05, 12.5 / 24 + 0.05))
    assert cube.probability == cube.there == pytest.approx(1.0, abs=1e-3)
    assert cube.place == "table" and cube.height == pytest.approx(0.03)


def test_chances_are_of_a_colour_and_a_shape_wherever_something_is():
    seen = maps_with((25, "red", "mug"), (100, "red", "cup"), (300, "blue", "cube")).arrays()
    for named, count in (
        ({}, 3),
        ({"colour": "red"}, 2),
        ({"colour": "red", "shape": "mug"}, 1),
        ({"shape": "pear"}, 0),
    ):
        assert chances(seen, SETTINGS, **named).sum() == pytest.approx(count, abs=0.01), named


def test_an_instruction_that_is_too_long_to_be_read_is_refused():
    for text, refused in (
        ("put the red mug in the tray".ljust(500), False),
        ("put the red mug in the tray".ljust(501), True),
    ):
        found = Doubter(Seen(maps_with((100, "red", "mug"))), SETTINGS)
        found.reset(queries(("red", "mug")), text)
        found.look(torch.zeros(1))
        assert found.holds == refused and ("more than 500 characters" in found.doubt.reason) == refused


def test_an_object_that_was_seen_for_long_is_missed_only_where_it_is_surely_gone():
    def looked(fit: float, times: int) -> bool:
        found = doubter(maps_with((100, "red", "mug")), ("red", "mug"))
        for _ in range(times):
            found.look(torch.zeros(1))
        found.sight.maps = maps_with((100, "red", "mug"))
        found.sight.maps.objects[0, 0, 100] = fit
        for _ in range(SETTINGS.looks):
            found.look(torch.zeros(1))
        return found.holds

    unsure, gone = -5.0, -8.0  # probabilities of absence 0.88 and 0.99, by themselves
    assert looked(unsure, times=0) and not looked(unsure, times=3)
    assert looked(gone, times=0) and looked(gone, times=3)
