"""`require_certificate`, which both nodes call: what is certified and demanded may move hardware, and nothing else."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from datetime import datetime, timedelta
from types import SimpleNamespace

import pytest

from benchmarks.certificates.certificate_case import LATENCY_MS, demands, make
from vla_agent.errors import CertificateError, GateError
from vla_agent.files.canonical_json import digest, readable
from vla_agent.gate.certificate import enforce, keys
from vla_agent.gate.certificate.bound_files import policy_contract, policy_files
from vla_agent.gate.certificate.demands import write_demands
from vla_agent.gate.certificate.enforce import NEEDED, Deployment, require_certificate

ZERO = "0" * 64


@pytest.fixture
def case(tmp_path):
    return make(tmp_path / "case")


def refusal(case, certificate=None, now=None, **changed) -> GateError:
    with pytest.raises(GateError) as error:
        case.require(certificate, now, **changed)
    assert error.value.remedy and error.value.expected is not None and error.value.found is not None
    return error.value


def test_what_is_certified_and_demanded_may_move(case):
    assert case.require().id == case.payload["id"]
    assert case.require(files=None).id == case.payload["id"], "the folder's files are compared"
    assert case.require(latency_ms=LATENCY_MS / 2)
    assert case.require(cameras=["wrist", "front", "side"]), "a robot may have more cameras"
    assert case.require(now=datetime.fromisoformat(case.payload["issued"]))


@pytest.mark.parametrize(
    ("changed", "key"),
    [
        ({"robot": "ur5"}, "robot"),
        ({"robot_file": ZERO}, "robot_file"),
        ({"robot_file": ""}, "robot_file"),
        ({"cameras": {"front": (96, 96)}}, "cameras.wrist.0"),
        ({"cameras": {"front": (96, 97), "wrist": (96, 96)}}, "cameras.front.1"),
        ({"cameras": {"front": (96, 96), "wrist": (96, 96), "side": (96, 96)}}, "cameras.side.0"),
        ({"cameras": ["front", "side"]}, "cameras.wrist.0"),
        ({"cameras": {}}, "cameras."),
        ({"control_hz": 19.0}, "control_hz"),
        ({"control_hz": 21.0}, "control_hz"),
        ({"latency_ms": LATENCY_MS + 0.1}, "latency"),
        ({"latency_ms": float("nan")}, "latency"),
        ({"latency_ms": float("inf")}, "latency"),
        ({"execution": "ensemble"}, "execution"),
        ({"files": {}}, "policy.files"),
        ({"files": {"head.safetensors": ZERO, "policy.json": ZERO}}, "policy.files.head.safetensors"),
    ],
)
def test_another_deployment_is_refused(case, changed, key):
    assert refusal(case, **changed).key == key


def test_one_file_more_is_refused(case):
    files = case.payload["policy"]["files"]
    assert refusal(case, files=files | {"backbone/config.json": ZERO}).key == "policy.files.backbone/config.json"
    error = refusal(case, files=files | {"adapter.safetensors": ZERO})
    assert "adapter" in error.key and "adapter" in error.what


def test_on_hardware_everything_is_compared_or_named_as_unknown(case):
    for name in NEEDED:
        assert refusal(case, **{name: None}).key == name
    for name in NEEDED[1:]:
        assert case.require(**{name: None}, unknown=[name])
    bare = Deployment("panda", True)
    with pytest.raises(GateError) as error:
        require_certificate(case.policy, case.certificate, bare, keys=case.keys)
    assert error.value.key == ", ".join(NEEDED)
    assert refusal(case, robot_file=None, unknown=["robot_file"]).key == "robot_file", "demands need it in any case"


def test_without_a_certificate_hardware_is_refused_and_simulation_is_not(case):
    for none in (None, ""):
        with pytest.raises(GateError, match="no certificate"):
            require_certificate(case.policy, none, case.deployment, keys=case.keys)
        assert require_certificate(case.policy, none, replace(case.deployment, hardware=False)) is None
    with pytest.raises(GateError, match="there is no certificate"):
        case.require(case.root / "none.json")


def test_in_simulation_a_certificate_that_is_given_must_be_valid_whatever_a_robot_demands(case):
    bare = {"hardware": False, "cameras": None, "control_hz": None, "latency_ms": None, "execution": None}
    (case.keys / "demands" / "panda.yaml").unlink()
    assert case.require(**bare, robot_file=None, files=None)
    keys.revoke(case.payload["id"], "a test", case.keys)
    assert "revoked" in refusal(case, **bare).what


@pytest.mark.parametrize("verdict", ["fail", "undecided"])
def test_a_gate_that_was_not_passed_moves_nothing(case, verdict):
    file = case.signed(verdict=verdict)
    assert refusal(case, file).key == "verdict"
    assert refusal(case, file, hardware=False).key == "verdict"


def test_a_certificate_of_another_robot_moves_nothing(case):
    assert refusal(case, case.signed(robot__name="ur5")).key == "robot"
    assert refusal(case, case.signed(robot__file="")).key == "robot.file"


def test_a_scripted_policy_moves_nothing(case):
    file = case.signed(policy__files={}, policy__adapter=[], policy__digest=ZERO)
    assert refusal(case, file, files={}).key == "policy.files"


def test_the_times_of_a_certificate_hold(case):
    issued, expires = (datetime.fromisoformat(case.payload[k]) for k in ("issued", "expires"))
    second = timedelta(seconds=1)
    assert refusal(case, now=issued - second).key == "issued"
    assert refusal(case, now=expires).key == "expires"
    assert case.require(now=expires - second)


def test_a_stranger_s_certificate_moves_nothing(case):
    keys.create("stranger", case.root / "other")
    for name in ("stranger.key", "stranger.pub"):
        (case.root / "other" / name).rename(case.keys / name)
    file = case.signed("stranger")
    assert case.require(file)
    (case.keys / "stranger.pub").unlink()
    assert refusal(case, file).key == "signatures.0.keyid"


def test_an_edited_certificate_moves_nothing(case):
    envelope = json.loads(case.certificate.read_text())
    other = json.loads(case.signed(latency__certified_ms=1.0).read_text())
    (case.root / "edited.json").write_text(readable(envelope | {"payload": other["payload"]}))
    assert refusal(case, case.root / "edited.json").key == "signatures.0.sig"


def test_what_was_revoked_moves_nothing_and_neither_does_anything_without_a_list(case):
    for name in (case.payload["id"], case.payload["policy"]["digest"], case.payload["gate"]["sha256"]):
        folder = case.root / name[:8]
        copied = make(folder)
        keys.revoke(name, "a test", copied.keys)
        if name in (copied.payload["policy"]["digest"], copied.payload["gate"]["sha256"]):
            assert "revoked" in refusal(copied).what
        else:
            assert copied.require(), "another certificate of the same policy stays valid"
    (case.keys / "revoked.json").unlink()
    assert "no revocation list" in refusal(case).what
    assert "no revocation list" in refusal(case, hardware=False).what


def test_a_robot_without_demands_does_not_move(case):
    (case.keys / "demands" / "panda.yaml").unlink()
    assert "states no demands" in refusal(case).what


def test_a_certificate_below_the_demands_moves_nothing(case):
    write_demands(demands(latency_ms=LATENCY_MS - 1), case.keys)
    assert refusal(case, latency_ms=1.0).key == "latency"
    write_demands(demands(keys=["2" * 32]), case.keys)
    assert refusal(case).key == "key"
    write_demands(demands(keys=list(keys.trusted(case.keys))), case.keys)
    assert case.require()


def test_the_robot_file_that_runs_is_the_demanded_one(case):
    """Also where certificate and robot agree on another one."""
    assert refusal(case, case.signed(robot__file=ZERO), robot_file=ZERO).key == "robot.file"
    write_demands(demands(robot_file=ZERO), case.keys)
    assert refusal(case).key == "robot.file"
    assert refusal(case, case.signed(robot__file=ZERO)).key == "robot_file"
    assert case.require(case.signed(robot__file=ZERO), robot_file=ZERO)


def test_the_code_that_robot_and_simulator_share_is_the_certified_one(case):
    """Of the rest of the simulator the demands alone decide."""
    files = case.payload["simulator"]
    shared = "vla_agent/policy/execution/chunk_executor.py"
    for other, key in (
        (files | {shared: ZERO}, shared),
        ({name: h for name, h in files.items() if name != shared}, shared),
        (files | {"vla_agent/contract/more.py": ZERO}, "vla_agent/contract/more.py"),
        (files | {"sim/rollout.py": ZERO}, ""),
    ):
        write_demands(demands(simulators=[digest(other)]), case.keys)
        file = case.signed(simulator=other)
        if key:
            assert refusal(case, file).key == f"simulator.{key}"
        else:
            assert case.require(file)
        assert case.require(file, hardware=False)


def test_changed_files_of_the_folder_are_named(case):
    head = case.policy / "head.safetensors"
    content = head.read_bytes()
    head.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert refusal(case, files=None).key == "policy.files.head.safetensors"
    head.write_bytes(content)
    assert case.require(files=None)
    data = json.loads((case.policy / "policy.json").read_text())
    data["contract"]["control_hz"] = 10.0
    (case.policy / "policy.json").write_text(json.dumps(data))
    assert refusal(case, files=None).key == "policy.files.policy.json"
    assert refusal(case).key == "control_hz", "the contract is compared beside the files"


def test_a_server_is_asked_for_its_files_and_its_contract(case, monkeypatch):
    files, contract = policy_files(case.policy), policy_contract(case.policy)
    served = SimpleNamespace(files=files, contract=contract)
    monkeypatch.setattr(enforce, "metadata_of", lambda address: served)

    def ask(**changed):
        deployment = replace(case.deployment, **{"files": None, **changed})
        return require_certificate("ws://localhost:1", case.certificate, deployment, keys=case.keys)

    assert ask() and ask(files=files)
    served.files = files | {"head.safetensors": ZERO}
    with pytest.raises(GateError) as error:
        ask()
    assert error.value.key == "policy.files.head.safetensors"
    served.files, served.contract = files, replace(contract, control_hz=10.0)
    with pytest.raises(GateError) as error:
        ask()
    assert "contract" in error.value.what and error.value.key == "control_hz"


def test_asking_needs_neither_simulator_nor_torch():
    """The safety node asks, and so may a machine that cannot play."""
    code = "import sys; import vla_agent.gate.certificate.enforce\n"
    code += "print([n for n in sys.modules if n.split('.')[0] in ('sim', 'mujoco', 'torch', 'scipy')])"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown.strip() == "[]"


def test_the_folder_of_the_keys_is_that_of_the_environment(case, monkeypatch):
    monkeypatch.setenv("VLA_AGENT_KEYS", str(case.keys))
    assert require_certificate(case.policy, case.certificate, case.deployment)
    monkeypatch.setenv("VLA_AGENT_KEYS", str(case.root / "none"))
    with pytest.raises(CertificateError, match="not signed by a trusted key"):
        require_certificate(case.policy, case.certificate, case.deployment)
