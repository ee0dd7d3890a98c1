"""The contract: its hash, every difference at once with a fix, older versions, and the checks where parts meet."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.shared.plausible_state import plausible_state
from sim.world.panda import ACTION_LIMITS
from vla_agent.cli import main
from vla_agent.contract import Camera, Contract, Field
from vla_agent.contract.blank_observation import blank_observation
from vla_agent.contract.renamed_cameras import RenamedCameras
from vla_agent.contract.state_units import first_in_other_units, other_units
from vla_agent.contract.tabletop import tabletop_contract
from vla_agent.environments.tabletop import TabletopChoice
from vla_agent.errors import ContractError, ObservationError, OptionError
from vla_agent.evaluation.play.player import Player, PlayerSettings
from vla_agent.policy.execution_settings import Execution

CONTRACT = tabletop_contract()
VERSION_1 = {
    "cameras": [{"name": n, "height": 96, "width": 96} for n in ("front", "wrist")],
    "state": [
        {"name": "ee_position", "size": 3, "unit": "m", "frame": "base"},
        {"name": "ee_rotation", "size": 6, "unit": "1", "frame": "base"},
        {"name": "gripper", "size": 1, "unit": "0 open to 1 closed", "frame": ""},
        {"name": "joint_position", "size": 7, "unit": "rad", "frame": ""},
    ],
    "action": [
        {"name": "ee_translation", "size": 3, "unit": "m per period", "frame": "base"},
        {"name": "ee_rotation", "size": 3, "unit": "rad per period", "frame": "base"},
        {"name": "gripper", "size": 1, "unit": "0 open to 1 closed", "frame": ""},
    ],
    "control_hz": 20.0,
    "chunk_length": 16,
    "version": 1,
}


def changed(part: str, which: str, /, **values) -> Contract:
    """The simulator's contract with other attributes of one camera or field."""
    things = tuple(replace(t, **values) if t.name == which else t for t in getattr(CONTRACT, part))
    return replace(CONTRACT, **{part: things})


def keys(mine: Contract, theirs: Contract = CONTRACT) -> list[str]:
    return [d.key for d in mine.differences(theirs)]


def test_hash_is_stable_and_does_not_depend_on_how_numbers_are_written():
    assert CONTRACT.hash == "fba67f1e907fb2bd8928f44b781893d2b10da8e9cd02230b268242a4bb14b2f5"
    assert replace(CONTRACT, control_hz=20).hash == CONTRACT.hash
    assert Contract.from_dict(json.loads(json.dumps(CONTRACT.to_dict()))).hash == CONTRACT.hash
    assert replace(CONTRACT, language="de").hash != CONTRACT.hash


def test_version_1_is_read_as_what_it_meant():
    assert Contract.from_dict(VERSION_1) == CONTRACT
    with pytest.raises(ContractError, match="another version"):
        Contract.from_dict(VERSION_1 | {"version": 99})


def test_ranges_are_those_of_the_controller():
    low, high = ([getattr(f, side) for f in CONTRACT.action for _ in range(f.size)] for side in ("low", "high"))
    np.testing.assert_allclose([low, high], ACTION_LIMITS["ee_delta"], rtol=1e-6)


@pytest.mark.parametrize(
    "damage",
    [
        {"camera": []},
        {"cameras": [{"name": "front", "height": 96}]},
        {"cameras": [{"name": "front", "height": 96, "width": 96}] * 2},
        {"cameras": [{"name": "front", "height": "96", "width": 96}]},
        {"cameras": [{"name": "front", "height": 96, "width": 96, "color": "rgbd"}]},
        {"state": [{"name": "gripper", "size": 0, "unit": ""}]},
        {"action": [{"name": "gripper", "size": 1, "unit": "", "low": 1.0, "high": 0.0}]},
        {"control_hz": 0.0},
        {"control_hz": float("nan")},
        {"chunk_length": 0},
    ],
)
def test_impossible_contracts_are_refused(damage):
    with pytest.raises(ContractError):
        Contract.from_dict(CONTRACT.to_dict() | damage)


def test_every_difference_is_listed_at_once_with_its_fix():
    other = replace(
        changed("action", "gripper", unit="m", low=None),
        cameras=(Camera("top", 96, 96), Camera("wrist", 128, 96, "bgr", 10.0)),
        state=(*CONTRACT.state[:2], CONTRACT.state[3], Field("force", 6, "N")),
        control_hz=10.0,
        chunk_length=8,
        language="de",
    )
    with pytest.raises(ContractError) as caught:
        other.require(CONTRACT, "policy a", "the simulator")
    listed = {
        "cameras.top": "--rename-camera top=front",
        "cameras.wrist.height": "height 128",
        "cameras.wrist.color": "from color 'rgb' to 'bgr'",
        "cameras.wrist.hz": "at 10 Hz",
        "state.gripper": "leave state.gripper out",
        "state.force": "add state.force",
        "action.gripper.unit": "to 'm'",
        "action.gripper.low": "low None",
        "control_hz": "at 10 Hz",
        "chunk_length": "chunk_length: 16",
        "language": "'de'",
    }
    assert set(caught.value.key.split("; ")) == set(listed)
    for key, fix in listed.items():
        assert key in caught.value.found and fix in caught.value.remedy
    assert not keys(CONTRACT) and "chunk_length" not in str(_error(other, ignore=("chunk_length",)).key)


def _error(other: Contract, **options) -> ContractError:
    with pytest.raises(ContractError) as caught:
        other.require(CONTRACT, "a", "b", **options)
    return caught.value


def test_order_of_a_layout_matters():
    assert keys(replace(CONTRACT, state=CONTRACT.state[::-1])) == ["state.order"]


# The evaluation pitfalls that others measured: each of them silently cost their success rates.


def test_pitfall_a_quaternion_is_not_the_rotation_it_replaces():
    quaternion = changed("state", "ee_rotation", size=4, rotation="quaternion xyzw")
    assert keys(quaternion) == ["state.ee_rotation.size", "state.ee_rotation.rotation"]
    euler = changed("action", "ee_rotation", rotation="euler xyz")  # of the same size
    assert keys(euler) == ["action.ee_rotation.rotation"]


def test_pitfall_a_missing_state_input_is_refused_not_filled_with_zeros():
    assert keys(replace(CONTRACT, state=CONTRACT.state[:-1])) == ["state.joint_position"]
    images = {c.name: np.zeros((c.height, c.width, 3), np.uint8) for c in CONTRACT.cameras}
    with pytest.raises(ObservationError, match="state"):
        CONTRACT.check_observation({"images": images, "state": np.zeros(10, np.float32)})
    with pytest.raises(ObservationError, match="state"):
        CONTRACT.check_observation({"images": images})


def test_pitfall_a_state_in_other_units_is_refused_and_one_at_the_edge_is_not():
    images = {c.name: np.zeros((c.height, c.width, 3), np.uint8) for c in CONTRACT.cameras}
    state = np.array([0.5, 0, 0.3, 1, 0, 0, 0, -1, 0, 0.5, 0, 0.2, 0, -2.4, 0, 2.6, 0.8], np.float32)
    for place, value, looks_like in (
        (9, 255.0, "0 to 255"),
        (9, 60.0, "0 to 100"),
        (9, -255.0, "another unit"),
        (9, 1.3, "0 to 100"),
        (0, 412.0, "millimetres"),
        (13, -137.5, "degrees"),
        (4, 45.0, "degrees"),
    ):
        other = state.copy()
        other[place] = value
        with pytest.raises(ObservationError, match="cannot be in") as error:
            CONTRACT.check_observation({"images": images, "state": other})
        assert error.value.key.startswith(f"state[{place}]") and looks_like in error.value.found
    for place, value in ((9, -0.02), (9, 1.2), (3, 1.0001), (13, -6.3), (0, 9.0)):
        other = state.copy()
        other[place] = value
        CONTRACT.check_observation({"images": images, "state": other})
    with pytest.raises(ObservationError, match="no number"):
        CONTRACT.check_observation({"images": images, "state": np.array(["0"] * 17)})


@pytest.mark.parametrize(
    ("rotation", "says"),
    [
        ([0, 0, 0, 0, 0, 0], "no rotation was measured"),
        ([1, 0, 0, 1, 0, 0], "another convention"),
        ([0, 0, 0.7071, 0.7071, 0, 0], "another convention"),  # a quaternion
        ([1, 0, 0, 0, 0, 1.1], "another convention"),
        ([1, 0, 0, 0.06, 0.998, 0], "another convention"),
    ],
)
def test_pitfall_six_numbers_that_are_no_rotation_are_refused(rotation, says):
    images = {c.name: np.zeros((c.height, c.width, 3), np.uint8) for c in CONTRACT.cameras}
    state = np.array([0.5, 0, 0.3, *rotation, 0.5, 0, 0.2, 0, -2.4, 0, 2.6, 0.8], np.float32)
    with pytest.raises(ObservationError, match="cannot be in") as error:
        CONTRACT.check_observation({"images": images, "state": state})
    assert error.value.key == "state[3] (ee_rotation)" and says in error.value.found
    state[3:9] = [1.02, 0, 0, 0.02, 0.0, -0.98]  # as sensors round
    CONTRACT.check_observation({"images": images, "state": state})


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1), far=st.sampled_from([0.0, 0.04, 0.06, 0.3, 3.0, 300.0]), place=st.integers(0, 16)
)
def test_rows_of_states_are_judged_as_single_states_are(seed, far, place):
    rng = np.random.default_rng(seed)
    states = np.stack([plausible_state(CONTRACT, rng) for _ in range(6)]).astype(np.float64)
    states[rng.integers(6), place] += far
    states[rng.integers(6)] *= rng.choice([1.0, 57.3, 0.0])
    alone = [k for k in range(6) if other_units(CONTRACT.state, states[k])]
    assert first_in_other_units(CONTRACT.state, states) == (alone[0] if alone else None)


def test_pitfall_channel_order_unit_frame_range_and_rate_are_compared():
    for part, name, values in (
        ("cameras", "front", {"color": "bgr"}),
        ("state", "joint_position", {"unit": "deg"}),
        ("action", "ee_translation", {"frame": "end effector"}),
        ("action", "ee_translation", {"low": -1.0, "high": 1.0}),
    ):
        assert keys(changed(part, name, **values)) == [f"{part}.{name}.{key}" for key in values]
    assert keys(replace(CONTRACT, control_hz=50.0)) == ["control_hz"]


class Dummy:
    """A policy of some contract that notes which cameras it was shown."""

    execute = 8

    def __init__(self, contract: Contract) -> None:
        self.contract = contract

    def reset(self, instruction):
        pass

    def act(self, observation, committed=None):
        self.seen = sorted(observation["images"])
        return np.zeros((16, 7), np.float32)


def test_a_camera_may_be_renamed_where_nothing_else_differs():
    policy = Dummy(changed("cameras", "front", name="top"))
    assert keys(policy.contract) == ["cameras.top"]
    renamed = RenamedCameras(policy, {"top": "front"})
    renamed.contract.require(CONTRACT, "policy", "the simulator")
    renamed.act({"images": {"front": 0, "wrist": 1}, "state": 0})
    assert policy.seen == ["top", "wrist"] and renamed.execute == 8
    with pytest.raises(ContractError, match="side"):
        RenamedCameras(policy, {"side": "front"})


def test_the_simulator_refuses_a_policy_with_every_difference_and_takes_a_renamed_one():
    class Env:
        contract = CONTRACT

    policy = Dummy(changed("cameras", "front", name="top"))
    renamed = Execution(renamed=(("top", "front"),))
    assert Player(PlayerSettings("p", TabletopChoice({}), load=lambda _: policy, execution=renamed)).policy("p", Env)
    broken = Dummy(replace(policy.contract, control_hz=5.0))
    with pytest.raises(ContractError, match="cameras.top.*control_hz"):
        Player(PlayerSettings("p", TabletopChoice({}), load=lambda _: broken)).policy("p", Env)


def test_a_policy_that_takes_no_guidance_is_not_executed_in_real_time():
    class Plain(Dummy):
        def act(self, observation):
            return np.zeros((16, 7), np.float32)

    class Env:
        contract = CONTRACT

    with pytest.raises(OptionError, match="committed"):
        settings = PlayerSettings("p", TabletopChoice({}), lambda _: Plain(CONTRACT), Execution("realtime"))
        Player(settings).policy("p", Env)


def test_inspect_prints_and_compares(tmp_path, capsys):
    for name, contract in (("a", CONTRACT), ("b", replace(CONTRACT, control_hz=5.0, chunk_length=4))):
        (tmp_path / name / "meta").mkdir(parents=True)
        (tmp_path / name / "meta" / "contract.json").write_text(json.dumps(contract.to_dict()))
    assert main(["inspect", str(tmp_path / "a")]) == 0
    shown = capsys.readouterr().out
    assert all(word in shown for word in ("front", "ee_translation", "rotation vector", "20 Hz", CONTRACT.hash[:12]))
    assert main(["inspect", str(tmp_path / "a"), "--against", "sim"]) == 0
    assert main(["inspect", str(tmp_path / "b"), "--against", "sim"]) == 2
    printed = capsys.readouterr().err
    assert "control_hz: 5.0 against 20.0" in printed and "chunk_length: 4 against 16" in printed
    assert main(["inspect", str(tmp_path)]) == 2 and main(["inspect", str(tmp_path / "none")]) == 2


@pytest.mark.parametrize(("place", "value"), [(3, 1.06), (7, 1.06), (4, 0.06)])
def test_a_row_whose_rotation_is_just_none_is_found_among_others(place, value):
    """The columns' lengths, and their angle."""
    states = np.stack([plausible_state(CONTRACT, np.random.default_rng(0)) for _ in range(3)]).astype(np.float64)
    states[:, 3:9] = (1, 0, 0, 0, 1, 0)
    assert first_in_other_units(CONTRACT.state, states) is None
    states[1, place] = value
    assert first_in_other_units(CONTRACT.state, states) == 1


def test_a_rotation_vector_turns_by_two_pi_at_most():
    layout = (Field("turn", 3, "rad", "base", rotation="rotation vector"),)
    within, beyond = np.array([0.0, 0.0, 6.3]), np.array([0.0, 6.4, 0.0])
    assert not other_units(layout, within) and "degrees" in " ".join(other_units(layout, beyond).values())
    assert first_in_other_units(layout, np.stack([within, within, beyond, beyond])) == 2
    assert first_in_other_units(layout, within[None]) is None


def test_what_a_number_looks_like_depends_on_its_unit():
    for unit, says in (("rad", "degrees"), ("w", "another unit"), ("m", "millimetres")):
        found = other_units((Field("x", 1, unit, low=-1.0, high=1.0),), np.array([1000.0]))
        assert says in " ".join(found.values())


def test_a_blank_observation_fits_its_contract_with_a_rotation_that_is_one():
    blank = blank_observation(CONTRACT)
    CONTRACT.check_observation(blank)
    assert blank["state"][3:9].tolist() == [1, 0, 0, 0, 1, 0]
