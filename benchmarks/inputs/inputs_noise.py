"""Demonstrations of which 30 % are spoiled: a fine-tuning that draws by scores, against clean ones, and unscored."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.shared.evaluations import POLICY
from benchmarks.shared.finetunings import FOLDER, SEED, demonstrations, outcomes, run_command
from vla_agent.data.lerobot import dataset_schema
from vla_agent.data.lerobot.dataset_reader import Dataset, load
from vla_agent.data.lerobot.dataset_writer import write_dataset
from vla_agent.data.lerobot.episode import Episode, encode

NAME = "inputs-noise"
TITLE = (
    "Success of a fine-tuning by scored weights on demonstrations of which 30 % are spoiled, less that on clean ones"
)
TARGET = -0.05
UNIT = "of success"
BETTER = "higher"
TASKS = ("lift", "put_on_cabinet")  # new to the shipped policy
DEMONSTRATIONS, EPISODES = 50, 50  # of each family
SPOILED = 0.3
SHIFT = 10  # control periods (0.5 s) by which every second spoiled episode's actions come too early
SAMPLES, WARM = 10_000, 2_000  # of the fine-tunings; of the one whose policy scores: it has seen the data, and not long
KINDS = ("shifted actions", "wrong instruction")


def run(
    base: Path = POLICY,
    tasks: Sequence[str] = TASKS,
    sizes: tuple[int, int] = (DEMONSTRATIONS, EPISODES),
    samples: tuple[int, int] = (SAMPLES, WARM),
    folder: Path = FOLDER / "noise",
) -> dict[str, Any]:
    """Fine-tune on clean data, on spoiled data, and on spoiled data by its scores; finished parts are kept.

    Args:
        sizes: demonstrations and evaluated episodes of each family.
        samples: of a fine-tuning, and of the one that scores.
    """
    clean = _merged([demonstrations(task, sizes[0]) for task in tasks], folder / f"clean-{sizes[0]}")
    noisy = folder / f"noisy-{sizes[0]}"
    if not noisy.exists():
        spoil(load(clean), noisy)
    spoiled = spoiled_episodes(len(load(clean).episodes))
    warm = _tuned(base, noisy, folder / f"warm-{samples[1]}", f"train.samples={samples[1]}")
    scores = folder / f"scores-{sizes[0]}-{samples[1]}.json"
    if not scores.is_file():
        run_command(["data", "score", str(noisy), "--policy", str(warm), "-o", str(scores)])
    often = f"train.samples={samples[0]}"
    policies = {
        "clean": _tuned(base, clean, folder / f"clean-{samples[0]}-run", often),
        "spoiled": _tuned(base, noisy, folder / f"spoiled-{samples[0]}-run", often),
        "spoiled, scored": _tuned(
            base, noisy, folder / f"scored-{samples[0]}-run", often, f"data.scores={json.dumps([str(scores)])}"
        ),
    }
    won = {name: _success(policy, tasks, sizes[1]) for name, policy in policies.items()}
    return summarise(won, json.loads(scores.read_text()), spoiled) | {
        "n": len(won["clean"]),
        "seeds": f"0 to {sizes[1] - 1} of each family; demonstrations {SEED}",
    }


def spoiled_episodes(count: int) -> dict[int, str]:
    """Episode -> how it is spoiled, one of `KINDS`; the same for the same number of episodes."""
    chosen = np.sort(np.random.default_rng(0).choice(count, round(SPOILED * count), replace=False))
    return {int(episode): KINDS[k % len(KINDS)] for k, episode in enumerate(chosen)}


def spoil(dataset: Dataset, out: Path) -> Path:
    """Write a copy of a dataset in which 30 % of the episodes are spoiled; images are stored exactly."""
    kinds, columns = spoiled_episodes(len(dataset.episodes)), dataset.arrays()
    texts = sorted({episode.task for episode in dataset.episodes})
    rng = np.random.default_rng(1)
    contract, episodes = dataset.contract, []
    annotated = dataset_schema.CLEAN in columns
    for episode in dataset.episodes:
        rows, kind, task = slice(episode.start, episode.stop), kinds.get(episode.index), episode.task
        own = {name: columns[name][rows] for name in dataset_schema.vector_features(contract, annotations=annotated)}
        own = {name: values.reshape(episode.length, -1) for name, values in own.items()}
        if kind == "shifted actions":
            later = np.minimum(np.arange(episode.length) + SHIFT, episode.length - 1)
            own[dataset_schema.ACTION] = own[dataset_schema.ACTION][later]
        elif kind == "wrong instruction":
            task = str(rng.choice([text for text in texts if text != task]))
        frames = range(episode.start, episode.stop)
        images = {camera: dataset.frames(camera, frames) for camera in dataset.cameras}
        episodes.append(encode(Episode(task, own, images, episode.origin), "images", round(dataset.fps)))
    return write_dataset(out, contract, episodes, "images", dataset.info.get("robot_type"), {"spoiled": SPOILED})


def summarise(
    won: dict[str, dict[tuple[str, int], bool]], scores: dict[str, Any], spoiled: dict[int, str]
) -> dict[str, Any]:
    """The difference of success with its interval (paired bootstrap over scenes), and how well the losses tell.

    Args:
        won: training -> (family, seed) -> success; the same scenes for all.
        scores: what ``data score`` wrote.  spoiled: episode -> kind.
    """
    scenes = sorted(won["clean"])
    table = {name: np.array([outcome[scene] for scene in scenes], float) for name, outcome in won.items()}
    difference, unscored = (table[name] - table["clean"] for name in ("spoiled, scored", "spoiled"))
    draws = np.random.default_rng(0).integers(len(scenes), size=(10_000, len(scenes)))
    spread = difference[draws].mean(axis=1)
    losses = np.array([entry["loss"] for entry in scores["episodes"]])
    weights = np.array([entry["weight"] for entry in scores["episodes"]])
    rows: list[dict[str, Any]] = [{"of": name, "success": float(values.mean())} for name, values in table.items()]
    clean = [k for k in range(len(losses)) if k not in spoiled]
    rows.append({"of": "clean episodes", "mean weight": float(weights[clean].mean())})
    for kind in KINDS:
        own = [k for k, found in spoiled.items() if found == kind]
        above = float((losses[own][:, None] > losses[clean]).mean()) if own else None
        row = {
            "of": kind,
            "mean weight": float(weights[own].mean()) if own else None,
            "loss above a clean one's": above,
        }
        rows.append(row)
    value = float(difference.mean())
    return {
        "value": value,
        "interval": [float(q) for q in np.quantile(spread, (0.025, 0.975))],
        "rows": rows,
        "passed": value >= TARGET,
        "notes": f"without scores the difference is {unscored.mean():+.3f}; the policy that scores was fine-tuned on "
        "the same spoiled demonstrations",
    }


def _merged(folders: list[Path], out: Path) -> Path:
    if not out.exists():
        first, *others = map(str, folders)
        words = ["data", "edit", first, "-o", str(out)]
        words += [word for other in others for word in ("--merge", other)] or ["--keep", _all(folders[0])]
        run_command(words)
    return out


def _all(folder: Path) -> str:
    return f"0-{len(load(folder).episodes) - 1}"


def _tuned(base: Path, data: Path, out: Path, *settings: str) -> Path:
    """The policy of a fine-tuning with LoRA on one thread; a finished one is kept."""
    if not (out / "policy" / "training.json").is_file():
        words = ["finetune", str(base), "--data", str(data), "-o", str(out), "--resume"]
        run_command([*words, *(word for s in settings for word in ("--set", s))], OMP_NUM_THREADS="1")
    return out / "policy"


def _success(policy: Path, tasks: Sequence[str], episodes: int) -> dict[tuple[str, int], bool]:
    return outcomes(policy, tuple(tasks), episodes)
