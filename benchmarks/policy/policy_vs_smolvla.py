"""A chunk of LeRobot's SmolVLA against one of ours: same backbone, images, denoising steps; one CPU thread.

Both get the same observation (two images as bytes, a state, an instruction) and return a chunk in the robot's units,
each with its own processors.  The backbone is one folder of random weights in SmolVLM-256M's shape; that their
image tokens agree is checked, in float32, before the first time is taken.  Each round takes every setting of both, in
turns; seconds are CPU seconds.  The value compares the fastest setting of each stack on this processor: LeRobot in
float32 or in bfloat16, in which it loads the backbone; ours in OpenVINO, in int8, whose cost in success
`policy-quantised` measures.  The rows of `TERMS` state which settings are equal, precision included.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

NAME = "policy-vs-smolvla"
TITLE = "chunk latency of LeRobot's SmolVLA over ours: same backbone, images, denoising steps; one CPU thread"
TARGET = 2.0
UNIT = "ratio"
BETTER = "higher"
ROOT = Path(__file__).parents[2]
RECIPE = ROOT / "policies" / "smolvlm-256m.yaml"
INSTRUCTION = "put the red mug in the tray"
ROUNDS, PIXELS = 6, 256  # PIXELS: side of the cameras' images
SMOLVLM_256M: dict[str, Any] = {
    "vision_config": {"hidden_size": 768, "num_attention_heads": 12, "intermediate_size": 3072}
    | {"num_hidden_layers": 12, "image_size": 512, "patch_size": 16},
    "text_config": {"model_type": "llama", "hidden_size": 576, "num_attention_heads": 9, "num_key_value_heads": 3}
    | {"intermediate_size": 1536, "num_hidden_layers": 30, "head_dim": 64, "max_position_embeddings": 8192}
    | {"vocab_size": 49280},
    "scale_factor": 4,
}


class Theirs(NamedTuple):
    """A setting of LeRobot's SmolVLA."""

    image: int = 256  # side of the vision tower's input
    chunk: int = 16
    steps: int = 10
    weights: str = "float32"  # of the backbone; bfloat16 is what LeRobot loads


@dataclass(frozen=True)
class Ours:
    """A setting of our policy; ``head``: width, depth, heads and patch in place of the recipe's."""

    image: int = 256
    chunk: int = 16
    steps: int = 10
    layers: int = 16
    head: tuple[int, int, int, int] | None = None
    quantise: str = ""
    compiled: bool = False
    openvino: bool = False


@dataclass(frozen=True)
class Terms:
    """One row."""

    name: str
    theirs: Theirs
    ours: Ours


LARGE = (448, 11, 7, 1)  # a head of as many parameters as their expert, one token a control step
FASTEST = "equal, each in its fastest precision, ours in OpenVINO"  # the value
TERMS = (
    Terms("equal but for our int8, in OpenVINO", Theirs(weights="bfloat16"), Ours(quantise="int8", openvino=True)),
    Terms("equal, bfloat16, ours in OpenVINO", Theirs(weights="bfloat16"), Ours(quantise="bf16", openvino=True)),
    Terms("equal, float32, ours in OpenVINO", Theirs(), Ours(openvino=True)),
    Terms("equal, float32, PyTorch both", Theirs(), Ours()),
    Terms("the same, our head as large as their expert", Theirs(), Ours(head=LARGE)),
    Terms("the same at 128 px", Theirs(128), Ours(128)),
    Terms("the same at 512 px, SmolVLA's own size", Theirs(512), Ours(512)),
    Terms("the same but for our int8 weights, PyTorch", Theirs(), Ours(quantise="int8")),
    Terms("the same, ours compiled, theirs not", Theirs(), Ours(compiled=True)),
)


def run(rounds: int = ROUNDS, sizes: dict[str, Any] | None = None, terms: tuple[Terms, ...] = ()) -> dict[str, Any]:
    """``sizes`` of another backbone and other ``terms``: for a test of the benchmark."""
    import torch

    from vla_agent.policy.speed.openvino import has_bf16

    torch.set_num_threads(1)
    terms = tuple(t for t in terms or (*TERMS, shipped()) if t.ours.quantise != "bf16" or has_bf16())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source, observation, actions = prepare(folder, sizes or SMOLVLM_256M)
        child = start_child("lerobot_smolvla.py", folder, terms[0].ours.layers)
        facts = child.read()
        policies = {t.ours: build(source, t.ours, observation, actions) for t in terms}
        plain = next(o for o in policies if not (o.quantise or o.compiled or o.openvino))
        off = token_difference(child, policies[plain], Theirs(plain.image), observation, folder / "tokens.npy")
        seconds: dict[Theirs | Ours, list[float]] = {}
        for number in range(rounds + 1):  # the first warms up
            for one in terms:
                order: list[Theirs | Ours] = [one.theirs, one.ours]
                for setting in order if number % 2 else reversed(order):
                    if len(seconds.setdefault(setting, [])) > number:
                        continue  # rows may share a setting
                    if isinstance(setting, Theirs):
                        seconds[setting].append(_theirs(child, setting))
                    else:
                        seconds[setting].append(_ours(policies[setting], observation))
        child.end()
    taken = {setting: values[1:] for setting, values in seconds.items()}
    rows = [row(t, taken[t.theirs], taken[t.ours], policies[t.ours], facts) for t in terms]
    rows = [fastest(terms, taken, rows), *rows]
    return ratio_result(rows, rounds, notes(facts, off))


def prepare(folder: Path, sizes: dict[str, Any]) -> tuple[Path, dict[str, Any], np.ndarray]:
    """The backbone's folder, an observation and actions; the files that a child of `start_child` reads are written."""
    from benchmarks.shared.random_vlms import save_random_vlm

    source = save_random_vlm("smolvlm", sizes, folder / "smolvlm", dtype="bfloat16")
    zero_positions(source / "model.safetensors")
    observation, actions = an_observation()
    images = np.stack(list(observation["images"].values()))
    np.savez(folder / "observation.npz", images=images, state=observation["state"], actions=actions)
    return source, observation, actions


def start_child(script: str, folder: Path, layers: int) -> Any:
    """A script of ``benchmarks/lerobot`` on the files of `prepare`, with this many layers of the language model."""
    from benchmarks.lerobot.lerobot_child import LeRobotChild

    arguments = [str(folder / "smolvlm"), str(folder / "observation.npz"), str(layers), INSTRUCTION]
    return LeRobotChild(script, arguments, folder)


def ratio_result(rows: list[dict[str, Any]], rounds: int, notes: str) -> dict[str, Any]:
    """A benchmark's result whose value is the ratio of the first row."""
    interval = [rows[0]["low"], rows[0]["high"]]
    return {"value": rows[0]["ratio"], "n": rounds, "interval": interval, "seeds": "0", "rows": rows, "notes": notes}


def fastest(terms: tuple[Terms, ...], taken: dict[Any, list[float]], rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The row of the value: of the terms in OpenVINO, LeRobot's fastest setting of each round over our fastest.

    ``taken``: seconds of each setting, one a round.  ``rows``: those of ``terms``.
    """
    chosen = [t for t in terms if t.ours.openvino] or list(terms)
    theirs = [min(each) for each in zip(*(taken[t.theirs] for t in chosen), strict=True)]
    ours = [min(each) for each in zip(*(taken[t.ours] for t in chosen), strict=True)]
    mean, low, high = ratio(theirs, ours)
    quicker = min(chosen, key=lambda t: np.median(taken[t.theirs])).theirs
    quickest = min(chosen, key=lambda t: np.median(taken[t.ours]))
    value = {
        "terms": FASTEST,
        "LeRobot, ms": 1000 * float(np.median(theirs)),
        "ours, ms": 1000 * float(np.median(ours)),
    }
    value |= {
        "ratio": mean,
        "low": low,
        "high": high,
        "weights": f"{quicker.weights} against {precision(quickest.ours)}",
    }
    return rows[terms.index(quickest)] | value


def precision(ours: Ours) -> str:
    """The dtype of the products of our setting, or of its weights."""
    return {"": "float32", "bf16": "bfloat16"}.get(ours.quantise, ours.quantise)


def notes(facts: dict[str, Any], off: float) -> str:
    """Conditions that the rows do not state.  ``off``: see `token_difference`."""
    return (
        f"LeRobot 0.4.4: SmolVLA's layers and expert ({facts['expert'] / 1e6:.1f}M) as it has them, against a head on "
        f"the last layer's tokens; one folder of random weights (vision tower {facts['vision'] / 1e6:.1f}M), loaded in "
        f"bfloat16; positions zero; in float32 image tokens differ by {off:.1e} at most; theirs in bfloat16 has "
        f"{' and '.join(facts['dtypes'])} weights, as LeRobot makes it; two images of {PIXELS} px; "
        f"{facts['instruction tokens']} tokens of instruction in theirs (tokenised for each chunk), where ours "
        "tokenises once and has SmolVLM's chat tokens around images and instruction, theirs one token for the state; "
        "bytes in, robot's units out; one thread each; seconds of the processor, so that other load counts little; "
        "settings of both alternate in each round; ratios within a round, their mean; interval by bootstrap over rounds"
    )


def shipped() -> Terms:
    """Our recipe as it stands against SmolVLA's defaults: resolution, chunk, steps and layers differ."""
    from vla_agent.training.recipe import load_recipe

    recipe = load_recipe(RECIPE)
    assert recipe.vlm is not None
    ours = Ours(recipe.vlm.image_size[0], recipe.chunk_length, recipe.head.serve_steps, recipe.vlm.layer)
    return Terms("each as it comes: our recipe, their defaults", Theirs(512, 50, 10), ours)


def an_observation() -> tuple[dict[str, Any], np.ndarray]:
    """Two images of noise, a state, and actions (T, A) for the statistics."""
    from vla_agent.contract.blank_observation import blank_observation
    from vla_agent.contract.tabletop import tabletop_contract

    contract, rng = tabletop_contract((PIXELS, PIXELS)), np.random.default_rng(0)
    observation = blank_observation(contract)
    observation["images"] = {c: rng.integers(0, 256, (PIXELS, PIXELS, 3), np.uint8) for c in contract.camera_names}
    return observation, rng.normal(0, 0.01, (64, contract.action_dim)).astype(np.float32)


def build(source: Path, ours: Ours, observation: dict[str, Any], actions: np.ndarray) -> Any:
    """Our policy, untrained, on the backbone in ``source``."""
    import torch

    from vla_agent.contract.tabletop import tabletop_contract
    from vla_agent.models.backbones.pretrained.pretrained_backbone import VLMOptions
    from vla_agent.models.backbones.pretrained.pretrained_files import open_vlm
    from vla_agent.policy.policy import VLAPolicy
    from vla_agent.policy.speed.accelerate import accelerate
    from vla_agent.training.recipe import load_recipe

    head = load_recipe(RECIPE).head.resolved().model_copy(update={"serve_steps": ours.steps})
    if ours.head is not None:
        width, depth, heads, patch = ours.head
        head = head.model_copy(update={"width": width, "depth": depth, "heads": heads, "patch": patch})
    torch.manual_seed(0)
    contract = replace(tabletop_contract((PIXELS, PIXELS)), chunk_length=ours.chunk)
    backbone = open_vlm(source, VLMOptions(layer=ours.layers, image_size=(ours.image, ours.image)))
    policy = VLAPolicy(contract, backbone, head).eval().requires_grad_(False)
    policy.action_normaliser.fit_range(actions)
    spread = np.random.default_rng(0).normal(size=(64, contract.state_dim))
    policy.state_normaliser.fit_moments(observation["state"] + spread)
    policy = accelerate(policy, ours.compiled, ours.quantise, ours.openvino)
    policy.reset(INSTRUCTION)
    return policy


def zero_positions(file: Path) -> None:
    """Make the vision tower's position table zero.

    LeRobot's transformers (4.57) takes most positions one row too early in float32, which transformers 5 fixed; the
    work is the same, and with this table the tokens are, too.
    """
    from safetensors.torch import load_file, save_file

    weights = load_file(file)
    weights["model.vision_model.embeddings.position_embedding.weight"].zero_()
    save_file(weights, file, metadata={"format": "pt"})


def token_difference(child: Any, policy: Any, theirs: Theirs, observation: dict[str, Any], file: Path) -> float:
    """Largest difference of an image token's number between both.

    Raises:
        RuntimeError: they do not compute the same.
    """
    import torch

    child.ask({**theirs._asdict(), "tokens": str(file)})
    with torch.inference_mode():
        pixels = policy.backbone.pixels(torch.from_numpy(np.stack(list(observation["images"].values()))))
        mine = policy.backbone.image_tokens(pixels).tokens.numpy()
    held = np.load(file)
    if held.shape != mine.shape or not np.allclose(held, mine, atol=1e-2 * float(mine.std())):
        raise RuntimeError(f"image tokens of LeRobot {held.shape} are not ours {mine.shape}")
    return float(np.abs(held - mine).max())


def _theirs(child: Any, setting: Theirs) -> float:
    answer = child.ask({**setting._asdict(), "tokens": ""})
    if answer["shape"][-2] != setting.chunk:
        raise RuntimeError(f"LeRobot's chunk is {answer['shape']}")
    return float(answer["seconds"])


def _ours(policy: Any, observation: dict[str, Any]) -> float:
    start = time.process_time()
    policy.act(observation)
    return time.process_time() - start


def row(terms: Terms, theirs: list[float], ours: list[float], policy: Any, facts: dict[str, Any]) -> dict[str, Any]:
    """One row of the table, with what is equal and what is not."""
    mean, low, high = ratio(theirs, ours)
    t, o = terms.theirs, terms.ours
    head, config = policy.parameter_counts()["head"], policy.backbone.model.config
    cell = config.vision_config.patch_size * config.scale_factor
    pairs = {
        "vision px": (t.image, o.image),
        "chunk": (t.chunk, o.chunk),
        "steps": (t.steps, o.steps),
        "language layers": (facts["layers"], o.layers),
        "image tokens": tuple(2 * (side // cell) ** 2 for side in (t.image, o.image)),
        "expert or head, M": (round(facts["expert"] / 1e6, 1), round(head / 1e6, 1)),
        "weights": (t.weights, precision(o)),
        "computed by": ("PyTorch", "OpenVINO" if o.openvino else "torch.compile" if policy.compiled else "PyTorch"),
    }
    return {
        "terms": terms.name,
        "LeRobot, ms": 1000 * float(np.median(theirs)),
        "ours, ms": 1000 * float(np.median(ours)),
        "ratio": mean,
        "low": low,
        "high": high,
        **{name: str(a) if a == b else f"{a} against {b}" for name, (a, b) in pairs.items()},
    }


def ratio(theirs: list[float], ours: list[float], draws: int = 2000) -> tuple[float, float, float]:
    """Mean of the rounds' ratios, and its 95 % interval by bootstrap over rounds."""
    ratios = np.array(theirs) / np.array(ours)
    drawn = ratios[np.random.default_rng(0).integers(len(ratios), size=(draws, len(ratios)))].mean(1)
    low, high = np.percentile(drawn, [2.5, 97.5])
    return float(ratios.mean()), float(low), float(high)
