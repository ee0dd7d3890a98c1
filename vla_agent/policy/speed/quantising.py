"""8-bit and 4-bit weights by torchao.  Outputs change: `python -m benchmarks run policy-quantised` measures success."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from torch import nn

from vla_agent.errors import OptionError
from vla_agent.policy.speed.compiling import device_of

if TYPE_CHECKING:
    from vla_agent.policy.policy import VLAPolicy

MIN_WEIGHT_SIZE = 2**10  # elements of a weight; smaller ones are not quantised


def is_large_linear(module: nn.Module, name: str) -> bool:
    """Whether a module's weights are quantised: those of linear layers that are not small."""
    inside_attention = isinstance(module, nn.modules.linear.NonDynamicallyQuantizableLinear)
    return isinstance(module, nn.Linear) and not inside_attention and module.weight.numel() >= MIN_WEIGHT_SIZE


def quantise(
    policy: VLAPolicy, kind: str, which: Callable[[nn.Module, str], bool] = is_large_linear, key: str = "--quantise"
) -> None:
    """Quantise the weights of the linear layers in place; convolutions, embeddings and attention's inner weights stay.

    Args:
        kind: ``int8``: one scale a row, symmetric; ``int4``: groups of a row, on a GPU only.  Matrix products are in
            the dtype of the activations.
        which: takes a module and its name; whether its weights are quantised.
        key: the option or setting that errors name.

    Raises:
        OptionError: no such kind, torchao is missing, or this machine does not support it.
    """
    if kind == "bf16":
        raise OptionError(
            "bf16 matrix products need OpenVINO",
            key=key,
            expected="--openvino as well",
            found=kind,
            remedy="add --openvino, or name int8",
        )
    try:
        from torchao.quantization import Int4WeightOnlyConfig, Int8WeightOnlyConfig, quantize_
    except ImportError as error:
        raise OptionError(
            "quantised weights need a package that is not installed",
            key=key,
            expected="torchao",
            found=str(error),
            remedy="pip install 'vla_agent[quantise]'",
        ) from error
    device = device_of(policy)
    if kind == "int4" and device.type != "cuda":
        raise OptionError(
            "4-bit weights need a GPU",
            key=key,
            expected="a policy on a CUDA device",
            found=f"the policy is on {device}",
            remedy="use int8 here",
        )
    config = Int8WeightOnlyConfig() if kind == "int8" else Int4WeightOnlyConfig()
    quantize_(policy, config, filter_fn=which)
