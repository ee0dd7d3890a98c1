"""A policy whose heavy steps run through ``torch.compile``: C++ loops on a CPU, CUDA graphs on a GPU.

Each module names its steps in ``compilable``; the compiled functions take the methods' place on the instance, so that
copies of the policy that share its weights share the code as well.  Values differ by rounding alone.

On a CPU the weights are frozen into the code, laid out for its products: train before, not after.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import torch
import torch._inductor.config

from vla_agent.contract.blank_observation import blank_observation

if TYPE_CHECKING:
    from vla_agent.policy.policy import VLAPolicy

# Of different lengths, so that what is compiled takes any length and no instruction makes the arm wait for a compiler.
INSTRUCTIONS = ("open the drawer", "put the red mug in the tray", "put the small red mug to the left of the blue cube")


def compile_policy(policy: VLAPolicy) -> bool:
    """Compile the policy in place, which takes a minute or more; whether it could be done.

    Where it cannot (no C++ compiler, say), a warning says why and the policy stays as it was.
    """
    on_gpu = device_of(policy).type == "cuda"
    mode = "reduce-overhead" if on_gpu else "default"
    places = [(part, name) for part in (policy.backbone, policy.head) for name in part.compilable]
    try:
        for part, name in places:
            setattr(part, name, torch.compile(getattr(part, name), mode=mode))
        policy.compiled = True
        with torch._inductor.config.patch(freezing=not on_gpu):
            warm_up(policy)
    except Exception as error:  # whatever the compilers raise
        for part, name in places:
            if name in vars(part):
                delattr(part, name)
        policy.compiled = False
        reason = (str(error).splitlines() or [""])[0]
        warnings.warn(
            f"the policy cannot be compiled here and runs as it is ({type(error).__name__}: {reason})", stacklevel=2
        )
    return policy.compiled


def warm_up(policy: VLAPolicy) -> None:
    """Let the policy act a few times on nothing."""
    observation = blank_observation(policy.contract)
    for instruction in INSTRUCTIONS:
        policy.reset(instruction)
        for _ in range(3):  # a CUDA graph is recorded at the second call
            policy.act(observation)
    policy.forget()


def device_of(policy: VLAPolicy) -> torch.device:
    """Where the policy computes."""
    return policy.state_normaliser.shift.device
