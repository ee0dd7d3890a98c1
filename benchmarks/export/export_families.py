"""Policies of pretrained vision-language models as exports: a small random model of each family."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

NAME = "export-families"
TITLE = "families of pretrained models whose policies are exported to ONNX with actions within 0.001 of the range"
TARGET = 8
UNIT = "families of 8"
BETTER = "higher"
INSTRUCTIONS = ("put the red mug in the tray", "open the drawer")
OBSERVATIONS = 10


def run() -> dict[str, Any]:
    import torch

    from benchmarks.policy.policy_families import untrained_policy
    from benchmarks.shared.random_vlms import SMALL, save_small_vlm

    torch.set_num_threads(1)
    rows = []
    with tempfile.TemporaryDirectory() as place:
        for family in SMALL:
            policy = untrained_policy(save_small_vlm(family, Path(place) / family)).eval().requires_grad_(False)
            torch.manual_seed(0)
            for weights in policy.head.parameters():  # an untrained head gives its noise back, whatever it is given
                torch.nn.init.normal_(weights, std=0.1)
            rows.append({"family": family, "onnx": _exported(policy, Path(place) / f"{family}-exported")})
    done = sum(row["onnx"].startswith("yes") for row in rows)
    return {
        "value": done,
        "n": len(rows),
        "interval": None,
        "seeds": "0",
        "rows": rows,
        "notes": f"largest difference on {OBSERVATIONS} observations of the simulator with {len(INSTRUCTIONS)} "
        f"instructions; random weights",
    }


def _exported(policy: Any, folder: Path) -> str:
    """ "yes" and the largest difference, or the error."""
    from vla_agent.export.making.export import ExportSettings, export

    settings = ExportSettings(observations=OBSERVATIONS, instructions=INSTRUCTIONS)
    try:
        about = export(policy, folder, settings)
    except Exception as error:  # an error of any kind is the result
        return f"{type(error).__name__}: {str(error).splitlines()[0]}"[:120]
    return f"yes, {about['parity']['onnx']['largest']:.1e}"
