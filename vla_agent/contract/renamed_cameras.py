"""A policy whose cameras have other names where it is used."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from vla_agent.errors import ContractError


class RenamedCameras:
    """Passes everything through, and gives the policy each image under the policy's own camera name.

    Args:
        policy: with a ``contract``.
        names: the policy's name of a camera -> its name here.

    Raises:
        ContractError: the policy has no such camera, or no contract.
    """

    def __init__(self, policy: Any, names: Mapping[str, str]) -> None:
        contract = getattr(policy, "contract", None)
        known = contract.camera_names if contract is not None else ()
        unknown = [name for name in names if name not in known]
        if contract is None or unknown:
            raise ContractError(
                "a camera to be renamed is not one of the policy's",
                key="--rename-camera",
                expected=f"POLICY'S=HERE with one of the policy's cameras: {', '.join(known) or 'it names none'}",
                found=", ".join(unknown or names),
                remedy="vla-agent inspect POLICY shows its cameras",
            )
        self._policy, self._names = policy, dict(names)
        self.contract = replace(
            contract, cameras=tuple(replace(c, name=names.get(c.name, c.name)) for c in contract.cameras)
        )

    def __getattr__(self, name: str) -> Any:
        return getattr(self._policy, name)

    def act(self, observation: Mapping[str, Any], **more: Any) -> np.ndarray:
        """The chunk (T, A) of an observation whose images have the names used here."""
        back = {here: own for own, here in self._names.items()}
        images = {back.get(name, name): image for name, image in observation["images"].items()}
        return self._policy.act({**observation, "images": images}, **more)
