"""The policy that a training starts from: untrained, on a pretrained vision-language model, or with given weights."""

from __future__ import annotations

from rich.console import Console
from transformers import ViTImageProcessorPil

from vla_agent.errors import RecipeError
from vla_agent.files.policy.closed_list import OPTIONS
from vla_agent.files.policy_files import read_policy_files
from vla_agent.files.policy_folder import find_folder
from vla_agent.models.backbones.pointing.pointing_backbone import Backbone
from vla_agent.models.backbones.pointing.pointing_config import PointingVLMConfig
from vla_agent.models.backbones.pointing.pointing_vlm import PointingVLM
from vla_agent.models.backbones.pretrained.pretrained_backbone import VLMBackbone, VLMOptions
from vla_agent.models.backbones.pretrained.pretrained_files import open_vlm
from vla_agent.models.heads.head_config import HeadConfig
from vla_agent.policy.checkpoint import policy_from
from vla_agent.policy.policy import VLAPolicy
from vla_agent.policy.sources import contract_of
from vla_agent.training.demonstrations import Demonstrations, Questions
from vla_agent.training.plain_data import SIDE
from vla_agent.training.recipe import Recipe
from vla_agent.training.starting_backbone import fitting_backbone
from vla_agent.training.tokenizer import build_tokenizer

console = Console()
SERVING = ("serve_steps", "sampler", "guidance")  # settings of a head that its weights do not depend on
SMALLEST_SCALE = 1e-3  # of a normalised number: what varies less is noise
LONGEST_TEXT = 40, 128  # tokens of an instruction that the backbone is built for: at least, at most


def build_policy(recipe: Recipe, demos: Demonstrations, questions: Questions | None) -> VLAPolicy:
    """An untrained policy of the recipe's sizes with a tokenizer for this data, or the one of ``start_from``.

    Raises:
        CheckpointError: the weights to start from cannot be read.
        ContractError: they were trained with other cameras, state, action or rate than the demonstrations have.
        RecipeError: they do not fit the recipe's sizes.
    """
    if recipe.start_from:
        return _starting_policy(recipe, demos)
    backbone = _pretrained_backbone(recipe) if recipe.vlm.model else _small_backbone(recipe, demos, questions)
    policy = VLAPolicy(demos.contract, backbone, recipe.head, recipe.execute)
    floor = {"floor": SMALLEST_SCALE} if recipe.end_to_end.samples else {}  # other units than the simulator's
    policy.action_normaliser.fit_range(demos.action[demos.clean], **floor)
    policy.state_normaliser.fit_moments(demos.state, **floor)
    return policy


def _starting_policy(recipe: Recipe, demos: Demonstrations) -> VLAPolicy:
    contract_of(recipe.start_from).require(demos.contract, recipe.start_from, "the demonstrations")
    start = read_policy_files(find_folder(recipe.start_from))
    backbone: Backbone | VLMBackbone | None = None  # None: the folder's own
    untrained: list[str] = []
    if f"backbone/{OPTIONS}" not in start:
        backbone, untrained = fitting_backbone(start, recipe.backbone)
    if untrained:
        console.print(f"new, untrained parts of the backbone: {', '.join(untrained)}")
    policy = policy_from(start, backbone)
    started = policy.head.config
    head = _wanted_head(recipe.head, started)
    different = head.model_copy(update={name: getattr(started, name) for name in SERVING}) != started
    if recipe.fresh_head or different:
        console.print("the head starts untrained" + (": its settings are not those of start_from" * different))
        policy = _with_head(policy, head)
    elif head != started:
        weights = policy.head.state_dict()
        policy = _with_head(policy, head)
        policy.head.load_state_dict(weights)
    policy.requires_grad_(True)
    if isinstance(policy.backbone, VLMBackbone):
        policy.backbone.freeze()
    return policy


def _wanted_head(stated: HeadConfig, started: HeadConfig) -> HeadConfig:
    """The settings that the recipe states, and those of the head that it starts from for the others."""
    given = stated.model_fields_set | ({"width", "depth", "heads"} if stated.size else set())
    resolved = stated.resolved()
    return started.model_copy(update={name: getattr(resolved, name) for name in given - {"size"}})


def _with_head(policy: VLAPolicy, head: HeadConfig) -> VLAPolicy:
    """The policy's backbone, contract and normalisers with an untrained head."""
    new = VLAPolicy(policy.contract, policy.backbone, head, policy.execute)
    for name in ("state_normaliser", "action_normaliser"):
        getattr(new, name).load_state_dict(getattr(policy, name).state_dict())
    new.doubt_with(policy.doubter)
    new.reader = policy.reader
    return new


def _pretrained_backbone(recipe: Recipe) -> VLMBackbone:
    return open_vlm(recipe.vlm.model, VLMOptions(**recipe.vlm.model_dump(exclude={"model"})))


def _small_backbone(recipe: Recipe, demos: Demonstrations, questions: Questions | None) -> Backbone:
    """An untrained pointing backbone of the recipe's sizes with a tokenizer for this data."""
    texts = demos.instructions + (questions.prompts + questions.answers if questions else [])
    tokenizer = build_tokenizer(texts)
    height, width = demos.image_size
    if height % SIDE or width % SIDE:
        raise RecipeError(
            "the images' size does not fit the small backbone",
            key="contract.cameras",
            expected=f"sides that are multiples of {SIDE}",
            found=f"{height} x {width}",
            remedy="--set data.image_size=[96,96] with the stage end_to_end; or vla-agent data convert, with another "
            "height and width in the mapping (docs/data.md)",
        )
    longest = max(len(ids) for ids in tokenizer(demos.instructions)["input_ids"])
    if longest > LONGEST_TEXT[1]:
        console.print(f"the longest instruction has {longest} tokens: those after {LONGEST_TEXT[1]} are cut off")
    config = PointingVLMConfig(
        vocab_size=len(tokenizer),
        num_views=len(demos.contract.cameras),
        image_size=(height, width),
        resizes={(c.height, c.width) for c in demos.contract.cameras} != {(height, width)},
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        max_text_length=min(max(longest, LONGEST_TEXT[0]), LONGEST_TEXT[1]),
        **recipe.backbone.model_dump(),
    )
    processor = ViTImageProcessorPil(
        size={"height": height, "width": width}, image_mean=[0.5] * 3, image_std=[0.25] * 3
    )
    return Backbone(PointingVLM(config), tokenizer, processor)
