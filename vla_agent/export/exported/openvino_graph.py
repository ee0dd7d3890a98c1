"""Graphs of an exported policy in OpenVINO."""

from __future__ import annotations

import numpy as np

from vla_agent.export.exported.graphs import Graph, Read


def open_openvino(read: Read, name: str, threads: int) -> Graph:
    """``NAME.xml`` with ``NAME.bin`` in OpenVINO, on so many threads, in float32."""
    import openvino

    core = openvino.Core()
    weights = np.frombuffer(read(f"{name}.bin"), np.uint8)
    model = core.read_model(read(f"{name}.xml"), openvino.Tensor(weights.copy(), shared_memory=False))
    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": threads,
        "INFERENCE_PRECISION_HINT": "f32",
    }
    compiled = core.compile_model(model, "CPU", settings)
    request = compiled.create_infer_request()
    inputs = [port.get_names() for port in compiled.inputs]  # a port may have several names
    outputs = [port.get_names() for port in compiled.outputs]

    def run(given: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        named = {k: given[next(n for n in names if n in given)] for k, names in enumerate(inputs)}
        request.infer(named, share_inputs=True)
        found = [request.get_output_tensor(k).data.copy() for k in range(len(outputs))]
        return {name: array for names, array in zip(outputs, found, strict=True) for name in names}

    return run
