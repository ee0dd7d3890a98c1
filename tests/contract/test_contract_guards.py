"""Each refusal of the contract alone: at the limit and just inside it; and comparisons of arbitrary contracts."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vla_agent.contract import Camera, Contract, Field
from vla_agent.contract.blank_observation import blank_observation
from vla_agent.contract.renamed_cameras import RenamedCameras
from vla_agent.contract.state_units import first_in_other_units
from vla_agent.contract.tabletop import tabletop_contract
from vla_agent.contract.validation import impossible_values
from vla_agent.errors import ContractError, ObservationError
from vla_agent.files.input_limits import SIDE

TABLETOP = tabletop_contract()
SMALL = Contract(
    cameras=(Camera("front", 2, 3), Camera("wrist", 4, 5, "bgr", 10.0)),
    state=(Field("pose", 2, "m", "base", -1.0, 1.0), Field("gripper", 1, "1")),
    action=(Field("move", 2, "m per period", "base"), Field("gripper", 1, "1", low=0.5, high=1.0)),
    control_hz=10.0,
    chunk_length=4,
)
PLAIN = json.loads(json.dumps(SMALL.to_dict()))


def observation(**changes) -> dict:
    images = {c.name: np.full((c.height, c.width, 3), 7, np.uint8) for c in SMALL.cameras}
    return {"images": images, "state": np.zeros(3, np.float32)} | changes


# Reading


def test_a_contract_is_read_as_it_was_written():
    assert Contract.from_dict(PLAIN) == SMALL
    assert Contract.from_dict({k: v for k, v in PLAIN.items() if k != "language"}).language == "en"
    assert Contract.from_dict(PLAIN | {"language": "de"}).language == "de"
    assert json.loads(json.dumps(asdict(SMALL))) == PLAIN


@pytest.mark.parametrize("version", [3, 99, "3"])
def test_a_newer_version_is_refused_and_the_present_one_is_not(version):
    with pytest.raises(ContractError, match="another version") as caught:
        Contract.from_dict(PLAIN | {"version": version}, file="a.json")
    assert (caught.value.file, caught.value.key, caught.value.expected) == ("a.json", "version", "at most 2")
    assert Contract.from_dict(PLAIN | {"version": 2}).version == 2


@pytest.mark.parametrize("key", ["cameras", "state", "action", "control_hz", "chunk_length", "version"])
def test_a_missing_key_is_refused_by_name(key):
    with pytest.raises(ContractError, match="cannot be read") as caught:
        Contract.from_dict({k: v for k, v in PLAIN.items() if k != key}, file="a.json")
    assert (caught.value.file, caught.value.key) == ("a.json", key)


def test_an_unknown_key_is_refused_by_name():
    with pytest.raises(ContractError, match="cannot be read") as caught:
        Contract.from_dict(PLAIN | {"normaliser": 1})
    assert "normaliser" in caught.value.key


def test_only_version_1_is_completed_with_what_it_left_out():
    bare = [{"name": "gripper", "size": 1, "unit": "1"}]
    old, new = (Contract.from_dict(PLAIN | {"version": v, "state": bare, "action": bare}) for v in (1, 2))
    assert (old.state[0].low, old.state[0].high, old.action[0].low, old.action[0].high) == (0.0, 1.0, 0.0, 1.0)
    assert (new.state[0].low, new.state[0].high, new.action[0].low, new.action[0].high) == (None,) * 4
    assert old.version == new.version == 2


def test_version_1_meant_these_ranges_and_rotations():
    left_out = {"low": None, "high": None, "rotation": ""}
    state, action = ([replace(f, **left_out) for f in part] for part in (TABLETOP.state, TABLETOP.action))
    plain = replace(TABLETOP, state=tuple(state), action=tuple(action), version=1).to_dict()
    assert Contract.from_dict(plain) == TABLETOP
    quaternion = [asdict(replace(f, size=4)) if f.name == "ee_rotation" else asdict(f) for f in state]
    assert Contract.from_dict(plain | {"state": quaternion}).state[1] == replace(state[1], size=4), "another size"


IMPOSSIBLE = {
    "no camera": ({"cameras": ()}, "cameras", "nothing"),
    "a camera twice": ({"cameras": (SMALL.cameras[0],) * 2}, "cameras", "front, front"),
    "no state": ({"state": ()}, "state", "nothing"),
    "no action": ({"action": ()}, "action", "nothing"),
    "a field twice": ({"action": (SMALL.action[1],) * 2}, "action", "gripper, gripper"),
    "no name": ({"action": (Field(None, 1, "m"),)}, "action", "None"),
    "an empty name": ({"cameras": (Camera("", 2, 3),)}, "cameras", "nothing"),
    "a number for a unit": ({"state": (Field("pose", 1, 7),)}, "state.pose.unit", "7"),
    "true for a size": ({"state": (Field("pose", True, "m"),)}, "state.pose.size", "True"),
    "channels": ({"cameras": (Camera("front", 2, 3, "rgba"),)}, "cameras.front.color", "rgba"),
    "height 0": ({"cameras": (Camera("front", 0, 3),)}, "cameras.front.height", "0"),
    "width 0": ({"cameras": (Camera("front", 2, 0),)}, "cameras.front.width", "0"),
    "a broken width": ({"cameras": (Camera("front", 2, 3.0),)}, "cameras.front.width", "3.0"),
    "size 0": ({"state": (Field("pose", 0, "m"),)}, "state.pose.size", "0"),
    "size of action": ({"action": (Field("move", -1, "m"),)}, "action.move.size", "-1"),
    "a field of gigabytes": ({"state": (Field("pose", 65_537, "m"),)}, "state.pose.size", "65537"),
    "a picture of gigabytes": ({"cameras": (Camera("front", SIDE + 1, 3),)}, "cameras.front.height", str(SIDE + 1)),
    "a chunk of gigabytes": ({"chunk_length": 65_537}, "chunk_length", "65537"),
    "an empty range": ({"state": (Field("pose", 1, "m", low=1.0, high=1.0),)}, "state.pose.low", "1.0 to 1.0"),
    "a NaN range": ({"state": (Field("pose", 1, "m", low=0.0, high=np.nan),)}, "state.pose.low", "0.0 to nan"),
    "rate 0": ({"control_hz": 0.0}, "control_hz", "0.0"),
    "an endless rate": ({"control_hz": np.inf}, "control_hz", "inf"),
    "a NaN rate": ({"control_hz": np.nan}, "control_hz", "nan"),
    "no chunk": ({"chunk_length": 0}, "chunk_length", "0"),
    "a rate in words": ({"control_hz": "20"}, "control_hz", "'20'"),
    "true for a rate": ({"control_hz": True}, "control_hz", "True"),
    "a negative camera": ({"cameras": (Camera("front", 2, 3, hz=-3),)}, "cameras.front.hz", "-3"),
    "a camera's rate in words": ({"cameras": (Camera("front", 2, 3, hz="fast"),)}, "cameras.front.hz", "'fast'"),
    "a limit in words": ({"state": (Field("pose", 1, "m", low="0"),)}, "state.pose.low", "'0'"),
    "true for a limit": ({"state": (Field("pose", 1, "m", high=True),)}, "state.pose.high", "True"),
    "NaN alone": ({"state": (Field("pose", 1, "m", high=np.nan),)}, "state.pose.high", "nan"),
    "no end": ({"state": (Field("pose", 1, "m", low=-np.inf),)}, "state.pose.low", "-inf"),
    "a number for a language": ({"language": 3}, "language", "3"),
    "a path": ({"cameras": (Camera("../x", 2, 3),)}, "cameras", "../x"),
    "a path of Windows": ({"cameras": (Camera("a\\x", 2, 3),)}, "cameras", "a\\x"),
    "two dots": ({"cameras": (Camera("..", 2, 3),)}, "cameras", ".."),
    "a control character": ({"state": (Field("a\x1b[2J", 1, "m"),)}, "state", "a\x1b[2J"),
    "a name of a page": ({"state": (Field("a" * 201, 1, "m"),)}, "state", "a" * 201),
}


@pytest.mark.parametrize("case", IMPOSSIBLE)
def test_each_impossible_value_is_named_alone(case):
    changes, key, found = IMPOSSIBLE[case]
    assert impossible_values(replace(SMALL, **changes)) == {key: found}
    with pytest.raises(ContractError, match="impossible values") as caught:
        Contract.from_dict(replace(SMALL, **changes).to_dict(), file="a.json")
    assert (caught.value.file, caught.value.key, caught.value.found) == ("a.json", key, found)


@pytest.mark.parametrize(
    "key, value", [("chunk_length", 4.5), ("chunk_length", "4"), ("version", 1.5), ("version", True)]
)
def test_whole_numbers_are_not_made_of_others(key, value):
    with pytest.raises(ContractError) as caught:
        Contract.from_dict(PLAIN | {key: value}, file="a.json")
    assert key in caught.value.key and caught.value.remedy


def test_an_error_can_be_shown_on_any_terminal():
    with pytest.raises(ContractError) as caught:
        Contract.from_dict(replace(SMALL, cameras=(Camera("a\x1b[2J\u202e", 2, 3),)).to_dict())
    assert "a\\x1b[2J\\u202e" in str(caught.value) and "\x1b" not in str(caught.value)


@pytest.mark.parametrize(
    "field, good, wrong, words",
    [
        (Field("j", 1, "radians"), [3.0], [90.0], "degrees"),
        (Field("p", 1, "Metres", "base"), [0.5], [400.0], "millimetres"),
        (Field("d", 1, "°"), [700.0], [9000.0], "another unit"),
        (Field("l", 1, "mm", "base"), [900.0], [9e5], "another unit"),
        (Field("q", 4, "1", rotation="quaternion wxyz"), [1.0, 0, 0, 0], [0.0, 0, 0, 0], "no rotation"),
        (Field("q", 4, "1", rotation="quaternion xyzw"), [0.0, 0, 0, -1], [0.2, 0, 0, 1.5], "convention"),
        (Field("f", 1, "N"), [3e38], [1e39], "NaN, infinity"),
    ],
)
def test_states_in_units_of_any_word(field, good, wrong, words):
    contract = replace(SMALL, state=(field,))
    contract.check_observation(observation(state=np.array(good)))
    with pytest.raises(ObservationError) as caught:
        contract.check_observation(observation(state=np.array(wrong)))
    assert words in str(caught.value)
    if max(map(abs, wrong)) < 3e38:
        assert first_in_other_units((field,), np.array([good, wrong])) == 1


def test_the_least_possible_values_are_taken():
    least = Contract(
        (Camera("a", 1, 1), Camera("b", 1, 1, "bgr")),
        (Field("a", 1, "", low=0.0), Field("b", 1, "", high=0.0), Field("c", 1, "", low=0.0, high=5e-324)),
        (Field("a", 1, ""),),
        5e-324,
        1,
    )
    assert impossible_values(least) == {} and Contract.from_dict(least.to_dict()) == least


def test_the_hash_is_the_same_on_every_machine_and_however_numbers_are_written():
    assert SMALL.hash == "a01029fb7117efb32a518ece339af0389eb8011f543c062b0ead2989e04aa22f"
    ranges = tuple(replace(f, low=None if f.low is None else int(2 * f.low)) for f in SMALL.state)
    floats = tuple(replace(f, low=None if f.low is None else float(f.low)) for f in ranges)
    assert replace(SMALL, state=ranges, control_hz=10).hash == replace(SMALL, state=floats).hash != SMALL.hash
    shuffled = dict(reversed(PLAIN.items()))
    assert Contract.from_dict(shuffled).hash == SMALL.hash


# Sizes and places


def test_fields_lie_one_after_the_other():
    assert (SMALL.state_dim, SMALL.action_dim, SMALL.camera_names) == (3, 3, ("front", "wrist"))
    assert SMALL.slices(SMALL.state) == {"pose": slice(0, 2), "gripper": slice(2, 3)}
    assert (TABLETOP.state_dim, TABLETOP.action_dim) == (17, 7)
    assert TABLETOP.slices(TABLETOP.state)["joint_position"] == slice(10, 17)


def test_a_blank_observation_fits_and_lies_within_the_ranges():
    action_as_state = replace(
        SMALL, state=(*SMALL.state, Field("lifted", 1, "m", low=0.5), Field("low", 2, "m", high=-3.0))
    )
    blank = blank_observation(action_as_state)
    action_as_state.check_observation(blank)
    assert blank["state"].tolist() == [0.0, 0.0, 0.0, 0.5, -3.0, -3.0] and blank["state"].dtype == np.float32
    assert all((image == 128).all() for image in blank["images"].values())


def test_the_tabletop_has_the_image_size_and_the_control_that_are_asked_for():
    contract = tabletop_contract((3, 5), "joint_position")
    assert [(c.height, c.width) for c in contract.cameras] == [(3, 5)] * 2
    joints = (Field("joint_position", 7, "rad"), Field("gripper", 1, "0 open to 1 closed", low=0.0, high=1.0))
    assert contract.action == joints and [(c.height, c.width) for c in TABLETOP.cameras] == [(96, 96)] * 2
    assert (contract.control_hz, contract.chunk_length) == (20.0, 16)


# Observations and chunks


def test_a_good_observation_passes_also_with_more_than_is_asked_for():
    SMALL.check_observation(observation())
    more = observation()
    more["images"]["side"] = "not looked at"
    SMALL.check_observation(more | {"instruction": "go"})


WRONG_OBSERVATIONS = {
    "no images": (lambda o: o.pop("images"), "images"),
    "no state": (lambda o: o.pop("state"), "state"),
    "no camera": (lambda o: o["images"].pop("wrist"), "images.wrist"),
    "height": (lambda o: o["images"].update(front=np.zeros((3, 3, 3), np.uint8)), "images.front"),
    "width": (lambda o: o["images"].update(front=np.zeros((2, 2, 3), np.uint8)), "images.front"),
    "channels": (lambda o: o["images"].update(front=np.zeros((2, 3, 4), np.uint8)), "images.front"),
    "type": (lambda o: o["images"].update(front=np.zeros((2, 3, 3), np.float32)), "images.front"),
    "one number more": (lambda o: o.update(state=np.zeros(4)), "state"),
    "one number less": (lambda o: o.update(state=np.zeros(2)), "state"),
    "a row": (lambda o: o.update(state=np.zeros((1, 3))), "state"),
    "NaN": (lambda o: o.update(state=np.array([0, 0, np.nan])), "state"),
    "infinity": (lambda o: o.update(state=np.array([-np.inf, 0, 0])), "state"),
    "images without names": (lambda o: o.update(images=[np.zeros((2, 3, 3), np.uint8)]), "images"),
    "ragged rows": (lambda o: o["images"].update(front=[[0, 1], [2]]), "images.front"),
    "ragged state": (lambda o: o.update(state=[0, [1], 2]), "state"),
    "numbered cameras": (lambda o: o.update(images={0: None, "front": None}), "images.front"),
    "numbered cameras, one missing": (lambda o: o.update(images={0: None, "wrist": None}), "images.front"),
}


@pytest.mark.parametrize("case", WRONG_OBSERVATIONS)
def test_each_wrong_part_of_an_observation_is_named(case):
    spoil, key = WRONG_OBSERVATIONS[case]
    seen = observation()
    spoil(seen)
    with pytest.raises(ObservationError) as caught:
        SMALL.check_observation(seen)
    assert caught.value.key == key


def test_an_observation_that_is_no_dictionary_is_refused():
    with pytest.raises(ObservationError, match="no names") as caught:
        SMALL.check_observation([1, 2])
    assert (caught.value.key, caught.value.found) == ("observation", "list")


def test_a_chunk_of_one_row_is_taken_as_float32():
    checked = SMALL.check_chunk([[1, 2, 3]])
    assert checked.dtype == np.float32 and checked.tolist() == [[1.0, 2.0, 3.0]]
    assert SMALL.check_chunk(np.zeros((9, 3), np.float64)).shape == (9, 3)


@pytest.mark.parametrize(
    "chunk",
    [
        np.zeros(3),
        np.zeros((1, 4, 3)),
        np.zeros((4, 2)),
        np.zeros((4, 4)),
        np.zeros((0, 3)),
        [[0, 0, np.nan]],
        [[0, 0, np.inf]],
    ],
    ids=["vector", "batch", "a column less", "a column more", "no row", "NaN", "infinity"],
)
def test_each_wrong_chunk_is_refused(chunk):
    with pytest.raises(ContractError, match="invalid chunk") as caught:
        SMALL.check_chunk(chunk)
    assert caught.value.expected == "(T, 3) finite numbers, T at least 1"
    assert caught.value.found.endswith("with NaN or infinity") == (not np.isfinite(chunk).all())


@pytest.mark.parametrize("chunk", [[[1, 2, 3], [4, 5]], "go", {"actions": [[1, 2, 3]]}])
def test_what_is_no_chunk_is_refused_by_its_type(chunk):
    with pytest.raises(ContractError, match="invalid chunk") as caught:
        SMALL.check_chunk(chunk)
    assert caught.value.found.startswith(type(chunk).__name__)


# Comparison


def changed(**values) -> Contract:
    return replace(SMALL, **values)


def test_contracts_that_agree_pass():
    SMALL.require(Contract.from_dict(PLAIN), "a", "b")
    assert SMALL.differences(SMALL) == []


def test_differences_that_may_be_are_left_out_and_others_are_not():
    other = changed(chunk_length=5, control_hz=11.0)
    other.require(SMALL, "a", "b", ignore=("chunk_length", "control_hz"))
    with pytest.raises(ContractError) as caught:
        other.require(SMALL, "a", "b", ignore=("chunk_length",))
    assert caught.value.key == "control_hz"
    with pytest.raises(ContractError) as caught:
        other.require(SMALL, "a", "b")
    assert caught.value.key == "control_hz; chunk_length"


def one(part: str, index: int, **values) -> Contract:
    """The contract with other attributes of one of its two cameras or fields."""
    parts = [replace(p, **values) if k == index else p for k, p in enumerate(getattr(SMALL, part))]
    return replace(SMALL, **{part: tuple(parts)})


FIXES = {
    "height": (one("cameras", 0, height=9), "cameras.front.height", "resize the images of cameras.front to height 9"),
    "width": (one("cameras", 0, width=9), "cameras.front.width", "resize the images of cameras.front to width 9"),
    "colour": (one("cameras", 0, color="bgr"), "cameras.front.color", "'rgb' to 'bgr'"),
    "images a second": (one("cameras", 1, hz=5.0), "cameras.wrist.hz", "at 5 Hz"),
    "an image a period": (one("cameras", 1, hz=None), "cameras.wrist.hz", "once a control period"),
    "unit": (one("action", 0, unit="mm"), "action.move.unit", "from unit 'm per period' to 'mm'"),
    "frame": (one("state", 0, frame="tool"), "state.pose.frame", "from frame 'base' to 'tool'"),
    "rotation": (one("state", 0, rotation="euler"), "state.pose.rotation", "to 'euler'"),
    "size": (one("state", 0, size=5), "state.pose.size", "give 5 numbers"),
    "range": (one("action", 1, high=2.0), "action.gripper.high", "limit or rescale action.gripper: high 2.0"),
    "rate": (changed(control_hz=30.0), "control_hz", "control at 30 Hz, or train on data recorded at 10 Hz"),
    "chunk": (changed(chunk_length=8), "chunk_length", "chunk_length: 4, or drive with chunks of 8"),
    "language": (changed(language="de"), "language", "in 'de'"),
    "version": (changed(version=3), "version", "the same vla-agent release"),
    "more": (changed(state=(*SMALL.state, Field("force", 6, "N"))), "state.force", "add state.force"),
    "less": (changed(state=SMALL.state[:1]), "state.gripper", "leave state.gripper out"),
    "order": (changed(action=SMALL.action[::-1]), "action.order", "in the order gripper, move"),
    "a camera's name": (one("cameras", 0, name="top"), "cameras.top", "--rename-camera top=front"),
    "a field's name": (one("state", 0, name="pos"), "state.pos", "rename state.pose to pos"),
}  # fmt: skip


@pytest.mark.parametrize("case", FIXES)
def test_each_difference_is_found_alone_with_its_fix(case):
    mine, key, fix = FIXES[case]
    (found,) = mine.differences(SMALL)
    assert found.key == key and fix in found.fix
    back = SMALL.differences(mine)
    assert len(back) == 1 and (back[0].mine, back[0].theirs) == (found.theirs, found.mine) and mine.hash != SMALL.hash


def test_two_cameras_are_paired_with_the_nearest_names_and_each_once():
    mine = changed(cameras=(Camera("front_left", 2, 3), Camera("front_right", 2, 3)))
    theirs = changed(cameras=(Camera("right", 2, 3), Camera("left", 2, 3)))
    assert [(d.mine, d.theirs) for d in mine.differences(theirs)] == [("front_left", "left"), ("front_right", "right")]
    one = changed(cameras=(Camera("left", 2, 3),))
    assert [(d.key, d.mine == "absent") for d in one.differences(theirs)] == [("cameras.right", True)]
    assert [d.key for d in mine.differences(one)] == ["cameras.front_left", "cameras.front_right"]
    assert mine.differences(one)[1].fix == "add cameras.front_right"


def test_a_camera_of_another_size_is_not_the_same_one_renamed():
    mine = one("cameras", 0, name="top", height=9)
    assert [(d.key, d.mine == "absent", d.theirs == "absent") for d in mine.differences(SMALL)] == [
        ("cameras.top", False, True),
        ("cameras.front", True, False),
    ]


def test_a_part_that_is_absent_is_shown_by_what_it_is():
    (found,) = SMALL.differences(changed(cameras=SMALL.cameras[:1]))
    assert found.mine == "(height 4, width 5, color bgr, hz 10.0)" and found.theirs == "absent"


NAMES = st.sampled_from(["front", "wrist", "top"])
CAMERAS = st.builds(Camera, NAMES, st.integers(1, 3), st.integers(1, 3), st.sampled_from(["rgb", "bgr"]))
FIELDS = st.builds(Field, NAMES, st.integers(1, 3), st.sampled_from(["m", "rad"]), st.sampled_from(["", "base"]))
CONTRACTS = st.builds(
    Contract,
    st.lists(CAMERAS, min_size=1, max_size=3, unique_by=lambda c: c.name).map(tuple),
    st.lists(FIELDS, min_size=1, max_size=3, unique_by=lambda f: f.name).map(tuple),
    st.lists(FIELDS, min_size=1, max_size=2, unique_by=lambda f: f.name).map(tuple),
    st.sampled_from([5.0, 10.0]),
    st.integers(1, 3),
)


@settings(derandomize=True, max_examples=50, deadline=None, database=None)
@given(CONTRACTS, CONTRACTS)
def test_contracts_differ_where_their_hashes_do_and_the_same_way_from_both_sides(a, b):
    assert (a == b) == (a.hash == b.hash) == (not a.differences(b))
    assert bool(a.differences(b)) == bool(b.differences(a))
    assert Contract.from_dict(json.loads(json.dumps(a.to_dict()))) == a


# Renamed cameras


class Policy:
    def __init__(self, contract: Contract | None) -> None:
        self.contract, self.speed = contract, 3

    def act(self, observation, **more):
        return observation, more


def test_a_renamed_camera_is_given_under_the_policys_own_name():
    renamed = RenamedCameras(Policy(SMALL), {"front": "top"})
    assert renamed.contract.camera_names == ("top", "wrist") and renamed.speed == 3
    seen, more = renamed.act({"images": {"top": 1, "wrist": 2}, "state": 3}, committed=4)
    assert seen == {"images": {"front": 1, "wrist": 2}, "state": 3} and more == {"committed": 4}


@pytest.mark.parametrize(("contract", "found"), [(SMALL, "side"), (None, "side")])
def test_a_camera_that_the_policy_lacks_cannot_be_renamed(contract, found):
    with pytest.raises(ContractError) as caught:
        RenamedCameras(Policy(contract), {"side": "front"})
    assert caught.value.found == found
    with pytest.raises(ContractError):
        RenamedCameras(Policy(None), {})
    assert RenamedCameras(Policy(SMALL), {}).contract == SMALL
