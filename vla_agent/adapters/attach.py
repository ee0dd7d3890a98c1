"""Adapters on a policy: peft's tuners and NOLA, one for each part, each with the part's rank."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from typing import Any

import peft
import torch
from peft.mapping import PEFT_TYPE_TO_TUNER_MAPPING
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn

from vla_agent.adapters.adapter_settings import AdapterSettings
from vla_agent.adapters.adapter_targets import PARTS, affects_actions, part_of, targets
from vla_agent.adapters.attention_projections import open_attention
from vla_agent.adapters.nola import attach_nola
from vla_agent.errors import RecipeError
from vla_agent.policy.policy import VLAPolicy

SEED = 17  # of an adapter's initial weights and of its fixed random matrices


@dataclass
class AdaptedPolicy:
    """A policy with adapters on it.

    policy: changed in place.  adapter: its settings.  opened: names of the attentions that were opened.
    tuners: peft's, by part.  names: the trained parameters, in the policy's order.
    """

    policy: VLAPolicy
    adapter: AdapterSettings
    opened: list[str]
    tuners: dict[str, Any] = field(default_factory=dict)
    names: list[str] = field(default_factory=list)

    def trained(self) -> dict[str, nn.Parameter]:
        """The trained parameters by name."""
        parameters = dict(self.policy.named_parameters())
        return {name: parameters[name] for name in self.names}

    def fixed(self) -> dict[str, Tensor]:
        """Random tensors that are not trained: matrices of vera, randlora and nola, the permutation of boft."""
        marks = ("vera_A", "vera_B", "randlora_A", "randlora_B", "nola_basis", "boft_P")
        return {n: b for n, b in self.policy.named_buffers() if any(m in n for m in marks)}

    def counts(self) -> dict[str, int]:
        """Numbers of parameters: ``trained``, and ``in_all`` of the plain policy."""
        adapters = sum(p.numel() for n, p in self.policy.named_parameters() if is_adapter(n))
        total = sum(p.numel() for p in self.policy.parameters()) - adapters
        return {"trained": sum(p.numel() for p in self.trained().values()), "in_all": total}


def adapter_name(part: str) -> str:
    """peft's name of a part's adapter: one name for each part, so that adalora allocates ranks within a part."""
    return f"on_{part}"


def is_adapter(name: str) -> bool:
    """Whether a parameter or buffer belongs to an adapter."""
    marks = ("lora_", "vera_", "randlora_", "boft_", "ia3_", "nola_", "ranknum")
    return any(piece.startswith(marks) for piece in name.split("."))


def attach(policy: VLAPolicy, adapter: AdapterSettings, steps: int = 1) -> AdaptedPolicy:
    """Put the adapters of a recipe on a policy, in place; all other weights are frozen.

    Args:
        steps: of the training; adalora plans its ranks over them.

    Raises:
        RecipeError: nothing is left to train, or peft rejects the settings.
    """
    policy.requires_grad_(False)
    parts = adapter.parts()
    adapted = [part for part in PARTS if parts[part] not in (0, "full")]
    names = [n for n, m in policy.named_modules() if isinstance(m, nn.MultiheadAttention) and affects_actions(n)]
    attached = AdaptedPolicy(policy, adapter, open_attention(policy, [n for n in names if part_of(n) in adapted]))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        # all names first: later the layers inside the adapters would be found too
        chosen = {part: targets(policy, part, adapter.method, parts[part]) for part in adapted}
        for part, modules in chosen.items():
            if modules:
                _add_adapter(attached, part, modules, int(parts[part]), steps)
    for name, module in policy.named_modules():
        if isinstance(module, BaseTunerLayer):  # peft leaves only the last adapter active
            module.set_adapter([adapter_name(part_of(name))])
    for name, parameter in policy.named_parameters():
        whole = parts[part_of(name)] == "full" and affects_actions(name)
        parameter.requires_grad_(whole or (is_adapter(name) and _trains(name)))
        if parameter.requires_grad:
            attached.names.append(name)
    if not attached.names:
        raise RecipeError(
            "nothing is left to train",
            key="adapter",
            expected="a part whose rank is not 0 and that the method has layers for",
            found=adapter.model_dump(),
            remedy=f"give {', '.join(PARTS)} ranks, such as --set adapter.head=8",
        )
    return attached


def _trains(name: str) -> bool:
    """False for the fixed numbers that peft keeps among the parameters."""
    pieces = name.split(".")
    return not any(p in ("ranknum", "vera_A", "vera_B", "randlora_A", "randlora_B") for p in pieces)


def _add_adapter(attached: AdaptedPolicy, part: str, modules: list[str], rank: int, steps: int) -> None:
    adapter = attached.adapter
    if adapter.method == "dora":
        _require_trained_weights(attached.policy, part, modules)
    if adapter.method == "nola":
        attach_nola(attached.policy, modules, rank, adapter.basis, adapter.scale)
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about CUDA kernels, and about rounded block sizes
        try:
            config = _config(adapter, modules, rank, steps)
            tuner = PEFT_TYPE_TO_TUNER_MAPPING[config.peft_type](attached.policy, config, adapter_name(part))
        except (ValueError, TypeError, ImportError) as error:
            raise RecipeError(
                "peft rejects the adapter",
                key=f"adapter.{part}",
                expected=f"settings that {adapter.method} accepts",
                found=f"{rank}: {str(error).splitlines()[0]}",
                remedy="another rank, or another method",
            ) from error
    attached.tuners[part] = tuner
    # peft leaves its settings on the model, where the next part's tuner would find them: adalora rejects two
    del attached.policy.peft_config


def _require_trained_weights(policy: VLAPolicy, part: str, modules: list[str]) -> None:
    """DoRA divides by the norm of each output's weights, which is 0 in layers that were never trained."""
    empty = [n for n in modules if not policy.get_submodule(n).weight.flatten(1).any(dim=1).all()]
    if empty:
        raise RecipeError(
            "dora cannot adapt a layer whose weights are still zero",
            key=f"adapter.{part}",
            expected="a trained part",
            found=f"zeros in {', '.join(empty)}",
            remedy=f"--set adapter.{part}=full, which an untrained part needs anyway, or --adapter lora",
        )


def _config(adapter: AdapterSettings, modules: list[str], rank: int, steps: int) -> peft.PeftConfig:
    method, alpha = adapter.method, adapter.scale * rank
    if method in ("lora", "rslora", "dora"):
        return peft.LoraConfig(
            r=rank,
            lora_alpha=alpha,
            target_modules=modules,
            use_rslora=method == "rslora",
            use_dora=method == "dora",
        )
    if method == "adalora":
        return peft.AdaLoraConfig(
            init_r=max(1, round(1.5 * rank)),
            target_r=rank,
            tinit=steps // 10,
            tfinal=steps // 5,
            deltaT=max(1, steps // 100),
            total_step=steps,
            lora_alpha=alpha,
            target_modules=modules,
        )
    if method == "randlora":
        return peft.RandLoraConfig(r=rank, randlora_alpha=alpha, target_modules=modules, projection_prng_key=SEED)
    if method == "vera":
        return peft.VeraConfig(r=rank, target_modules=modules, projection_prng_key=SEED)
    if method == "boft":
        return peft.BOFTConfig(boft_block_size=rank, target_modules=modules)
    return peft.IA3Config(target_modules=modules, feedforward_modules=[])
