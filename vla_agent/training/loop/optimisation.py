"""The optimiser of all stages: AdamW, warm-up and cosine schedule, clipped gradients, and an EMA of the weights."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from vla_agent.training.parallel.sharding import full_tensors
from vla_agent.training.recipe import Stage

LONGEST_GRADIENT = 1.0


class Optimisation:
    """Takes a stage's steps on a model's trainable parameters.

    Attributes:
        steps: of the whole stage.
        optimiser: AdamW; vectors (biases, norms) have no weight decay.
        parameters: in the optimiser's order.
        ema: exponential moving average of the model's state, the stage's result.
    """

    def __init__(self, model: nn.Module, stage: Stage) -> None:
        self.model, self.stage = model, stage
        self.steps = stage_steps(stage)
        trainable = [p for p in model.parameters() if p.requires_grad]
        self.optimiser = torch.optim.AdamW(
            [
                {"params": [p for p in trainable if p.ndim > 1], "weight_decay": stage.weight_decay},
                {"params": [p for p in trainable if p.ndim <= 1], "weight_decay": 0.0},
            ],
            lr=stage.learning_rate,
            betas=(0.9, 0.98),
            fused=torch.cuda.is_available() or None,
        )
        self.parameters = [p for group in self.optimiser.param_groups for p in group["params"]]
        self.ema = {k: v.detach().clone() for k, v in model.state_dict().items()}

    def begin_step(self, step: int) -> None:
        """Set the learning rate of this step and clear the gradients."""
        warm = min(1.0, (step + 1) / max(1, self.stage.warmup_steps))
        cosine = 0.5 + 0.5 * math.cos(math.pi * step / self.steps)
        for group in self.optimiser.param_groups:
            group["lr"] = self.stage.learning_rate * warm * (0.02 + 0.98 * cosine)
        self.optimiser.zero_grad(set_to_none=True)

    def clip_gradients(self) -> float:
        """Scale all gradients together to a norm of at most 1; the norm that they had."""
        return full_tensors({"": nn.utils.clip_grad_norm_(self.parameters, LONGEST_GRADIENT)})[""].item()

    def update_ema(self, step: int) -> None:
        """Move the average towards the present weights, faster in the first steps."""
        decay = min(self.stage.ema, (1 + step) / (10 + step))
        with torch.no_grad():
            averages, weights = [], []
            for key, value in self.model.state_dict().items():
                if value.is_floating_point():
                    averages.append(self.ema[key])
                    weights.append(value)
                else:
                    self.ema[key].copy_(value)
            torch._foreach_lerp_(averages, weights, 1 - decay)

    def moments(self) -> dict[str, Tensor]:
        """The optimiser's state by ``PARAMETER'S NUMBER.NAME``."""
        return {
            f"{i}.{key}": value if isinstance(value, Tensor) else torch.tensor(value)
            for i, p in enumerate(self.parameters)
            for key, value in self.optimiser.state.get(p, {}).items()
        }


def stage_steps(stage: Stage) -> int:
    """Steps of a stage: its samples in batches, at least one."""
    return max(1, stage.samples // stage.batch)
