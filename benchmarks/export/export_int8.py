"""What int8 weights cost: success of the int8 export and of the policy on the same seeds, size, time."""

from __future__ import annotations

from typing import Any

from benchmarks.export.export_parity import EPISODES, SEED, outcomes, paired_row
from benchmarks.export.exports import about, exported
from benchmarks.shared.evaluations import POLICY

NAME = "export-int8"
TITLE = "success of the export with int8 weights minus that of the policy in PyTorch, on the same seeds"
TARGET = -0.05
UNIT = "of success"
BETTER = "higher"


def run() -> dict[str, Any]:
    import torch

    torch.set_num_threads(1)
    small, whole = exported(int8=True), exported()
    row = paired_row("ONNX, int8", outcomes(small), outcomes(POLICY))
    parity: Any = about(small)["parity"]
    sizes = [(folder / "policy.onnx").stat().st_size / 2**20 for folder in (small, whole)]
    return {
        "value": row["difference"],
        "n": row["n"],
        "interval": row["interval"],
        "seeds": f"{SEED} to {SEED + EPISODES - 1} of each family",
        "rows": [row],
        "notes": f"largest difference of an action on {parity['int8']['observations']} observations "
        f"{parity['int8']['largest']:.2g} of the range ({parity['int8']['field']}), another refusal in "
        f"{parity['int8']['disagreed']}; policy.onnx has {sizes[0]:.1f} MiB, in float32 {sizes[1]:.1f} MiB",
    }
