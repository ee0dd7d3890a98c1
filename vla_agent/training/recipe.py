"""The training recipe: every setting of a training, in one YAML file."""

from __future__ import annotations

from os import PathLike
from typing import Any, Literal

from pydantic import Field, PositiveInt, model_validator

from vla_agent.errors import RecipeError
from vla_agent.files.recipe_file import Strict, read_recipe
from vla_agent.models.heads.head_config import HeadConfig
from vla_agent.training.data_items import HELD_OUT, Collect, Corrections, Generated, MakeQuestions


class ScoredData(Strict):
    """Demonstrations whose episodes may be drawn by weight."""

    scores: tuple[str, ...] = Field(
        (), description="files of vla-agent data score, one for each dataset whose episodes are drawn by their weights"
    )
    scores_sha256: tuple[str, ...] = Field((), description="of these files; filled in when the training begins")


class Data(ScoredData):
    """Folders of the training data; where one is missing, the error names the command that makes it."""

    demonstrations: tuple[str, ...] = Field((), description="LeRobotDataset folders, read in this order")
    contract: str = Field(
        "",
        description="contract of the demonstrations that have none, since another program recorded them: a JSON file "
        "of meta/contract.json's form, a dataset's or policy's folder, or sim",
    )
    image_size: tuple[int, ...] = Field(
        (), description="[height, width] to which training and policy resize all images; empty: the cameras' own"
    )
    questions: tuple[str, ...] = Field(
        (), description="folders of generated images and questions (python -m sim.questions)"
    )


class BackboneSizes(Strict):
    """See `vla_agent.models.backbones.pointing.pointing_vlm.PointingVLMConfig`."""

    hidden_size: int = 128
    num_attention_heads: int = 4
    stem_channels: tuple[int, int] = (48, 96)
    film_blocks: PositiveInt = 2
    text_layers: PositiveInt = 2
    fusion_layers: PositiveInt = 2
    decoder_layers: PositiveInt = 1
    move_kernel: int = Field(9, ge=0)
    keypoints: int = Field(0, ge=0, description="places of each view that end_to_end learns with the actions alone")


class VLMSettings(Strict):
    """A pretrained vision-language model in place of ``backbone``: `pretrained_backbone.VLMOptions`."""

    model: str = Field(
        "", description="AutoModelForImageTextToText: a folder or hf://OWNER/NAME; empty: the small backbone"
    )
    layer: int = Field(0, ge=0, description="decoder layers to keep; the last of them feeds the head; 0 for all")
    image_size: tuple[int, ...] = Field((), description="[height, width] for the vision tower; empty for its own")
    instruction: Literal["last", "first"] = "last"
    attention: Literal["own", "mutual"] = "own"
    freeze: tuple[Literal["vision", "projector", "language"], ...] = ("vision", "projector", "language")
    fused: str = Field(
        "", description="self-supervised vision encoder (DINOv2) to fuse in: a folder or hf://OWNER/NAME"
    )
    dtype: Literal["float32", "bfloat16"] = "float32"


class Stage(Strict):
    """Optimiser and length; every stage has these settings."""

    samples: int = Field(ge=0, description="samples to train on; 0 leaves the stage out")
    batch: int = Field(64, ge=2)
    learning_rate: float = Field(1e-3, gt=0)
    weight_decay: float = Field(0.01, ge=0)
    warmup_steps: int = Field(100, ge=0)
    ema: float = Field(0.998, ge=0, lt=1)
    checkpoint_minutes: float = Field(3.0, gt=0)


class Augment(Strict):
    """Image augmentation.  There is no mirroring: the actions would have to be mirrored too."""

    shift: int = Field(0, ge=0, description="largest shift in pixels, in both directions; edges are repeated")
    crop: float = Field(0.0, ge=0, lt=0.5, description="largest fraction of a side that is cut off, then enlarged")
    share: float = Field(1.0, gt=0, le=1, description="fraction of the samples that are shifted or cropped")
    colour: float = Field(0.1, ge=0, lt=1, description="strength of brightness, contrast and tint changes")

    @model_validator(mode="before")
    @classmethod
    def _no_mirror(cls, given: Any) -> Any:
        mirrors = sorted({"flip", "mirror"} & set(given)) if isinstance(given, dict) else []
        if mirrors:
            raise ValueError(
                f"{mirrors[0]}: a mirrored image contradicts left and right in instructions, and the actions; "
                "use shift, crop and colour"
            )
        return given


class NameStem(Stage):
    """Stage 0: the backbone's text-free stem learns to name every object of the generated images.

    A step costs a third of one of stage 1, every object of an image is a label, and small batches give many steps.
    """

    samples: int = Field(0, ge=0, description="images to train on; 0 leaves the stage out")
    batch: int = Field(16, ge=2)
    learning_rate: float = Field(3e-3, gt=0)
    colour_jitter: float = Field(0.1, ge=0)


class TrainSight(Stage):
    """Stage 3: a small detector on the finished stem, and how far the policy doubts what it does not see.

    It learns from the generated images, of which ``hold_back``, evenly from all, calibrate the doubt.
    """

    samples: int = Field(0, ge=0, description="images to train on; 0 leaves the stage, and the policy's doubt, out")
    batch: int = Field(16, ge=2)
    learning_rate: float = Field(3e-3, gt=0)
    colour_jitter: float = Field(0.1, ge=0)
    width: int = Field(32, ge=4, description="channels")
    context: int = Field(0, ge=0, description="hidden units that read the light from the scene's mean; 0: none")
    go_on: bool = Field(False, description="begin with start_from's sight; with samples 0 it is only calibrated")
    keep_stems: bool = Field(
        False, description="compute each image's features once, with one jitter, and keep them in memory: 0.1 MB each"
    )
    hold_back: float = Field(0.1, gt=0, lt=1, description="fraction of the images that calibrate")
    refused: float = Field(0.01, gt=0, lt=0.5, description="fraction of present objects that may be held for absent")


class Pretrain(Stage):
    """Stage 1: the backbone learns to answer questions and to point, on generated images and demonstration frames."""

    batch: int = Field(64, ge=2)
    demonstration_share: float = Field(
        0.5, ge=0, le=1, description="fraction of a batch that comes from demonstration frames"
    )
    pointing_share: float = Field(0.85, ge=0, le=1, description="fraction of the questions that have points")
    questions_each: int = Field(2, ge=1, description="questions drawn together about one generated image")
    colour_jitter: float = Field(0.1, ge=0)
    early_share: float = Field(
        0.3, ge=0, le=1, description="fraction of the demonstration frames drawn from first frames"
    )


class ChunkStage(Stage):
    """What stages that learn action chunks have in common."""

    batch: int = Field(256, ge=2)
    draws: int = Field(2, ge=1, description="noise draws per encoded sample")
    early_frames: int = Field(10, ge=0, description="number of an episode's first frames")
    early_share: float = Field(0.3, ge=0, le=1, description="fraction of a batch drawn from first frames")
    state_dropout: float = Field(0.3, ge=0, le=1, description="fraction of samples whose state vector is masked")
    located_noise: float = Field(
        0.004, ge=0, description="standard deviation of the noise on located positions, metres"
    )
    frame_stride: int = Field(1, ge=1, description="use every n-th frame after the first ones")
    picture_lag: int = Field(
        0, ge=0, description="in half of the samples the image is 1 to this many control periods older than the state"
    )


class TrainHead(ChunkStage):
    """Stage 2: the head, on the backbone's features, which are computed only once where the backbone is frozen."""

    keep_features: bool = Field(
        True, description="false: compute the features in each step, where they are too large to keep"
    )


class EndToEnd(ChunkStage):
    """The small backbone and the head together, from images to actions, on demonstrations of any kind."""

    samples: int = Field(0, ge=0, description="samples to train on; 0 leaves the stage out")
    batch: int = Field(32, ge=2)
    draws: int = Field(1, ge=1, description="noise draws per sample")
    balance: Literal["tasks", "frames"] = Field(
        "tasks", description="what is drawn equally often: each instruction, or each frame"
    )
    pointing: float = Field(
        1.0, ge=0, description="weight of the pointing losses on annotated frames; 0 leaves annotations out"
    )
    augment: Augment = Augment.model_validate({})
    precision: Literal["float32", "bfloat16"] = Field(
        "float32", description="bfloat16: mixed, the weights stay fp32; faster on a GPU alone"
    )


class Round(Strict):
    """A further run from the weights so far, on more data: what their policy does wrong, or other looks of the scene.

    Stages that are left out train nothing.  Data of earlier runs is used as well.
    """

    collect: tuple[Collect, ...] = ()
    corrections: tuple[Corrections, ...] = Field((), description="the policy so far drives, the expert takes over")
    questions: tuple[MakeQuestions, ...] = ()
    name_stem: NameStem = NameStem.model_validate({})
    pretrain: Pretrain = Pretrain.model_validate({"samples": 0})
    train_head: TrainHead = TrainHead.model_validate({"samples": 0})
    end_to_end: EndToEnd = EndToEnd.model_validate({})
    sight: TrainSight = TrainSight.model_validate({})
    keep_start: float = Field(0.0, ge=0, lt=1, description="fraction of the weights so far in the result (WiSE-FT)")


class Recipe(Strict):
    """All settings of a training."""

    name: str
    seed: int = 0
    chunk_length: int = Field(16, ge=1)
    execute: int = Field(8, ge=1)
    data: Data = Data.model_validate({})
    image_size: int = Field(96, ge=32, multiple_of=8, description="pixels along a side of the images that it makes")
    collect: tuple[Collect, ...] = Field((), description="demonstrations that the training collects first")
    questions: tuple[MakeQuestions, ...] = Field((), description="generated images that the training makes first")
    backbone: BackboneSizes = BackboneSizes.model_validate({})
    vlm: VLMSettings = VLMSettings.model_validate({})
    head: HeadConfig = HeadConfig()
    name_stem: NameStem = NameStem.model_validate({})
    pretrain: Pretrain = Pretrain.model_validate({"samples": 0})
    train_head: TrainHead = TrainHead.model_validate({"samples": 0})
    end_to_end: EndToEnd = EndToEnd.model_validate({})
    sight: TrainSight = TrainSight.model_validate({})
    start_from: str = Field("", description="policy folder whose weights the training starts from")
    keep_start: float = Field(
        0.0, ge=0, lt=1, description="with start_from: fraction of its weights in the result (WiSE-FT)"
    )
    fresh_head: bool = Field(False, description="with start_from: the head starts untrained")
    rounds: tuple[Round, ...] = Field((), description="further runs, one after the other, from the weights so far")

    @property
    def generated(self) -> tuple[Generated, ...]:
        """All data that the training makes itself, in the order in which it is made."""
        own = (*self.collect, *self.questions)
        return own + tuple(item for r in self.rounds for item in (*r.collect, *r.corrections, *r.questions))

    def written(self) -> dict[str, Any]:
        """Without a head that it does not set: start_from's counts, which defaults, written down, would replace."""
        kept = {"head"} - self.model_fields_set if self.start_from else set()
        return self.model_dump(mode="json", exclude=kept)

    @property
    def is_plain(self) -> bool:
        """Whether it is one run on data that is there."""
        return not (self.generated or self.rounds)


def load_recipe(path: str | PathLike[str], overrides: tuple[str, ...] = ()) -> Recipe:
    """Read a training's recipe and apply ``key.sub=value`` overrides.

    Raises:
        RecipeError: the file is missing, not YAML, or has a wrong key or value; names file, line, key and valid names.
    """
    recipe = read_recipe(path, overrides, Recipe, "policies/tabletop-nano.yaml")
    require_consistent(recipe, str(path))
    return recipe


def require_consistent(recipe: Recipe, file: str) -> None:
    """Refuse a recipe whose settings contradict each other.

    Raises:
        RecipeError: stages that a pretrained model does not have, weights that cannot be trained, two head sizes, no
            demonstrations, or data that has another's name or seeds.
    """
    wrong = _wrong_for_a_pretrained_model(recipe) if recipe.vlm.model else None
    wrong = wrong or _wrong_image_size(recipe)
    if wrong is None and recipe.head.size and {"width", "depth", "heads"} & recipe.head.model_fields_set:
        wrong = ("head.size", "a named size, or width, depth and heads", recipe.head.size)
    if wrong is None and not (recipe.data.demonstrations or recipe.collect):
        wanted = "demonstrations for the first run: folders, or what to collect"
        wrong = ("data.demonstrations, collect", wanted, "none")
    wrong = wrong or _clash(recipe.generated)
    if wrong:
        key, expected, found = wrong
        raise RecipeError(
            "two settings of the recipe contradict each other",
            file=file,
            key=key,
            expected=expected,
            found=found,
            remedy="change one of them",
        )


def _wrong_for_a_pretrained_model(recipe: Recipe) -> tuple[str, str, object] | None:
    """A stage that a pretrained model does not have, or weights that cannot be trained: key, expected, found."""
    parts: tuple[Recipe | Round, ...] = (recipe, *recipe.rounds)
    trained = set(recipe.vlm.freeze) != {"vision", "projector", "language"} or bool(recipe.vlm.fused)
    pointing = [stage.samples for part in parts for stage in (part.pretrain, part.name_stem)]
    if sum(pointing):
        return "pretrain.samples", "0: a pretrained model has no pointing stages", max(pointing)
    if trained and recipe.vlm.dtype != "float32":
        return "vlm.dtype", "float32 for weights that are trained, or all parts frozen", recipe.vlm.dtype
    if any(part.end_to_end.samples for part in parts):
        return "end_to_end.samples", "0: train_head trains a pretrained model's free parts", recipe.vlm.model
    if any(part.sight.samples for part in parts):
        return "sight.samples", "0: a pretrained model has no stem to look at", recipe.sight.samples
    return None


def _wrong_image_size(recipe: Recipe) -> tuple[str, str, object] | None:
    """What is wrong with the size to which images are resized: key, expected, found."""
    size = recipe.data.image_size
    if len(size) not in (0, 2) or any(side < 1 for side in size):
        return "data.image_size", "[height, width], or nothing", size
    if size and (recipe.vlm.model or recipe.pretrain.samples or recipe.name_stem.samples or recipe.generated):
        return "data.image_size", "nothing, but for the stage end_to_end alone, on data that is there", size
    return None


def _clash(items: tuple[Generated, ...]) -> tuple[str, str, object] | None:
    """Two sets of data with one name, or with a scene in common: key, expected, found."""
    for k, item in enumerate(items):
        for other in items[:k]:
            if item.name == other.name:
                return "name", "a name for each set of data", item.name
            same_kind = isinstance(item, MakeQuestions) == isinstance(other, MakeQuestions)
            if same_kind and max(item.seed, other.seed) < min(_last_seed(item), _last_seed(other)):
                return f"{item.name}.seed", f"{_last_seed(other)} or more: {other.name} has those before", item.seed
    last = next((item for item in items if _last_seed(item) > HELD_OUT), None)
    return (f"{last.name}.seed", f"seeds below {HELD_OUT}", f"up to {_last_seed(last)}") if last else None


def _last_seed(item: Generated) -> int:
    """The first seed that the data does not use; demonstrations may need several attempts an episode."""
    return item.seed + (item.scenes if isinstance(item, MakeQuestions) else 20 + 5 * getattr(item, "episodes", 0))
