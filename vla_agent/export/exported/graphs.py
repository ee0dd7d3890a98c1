"""Files of an exported policy, checked as they are read, and its graphs in onnxruntime."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

MANIFEST = "export.json"
FORMAT = 1
Read = Callable[[str], bytes]  # a file's bytes, by its name in the folder
Graph = Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]]  # inputs by name -> outputs by name


def checked_reader(folder: Path, read: Read | None = None) -> tuple[Read, dict[str, Any]]:
    """What reads a file of the folder, and the manifest; a file that is not the manifest's is refused.

    Args:
        read: reads the files in place of the folder.

    Raises:
        ValueError: the manifest has another format; later, a file is damaged.
    """
    given = read or (lambda name: (folder / name).read_bytes())
    about = json.loads(given(MANIFEST))
    if about.get("format") != FORMAT:
        raise ValueError(f"{folder / MANIFEST} has format {about.get('format')}, not {FORMAT}: export the policy again")

    def checked(name: str) -> bytes:
        data = given(name)
        if hashlib.sha256(data).hexdigest() != about["sha256"].get(name):
            raise ValueError(f"{folder / name} is not the file that was exported: get the folder again")
        return data

    return checked, about


def open_onnx(read: Read, name: str, threads: int) -> Graph:
    """``NAME.onnx`` in onnxruntime, on so many threads."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = threads
    options.add_session_config_entry("session.set_denormal_as_zero", "1")
    # bytes that lie beside the graph are not those that were hashed
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", "/dev/null")
    session = onnxruntime.InferenceSession(read(f"{name}.onnx"), options, providers=["CPUExecutionProvider"])
    outputs, inputs = ([x.name for x in found] for found in (session.get_outputs(), session.get_inputs()))
    return lambda given: dict(zip(outputs, session.run(outputs, {key: given[key] for key in inputs}), strict=True))
