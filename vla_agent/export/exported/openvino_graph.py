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
    inputs = [port.get_any_name() for port in compiled.inputs]
    outputs = [port.get_any_name() for port in compiled.outputs]

    def run(given: dict) -> dict:
        request.infer({key: given[key] for key in inputs}, share_inputs=True)
        return {key: request.get_output_tensor(k).data.copy() for k, key in enumerate(outputs)}

    return run
