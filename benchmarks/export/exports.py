"""Exports of the shipped policy, made once for all benchmarks of this folder."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.record import ROOT
from benchmarks.shared.evaluations import POLICY
from vla_agent.files.policy_files import hash_policy_files

FOLDER = ROOT / "runs" / "bench"


def exported(int8: bool = False) -> Path:
    """The folder of the shipped policy as graphs of ONNX and, in float32, of OpenVINO; kept under its digest."""
    import torch

    from vla_agent.export.making.export import ExportSettings, export
    from vla_agent.policy.loading import load_policy

    digest = hash_policy_files(POLICY).digest
    folder = FOLDER / f"export-{digest[:12]}{'-int8' if int8 else ''}"
    if not folder.exists():
        torch.set_num_threads(1)
        export(load_policy(POLICY), folder, ExportSettings(("onnx",) if int8 else ("onnx", "openvino"), int8))
    return folder


def about(folder: Path) -> dict[str, object]:
    """The manifest of an export."""
    return dict(json.loads((folder / "export.json").read_text(encoding="utf-8")))
