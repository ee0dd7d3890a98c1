"""Whether a recipe, a policy and the processes go together: asked before anything is trained or written."""

from __future__ import annotations

from vla_agent.errors import RecipeError
from vla_agent.finetuning.finetune_recipe import FineTune
from vla_agent.finetuning.trackers import require_trackers
from vla_agent.models.backbones.pointing.pointing_backbone import Backbone
from vla_agent.models.heads.diffusion_head import DiffusionHead
from vla_agent.policy.policy import VLAPolicy
from vla_agent.training.distributed import Processes


def require_fit(recipe: FineTune, policy: VLAPolicy, processes: Processes) -> None:
    """Raise where two settings, or a setting and the policy, contradict each other.

    Raises:
        RecipeError: naming the setting and what to change.
    """

    def refuse(what: str, key: str, expected: object, found: object, remedy: str) -> RecipeError:
        return RecipeError(what, key=key, expected=expected, found=found, remedy=remedy)

    t, pieces = recipe.train, processes.pieces
    if t.batch % pieces:
        raise refuse(
            "the batch does not divide into equal pieces",
            "train.batch",
            f"a multiple of {pieces} ({processes.count} processes x train.accumulate={t.accumulate})",
            t.batch,
            f"--set train.batch={-(-t.batch // pieces) * pieces}",
        )
    if recipe.from_scratch and recipe.adapter.method != "full":
        raise refuse(
            "a policy from scratch has nothing that an adapter could adapt",
            "from_scratch",
            "adapter.method=full",
            recipe.adapter.method,
            "add --adapter full, or leave from_scratch out",
        )
    small = isinstance(policy.backbone, Backbone)
    if recipe.from_scratch and not small:
        raise refuse(
            "a pretrained vision-language model is not trained from scratch",
            "from_scratch",
            "a policy on the small pointing backbone",
            policy.backbone.model.config.model_type,
            "leave from_scratch out",
        )
    if recipe.from_scratch and pieces > 1:
        raise refuse(
            "norms that learn their statistics need the whole batch in one piece",
            "from_scratch",
            "one process and train.accumulate=1",
            f"{pieces} pieces",
            "train it in one process",
        )
    for has, key, value in (
        (recipe.adapter.method == "adalora", "adapter.method", "lora"),
        (recipe.robust.trust_region, "robust.trust_region", 0),
        (t.base_weights != "float32" and t.base_weights, "train.base_weights", "float32"),
    ):
        if has and processes.sharded:
            raise refuse(
                "this setting needs whole weights in each process",
                key,
                f"{key}={value}, or train.sharded=false",
                f"{recipe.adapter.method if key == 'adapter.method' else has}, and train.sharded=true",
                f"--set {key}={value}, or --set train.sharded=false",
            )
    whole = [part for part, rank in recipe.adapter.parts().items() if rank == "full"]
    if processes.sharded and small and whole:
        raise refuse(
            "sharded, the small backbone's own weights are not trained as they are with whole ones (after 60 steps the "
            "losses are 1.5 % apart; the cause is not found)",
            "train.sharded",
            "false, or adapters on every part",
            f"adapter.{whole[0]}=full, and train.sharded=true",
            "--set train.sharded=false: this policy is small",
        )
    robust = [k for k in ("consistency", "trust_region") if getattr(recipe.robust, k)]
    if robust and not isinstance(policy.head, DiffusionHead):
        raise refuse(
            "this option compares what two heads make of the same noise",
            f"robust.{robust[0]}",
            "0, or a policy with a diffusion head",
            policy.head.config.kind,
            f"--set robust.{robust[0]}=0",
        )
    if t.base_weights != "float32" and small:
        raise refuse(
            "this backbone is too small for quantised base weights: most of it are convolutions",
            "train.base_weights",
            "float32, or a policy on a pretrained vision-language model",
            t.base_weights,
            "--set train.base_weights=float32",
        )
    if t.checkpointing and not getattr(policy.backbone.model, "supports_gradient_checkpointing", False):
        raise refuse(
            "this backbone has no gradient checkpointing",
            "train.checkpointing",
            "false, or a policy on a pretrained vision-language model",
            policy.backbone.model.config.model_type,
            "--set train.checkpointing=false --set train.accumulate=2 (smaller pieces need less memory)",
        )
    require_trackers(t.trackers)
