"""Families and objects new to the base, from 10 to 100 demonstrations: LoRA, all weights, the head, from scratch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks import held_out
from benchmarks.finetuning import FOLDER, ROOT, WORKERS, demonstrations, outcomes, run_command, tune

NAME = "finetune-new-task"
TITLE = "LoRA's gain over full fine-tuning's on families that the base never saw; cost and forgetting in the rows"
TARGET = 0.95
UNIT = "of full's gain"
BETTER = "higher"
NEW = ("push_to_zone", "press_button")
UNSEEN = ("star", "mug")  # shapes that the base never saw, in demonstrations, pictures or words
SCENES = 60_000  # of the generated pictures; two in three show something unseen and are left out
SIZES = (10, 25, 50, 100)
METHODS = {"lora": (), "full": (), "head": (), "scratch": ("from_scratch=true",)}
SETTINGS = ("train.samples=40000",)
EPISODES = 50
MOST_TRAINED, MOST_FORGOTTEN, LEAST_AT_50, MOST_OF_BASE = 0.05, 0.03, 0.70, 0.20


def old_families() -> tuple[str, ...]:
    from sim.task import load_suite

    return tuple(name for name in load_suite("tabletop") if name not in NEW)


def held_out_base() -> Path:
    """A policy trained on the other families alone; trained where it is missing, which takes hours."""
    out, data = FOLDER / "base", FOLDER / "base-data"
    if not (out / "policy" / "policy.json").is_file():
        FOLDER.mkdir(parents=True, exist_ok=True)
        if not data.is_dir():
            words = ["collect", "--tasks", ",".join(old_families()), "--episodes", "1200", "-o", str(data)]
            more = ["--resume"] if Path(f"{data}.parts").exists() else []
            words += ["--without", ",".join(UNSEEN), "--seed", "1000000", "--workers", str(WORKERS)]
            run_command([*words, *more])
        questions = held_out.without(_pictures(), FOLDER / "base-questions", UNSEEN, NEW)
        recipe = ROOT / "policies" / "tabletop-nano.yaml"
        changes = [f"data.demonstrations=[{data}]", f"data.questions=[{questions}]", "name=held-out"]
        run_command(["train", str(recipe), "-o", str(out), "--resume", *(w for c in changes for w in ("--set", c))])
    return out / "policy"


def _pictures() -> Path:
    """Generated pictures of everything; what is there is not made again."""
    folder = FOLDER / "questions"
    words = ["--scenes", str(SCENES), "--seed", "2000000", "--workers", str(WORKERS), "-o", str(folder)]
    subprocess.run([sys.executable, "-m", "sim.questions", *words], check=True, cwd=ROOT)
    return folder


def run(base: Path | None = None, sizes: tuple[int, ...] = SIZES, new: tuple[str, ...] = NEW) -> dict[str, Any]:
    """Every method, size and family; trainings and episodes that are finished are not run again."""
    from vla_agent.finetuning.compare import judge

    base, old = base or held_out_base(), old_families()
    rows = []
    for task in new:
        before = outcomes(base, (task, *old), EPISODES)
        data = demonstrations(task, max(sizes))
        for size in sizes:
            for name, more in METHODS.items():
                method = "full" if name == "scratch" else name
                tuned = tune(base, data, method, (*SETTINGS, f"data.episodes={size}", *more))
                result = judge(before, outcomes(tuned.policy, (task, *old), EPISODES), {"new": (task,), "old": old})
                rows.append(
                    {
                        "family": task,
                        "demonstrations": size,
                        "method": name,
                        "base": result["new"]["base"]["success"],
                        "success": result["new"]["tuned"]["success"],
                        "gain": result["new"]["difference"]["difference"],
                        "gain from": result["new"]["difference"]["interval"][0],
                        "gain to": result["new"]["difference"]["interval"][1],
                        "old": result["old"]["difference"]["difference"],
                        "trained": tuned.trained / tuned.in_all,
                        "seconds": tuned.seconds,
                        "MiB": tuned.memory_mib,
                        "kB": tuned.adapter_kb,
                    }
                )
    value, missed = judge_rows(rows)
    return {
        "value": value,
        "n": EPISODES * len(rows),
        "interval": None,
        "seeds": f"0 to {EPISODES - 1} of each family",
        "rows": rows,
        "passed": value is not None and value >= TARGET and not missed,
        "notes": "missed: " + ("; ".join(missed) or "nothing") + "; the base has seen neither the "
        f"families nor {' and '.join(UNSEEN)}; their demonstrations and episodes have all shapes",
    }


def judge_rows(rows: list[dict[str, Any]]) -> tuple[float | None, list[str]]:
    """LoRA's mean gain over full's, and which of the other targets are missed."""
    lora, full = ([r for r in rows if r["method"] == m] for m in ("lora", "full"))
    gains = [sum(r["gain"] for r in part) / len(part) for part in (lora, full)]
    at_50 = [r for r in lora if r["demonstrations"] == 50]
    missed = []
    if any(r["trained"] > MOST_TRAINED for r in lora):
        missed.append(f"LoRA trains {max(r['trained'] for r in lora):.1%}")
    if any(r["old"] < -MOST_FORGOTTEN for r in lora):
        missed.append(f"LoRA forgets {-min(r['old'] for r in lora):.1%}")
    if not at_50 or min(r["success"] for r in at_50) < LEAST_AT_50:
        missed.append(f"at 50 demonstrations {min((r['success'] for r in at_50), default=0):.0%}")
    if any(r["base"] >= MOST_OF_BASE for r in rows):
        missed.append(f"the base has {max(r['base'] for r in rows):.0%} already")
    return (gains[0] / gains[1] if gains[1] > 0 else None), missed
