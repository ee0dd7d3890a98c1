"""Times chunks of LeRobot's SmolVLA.  Runs in LeRobot's environment, as a child of `policy_vs_smolvla`.

Each line that comes in is a JSON object: ``image`` (side that the vision tower sees), ``chunk``, ``steps``, ``weights``
(float32 or bfloat16), ``tokens`` (a file for the image tokens, or empty); the line that goes out says the processor's
seconds of one observation to one chunk, as LeRobot's own inference goes: its processors, its policy, its processors.

SmolVLA's layers, expert and processors are LeRobot's defaults; the backbone's weights come from the folder.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vla_agent.peers.torchvision_names import declare_operators

IMAGES = "observation.images."


@dataclass
class Theirs:
    """LeRobot's SmolVLA on the backbone of a folder, untrained, with its processors."""

    config: Any
    policy: Any
    batch: Callable[[], Any]  # one observation as its processors make it
    after: Callable[[Any], Any]


def build(source: Path, held: dict[str, np.ndarray], layers: int, instruction: str, weights: str = "float32") -> Theirs:
    """``held``: images (V, H, W, 3) uint8, state (D,), actions (T, A) to take statistics of.

    ``weights``: float32, or bfloat16, in which LeRobot loads the backbone (its own parts are float32).
    """
    from lerobot.configs.types import FeatureType, PolicyFeature
    from lerobot.policies.factory import make_pre_post_processors
    from lerobot.policies.smolvla.configuration_smolvla import SmolVLAConfig
    from lerobot.policies.smolvla.modeling_smolvla import SmolVLAPolicy
    from lerobot.policies.utils import prepare_observation_for_inference

    images, actions = held["images"], held["actions"]
    seen = {f"{IMAGES}{i}": image for i, image in enumerate(images)} | {"observation.state": held["state"]}
    shapes = {k: v.transpose(2, 0, 1).shape if v.ndim == 3 else v.shape for k, v in seen.items()}
    kinds = {k: FeatureType.VISUAL if k.startswith(IMAGES) else FeatureType.STATE for k in seen}
    config = SmolVLAConfig(
        input_features={k: PolicyFeature(kinds[k], shapes[k]) for k in seen},
        output_features={"action": PolicyFeature(FeatureType.ACTION, actions.shape[1:])},
        vlm_model_name=str(_readable(source, weights)),
        load_vlm_weights=True,
        num_vlm_layers=layers,
        device="cpu",
    )
    policy = SmolVLAPolicy(config).eval()
    policy = policy.float() if weights == "float32" else policy
    numbers = {"observation.state": held["state"][None], "action": actions}
    stats = {k: {"mean": v.mean(0), "std": v.std(0) + 1} for k, v in numbers.items()}
    before, after = make_pre_post_processors(config, dataset_stats=stats)

    def batch() -> Any:
        fresh = {k: v.copy() for k, v in seen.items()}
        return before(prepare_observation_for_inference(fresh, torch.device("cpu"), instruction))

    return Theirs(config, policy, batch, after)


def main(source: Path, observation: Path, layers: int, instruction: str) -> None:
    """``source``: the backbone as transformers 5 writes it; ``observation``: npz with images, state, actions."""
    declare_operators()
    torch.set_num_threads(1)
    from lerobot.policies.smolvla.modeling_smolvla import resize_with_pad

    held = dict(np.load(observation))
    images = held["images"]
    builds = {weights: build(source, held, layers, instruction, weights) for weights in ("float32", "bfloat16")}
    policy, batch = builds["bfloat16"].policy, builds["bfloat16"].batch
    model = policy.model.vlm_with_expert
    parts = {"vision": model.get_vlm_model().vision_model, "connector": model.get_vlm_model().connector}
    parts |= {"language layers": model.get_vlm_model().text_model.layers, "expert": model.lm_expert}
    said: dict[str, Any] = {name: sum(p.numel() for p in part.parameters()) for name, part in parts.items()}
    said["instruction tokens"] = int(batch()["observation.language.tokens"].shape[1])
    said["layers"] = len(model.get_vlm_model().text_model.layers)
    said["dtypes"] = sorted({str(p.dtype).removeprefix("torch.") for p in policy.parameters()})
    print(json.dumps(said), flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        built = builds[asked["weights"]]
        config, policy, batch, after = built.config, built.policy, built.batch, built.after
        config.resize_imgs_with_padding = (asked["image"], asked["image"])
        config.chunk_size, config.n_action_steps = asked["chunk"], asked["chunk"]
        config.num_steps = asked["steps"]
        if asked["tokens"]:
            pixels = torch.from_numpy(images).movedim(-1, 1).float() / 255
            with torch.inference_mode():
                told = policy.model.vlm_with_expert.embed_image(
                    resize_with_pad(pixels, asked["image"], asked["image"], 0) * 2 - 1
                )
            np.save(asked["tokens"], told.numpy())
        began = time.process_time()
        with torch.inference_mode():
            chunk = after(policy.predict_action_chunk(batch())).numpy()
        seconds = time.process_time() - began
        print(json.dumps({"seconds": seconds, "shape": chunk.shape}), flush=True)


def _readable(source: Path, weights: str) -> Path:
    """A folder of the same weights with tokenizer and processors as LeRobot's transformers (4) wants them."""
    from transformers import PreTrainedTokenizerFast, SmolVLMImageProcessor, SmolVLMProcessor, SmolVLMVideoProcessor

    folder = source.with_name(f"{source.name}-4-{weights}")
    folder.mkdir()
    shutil.copy(source / "config.json", folder)
    (folder / "model.safetensors").symlink_to(source / "model.safetensors")
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_file=str(source / "tokenizer.json"),
        pad_token="<pad>",
        extra_special_tokens={
            "image_token": "<image>",
            "fake_image_token": "<fake_token_around_image>",
            "global_image_token": "<global-img>",
            "end_of_utterance_token": "<end_of_utterance>",
        },
    )
    SmolVLMProcessor(SmolVLMImageProcessor(), tokenizer, SmolVLMVideoProcessor(), 64).save_pretrained(folder)
    return folder


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
