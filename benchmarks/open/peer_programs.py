"""The trainings that `open_peers` compares: command, settings, and where the policy is afterwards."""

from __future__ import annotations

import math
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
CHUNK, EXECUTE = 16, 8  # of all that emit chunks
RESNET = {"pretrained_backbone_weights": "null"}
ACT: dict[str, Any] = RESNET | {"dim_model": 256, "n_heads": 4, "dim_feedforward": 1024, "chunk_size": CHUNK}
ACT |= {"n_action_steps": EXECUTE, "optimizer_lr": 1e-4, "optimizer_lr_backbone": 1e-4}
DIFFUSION: dict[str, Any] = RESNET | {"down_dims": "[128,256,512]", "horizon": CHUNK, "n_action_steps": EXECUTE}
DIFFUSION |= {"noise_scheduler_type": "DDIM", "num_inference_steps": 10}
SMOLVLA: dict[str, Any] = {"chunk_size": CHUNK, "n_action_steps": EXECUTE, "resize_imgs_with_padding": "[128,128]"}
SMOLVLA |= {"load_vlm_weights": "true", "freeze_vision_encoder": "false", "train_expert_only": "false"}
SMOLVLA |= {"num_vlm_layers": 6, "optimizer_lr": 3e-4, "scheduler_warmup_steps": 100}
BACKBONE: dict[str, Any] = {  # a small one in SmolVLM's shape
    "vision_config": {"hidden_size": 192, "num_attention_heads": 3, "intermediate_size": 768}
    | {"num_hidden_layers": 6, "image_size": 128, "patch_size": 16},
    "text_config": {"model_type": "llama", "hidden_size": 256, "num_attention_heads": 4, "num_key_value_heads": 2}
    | {"intermediate_size": 768, "num_hidden_layers": 6, "head_dim": 64, "max_position_embeddings": 1024},
    "scale_factor": 2,
}


@dataclass(frozen=True)
class Program:
    """A training.

    Attributes:
        name: of its folder.
        title: in the table.
        data: form of the demonstrations, see `open_plain.FORMS`.
        batch: samples a step.
        kind: LeRobot's name of the policy; empty: ours.
        options: LeRobot's, of the policy.
    """

    name: str
    title: str
    data: str
    batch: int
    kind: str = ""
    options: tuple[tuple[str, Any], ...] = ()

    @property
    def peer(self) -> bool:
        """Whether it is LeRobot's."""
        return bool(self.kind)

    def train(self, data: Path, out: Path, steps: int) -> tuple[float, int]:
        """Train for ``steps`` into the folder ``out``; wall-clock seconds and the largest memory, bytes.

        Raises:
            CalledProcessError: the training failed.
            OptionError: LeRobot is not installed.
        """
        shutil.rmtree(out, ignore_errors=True)
        return _timed(*(self._lerobot(data, out, steps) if self.peer else self._ours(data, out, steps)))

    def _ours(self, data: Path, out: Path, steps: int) -> tuple[list[str], dict[str, str]]:
        settings = [f"data.demonstrations=[{data}]", f"end_to_end.samples={steps * self.batch}"]
        settings += [f"end_to_end.batch={self.batch}"]
        words = [sys.executable, "-m", "vla_agent", "train", str(ROOT / "policies" / "plain.yaml"), "-o", str(out)]
        return [*words, *(word for each in settings for word in ("--set", each))], dict(os.environ)

    def _lerobot(self, data: Path, out: Path, steps: int) -> tuple[list[str], dict[str, str]]:
        from benchmarks.lerobot.lerobot_child import lerobot_python, settings_in

        options = dict(self.options)
        if self.kind == "smolvla":
            options["vlm_model_name"] = _backbone(data, out.parent)
        words = [str(lerobot_python()), "tests/lerobot_check/train.py", f"--policy.type={self.kind}"]
        words += [f"--policy.{key}={value}" for key, value in options.items()]
        words += [
            "--policy.device=cpu",
            "--policy.push_to_hub=false",
            "--num_workers=0",
            "--dataset.repo_id=local/peer",
        ]
        words += [f"--dataset.root={data}", f"--output_dir={out.absolute()}", f"--steps={steps}"]
        words += [f"--batch_size={self.batch}", f"--save_freq={steps}", "--log_freq=100"]
        return words, settings_in(out.parent.absolute())

    def policy_in(self, out: Path) -> Path:
        """The policy's folder of a training in ``out``."""
        return out / "checkpoints" / "last" / "pretrained_model" if self.peer else out / "policy"

    def parameters(self, out: Path) -> int:
        """Number of the policy's parameters."""
        from safetensors import safe_open

        count = 0
        for file in self.policy_in(out).rglob("model.safetensors" if self.peer else "*.safetensors"):
            with safe_open(file, "numpy") as tensors:
                for name in tensors.keys():  # noqa: SIM118  # it has no other iteration
                    count += math.prod(tensors.get_slice(name).get_shape())
        return count


PROGRAMS = (
    Program("ours", "ours, policies/plain.yaml with annotations", "ours", 32),
    Program("ours-plain", "ours, policies/plain.yaml without annotations", "plain", 32),
    Program("act", "ACT of LeRobot", "plain", 8, "act", tuple(ACT.items())),
    Program("diffusion", "Diffusion Policy of LeRobot", "plain", 8, "diffusion", tuple(DIFFUSION.items())),
    Program("smolvla", "SmolVLA of LeRobot, random backbone", "plain", 8, "smolvla", tuple(SMOLVLA.items())),
)


@contextmanager
def opened(program: Program, trained: Path, data: Path, folder: Path) -> Iterator[str]:
    """What `load_policy` takes: a folder of ours, the address of a server of LeRobot's policy."""
    from benchmarks.lerobot.lerobot_program import served

    policy = program.policy_in(trained)
    if program.peer:
        with served([str(policy.absolute()), "--contract", str(data)], folder) as url:
            yield url
    else:
        yield str(policy)


def _backbone(data: Path, folder: Path) -> Path:
    """SmolVLA's backbone with random weights, whose tokenizer knows the words of the demonstrations."""
    from benchmarks.lerobot.lerobot_program import run_lerobot
    from benchmarks.shared.random_vlms import save_random_vlm
    from vla_agent.data.lerobot.dataset_reader import load

    source = (folder / "backbone").absolute()
    readable = source.with_name("backbone-4-float32")
    if not readable.exists():
        texts = sorted({episode.task for episode in load(data).episodes})
        save_random_vlm("smolvlm", BACKBONE, source, texts=texts)
        run_lerobot(["benchmarks/lerobot/lerobot_backbone.py", str(source)], folder.absolute())
    return readable


def _timed(words: Sequence[str], settings: dict[str, str]) -> tuple[float, int]:
    began = time.monotonic()
    process = subprocess.Popen(words, cwd=ROOT, env=settings | {"OMP_NUM_THREADS": "1"}, stdout=subprocess.DEVNULL)
    _pid, status, usage = os.wait4(process.pid, 0)
    if code := os.waitstatus_to_exitcode(status):
        raise subprocess.CalledProcessError(code, words)
    return time.monotonic() - began, 1024 * usage.ru_maxrss
