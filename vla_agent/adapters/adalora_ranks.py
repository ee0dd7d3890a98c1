"""AdaLoRA's rank allocation, kept in buffers: a resumed training allocates ranks as the uninterrupted one does.

Zhang et al., "AdaLoRA: Adaptive budget allocation for parameter-efficient fine-tuning", ICLR 2023.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vla_agent.adapters.attach import AdaptedPolicy, adapter_name

KINDS = ("ipt", "exp_avg_ipt", "exp_avg_unc")


class AdaLoRARanks(nn.Module):
    """Calls peft's rank allocators after each step and keeps their state in the module's buffers."""

    def __init__(self, attached: AdaptedPolicy) -> None:
        super().__init__()
        self.tuners = dict(attached.tuners) if attached.adapter.method == "adalora" else {}
        for part in self.tuners:
            for name, p in self._parameters_of(part).items():
                for kind in KINDS:
                    self.register_buffer(_key(part, kind, name), torch.zeros_like(p))
                if ".lora_E." in name:
                    self.register_buffer(_key(part, "kept", name), torch.ones(p.shape, dtype=torch.bool))

    def _parameters_of(self, part: str) -> dict[str, nn.Parameter]:
        named = self.tuners[part].model.named_parameters()
        return {n: p for n, p in named if ".lora_" in n and n.endswith(f".{adapter_name(part)}")}

    def after_step(self, step: int) -> None:
        """Measure importance and mask ranks; call it after the optimiser's step, while the gradients are there."""
        for part, tuner in self.tuners.items():
            config, allocator = tuner.peft_config[adapter_name(part)], tuner.rankallocator
            for p in self._parameters_of(part).values():
                p.grad = torch.zeros_like(p) if p.grad is None else p.grad
            for kind in KINDS:
                setattr(allocator, kind, {n: b.clone() for n, b in self._buffers_of(part, kind).items()})
            kept = self._buffers_of(part, "kept")
            config.rank_pattern = {n: k.flatten().tolist() for n, k in kept.items()}
            tuner.update_and_allocate(step)
            for kind in KINDS:
                for name, buffer in self._buffers_of(part, kind).items():
                    buffer.copy_(getattr(allocator, kind).get(name, torch.zeros(())))
            for name, buffer in kept.items():
                buffer.copy_(torch.tensor(config.rank_pattern[name]).view_as(buffer))

    @torch.no_grad()
    def finish(self) -> None:
        """Set masked ranks to 0: the averaged weights still hold a part of them."""
        for part in self.tuners:
            parameters = self._parameters_of(part)
            for name, kept in self._buffers_of(part, "kept").items():
                parameters[name].mul_(kept)

    def orthogonality_penalty(self) -> Tensor:
        """AdaLoRA's penalty on factors that are not orthogonal, a scalar; 0 for other methods."""
        total = torch.zeros(())
        for part in self.tuners:
            for name, p in self._parameters_of(part).items():
                if ".lora_E." not in name:
                    square = p @ p.T if ".lora_A." in name else p.T @ p
                    total = total + (square - torch.eye(len(square), device=p.device)).norm()
        return total

    def _buffers_of(self, part: str, kind: str) -> dict[str, Tensor]:
        start = _key(part, kind, "")
        return {k[len(start) :].replace("/", "."): b for k, b in self.named_buffers() if k.startswith(start)}


def _key(part: str, kind: str, name: str) -> str:
    return f"{part}/{kind}/{name.replace('.', '/')}"
