"""Every recipe of ``policies/`` at its real size: it loads, trains one step, and serves a chunk through a server.

Pretrained weights are not available: the vision-language models are built from their families' own configuration in the
published sizes, with random weights, and go through the real commands: ``vla-agent train`` and `PolicyServer`.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.policy.policy_vs_smolvla import SMOLVLM_256M
from benchmarks.shared.finetunings import ROOT, run_command

NAME = "policy-recipes"
TITLE = "recipes that load, train one step and serve at real size, random weights"
TARGET = 5
UNIT = "recipes"
BETTER = "higher"
CHUNKS = 3
TIMEOUT = 600.0  # seconds for a chunk: three billion parameters on one thread
INSTRUCTION = "put the red mug in the tray"
_QWEN = {"rope_type": "default", "rope_theta": 5_000_000.0, "mrope_section": [24, 20, 20], "mrope_interleaved": True}
SIZES: dict[str, tuple[str, dict[str, Any]]] = {  # recipe -> family and sizes as published
    "smolvlm-256m": ("smolvlm", SMOLVLM_256M),
    "smolvlm-500m": (
        "smolvlm",
        SMOLVLM_256M
        | {
            "text_config": SMOLVLM_256M["text_config"]
            | {"hidden_size": 960, "num_attention_heads": 15, "num_key_value_heads": 5}
            | {"intermediate_size": 2560, "num_hidden_layers": 32}
        },
    ),
    "qwen3-vl-2b": (
        "qwen3_vl",
        {
            "vision_config": {"depth": 24, "hidden_size": 1024, "num_heads": 16, "intermediate_size": 4096}
            | {"patch_size": 16, "spatial_merge_size": 2, "temporal_patch_size": 2, "out_hidden_size": 2048}
            | {"deepstack_visual_indexes": [5, 11, 17], "num_position_embeddings": 2304},
            "text_config": {"hidden_size": 2048, "num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 128}
            | {"intermediate_size": 6144, "num_hidden_layers": 28, "vocab_size": 151_936, "rope_parameters": _QWEN},
            "tie_word_embeddings": True,
        },
    ),
    "paligemma-3b": (
        "paligemma",
        {
            "vision_config": {"model_type": "siglip_vision_model", "hidden_size": 1152, "num_attention_heads": 16}
            | {"intermediate_size": 4304, "num_hidden_layers": 27, "image_size": 224, "patch_size": 14}
            | {"vision_use_head": False, "projection_dim": 2048},
            "text_config": {"model_type": "gemma", "hidden_size": 2048, "num_attention_heads": 8, "head_dim": 256}
            | {"num_key_value_heads": 1, "intermediate_size": 16_384, "num_hidden_layers": 18, "vocab_size": 257_216},
            "projection_dim": 2048,
        },
    ),
}
RECIPES = ("tabletop-nano", *SIZES)
ONE_STEP = ("train_head.samples=2", "train_head.batch=2")
NANO = ("name_stem.samples=16", "pretrain.samples=24")


def run(recipes: tuple[str, ...] = RECIPES, sizes: dict[str, tuple[str, dict[str, Any]]] | None = None) -> Any:
    """``sizes``: of other models, for a test of the benchmark."""
    rows = []
    with tempfile.TemporaryDirectory(dir=ROOT / "runs") as name:
        folder = Path(name)
        data, questions = folder / "demonstrations", folder / "questions"
        run_command(["collect", "--tasks", "put_in_tray", "--episodes", "2", "--seed", "7", "-o", str(data)])
        words = [sys.executable, "-m", "sim.questions", "--scenes", "24", "--seed", "7", "-o", str(questions)]
        subprocess.run(words, check=True, cwd=ROOT)
        for recipe in recipes:
            settings = [*ONE_STEP, f"data.demonstrations=[{data}]"]
            settings += [*NANO, f"data.questions=[{questions}]"] if recipe not in SIZES else []
            rows.append(walk(recipe, settings, folder / recipe, (sizes or SIZES).get(recipe)))
            shutil.rmtree(folder / recipe, ignore_errors=True)  # the largest takes 12 GB
            print(rows[-1], flush=True)
    return {
        "value": sum(row["wrong"] == "" for row in rows),
        "n": len(rows),
        "interval": None,
        "seeds": "0",
        "rows": rows,
        "notes": "one step of 2 samples a stage by `vla-agent train`, start-up and the writing of the policy included; "
        f"the policy folder, loaded again, gives {CHUNKS} chunks through a server, one thread; random weights in the "
        "published sizes, in bfloat16 on disk; MiB: peak of the training's process",
    }


def walk(recipe: str, settings: list[str], folder: Path, model: tuple[str, dict[str, Any]] | None) -> dict[str, Any]:
    """One row: the cost of a recipe, and its error if any."""
    row: dict[str, Any] = {"recipe": recipe, "parameters": 0, "trained": 0, "train s": 0.0, "MiB": 0.0, "chunk ms": 0.0}
    try:
        if model is not None:
            from benchmarks.shared.random_vlms import save_random_vlm

            settings = [*settings, f"vlm.model={save_random_vlm(*model, folder / 'model', dtype='bfloat16')}"]
        start = time.monotonic()
        file = ROOT / "policies" / f"{recipe}.yaml"
        words = ["train", str(file), "-o", str(folder / "run"), *(w for s in settings for w in ("--set", s))]
        row["MiB"] = run_command(words)
        row["train s"] = round(time.monotonic() - start, 1)
        counts = json.loads((folder / "run" / "policy" / "training.json").read_text())["parameters"]
        row |= {"parameters": counts["in_all"], "trained": counts["trained"]}
        row["chunk ms"] = _served(folder / "run" / "policy")
    except Exception as error:  # an error of any kind is the result
        return row | {"wrong": f"{type(error).__name__}: {str(error).splitlines()[0]}"}
    return row | {"wrong": ""}


def _served(policy: Path) -> float:
    """Median milliseconds of a chunk, requested from a server by its client."""
    import numpy as np
    import torch

    from vla_agent.contract.blank_observation import blank_observation
    from vla_agent.policy.loading import load_policy
    from vla_agent.serving.remote_policy import RemotePolicy
    from vla_agent.serving.server import PolicyServer
    from vla_agent.serving.server_limits import Limits

    torch.set_num_threads(1)
    seconds = []
    with PolicyServer(load_policy(policy), policy.name, port=0, limits=Limits(stalled_s=TIMEOUT)) as server:
        client = RemotePolicy(server.url, timeout=TIMEOUT)
        client.reset(INSTRUCTION)
        for _ in range(CHUNKS):
            start = time.perf_counter()
            client.contract.check_chunk(client.act(blank_observation(client.contract)))
            seconds.append(time.perf_counter() - start)
    return 1000 * float(np.median(seconds))
