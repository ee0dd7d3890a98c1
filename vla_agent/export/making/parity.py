"""An exported policy against the one that it was made of, observation by observation, from the same noise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import track

from vla_agent.errors import OptionError
from vla_agent.export.exported.run import Policy
from vla_agent.export.making.observations import CHUNKS, Drawn, Scenes
from vla_agent.policy.policy import VLAPolicy

LIMIT = 1e-3  # of a field's range: more than rounding, less than any sensor or motor resolves


@dataclass
class Parity:
    """The largest difference, as a fraction of the range of its action field, and where it was.

    mean: of the number of an action that differs most on average, over all rows, as a fraction of its range.
    refused: observations for which the policy held still.  disagreed: those for which only one of the two did, or the
    two gave other reasons.  seen: "simulator" or "drawn".
    """

    observations: int = 0
    largest: float = 0.0
    mean: float = 0.0
    field: str = ""
    at: int = 0
    refused: int = 0
    disagreed: int = 0
    seen: str = ""

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def compare(policy: VLAPolicy, exported: Mapping[str, Policy], source: Scenes | Drawn, count: int) -> dict[str, Parity]:
    """The policy and each export of it, by name, on the same observations; the policy's own chunks are executed."""
    parities = {name: Parity(seen="simulator" if isinstance(source, Scenes) else "drawn") for name in exported}
    ranges = action_ranges(policy)
    sums = {name: np.zeros(len(ranges)) for name in exported}
    names = [field.name for field in policy.contract.action for _ in range(field.size)]
    observed = track(source.observations(count), "compared", total=count, console=Console(stderr=True))
    for k, (instruction, observation) in enumerate(observed):
        if k % CHUNKS == 0:
            policy.reset(instruction, seed=k)
            for one in exported.values():
                one.reset(instruction, seed=k)
        noise = _next_noise(policy)
        ours = policy.act(observation)
        source.took(ours[: policy.execute])
        for name, one in exported.items():
            each = np.abs(ours - one.act(observation, noise=noise)) / ranges
            off, sums[name] = each.max(axis=0), sums[name] + each.mean(axis=0)
            parity = parities[name]
            parity.observations += 1
            parity.refused += policy.refusal is not None
            parity.disagreed += policy.refusal != one.refusal
            if off.max() > parity.largest:
                parity.largest, parity.field, parity.at = float(off.max()), names[int(off.argmax())], k
    for name, parity in parities.items():
        parity.mean = float(sums[name].max()) / max(1, parity.observations)
    return parities


def _next_noise(policy: VLAPolicy) -> np.ndarray:
    """(T, A): what the policy will draw next."""
    contract, ahead = policy.contract, torch.Generator()
    ahead.set_state(policy._generator.get_state())
    return torch.randn(1, contract.chunk_length, contract.action_dim, generator=ahead)[0].numpy()


def action_ranges(policy: VLAPolicy) -> np.ndarray:
    """(A,) range of each number of an action: the contract's, or what the policy normalises to -1 and 1."""
    found = 2 * policy.action_normaliser.scale.numpy().astype(np.float64)
    for field, place in zip(
        policy.contract.action, policy.contract.slices(policy.contract.action).values(), strict=True
    ):
        if field.low is not None and field.high is not None:
            found[place] = field.high - field.low
    return found


def require_parity(parity: Parity, what: str, limit: float = LIMIT, mean: bool = False) -> None:
    """Check that the two act alike.

    Args:
        mean: judge the mean difference in place of the largest: a gripper that closes an observation later differs by
            its whole range there.

    Raises:
        OptionError: they do not; says in which field and at which observation.
    """
    found = parity.mean if mean else parity.largest
    if found <= limit and not parity.disagreed:
        return
    raise OptionError(
        "the exported policy does not act as the policy does, and is not written",
        key=parity.field if found > limit else "refusal",
        expected=f"{what}: differences of at most {limit:g} of the range{' on average' if mean else ''}, and the same "
        "refusals",
        found=f"{found:.3g} of the range{' on average; the largest' if mean else ''} at observation {parity.at} of "
        f"{parity.observations}, {parity.disagreed} other refusals",
        remedy="report it with the policy: a graph computes something else than its module",
    )
