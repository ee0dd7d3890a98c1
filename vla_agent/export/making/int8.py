"""Matrix products with int8 weights: activations are quantised as they come (dynamic quantisation of onnxruntime)."""

from __future__ import annotations

from pathlib import Path

INT8_LIMIT = 0.1  # mean difference, of the range: beyond it a graph is wrong, not rounded


def quantise(file: Path) -> None:
    """Replace the weights of a graph's matrix products by int8, one scale a row, in place; convolutions stay."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    aside = file.with_suffix(".int8")
    quantize_dynamic(
        str(file),
        str(aside),
        op_types_to_quantize=["MatMul", "Gemm"],
        per_channel=True,
        reduce_range=True,  # seven bits: with eight, processors without VNNI overflow
        weight_type=QuantType.QInt8,
    )
    aside.replace(file)
