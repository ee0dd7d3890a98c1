"""Fine-tunings, shared by several benchmarks: demonstrations, trainings in their own processes, outcomes; all kept."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from vla_agent.errors import VlaAgentError
from vla_agent.evaluation.evaluate import EvaluationSettings, evaluate
from vla_agent.files.write_aside import write_text

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "runs" / "bench" / "finetuning"
SEED = 5_000_000  # of the demonstrations: no evaluation and no other training uses these scenes
WORKERS = 2
REPLAYED = 800  # episodes, of the seeds that the shipped policy was trained on


@dataclass(frozen=True)
class Tuned:
    """A finished fine-tuning and its cost."""

    policy: str
    seconds: float  # of the training alone, on one thread
    memory_mib: float
    trained: int
    in_all: int
    adapter_kb: float


def demonstrations(task: str, episodes: int, folder: Path = FOLDER, split: str = "seen") -> Path:
    """The folder of demonstrations of one family, collected where they are missing."""
    out = folder / "-".join(["data", task, str(episodes), *([split] if split != "seen" else [])])
    if not (out / "meta" / "info.json").is_file():
        out.parent.mkdir(parents=True, exist_ok=True)
        words = ["collect", "--tasks", task, "--episodes", str(episodes), "--seed", str(SEED), "-o", str(out)]
        words += ["--split", split]
        run_command([*words, "--workers", str(WORKERS), *(["--resume"] if Path(f"{out}.parts").exists() else [])])
    return out


def replay(folder: Path = FOLDER) -> Path:
    """Demonstrations of the shipped policy's own training, to be mixed in so that it forgets less."""
    out = folder / "data-tabletop"
    if not (out / "meta" / "info.json").is_file():
        words = ["collect", "--suite", "tabletop", "--episodes", str(REPLAYED), "--seed", "1000000", "-o", str(out)]
        run_command([*words, "--workers", str(WORKERS), *(["--resume"] if Path(f"{out}.parts").exists() else [])])
    return out


def tune(
    base: Path,
    data: Path,
    method: str,
    settings: tuple[str, ...],
    folder: Path = FOLDER,
    replayed: Path | None = None,
) -> Tuned:
    """Fine-tune in a separate process, so that its memory can be measured; a finished one is read from its folder.

    Args:
        replayed: other demonstrations; every second sample is drawn from them.
    """
    mixed = [replayed.name] if replayed else []
    name = "-".join([base.name, data.name, *mixed, method, *(s.split(".", 1)[-1].replace("=", "") for s in settings)])
    out = folder / name
    record = out / "measured.json"
    if not record.is_file():
        words = ["finetune", str(base), "--data", str(data), "--adapter", method, "-o", str(out), "--resume"]
        words += ["--data", str(replayed), "--weights", "1,1"] if replayed else []
        memory = run_command([*words, *(word for s in settings for word in ("--set", s))], OMP_NUM_THREADS="1")
        training = json.loads((out / "policy" / "training.json").read_text())
        seconds, parameters = training["seconds"]["tune"], training["parameters"]
        size = sum(f.stat().st_size for f in (out / "adapter").rglob("*")) / 1e3
        measured = Tuned(str(out / "policy"), seconds, memory, **parameters, adapter_kb=size)
        write_text(record, json.dumps(asdict(measured), indent=2) + "\n")
    return Tuned(**json.loads(record.read_text()))


def run_command(words: list[str], **environment: str) -> float:
    """Run ``vla-agent``; returns its peak memory in MiB.

    Args:
        environment: variables in addition to those of this process.

    Raises:
        VlaAgentError: the command failed.
    """
    process = subprocess.Popen([sys.executable, "-m", "vla_agent", *words], cwd=ROOT, env=os.environ | environment)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise VlaAgentError(
            "a run of the benchmark failed",
            key=words[0],
            expected="exit code 0",
            found=process.returncode,
            remedy="vla-agent " + " ".join(words),
        )
    return round(usage.ru_maxrss / 1024, 1)


@cache
def outcomes(
    policy: str | Path, tasks: tuple[str, ...], episodes: int, seed: int = 0, split: str = "seen"
) -> dict[tuple[str, int], bool]:
    """Success by task and seed; finished episodes are kept beside the policy's folder."""
    name = f"{Path(policy).resolve().parent.name}-{Path(policy).name}-{episodes}-{split}-{'-'.join(tasks)}"
    out = FOLDER / "eval" / name
    settings = EvaluationSettings(
        str(policy),
        tasks=list(tasks),
        split=split,
        episodes=episodes,
        seed=seed,
        workers=WORKERS,
        controls="none",
        out=out,
        resume=out.exists(),
    )
    report: dict[str, Any] = evaluate(settings)
    return {(e["task"], e["seed"]): bool(e["success"]) for e in report["episodes"]}
