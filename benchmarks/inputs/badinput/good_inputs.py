"""Valid inputs to damage: a small dataset, an untrained policy, a report.  Made once, on demand, by the real code."""

from __future__ import annotations

import shutil
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

TASK = "press_button"
INSTRUCTION = "press the red button"


class Good:
    """Folders below ``root``, each made at its first use."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @cached_property
    def contract(self) -> Any:
        from vla_agent.contract.tabletop import tabletop_contract

        return tabletop_contract()

    def observation(self) -> dict[str, Any]:
        """A made-up observation that fits the contract."""
        from vla_agent.contract.blank_observation import blank_observation

        rng = np.random.default_rng(0)
        images = {c.name: rng.integers(0, 256, (c.height, c.width, 3), np.uint8) for c in self.contract.cameras}
        return {"images": images, "state": blank_observation(self.contract)["state"]}

    @cached_property
    def dataset(self) -> Path:
        """A LeRobotDataset v3.0 folder of two episodes of 12 frames, as video."""
        return write_dataset(self.root / "dataset", self.contract)

    @cached_property
    def policy(self) -> Path:
        """A policy folder, untrained and small."""
        from transformers import ViTImageProcessorPil

        from vla_agent.models.backbones.pointing.pointing_backbone import Backbone
        from vla_agent.models.backbones.pointing.pointing_config import PointingVLMConfig
        from vla_agent.models.backbones.pointing.pointing_vlm import PointingVLM
        from vla_agent.models.heads.head_config import HeadConfig
        from vla_agent.policy.policy import VLAPolicy
        from vla_agent.training.tokenizer import build_tokenizer

        tokenizer = build_tokenizer([INSTRUCTION])
        config = PointingVLMConfig(
            vocab_size=len(tokenizer),
            hidden_size=32,
            stem_channels=(8, 16),
            film_blocks=1,
            text_layers=1,
            fusion_layers=1,
        )
        processor = ViTImageProcessorPil(size={"height": 96, "width": 96}, image_mean=[0.5] * 3, image_std=[0.25] * 3)
        backbone = Backbone(PointingVLM(config), tokenizer, processor)
        policy = VLAPolicy(self.contract, backbone, HeadConfig(width=32, depth=1))
        rng = np.random.default_rng(0)
        policy.state_normaliser.fit_moments(rng.normal(size=(64, self.contract.state_dim)))
        policy.action_normaliser.fit_range(rng.normal(size=(64, self.contract.action_dim)))
        policy.save(self.root / "policy")
        return self.root / "policy"

    @cached_property
    def report(self) -> Path:
        """The folder of a finished evaluation: two episodes of the random policy."""
        from vla_agent.evaluation.evaluate import EvaluationSettings, evaluate

        evaluate(EvaluationSettings("random", tasks=TASK, episodes=2, controls="none", out=self.root / "report"))
        return self.root / "report"

    @cached_property
    def task(self) -> str:
        """The text of a task file."""
        import sim

        return (Path(sim.__file__).parent / "tasks" / "tabletop" / "put_in_tray.yaml").read_text(encoding="utf-8")

    def copy(self, what: str, to: Path) -> Path:
        """A copy of ``dataset``, ``policy`` or ``report`` to damage."""
        return Path(shutil.copytree(getattr(self, what), to))


def write_dataset(folder: Path, contract: Any, frames: int = 12, storage: str = "video") -> Path:
    """A dataset of two made-up episodes that fits ``contract``; ``storage``: "video" or "images"."""
    from vla_agent.data.lerobot import dataset_schema
    from vla_agent.data.lerobot.dataset_writer import write_dataset as write
    from vla_agent.data.lerobot.episode import Episode, encode

    rng = np.random.default_rng(0)
    episodes = []
    for seed in range(2):
        columns = {
            name: rng.random((frames, feature["shape"][0])).astype(np.float32)
            for name, feature in dataset_schema.vector_features(contract).items()
        }
        images = {c.name: rng.integers(0, 256, (frames, c.height, c.width, 3), np.uint8) for c in contract.cameras}
        episode = Episode(INSTRUCTION, columns, images, {"task_family": TASK, "seed": seed})
        episodes.append(encode(episode, storage, round(contract.control_hz)))
    return write(folder, contract, episodes, storage)
