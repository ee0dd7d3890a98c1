"""A Gymnasium environment behind the protocol, described by one YAML file: its contract and where things are.

.. code-block:: yaml

    gymnasium: gym_pusht/PushT-v0        # id of a registered environment, or MODULE:CLASS, or FILE.py:CLASS
    import: [gym_pusht]                  # modules that register it (optional)
    options: {obs_type: pixels_agent_pos}   # arguments of its constructor (optional)
    tasks: {push_t: push the block}      # task -> instruction; ~ : reset's info["instruction"]
    limit: 300                           # control periods of an episode
    success: info.is_success             # truth value in step's info, or `terminated`
    keys: {top: pixels}                  # camera or state field -> its place in the observation, a.b for a nested one;
                                         # optional where the names are the same
    packages: [gym-pusht]                # whose versions a report states (optional)
    contract: {cameras: [...], state: [...], action: [...], control_hz: 10, chunk_length: 8}
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from ruamel.yaml.error import YAMLError

from vla_agent.contract import Contract
from vla_agent.contract.layout import VERSION
from vla_agent.environments.factory import factory_of
from vla_agent.errors import EnvironmentFault
from vla_agent.files.bounded_yaml import read_yaml

NEEDED_KEYS = ("gymnasium", "tasks", "limit", "success", "contract")
OPTIONAL_KEYS = ("import", "options", "keys", "packages")
TERMINATED = "terminated"


def open_file(file: Path) -> GymnasiumEnvironment:
    """The environment that a YAML file describes.

    Raises:
        EnvironmentFault: the file is wrong, or the environment cannot be made or does not fit.
        ContractError: its contract is wrong.
    """
    try:
        data = read_yaml(file, EnvironmentFault)
    except (OSError, YAMLError) as error:
        raise _fault("the file cannot be read", file, "", "a YAML file", error, "docs/environments.md") from error
    keys = [str(key) for key in data] if isinstance(data, Mapping) else []
    missing = [key for key in NEEDED_KEYS if key not in keys]
    unknown = [key for key in keys if key not in NEEDED_KEYS + OPTIONAL_KEYS]
    if missing or unknown:
        expected = f"{', '.join(NEEDED_KEYS)}; optional: {', '.join(OPTIONAL_KEYS)}"
        found = ", ".join(keys) or type(data).__name__
        raise _fault(
            "the file has other keys", file, ", ".join(missing + unknown), expected, found, "add or rename them"
        )
    _require(isinstance(data["tasks"], Mapping) and data["tasks"], file, "tasks", "task: instruction", data["tasks"])
    _require(type(data["limit"]) is int and data["limit"] > 0, file, "limit", "control periods", data["limit"])
    success = str(data["success"])
    _require(success == TERMINATED or success.startswith("info."), file, "success", "terminated or info.KEY", success)
    contract = Contract.from_dict({"version": VERSION, **data["contract"]}, str(file))
    return GymnasiumEnvironment(_made(data, file), contract, data, file)


class GymnasiumEnvironment:
    """`vla_agent.environments.protocol.Environment` around a `gymnasium.Env` with a dictionary observation."""

    def __init__(self, env: gymnasium.Env[Any, Any], contract: Contract, data: Mapping[str, Any], file: Path) -> None:
        self.env, self.contract, self._data, self._file = env, contract, data, file
        self._keys = {str(name): str(place) for name, place in (data.get("keys") or {}).items()}
        self._seen: Any = None
        self._ended = False
        space = env.action_space
        _require(isinstance(space, gymnasium.spaces.Box) and space.shape == (contract.action_dim,), file,
                 "contract.action", f"a Box of {contract.action_dim} numbers, as the contract says", space)  # fmt: skip
        names = {*contract.camera_names, *(field.name for field in contract.state)}
        _require(set(self._keys) <= names, file, "keys", ", ".join(sorted(names)), ", ".join(self._keys))
        if getattr(env, "render_mode", None) != "rgb_array":
            self.render = None  # type: ignore[assignment]  # not offered

    def tasks(self) -> list[str]:
        return [str(task) for task in self._data["tasks"]]

    def limit(self, task: str) -> int:
        return int(self._data["limit"])

    def reset(self, task: str, seed: int) -> str:
        _require(task in self._data["tasks"], self._file, "tasks", ", ".join(self.tasks()), task)
        self._seen, info = self.env.reset(seed=seed)
        self._ended = False
        text = self._data["tasks"][task]
        return str(info.get("instruction", "")) if text is None else str(text)

    def observe(self, images: bool = True) -> dict[str, Any]:
        state = [np.ravel(np.asarray(self._at(field.name))) for field in self.contract.state]
        found: dict[str, Any] = {"state": np.concatenate(state).astype(np.float32)}
        if images:
            found["images"] = {name: np.array(self._at(name)) for name in self.contract.camera_names}
        return found

    def step(self, action: np.ndarray) -> bool:
        """One control period; nothing moves after an episode that has ended without success."""
        if self._ended:
            return False
        kind = self.env.action_space.dtype
        self._seen, _, terminated, truncated, info = self.env.step(np.array(action, kind))
        self._ended = bool(terminated or truncated)
        key = str(self._data["success"])
        if key == TERMINATED:
            return bool(terminated)
        name = key.removeprefix("info.")
        _require(name in info, self._file, "success", f"info.KEY with one of {', '.join(map(str, info))}", key)
        return bool(info[name])

    def versions(self) -> dict[str, str]:
        found = {}
        for name in ("gymnasium", "numpy", *map(str, self._data.get("packages") or ())):
            try:
                found[name] = version(name)
            except PackageNotFoundError:
                found[name] = "absent"
        return found

    def render(self) -> np.ndarray:
        """(H, W, 3) uint8: Gymnasium's own picture of the present state."""
        return np.asarray(self.env.render())

    def close(self) -> None:
        self.env.close()

    def _at(self, name: str) -> Any:
        place = self._keys.get(name, name)
        value = self._seen
        for part in place.split("."):
            known = list(value) if isinstance(value, Mapping) else type(value).__name__
            _require(isinstance(value, Mapping) and part in value, self._file, f"keys.{name}", known, place)
            value = value[part]
        return value


def _made(data: Mapping[str, Any], file: Path) -> gymnasium.Env[Any, Any]:
    name, options = str(data["gymnasium"]), dict(data.get("options") or {})
    try:
        for module in data.get("import") or ():
            importlib.import_module(str(module))
        if ":" in name:
            local = file.parent / name.rpartition(":")[0]
            place = f"{local}:{name.rpartition(':')[2]}" if local.suffix == ".py" else name
            return factory_of(place)[0](**options)
        return gymnasium.make(name, disable_env_checker=True, **options)
    except EnvironmentFault:
        raise
    except Exception as error:
        found = f"{type(error).__name__}: {error}"
        raise _fault(
            "the environment cannot be made", file, "gymnasium", name, found, "make it in Python alone"
        ) from error


def _require(good: object, file: Path, key: str, expected: object, found: object) -> None:
    if not good:
        remedy = "correct the file: docs/environments.md#a-gymnasium-environment"
        raise _fault("the file does not fit the environment", file, key, expected, found, remedy)


def _fault(what: str, file: Path, key: str, expected: object, found: object, remedy: str) -> EnvironmentFault:
    return EnvironmentFault(what, file=file, key=key or None, expected=expected, found=found, remedy=remedy)
