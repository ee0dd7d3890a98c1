"""Messages of the protocol: the server's metadata, the client's requests; see docs/serving.md.

metadata (the server's first message)::

    protocol 1, policy (name), contract (plain), contract_hash, execute, realtime, refuses, files (name -> SHA-256; and
    ``served with`` -> SHA-256 of program and settings, where those of the files do not say how they are used)

request: an observation in one of two forms, and its options::

    images {camera: (H, W, 3) uint8}, state (D,)     or     observation/CAMERA, observation/state
    prompt: the instruction, empty for none; seed: of the noise; reset: an episode begins; committed: decided actions
    (real-time chunking); id: returned with the reply

reply: ``actions`` (T, A) float32 and ``server_timing``; from a server whose metadata has ``refuses``, ``refusal``, why
the chunk holds the robot still, empty where it does not, and ``doubt``, the probability that the instruction can not be
done, None where nothing is said of that; or a text, the error of the request.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

import numpy as np

from vla_agent.contract import Contract
from vla_agent.contract.state_units import first_in_other_units, other_units
from vla_agent.errors import ServingError
from vla_agent.policy.execution.realtime import Committed

PROTOCOL = 1
SERVED_WITH = "served with"  # among the files
FLAT = "observation/"
LONGEST_PROMPT = 2000  # characters
KEYS = ("images", "state", "prompt", "seed", "reset", "committed", "id")
INSTRUCTIONS = dict.fromkeys(("instruction", "task", "language_instruction", "text"), "prompt")


@dataclass(frozen=True)
class Request:
    """One request.  ``prompt`` None: the previous one stays.  ``id`` is returned with the reply."""

    observation: dict[str, Any]
    prompt: str | None = None
    seed: int | None = None
    reset: bool = False
    committed: Committed | None = None
    id: int | str | None = None


def read_request(message: Any, contract: Contract) -> Request:
    """The request in an unpacked message, with an observation that fits the contract.

    Raises:
        ServingError: a key is missing or invalid.
        ObservationError: the observation does not fit the contract.
    """
    if not isinstance(message, dict):
        raise _invalid_request("message", "a map", type(message).__name__)
    _refuse_mistaken(message)
    flat = {k.removeprefix(FLAT): v for k, v in message.items() if isinstance(k, str) and k.startswith(FLAT)}
    images = message.get("images", {k: v for k, v in flat.items() if k != "state"})
    if not isinstance(images, dict):
        raise _invalid_request("images", "a map from camera to image", type(images).__name__)
    for name, image in images.items():
        if not isinstance(name, str) or not isinstance(image, np.ndarray):
            raise _invalid_request("images", "an array for each camera's name", f"{name!r:.40}: {type(image).__name__}")
    observation: dict[str, Any] = {"images": images}
    state = message.get("state", flat.get("state"))
    if state is not None:
        observation["state"] = _numbers("state", state)
    prompt, seed, number = message.get("prompt"), message.get("seed"), message.get("id")
    if prompt is not None and not (isinstance(prompt, str) and len(prompt) <= LONGEST_PROMPT):
        raise _invalid_request(
            "prompt", f"text of at most {LONGEST_PROMPT} characters", f"{type(prompt).__name__} {prompt!s:.40}"
        )
    if seed is not None and (type(seed) is not int or not 0 <= seed < 2**63):
        raise _invalid_request("seed", "a whole number from 0 on", repr(seed)[:40])
    if number is not None and not (type(number) is int or (isinstance(number, str) and len(number) <= 100)):
        raise _invalid_request("id", "a whole number or a short text", type(number).__name__)
    if (reset := message.get("reset")) is not None and not isinstance(reset, (bool, np.bool_)):
        raise _invalid_request("reset", "true or false", f"{type(reset).__name__} {reset!s:.40}")
    contract.check_observation(observation)
    observation["state"] = np.asarray(observation["state"], np.float32)
    return Request(observation, prompt, seed, bool(reset), _committed(message, contract), number)


def _refuse_mistaken(message: Mapping[Any, Any]) -> None:
    """Raise where a key seems to be meant for one of the protocol's, or the observation is there in both forms.

    Other keys, which a client may send to servers of several kinds, are left alone.
    """
    for key in message:
        text = str(key)
        near = INSTRUCTIONS.get(text) or next(iter(get_close_matches(text, KEYS, 1, 0.8)), None)
        if near is not None and near not in message and text not in KEYS and not text.startswith(FLAT):
            raise _invalid_request(text, f"the protocol's keys: {', '.join(KEYS)}", f"{text}; did you mean {near}?")
    both = [key for key in ("images", "state") if key in message]
    flat = [key for key in message if isinstance(key, str) and key.startswith(FLAT)]
    if both and flat:
        raise _invalid_request(", ".join((*both, *flat))[:200], "the observation in one of its two forms", "both forms")


def _committed(message: Mapping[str, Any], contract: Contract) -> Committed | None:
    given = message.get("committed")
    if given is None:
        return None
    expected = f"actions ({contract.chunk_length}, {contract.action_dim}), decided, delay (0 <= delay <= decided)"
    if not isinstance(given, dict) or not {"actions", "decided", "delay"} <= given.keys():
        raise _invalid_request(
            "committed", expected, sorted(map(str, given)) if isinstance(given, dict) else type(given)
        )
    with np.errstate(over="ignore"):
        actions = _numbers("committed", given["actions"]).astype(np.float32)
    decided, delay = given["decided"], given["delay"]
    counts = type(decided) is int and type(delay) is int and 0 <= delay <= decided <= contract.chunk_length
    if counts and actions.ndim == 2 and actions.shape[1] == contract.action_dim and np.isfinite(actions).all():
        k = first_in_other_units(contract.action, actions[:decided])
        if k is not None:
            told = other_units(contract.action, actions[k]).items()
            found = "; ".join(f"{name.replace('state', 'action', 1)}: {text}" for name, text in told)
            raise _invalid_request("committed", "actions in the contract's units", f"step {k}: {found}")
    if actions.shape != (contract.chunk_length, contract.action_dim) or not counts or not np.isfinite(actions).all():
        raise _invalid_request("committed", expected, f"{actions.shape}, {decided!r}, {delay!r}")
    return Committed(actions, decided, delay)


def _numbers(key: str, value: Any) -> np.ndarray:
    try:
        array = np.asarray(value) if isinstance(value, (list, np.ndarray)) else np.array(None)
    except ValueError as error:
        raise _invalid_request(key, "an array of numbers", "lists of unequal length") from error
    if array.dtype.kind not in "iuf":
        raise _invalid_request(key, "an array of numbers", f"{type(value).__name__} {array.dtype}")
    return array


def _invalid_request(key: str, expected: object, found: object) -> ServingError:
    remedy = "see docs/serving.md, the protocol"
    return ServingError("the request is invalid", key=key, expected=expected, found=str(found), remedy=remedy)


@dataclass(frozen=True)
class Metadata:
    """A server's description of its policy."""

    policy: str
    contract: Contract
    execute: int
    realtime: bool
    files: Mapping[str, str]
    refuses: bool = False  # each reply has ``refusal``; servers before it have none

    def to_dict(self) -> dict[str, Any]:
        """As it is sent."""
        return {
            "protocol": PROTOCOL,
            "policy": self.policy,
            "contract": self.contract.to_dict(),
            "contract_hash": self.contract.hash,
            "execute": self.execute,
            "realtime": self.realtime,
            "refuses": self.refuses,
            "files": dict(self.files),
        }

    @classmethod
    def from_dict(cls, data: Any, server: str) -> Metadata:
        """Read the metadata that ``server`` sent.

        Raises:
            ServingError: it is not sent by `vla-agent serve`, or is invalid.
            ContractError: its contract cannot be read.
        """
        if not isinstance(data, dict) or "contract" not in data:
            raise ServingError(
                "the server sends no contract",
                file=server,
                key="contract",
                expected="the metadata that `vla-agent serve` sends",
                found=sorted(map(str, data)) if isinstance(data, dict) else type(data).__name__,
                remedy="describe a server of openpi in a YAML file: docs/serving.md",
            )
        if data.get("protocol") != PROTOCOL:
            raise _invalid_metadata(server, "protocol", PROTOCOL, data.get("protocol"))
        if not isinstance(data["contract"], dict):
            raise _invalid_metadata(server, "contract", "a map", type(data["contract"]).__name__)
        contract = Contract.from_dict(data["contract"], file=server)
        if data.get("contract_hash") != contract.hash:
            raise _invalid_metadata(server, "contract_hash", contract.hash, data.get("contract_hash"))
        execute, files = data.get("execute"), data.get("files", {})
        if type(execute) is not int or not 1 <= execute <= contract.chunk_length:
            raise _invalid_metadata(server, "execute", f"1 to {contract.chunk_length}", execute)
        if not isinstance(files, dict):
            raise _invalid_metadata(server, "files", "name -> SHA-256", type(files).__name__)
        named = {str(name): str(digest) for name, digest in files.items()}
        abilities = bool(data.get("realtime")), named, bool(data.get("refuses"))
        return cls(str(data.get("policy", "")), contract, execute, *abilities)


def _invalid_metadata(server: str, key: str, expected: object, found: object) -> ServingError:
    remedy = "run the same release of vla-agent on both sides"
    what = "the server's metadata is invalid"
    return ServingError(what, file=server, key=key, expected=expected, found=str(found), remedy=remedy)
