"""Compiles the expensive steps of a policy with ``torch.compile``: C++ loops on a CPU, CUDA graphs on a GPU.

Each module names its steps in ``compilable``; the compiled functions replace the methods on the instance, so that
copies of the policy that share its weights share the code as well.  Outputs differ by rounding only.

On a CPU the weights are frozen into the code, in its own memory layout: train before, not after.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import torch
import torch._inductor.config

from vla_agent.contract.blank_observation import blank_observation
from vla_agent.models.timing_sections import INSTRUCTION

if TYPE_CHECKING:
    from vla_agent.policy.policy import VLAPolicy

# Of different lengths, so that the compiled code takes any length and no instruction triggers a compilation later.
INSTRUCTIONS = ("open the drawer", INSTRUCTION, "put the small red mug to the left of the blue cube")


def compile_policy(policy: VLAPolicy) -> bool:
    """Compile the policy in place, which takes a minute or more; returns whether it succeeded.

    Where it fails (for example without a C++ compiler), a warning gives the reason and the policy stays unchanged.
    """
    on_gpu = device_of(policy).type == "cuda"
    mode = "reduce-overhead" if on_gpu else "default"
    methods = [(module, name) for module in (policy.backbone, policy.head) for name in module.compilable]
    try:
        for module, name in methods:
            setattr(module, name, torch.compile(getattr(module, name), mode=mode))
        policy.compiled = True
        with torch._inductor.config.patch(freezing=not on_gpu):
            warm_up(policy)
    except Exception as error:  # whatever the compilers raise
        for module, name in methods:
            if name in vars(module):
                delattr(module, name)
        policy.compiled = False
        reason = (str(error).splitlines() or [""])[0]
        warnings.warn(
            f"the policy cannot be compiled on this machine and runs uncompiled ({type(error).__name__}: {reason})",
            stacklevel=2,
        )
    return policy.compiled


def warm_up(policy: VLAPolicy) -> None:
    """A few inferences on a blank observation."""
    observation = blank_observation(policy.contract)
    for instruction in INSTRUCTIONS:
        policy.reset(instruction)
        for _ in range(3):  # a CUDA graph is recorded at the second call
            policy.act(observation)
    policy.forget()


def device_of(policy: VLAPolicy) -> torch.device:
    """The device that the policy is on."""
    return policy.state_normaliser.shift.device
