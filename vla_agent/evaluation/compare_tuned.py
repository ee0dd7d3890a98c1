"""Is the tuned policy better?  Base and tuned policy on the same seeds, on the new families and on the old ones."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from vla_agent.data.lerobot.dataset_reader import load as load_dataset
from vla_agent.errors import RecipeError
from vla_agent.evaluation.evaluate import EvaluationSettings, evaluate
from vla_agent.evaluation.play.player import load_learned
from vla_agent.evaluation.success_statistics import paired_difference, rate
from vla_agent.finetuning.finetune_recipe import FineTune

Outcomes = dict[tuple[str, int], bool]
GROUPS = ("new", "old")


def families(recipe: FineTune) -> dict[str, tuple[str, ...]]:
    """Task families by group: those that were learned and those that must not be forgotten.

    Left out, the first are those of the first folder of demonstrations: others may be there to be remembered.

    Raises:
        RecipeError: the demonstrations do not say which family they show, and the recipe does not either.
        TaskError: a family that is not of the suite.
    """
    from sim.tasks.task import load_suite, select

    new = recipe.compare.new
    if not new:
        shown = [e.origin.get("family") for e in load_dataset(recipe.data.demonstrations[0]).episodes]
        new = tuple(sorted({name for name in shown if name}))
    if not new:
        raise RecipeError(
            "nobody knows which task families were learned",
            key="compare.new",
            expected="names of families; the demonstrations do not name theirs",
            found="none",
            remedy="name them, such as --set compare.new=[stack]; `vla-agent tasks` lists them",
        )
    old = recipe.compare.old or tuple(name for name in load_suite(recipe.compare.suite) if name not in new)
    select([*new, *old], recipe.compare.suite)
    return {"new": new, "old": old}


def compare(recipe: FineTune, tuned: str, out: Path, load: Callable[[str], Any] = load_learned) -> dict[str, Any]:
    """Play both policies; the comparison, which ``out/comparison.json`` also holds.  Finished episodes are kept.

    Args:
        tuned: the tuned policy's folder.
        load: see `vla_agent.evaluation.evaluate.evaluate`.
    """
    groups = families(recipe)
    names = [name for group in groups.values() for name in group]
    outcomes: dict[str, Outcomes] = {}
    for which, policy in (("base", recipe.base), ("tuned", tuned)):
        settings = EvaluationSettings(
            policy,
            tasks=names,
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
    result = judge(outcomes["base"], outcomes["tuned"], groups)
    aside = out / "comparison.json.part"
    aside.write_text(json.dumps(result, indent=2) + "\n")
    aside.replace(out / "comparison.json")
    return result


def judge(base: Outcomes, tuned: Outcomes, groups: Mapping[str, Iterable[str]]) -> dict[str, Any]:
    """Rates, paired differences (tuned less base) by group and by family, and what follows in words."""
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
    """One sentence a group; better or worse is said where the interval leaves 0 out, and only there."""
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
