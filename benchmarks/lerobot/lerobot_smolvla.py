"""Times chunks of LeRobot's SmolVLA.  Runs in LeRobot's environment, as a child of `policy_vs_smolvla`.

Each input line is a JSON object: ``image`` (side of the vision tower's input), ``chunk``, ``steps``, ``weights``
(float32 or bfloat16), ``tokens`` (a file for the image tokens, or empty); each output line has the CPU seconds from one
observation to one chunk, as in LeRobot's own inference: its processors, its policy, its processors.

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
    batch: Callable[[], Any]  # one observation after its processors
    after: Callable[[Any], Any]


def build(source: Path, data: dict[str, np.ndarray], layers: int, instruction: str, weights: str = "float32") -> Theirs:
    """LeRobot's SmolVLA on the backbone in ``source``.

    ``data``: images (V, H, W, 3) uint8, state (D,), actions (T, A) for the statistics.

    ``weights``: float32, or bfloat16, in which LeRobot loads the backbone (its own parts are float32).
    """
    from lerobot.configs.types import FeatureType, PolicyFeature
    from lerobot.policies.factory import make_pre_post_processors
    from lerobot.policies.smolvla.configuration_smolvla import SmolVLAConfig
    from lerobot.policies.smolvla.modeling_smolvla import SmolVLAPolicy
    from lerobot.policies.utils import prepare_observation_for_inference

    images, actions = data["images"], data["actions"]
    features = {f"{IMAGES}{i}": image for i, image in enumerate(images)} | {"observation.state": data["state"]}
    shapes = {k: v.transpose(2, 0, 1).shape if v.ndim == 3 else v.shape for k, v in features.items()}
    kinds = {k: FeatureType.VISUAL if k.startswith(IMAGES) else FeatureType.STATE for k in features}
    config = SmolVLAConfig(
        input_features={k: PolicyFeature(kinds[k], shapes[k]) for k in features},
        output_features={"action": PolicyFeature(FeatureType.ACTION, actions.shape[1:])},
        vlm_model_name=str(readable_backbone(source, weights)),
        load_vlm_weights=True,
        num_vlm_layers=layers,
        device="cpu",
    )
    policy = SmolVLAPolicy(config).eval()
    policy = policy.float() if weights == "float32" else policy
    numbers = {"observation.state": data["state"][None], "action": actions}
    stats = {k: {"mean": v.mean(0), "std": v.std(0) + 1} for k, v in numbers.items()}
    before, after = make_pre_post_processors(config, dataset_stats=stats)

    def batch() -> Any:
        fresh = {k: v.copy() for k, v in features.items()}
        return before(prepare_observation_for_inference(fresh, torch.device("cpu"), instruction))

    return Theirs(config, policy, batch, after)


def main(source: Path, observation: Path, layers: int, instruction: str) -> None:
    """``source``: the backbone as transformers 5 writes it; ``observation``: npz with images, state, actions."""
    declare_operators()
    torch.set_num_threads(1)
    from lerobot.policies.smolvla.modeling_smolvla import resize_with_pad

    data = dict(np.load(observation))
    images = data["images"]
    builds = {weights: build(source, data, layers, instruction, weights) for weights in ("float32", "bfloat16")}
    policy, batch = builds["bfloat16"].policy, builds["bfloat16"].batch
    model = policy.model.vlm_with_expert
    modules = {"vision": model.get_vlm_model().vision_model, "connector": model.get_vlm_model().connector}
    modules |= {"language layers": model.get_vlm_model().text_model.layers, "expert": model.lm_expert}
    facts: dict[str, Any] = {name: sum(p.numel() for p in module.parameters()) for name, module in modules.items()}
    facts["instruction tokens"] = int(batch()["observation.language.tokens"].shape[1])
    facts["layers"] = len(model.get_vlm_model().text_model.layers)
    facts["dtypes"] = sorted({str(p.dtype).removeprefix("torch.") for p in policy.parameters()})
    print(json.dumps(facts), flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        built = builds[request["weights"]]
        config, policy, batch, after = built.config, built.policy, built.batch, built.after
        config.resize_imgs_with_padding = (request["image"], request["image"])
        config.chunk_size, config.n_action_steps = request["chunk"], request["chunk"]
        config.num_steps = request["steps"]
        if request["tokens"]:
            pixels = torch.from_numpy(images).movedim(-1, 1).float() / 255
            with torch.inference_mode():
                resized = resize_with_pad(pixels, request["image"], request["image"], 0)
                tokens = policy.model.vlm_with_expert.embed_image(resized * 2 - 1)
            np.save(request["tokens"], tokens.numpy())
        start = time.process_time()
        with torch.inference_mode():
            chunk = after(policy.predict_action_chunk(batch())).numpy()
        seconds = time.process_time() - start
        print(json.dumps({"seconds": seconds, "shape": chunk.shape}), flush=True)


def readable_backbone(source: Path, weights: str) -> Path:
    """A folder of the same weights with tokenizer and processors in the format of LeRobot's transformers (4)."""
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
