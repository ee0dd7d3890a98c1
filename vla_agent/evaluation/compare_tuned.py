"""Compares base and tuned policy on the same seeds: better on the new families, worse on the old ones?"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from vla_agent.evaluation.evaluate import EvaluationSettings, evaluate
from vla_agent.evaluation.play.player import load_learned
from vla_agent.evaluation.success_statistics import paired_difference, rate
from vla_agent.files.write_aside import write_text
from vla_agent.finetuning.compared_families import compared_families
from vla_agent.finetuning.finetune_recipe import FineTune

Outcomes = dict[tuple[str, int], bool]


def compare(recipe: FineTune, tuned: str, out: Path, load: Callable[[str], Any] = load_learned) -> dict[str, Any]:
    """Evaluate both policies; the result is also written to ``out/comparison.json``.  Finished episodes are kept.

    Args:
        tuned: the tuned policy's folder.
        load: see `vla_agent.evaluation.evaluate.EvaluationSettings`.

    Raises:
        RecipeError, TaskError: as `compared_families`.
    """
    families = compared_families(recipe)
    outcomes: dict[str, Outcomes] = {}
    for which, policy in (("base", recipe.base), ("tuned", tuned)):
        settings = EvaluationSettings(
            policy,
            tasks=families.tasks,
            episodes=recipe.compare.episodes,
            seed=recipe.compare.seed,
            workers=recipe.compare.workers,
            controls="none",
            out=out / which,
            suite=recipe.compare.suite,
            resume=(out / which).exists(),
            load=load,
        )
        report = evaluate(settings)
        outcomes[which] = {(e["task"], e["seed"]): bool(e["success"]) for e in report["episodes"]}
    result = judge(outcomes["base"], outcomes["tuned"], families.groups)
    write_text(out / "comparison.json", json.dumps(result, indent=2) + "\n")
    return result


def judge(base: Outcomes, tuned: Outcomes, groups: Mapping[str, Iterable[str]]) -> dict[str, Any]:
    """Success rates and paired differences (tuned minus base) by group and family, and the verdict in words."""
    result: dict[str, Any] = {}
    for group, names in groups.items():
        chosen = [key for key in base if key[0] in set(names) and key in tuned]
        result[group] = _rates(base, tuned, chosen) | {
            "families": {name: _rates(base, tuned, [k for k in chosen if k[0] == name]) for name in names}
        }
    return result | {"verdict": verdict(result)}


def _rates(base: Outcomes, tuned: Outcomes, keys: list[tuple[str, int]]) -> dict[str, Any]:
    b, t = [base[k] for k in keys], [tuned[k] for k in keys]
    return {"base": rate(b), "tuned": rate(t), "difference": paired_difference(t, b)}


def verdict(result: Mapping[str, Any]) -> list[str]:
    """One sentence for each group; it says better or worse only where the 95 % interval excludes 0."""
    lines = []
    for group, (gain, loss) in {"new": ("better", "worse"), "old": ("improved", "forgotten")}.items():
        numbers = result[group]
        if not numbers["base"]["n"]:
            continue
        d, (low, high) = numbers["difference"]["difference"], numbers["difference"]["interval"]
        if low > 0:
            word = f"{gain}: "
        elif high < 0:
            word = f"{loss}: "
        else:
            word = "not better: " if group == "new" else "no difference shown: "
        counts = ", ".join(f"{w} {numbers[w]['k']} of {numbers[w]['n']}" for w in ("base", "tuned"))
        points = f"{100 * d:+.0f} points (95 %: {100 * low:+.0f} to {100 * high:+.0f})"
        lines.append(f"{group} families, {word}{counts}, {points} on the same seeds")
    return lines
