"""A small backbone with the weights of another training, also where some of its parts are new or have other sizes."""

from __future__ import annotations

from safetensors.torch import load_file
from transformers import AutoConfig, AutoImageProcessor, AutoTokenizer

from vla_agent.errors import CheckpointError, RecipeError
from vla_agent.files.policy_files import PolicyFiles
from vla_agent.models.backbones.configuration_checks import require_data
from vla_agent.models.backbones.pointing.pointing_backbone import FOLDER, Backbone
from vla_agent.models.backbones.pointing.pointing_config import PointingVLMConfig
from vla_agent.models.backbones.pointing.pointing_vlm import PointingVLM
from vla_agent.training.recipe import BackboneSizes

MOST_UNTRAINED = 0.5  # largest fraction of the parameters that may start untrained


def fitting_backbone(files: PolicyFiles, sizes: BackboneSizes) -> tuple[Backbone, list[str]]:
    """A backbone of these sizes with every weight of a policy that fits, and the modules that start untrained.

    Raises:
        CheckpointError: the policy's backbone cannot be read, or is of another architecture.
        RecipeError: less than half of the parameters fit: the weights are of another architecture.
    """
    folder, plain = files.folder / FOLDER, {"trust_remote_code": False, "local_files_only": True}
    require_data(files, FOLDER, (PointingVLMConfig.model_type,))
    try:
        with files.view(FOLDER) as view:
            config = AutoConfig.from_pretrained(view, **plain)
            tokenizer = AutoTokenizer.from_pretrained(view, **plain)
            processor = AutoImageProcessor.from_pretrained(view, backend="pil", **plain)
            weights = load_file(view / "model.safetensors")
    except Exception as error:
        raise CheckpointError(
            "the weights to start from cannot be read",
            file=folder,
            expected="complete config.json, model.safetensors, tokenizer and image processor",
            found=f"{type(error).__name__}: {error}",
            remedy="get the checkpoint again, or leave start_from out",
        ) from error
    model = PointingVLM(PointingVLMConfig(**{**config.to_dict(), **sizes.model_dump(mode="json")}))
    wanted = model.state_dict()
    fitting = {k: v for k, v in weights.items() if k in wanted and wanted[k].shape == v.shape}
    new = [n for n, _ in model.named_parameters() if n not in fitting]
    sizes_of = {n: p.numel() for n, p in model.named_parameters()}
    if sum(sizes_of[n] for n in new) > MOST_UNTRAINED * sum(sizes_of.values()):
        raise RecipeError(
            "the weights to start from do not fit the recipe's backbone",
            file=folder,
            key="start_from",
            expected=sizes.model_dump(mode="json"),
            found={k: getattr(config, k, None) for k in type(sizes).model_fields},
            remedy="take the sizes of start_from, or leave start_from out",
        )
    model.load_state_dict({**wanted, **fitting})
    backbone = Backbone(model, tokenizer, processor)
    return backbone, sorted({n.rsplit(".", 1)[0] for n in new})
