"""Damaged and foreign policies, given to ``vla-agent eval``."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.inputs.badinput.case import Case, Mistake
from benchmarks.inputs.badinput.good_inputs import TASK, Good
from vla_agent.errors import CheckpointError, ContractError

OPTIONS = ("--tasks", TASK, "--episodes", "1", "--workers", "1", "--controls", "none")


def _eval(spoil: Callable[[Path], None]) -> Mistake:
    """Evaluate a policy that ``spoil`` damaged."""

    def mistake(place: Path, good: Good) -> list[str]:
        folder = good.copy("policy", place / "policy")
        spoil(folder)
        return ["eval", str(folder), *OPTIONS, "--out", str(place / "out")]

    return mistake


def _flip(folder: Path) -> None:
    data = bytearray((folder / "head.safetensors").read_bytes())
    data[-100] ^= 0xFF
    (folder / "head.safetensors").write_bytes(data)


def _cut(folder: Path) -> None:
    data = (folder / "backbone/model.safetensors").read_bytes()
    (folder / "backbone/model.safetensors").write_bytes(data[: len(data) // 2])


def _no_json(folder: Path) -> None:
    (folder / "policy.json").write_text("{")


def _describe(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    """Change ``policy.json``."""

    def spoil(folder: Path) -> None:
        description = json.loads((folder / "policy.json").read_text())
        change(description)
        (folder / "policy.json").write_text(json.dumps(description))

    return spoil


def _weights(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    """Change the head's weights, with the right hash: as a wrong conversion would."""

    def spoil(folder: Path) -> None:
        from safetensors.torch import load_file, save_file

        file = folder / "head.safetensors"
        state = load_file(file)
        change(state)
        save_file(state, file)
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        _describe(lambda d: d["sha256"].update({"head.safetensors": digest}))(folder)

    return spoil


def _unfitted(state: dict[str, Any]) -> None:
    state["action_normaliser.scale"] = state["action_normaliser.scale"] * float("nan")


def _other_cameras(description: dict[str, Any]) -> None:
    description["contract"]["cameras"][0]["name"] = "overhead"


def _other_rate(description: dict[str, Any]) -> None:
    description["contract"]["control_hz"] = 10.0


def _other_size(description: dict[str, Any]) -> None:
    for camera in description["contract"]["cameras"]:
        camera["height"] = camera["width"] = 128


def _no_config(folder: Path) -> None:
    (folder / "backbone/config.json").unlink()


def _no_tokenizer(folder: Path) -> None:
    for file in (folder / "backbone").glob("tokenizer*"):
        file.unlink()


def _policy(name: str) -> Mistake:
    return lambda place, good: ["eval", name, *OPTIONS, "--out", str(place / "out")]


OFFLINE = {"HF_HUB_OFFLINE": "1"}
CASES = (
    Case("policy folder missing", _policy("policies/nowhere"), CheckpointError, ("policies/nowhere", "expert")),
    Case("hub without a connection", _policy("hf://nobody/nothing"), CheckpointError, ("nobody/nothing",), OFFLINE),
    Case("one byte of the head flipped", _eval(_flip), CheckpointError, ("head.safetensors", "sha256")),
    Case("backbone's weights truncated", _eval(_cut), CheckpointError, ("model.safetensors",)),
    Case("policy.json is no JSON", _eval(_no_json), CheckpointError, ("policy.json",)),
    Case("policy without a contract", _eval(_describe(lambda d: d.pop("contract"))), CheckpointError, ("contract",)),
    Case("contract without state", _eval(_describe(lambda d: d["contract"].pop("state"))), ContractError, ("state",)),
    Case(
        "policy of a newer format", _eval(_describe(lambda d: d.update(format=99))), CheckpointError, ("format", "99")
    ),
    Case(
        "contract of a newer version",
        _eval(_describe(lambda d: d["contract"].update(version=9))),
        ContractError,
        ("9",),
    ),
    Case(
        "normaliser missing",
        _eval(_weights(lambda s: s.pop("state_normaliser.scale"))),
        CheckpointError,
        ("head.safetensors", "state_normaliser.scale"),
    ),
    Case("normaliser never fitted", _eval(_weights(_unfitted)), CheckpointError, ("action_normaliser",)),
    Case("contract with another camera", _eval(_describe(_other_cameras)), ContractError, ("overhead", "front")),
    Case("contract with another rate", _eval(_describe(_other_rate)), ContractError, ("control_hz", "10", "20")),
    Case("contract with another image size", _eval(_describe(_other_size)), CheckpointError, ("cameras", "128")),
    Case("backbone without config.json", _eval(_no_config), CheckpointError, ("backbone",)),
    Case("backbone without tokenizer", _eval(_no_tokenizer), CheckpointError, ("backbone",)),
)
