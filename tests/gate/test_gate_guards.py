"""The end of a gate after a kill, and the small parts that certificate and verification are made of."""

from __future__ import annotations

import hashlib
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from safetensors.numpy import save_file

from vla_agent.contract.tabletop import tabletop_contract
from vla_agent.errors import CertificateError, GateError
from vla_agent.files.canonical_json import canonical
from vla_agent.gate.certificate import keys
from vla_agent.gate.certificate.bound_files import _normaliser, adapter_files, contract_parts, simulator_files
from vla_agent.gate.evidence import ledger
from vla_agent.gate.evidence.seeds import first_seed
from vla_agent.gate.evidence.signed_lines import next_line
from vla_agent.gate.recheck.difference import differences
from vla_agent.gate.recheck.retrace_sample import choose
from vla_agent.gate.seal import finish_interrupted, require_free

# The output folder


@pytest.mark.parametrize("name", ["report.json", "certificate.json", ".partial"])
def test_a_folder_with_something_else_in_it_is_refused(tmp_path, name):
    require_free(tmp_path)
    (tmp_path / "notes.txt").touch()
    require_free(tmp_path)
    (tmp_path / name).mkdir() if name.startswith(".") else (tmp_path / name).touch()
    with pytest.raises(GateError) as caught:
        require_free(tmp_path)
    finished = name == "certificate.json"
    assert caught.value.found == name and ("a finished gate" in caught.value.what) is finished
    (tmp_path / "attempt.json").touch()
    if finished:
        with pytest.raises(GateError, match="a finished gate"):
            require_free(tmp_path)
    else:
        require_free(tmp_path)


# A kill after the certificate was written


def interrupted(lab, *, line: bool = True, copy: bool = True) -> None:
    """As a kill leaves it: scratch files, and perhaps neither the ledger's last line nor its copy."""
    (lab.root / "out" / ".partial").mkdir(exist_ok=True)
    if not line:
        *kept, _ = ledger.read_ledger(lab.ledger, lab.signer)
        lab.ledger.write_bytes(b"".join(canonical(entry) + b"\n" for entry in kept))
        head = next_line({}, ledger.HEAD_KIND, len(kept), kept[-1]["hash"], lab.signer)
        lab.ledger.with_name(lab.ledger.name + ledger.HEAD).write_bytes(canonical(head) + b"\n")
    if not copy:
        (lab.root / "out" / "ledger.jsonl").unlink(missing_ok=True)


def finish(lab, file=None):
    return finish_interrupted(lab.root / "out", file or lab.ledger, lab.signer, lab.private)


def test_the_copy_of_the_ledger_and_the_scratch_files_are_put_right(lab):
    interrupted(lab, copy=False)
    report = finish(lab)
    out = lab.root / "out"
    assert (out / "ledger.jsonl").read_bytes() == lab.ledger.read_bytes() and not (out / ".partial").exists()
    assert report == lab.report() and lab.verify() == []


@pytest.mark.parametrize("copy", [True, False])
def test_the_ledgers_last_line_is_added_once(lab, copy):
    before = ledger.read_ledger(lab.ledger, lab.signer)
    interrupted(lab, line=False, copy=copy)
    finish(lab)
    after = ledger.read_ledger(lab.ledger, lab.signer)
    drawn = ("time", "hash", "signature")
    assert [{k: v for k, v in e.items() if k not in drawn} for e in after] == [
        {k: v for k, v in e.items() if k not in drawn} for e in before
    ]
    assert lab.verify() == [] and (lab.root / "out" / "ledger.jsonl").read_bytes() == lab.ledger.read_bytes()
    interrupted(lab)
    finish(lab)
    assert ledger.read_ledger(lab.ledger, lab.signer) == after


def test_a_gate_that_ended_is_not_ended_again(lab):
    shutil.copy2(lab.ledger, lab.root / "out" / "ledger.jsonl")
    shutil.rmtree(lab.root / "out" / ".partial", ignore_errors=True)
    with pytest.raises(GateError, match="a finished gate"):
        finish(lab)


def test_a_certificate_of_another_ledger_is_not_ended(lab):
    interrupted(lab)
    with pytest.raises(GateError, match="not in the ledger"):
        finish(lab, lab.root / "other.jsonl")


def test_a_certificate_of_another_key_is_not_ended(lab):
    interrupted(lab)
    keys.create("other", lab.root / "keys")
    other = keys.load_private("other", lab.root / "keys")
    with pytest.raises(CertificateError):
        finish_interrupted(lab.root / "out", lab.ledger, lab.signer, other)


@pytest.mark.parametrize("name", ["report.json", "actions.npz"])
@pytest.mark.parametrize("how", ["changed", "missing"])
def test_changed_evidence_is_not_ended(lab, name, how):
    interrupted(lab)
    file = lab.root / "out" / name
    file.write_bytes(file.read_bytes() + b" ") if how == "changed" else file.unlink()
    with pytest.raises(GateError, match="evidence was changed") as caught:
        finish(lab)
    assert caught.value.file == str(file) and (caught.value.found == "no such file") is (how == "missing")


# Small parts


def test_a_sample_is_random_repeatable_and_in_order():
    rows = [{"n": n} for n in range(40)]
    first = choose(rows, 5, 1)
    assert first == choose(rows, 5, 1) != choose(rows, 5, 2) and len({r["n"] for r in first}) == 5
    assert first == sorted(first, key=lambda r: r["n"])
    assert choose(rows, 99, 1) == rows and choose(rows, 40, 1) == rows and choose(rows, 0, 1) == []


def test_seeds_are_these_for_ever():
    assert first_seed("a", "b", "c") == 7671808079 and 2**32 <= 7671808079 < 2**33
    assert (
        len({first_seed(*parts) for parts in (("a", "b", "c"), ("b", "a", "c"), ("a", "c", "b"), ("x", "b", "c"))}) == 4
    )


def test_differences_name_every_leaf():
    found = list(differences("policy", {"a": {"b": 1, "c": 2}, "d": 3}, {"a": {"b": 1, "c": 4}, "e": 5}))
    assert [(d.what, d.expected, d.found) for d in found] == [
        ("policy.a.c", 2, 4),
        ("policy.d", 3, "absent"),
        ("policy.e", "absent", 5),
    ]
    assert list(differences("x", {"a": 1}, {"a": 1})) == [] and len(list(differences("x", {"a": 1}, {"a": 1.0}))) == 1
    assert len(list(differences("x", {"a": 1}, {"a": True}))) == 1


def test_what_a_certificate_binds_of_a_contract_and_an_adapter():
    contract = tabletop_contract((32, 48))
    assert contract_parts(contract) == {
        "sha256": contract.hash,
        "control_hz": 20.0,
        "cameras": {"front": [32, 48], "wrist": [32, 48]},
    }
    names = ["head.safetensors", "adapter_model.safetensors", "base/adapter_config.json", "my-adapter.json"]
    assert adapter_files(names) == ["adapter_model.safetensors", "base/adapter_config.json"]


def test_the_simulators_files_are_all_that_decide_an_episode(tmp_path):
    rooms = ("sim/tasks", "vla_agent/robot/kinematics", "vla_agent/policy/execution", "vla_agent/contract")
    for room in (*rooms, "sim/__pycache__", "vla_agent/robot/control"):
        (tmp_path / room).mkdir(parents=True)
        (tmp_path / room / "a.py").write_text(room)
    found = simulator_files(tmp_path / "sim")
    assert list(found) == sorted(f"{room}/a.py" for room in rooms)
    (tmp_path / "sim/tasks/a.py").write_text("other")
    assert [name for name, sha in simulator_files(tmp_path / "sim").items() if sha != found[name]] == ["sim/tasks/a.py"]


def test_the_hash_of_the_normalisers_is_of_their_names_and_numbers_alone(tmp_path):
    class Files(SimpleNamespace):
        def __contains__(self, name):
            return (tmp_path / name).exists()

    files = Files(path=lambda name: tmp_path / name)
    assert _normaliser(files) == "unreadable"
    (tmp_path / "head.safetensors").write_bytes(b"no tensors")
    assert _normaliser(files) == "unreadable"
    scale, shift = np.array([1.0, 2.0], np.float32), np.array([3.0], np.float32)
    wanted = hashlib.sha256(b"action_normaliser.shift" + shift.tobytes() + b"state_normaliser.scale" + scale.tobytes())
    for other in (0.0, 1.0):
        tensors = {"state_normaliser.scale": scale, "head.weight": scale + other, "action_normaliser.shift": shift}
        save_file(tensors, tmp_path / "head.safetensors")
        assert _normaliser(files) == wanted.hexdigest()
    save_file(tensors | {"action_normaliser.shift": shift + 1}, tmp_path / "head.safetensors")
    assert _normaliser(files) != wanted.hexdigest()
