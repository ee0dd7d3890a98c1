"""Scores a dataset: each episode's loss under a policy with the same noise for all, the weights, and the diversity.

An episode with the wrong instruction can have a low loss: its motion is a good one.  So the loss is measured with other
instructions of the dataset, too: where these explain the actions as well as the episode's own does, it is not its own.

Beside the output stands ``.NAME.partial`` while it runs: one line per scored episode.  The same command goes on there.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.progress import track

from vla_agent.data.lerobot.dataset_reader import load
from vla_agent.errors import DatasetError, OptionError
from vla_agent.files import bounded_reading
from vla_agent.files.canonical_json import digest
from vla_agent.files.input_limits import SCRATCH_BYTES
from vla_agent.files.policy_files import hash_policy_files
from vla_agent.files.policy_folder import find_folder
from vla_agent.policy.loading import load_policy
from vla_agent.policy.policy import VLAPolicy
from vla_agent.training.demonstrations import Demonstrations, load_demonstrations
from vla_agent.training.recipe import TrainHead
from vla_agent.training.scores.instruction_contrast import contrast_weights, contrasts
from vla_agent.training.scores.noise_mixture import lowest_weights, mixture_weights
from vla_agent.training.scores.score_file import KIND, VERSION, write_scores
from vla_agent.training.stages.head_stage import head_inputs

LARGEST_ACTION = 1.5  # normalised; what lies beyond is clipped, as in a training
BEGINNING = 1 / 3  # of an episode, where the instruction says most: later the hand's way and what it holds say it, too
TINY = float(np.finfo(np.float64).tiny)
COLUMNS = ("loss", "contrast", "instruction_weight", "weight")  # numbers of each episode
# The head sees what it sees when it acts.
SEEN = TrainHead.model_validate({"samples": 0, "state_dropout": 0.0, "located_noise": 0.0})


@dataclass(frozen=True)
class ScoreSettings:
    """How the losses are measured.

    Args:
        frames: of each episode, evenly spread; disturbed ones are left out.
        draws: noise draws for each frame.
        seed: of noise and noise levels, which are the same for every episode.
        others: instructions of other episodes that each one is scored with, too; 0: none.
        keep_lowest: give weight 1 to this fraction of the episodes and 0 to the others; None: by the mixture.
    """

    frames: int = 16
    draws: int = 8
    seed: int = 0
    others: int = 8
    keep_lowest: float | None = None

    def __post_init__(self) -> None:
        """Raise `OptionError` for settings that score nothing."""
        fraction = self.keep_lowest
        for key, value, fits, expected in (
            ("--frames", self.frames, 1 <= self.frames <= 1000, "1 to 1000"),
            ("--draws", self.draws, 1 <= self.draws <= 1000, "1 to 1000"),
            ("--others", self.others, 0 <= self.others <= 1000, "0 to 1000"),
            ("--keep-lowest", fraction, fraction is None or 0 < fraction <= 1, "a fraction above 0, up to 1"),
        ):
            if not fits:
                raise OptionError("the dataset cannot be scored so", key=key, expected=expected, found=value)


def score_dataset(dataset: str, policy_name: str, out: Path, settings: ScoreSettings) -> dict[str, Any]:
    """Score a dataset and write ``out``; an interrupted scoring goes on.

    Args:
        dataset: a LeRobotDataset folder with a contract.
        policy_name: a policy's folder, or hf://OWNER/NAME.
        out: ``.json``, or ``.parquet``.

    Returns:
        What ``out`` holds.

    Raises:
        DatasetError: the dataset is missing, damaged, or has an episode without a frame to score.
        CheckpointError: there is no such policy.
        ContractError: policy and dataset disagree.
    """
    torch.manual_seed(settings.seed)
    policy = load_policy(policy_name).eval()
    demos = load_demonstrations((dataset,), policy.contract.chunk_length, annotated=False)
    policy.contract.require(demos.contract, f"policy {policy_name}", "the demonstrations", ignore=("chunk_length",))
    identity = {
        "dataset": demos.hashes[0],
        "policy": hash_policy_files(find_folder(policy_name)).digest,
        **{key: value for key, value in asdict(settings).items() if key != "keep_lowest"},
    }
    partial = out.with_name(f".{out.name}.partial")
    losses, features = _score_all(policy, demos, settings, partial, digest(identity))
    told = np.array([contrasts(np.log(np.maximum(row, TINY))) for row in losses.by_instruction])
    fitting, fit = contrast_weights(told)
    if settings.keep_lowest is None:
        weights, mixture = mixture_weights(losses.own)
        weights = weights * fitting
    else:
        weights, mixture = lowest_weights(losses.own, settings.keep_lowest), None
    episodes, columns = load(dataset).episodes, (losses.own, told[:, 0], fitting, weights)
    scores: dict[str, Any] = {
        "kind": KIND,
        "version": VERSION,
        "dataset": {"name": Path(dataset).resolve().name, "sha256": demos.hashes[0], "episodes": len(episodes)},
        "policy": {"name": policy_name, "sha256": identity["policy"]},
        "settings": asdict(settings),
        "mixture": mixture.to_dict() if mixture else None,
        "contrasts": fit.to_dict() if fit else None,
        "diversity": {"all": diversity(features, np.ones(len(episodes))), "weighted": diversity(features, weights)},
        "episodes": [
            {"episode": e.index, "task": e.task, "frames": e.length} | dict(zip(COLUMNS, map(float, row), strict=True))
            for e, *row in zip(episodes, *columns, strict=True)
        ],
    }
    write_scores(out, scores)
    partial.unlink(missing_ok=True)
    return scores


def diversity(features: np.ndarray, weights: np.ndarray) -> float:
    """Spread of the directions of features (n, C): the mean cosine distance of two of them, drawn by weight.

    0 where all point in one direction; at most 1.
    """
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    directions = features / np.where(lengths > 0, lengths, 1.0)
    mean = (directions * weights[:, None]).sum(axis=0) / weights.sum()
    return float(1 - mean @ mean)


@dataclass(frozen=True)
class _Losses:
    """``own``: (n,) of every episode.  ``by_instruction``: (n, K), at its beginning, with its own and with others."""

    own: np.ndarray
    by_instruction: np.ndarray


def _score_all(
    policy: VLAPolicy, demos: Demonstrations, settings: ScoreSettings, partial: Path, identity: str
) -> tuple[_Losses, np.ndarray]:
    """Losses and mean feature (n, C) of every episode; each is on the disk before the next begins."""
    done = _read_partial(partial, identity)
    count = demos.episode_count
    with partial.open("a" if done else "w", encoding="utf-8") as file:
        if not done:
            file.write(json.dumps({"identity": identity}) + "\n")
        rest = range(len(done), count)
        for episode in track(rest, description="episodes", total=count, completed=len(done), disable=not rest):
            loss, others, feature = _score(policy, demos, episode, settings)
            if not np.isfinite([loss, *others]).all():
                raise _unscorable(episode, "finite losses", [loss, *others])
            feature64 = base64.b64encode(feature.astype("<f4").tobytes()).decode()
            line = {"loss": loss, "by_instruction": others, "feature": feature64}
            file.write(json.dumps(line) + "\n")
            file.flush()
            done.append(line)
    features = [np.frombuffer(base64.b64decode(line["feature"]), "<f4") for line in done]
    fewest = min(len(line["by_instruction"]) for line in done)  # an episode of several instructions has fewer others
    by_instruction = np.array([line["by_instruction"][:fewest] for line in done])
    return _Losses(np.array([line["loss"] for line in done]), by_instruction), np.stack(features).astype(np.float64)


def _read_partial(partial: Path, identity: str) -> list[dict[str, Any]]:
    """The episodes of an interrupted scoring of the same dataset, policy and settings; else none."""
    if not partial.is_file():
        return []
    lines: list[Mapping[str, Any]] = []
    for number, line in bounded_reading.raw_lines(partial, DatasetError, SCRATCH_BYTES):
        try:
            lines.append(bounded_reading.parse_json(line, f"{partial}:{number}", DatasetError))
        except ValueError:
            break  # cut off
    if not lines or lines[0] != {"identity": identity}:
        return []
    whole = "".join(json.dumps(line) + "\n" for line in lines)
    partial.write_text(whole, encoding="utf-8")  # without a last line that was cut off
    return [dict(line) for line in lines[1:]]


@torch.inference_mode()
def _score(
    policy: VLAPolicy, demos: Demonstrations, episode: int, settings: ScoreSettings
) -> tuple[float, list[float], np.ndarray]:
    """Mean loss over an episode's frames and noise draws; the same at its beginning, with its own instruction and with
    others; and the mean (C,) of the backbone's features.
    """
    clean = np.flatnonzero((demos.episode == episode) & demos.clean)
    if not len(clean):
        raise _unscorable(episode, "at least one frame that is not disturbed", "none")
    frames = _spread(clean, settings.frames)
    loss, feature = _loss(policy, demos, frames, demos.task[frames], settings)
    early = _spread(clean[: max(1, round(BEGINNING * len(clean)))], settings.frames)
    own = demos.task[early]
    rest = np.setdiff1d(np.arange(len(demos.instructions)), own)
    others = np.random.default_rng((settings.seed, episode)).permutation(rest)[: settings.others]
    tasks = [own, *(np.full_like(own, task) for task in others)]
    return loss, [_loss(policy, demos, early, task, settings)[0] for task in tasks], feature


def _spread(frames: np.ndarray, count: int) -> np.ndarray:
    """At most so many of the frames, evenly spread."""
    return frames[np.unique(np.linspace(0, len(frames) - 1, count).round().astype(int))]


def _loss(
    policy: VLAPolicy, demos: Demonstrations, frames: np.ndarray, tasks: np.ndarray, settings: ScoreSettings
) -> tuple[float, np.ndarray]:
    """Mean loss over frames (n,) with the instructions of these tasks (n,), and the mean (C,) of the features."""
    generator = torch.Generator().manual_seed(settings.seed)
    chunk, valid = demos.chunks(frames, policy.contract.chunk_length)
    text: Any = policy.backbone.encode_text([demos.instructions[task] for task in tasks])
    features = policy.backbone.features(torch.from_numpy(demos.images_of(frames)), text)
    inputs = head_inputs(policy, features, torch.from_numpy(demos.state[frames]), SEEN, generator)
    target = policy.action_normaliser(torch.from_numpy(chunk)).clamp(-LARGEST_ACTION, LARGEST_ACTION)
    loss = policy.head.loss(inputs, target, torch.from_numpy(valid), settings.draws, generator)
    return float(loss), features["hidden"].float().mean((0, 1)).numpy()


def _unscorable(episode: int, expected: str, found: object) -> DatasetError:
    return DatasetError(
        "an episode cannot be scored",
        key=f"episode {episode}",
        expected=expected,
        found=found,
        remedy=f"vla-agent data edit DATASET --leave-out {episode} -o NEW",
    )
