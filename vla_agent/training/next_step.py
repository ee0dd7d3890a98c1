"""What can be done next with a policy that was trained: only what this project can do with its contract."""

from __future__ import annotations

from pathlib import Path

from vla_agent.contract import Contract
from vla_agent.contract.tabletop import ACTIONS, tabletop_contract

ENVIRONMENTS = "docs/environments.md"


def next_step(policy: Path, contract: Contract) -> str:
    """The command to go on with: the evaluation in the simulator where it has this contract, else serving."""
    if fits_the_simulator(contract):
        return f"vla-agent eval {policy}"
    return f"vla-agent serve {policy} (the simulator has another contract; {ENVIRONMENTS} connects yours)"


def fits_the_simulator(contract: Contract) -> bool:
    """Whether the tabletop shows and takes what the contract says, at some size of its images."""
    camera = contract.cameras[0]
    shown = [tabletop_contract((camera.height, camera.width), control) for control in ACTIONS]
    return any(not [d for d in contract.differences(own) if not d.key.startswith("chunk_length")] for own in shown)
