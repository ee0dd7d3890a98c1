"""Two reports on the same seeds: is the first policy better, worse, or is neither shown?

A pair is one episode of each report with the same condition, task and seed, hence the same scene and instruction.  The
verdict is the exact McNemar test on the pairs of unperturbed episodes.  Families, and conditions such as axes and
probes, are reported too, each group corrected by Holm's method.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vla_agent.errors import OptionError, ReportError
from vla_agent.evaluation.exact_tests import holm, mcnemar, pairs_to_settle
from vla_agent.evaluation.result_store import read_report
from vla_agent.evaluation.success_statistics import paired_difference

UNPERTURBED = ("policy", "control")  # names of unperturbed episodes: in an evaluation, in a gate
CONTROLS = ("random", "expert", "shuffled")  # an evaluation's controls: not the policy, or not a success of it
POWER = 0.8  # probability with which the stated number of episodes would settle it
Key = tuple[str, str, int]  # condition, task, seed


def compare(first: Path, second: Path, alpha: float = 0.05, smallest: float = 0.05) -> dict[str, Any]:
    """Compare two ``report.json`` (or the folders that hold them) of `vla-agent eval` or `vla-agent gate`.

    Args:
        alpha: error rate of each verdict.
        smallest: smallest difference in success that matters; it only affects the number of episodes.

    Returns:
        ``verdict``: "better", "worse" or "not shown", of the first; ``overall``, ``families``, ``conditions``: pairs,
        counts, difference with interval, p; ``settle``: pairs that would settle it, None where the verdict is settled.

    Raises:
        OptionError: alpha or smallest is outside 0 to 1.
        ReportError: a report cannot be read, or their episodes differ.
    """
    for key, value in (("--alpha", alpha), ("--smallest", smallest)):
        if not 0 < value < 1:
            raise OptionError("an option has an impossible value", key=key, expected="above 0, below 1",
                              found=value, remedy="see vla-agent compare --help")  # fmt: skip
    files = [report_file(f) for f in (first, second)]
    mine, theirs = (read_report(f) for f in files)
    return compare_reports(files, mine, theirs, alpha, smallest)


def report_file(path: Path) -> Path:
    """``path``, or the report in the folder that it is."""
    return path / "report.json" if path.is_dir() else path


def compare_reports(
    files: Sequence[Path],
    mine: Mapping[str, Any],
    theirs: Mapping[str, Any],
    alpha: float = 0.05,
    smallest: float = 0.05,
) -> dict[str, Any]:
    """`compare` of two reports that were read from ``files``.

    Raises:
        ReportError: their episodes differ.
    """
    require_same_scenes(files, mine, theirs)
    outcomes = [outcomes_of(report) for report in (mine, theirs)]
    shared = [key for key in outcomes[0] if key in outcomes[1]]
    plain = [key for key in shared if key[0] == UNPERTURBED[0]]
    if not plain:
        spans = _span(outcomes[0]), _span(outcomes[1])
        raise _not_comparable(files, "episodes", *spans, "evaluate both with the same --seed")
    pairs = {key: (outcomes[0][key], outcomes[1][key]) for key in shared}
    overall = _row([pairs[key] for key in plain])
    families = _rows({key[1]: None for key in plain}, lambda name: [pairs[k] for k in plain if k[1] == name], alpha)
    others = {key[0]: None for key in shared if key[0] != UNPERTURBED[0]}
    verdict = _verdict(overall["p"], overall["difference"], alpha)
    settle = None
    if verdict == "not shown":
        n, difference = pairs_to_settle(
            overall["n"], overall["only_first"], overall["only_second"], smallest, alpha, POWER
        )
        settle = {"pairs": n, "difference": difference, "power": POWER}
    return {
        "first": {"policy": mine["policy"], "file": str(files[0])},
        "second": {"policy": theirs["policy"], "file": str(files[1])},
        "alpha": alpha,
        "verdict": verdict,
        "overall": overall,
        "families": families,
        "conditions": _rows(others, lambda name: [pairs[k] for k in shared if k[0] == name], alpha),
        "settle": settle,
        "notes": _notes(mine, theirs),
    }


def outcomes_of(report: Mapping[str, Any]) -> dict[Key, bool]:
    """(condition, task, seed) -> outcome; unperturbed episodes under one name."""
    rows = [r for r in report["episodes"] if r["control"] not in CONTROLS]
    condition = [UNPERTURBED[0] if r["control"] in UNPERTURBED else str(r["control"]) for r in rows]
    return {
        (c, r["task"], r["seed"]): bool(r.get("outcome", r["success"])) for c, r in zip(condition, rows, strict=True)
    }


def _row(pairs: Sequence[tuple[bool, bool]]) -> dict[str, Any]:
    difference = paired_difference([a for a, _ in pairs], [b for _, b in pairs])
    return {
        "first_k": sum(a for a, _ in pairs),
        "second_k": sum(b for _, b in pairs),
        **difference,
        "p": mcnemar(difference["only_first"], difference["only_second"]),
    }


def _rows(names: Mapping[str, None], pairs_of: Any, alpha: float) -> dict[str, Any]:
    rows = {name: _row(pairs_of(name)) for name in names}
    adjusted = holm({name: row["p"] for name, row in rows.items()})
    return {
        name: row | {"holm": adjusted[name], "verdict": _verdict(adjusted[name], row["difference"], alpha)}
        for name, row in rows.items()
    }


def _verdict(p: float, difference: float, alpha: float) -> str:
    if p > alpha:
        return "not shown"
    return "better" if difference > 0 else "worse"


def require_same_scenes(files: Sequence[Path], mine: Mapping[str, Any], theirs: Mapping[str, Any]) -> None:
    """Raise where the same seed does not give the same scene and physics in both."""
    same: dict[str, tuple[object, object]] = {k: (mine[k], theirs[k]) for k in ("suite", "split")}
    same["versions.mujoco"] = mine["versions"].get("mujoco"), theirs["versions"].get("mujoco")
    same["hashes.simulator"] = mine["hashes"]["simulator"], theirs["hashes"]["simulator"]
    tasks = mine["hashes"]["tasks"], theirs["hashes"]["tasks"]
    same |= {f"hashes.tasks.{t}": (tasks[0][t], tasks[1][t]) for t in tasks[0] if t in tasks[1]}
    for key, (expected, found) in same.items():
        if expected != found:
            raise _not_comparable(files, key, expected, found, "evaluate both with the same release, suite and split")


def _not_comparable(files: Sequence[Path], key: str, expected: object, found: object, remedy: str) -> ReportError:
    return ReportError(
        "the reports do not contain the same episodes",
        file=files[1],
        key=key,
        expected=f"{expected}, as in {files[0]}",
        found=found,
        remedy=remedy,
    )


def _span(outcomes: Mapping[Key, bool]) -> str:
    """Tasks and seeds of the unperturbed episodes, in words."""
    plain = [key for key in outcomes if key[0] == UNPERTURBED[0]]
    if not plain:
        return "no unperturbed episodes"
    seeds = [seed for _, _, seed in plain]
    return f"{', '.join(dict.fromkeys(t for _, t, _ in plain))}; seeds {min(seeds)} to {max(seeds)}"


def _notes(mine: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[str]:
    """What a reader must know beside the numbers."""
    notes = []
    settings = [report["summary"].get("settings", {}) for report in (mine, theirs)]
    for key, default in (("execution", "open_loop"), ("delay_ms", 0.0)):
        first, second = (s.get(key, default) for s in settings)
        if first != second:
            notes.append(f"executed differently: {key} {first} and {second}")
    if "gate" in mine or "gate" in theirs:
        notes.append(
            "a gate stops on outcomes: only what both played is paired, and p is nominal. "
            "vla-agent eval with the same --seed and --episodes gives a fixed set of pairs"
        )
    return notes


def difference(row: Mapping[str, Any]) -> str:
    """The difference in points with its 95 % interval."""
    low, high = row["interval"]
    return f"{100 * row['difference']:+.1f} ({100 * low:+.1f} to {100 * high:+.1f})"


def sentence(result: Mapping[str, Any], first: str = "A", second: str = "B") -> str:
    """The verdict on ``first``, and what would settle it where it is open."""
    row, settle = result["overall"], result["settle"]
    numbers = f"{difference(row)} points over {row['n']} pairs, p {row['p']:.2g}"
    if settle is None:
        return f"{result['verdict'].upper()}: {first} succeeds {_more(row)} often than {second}: {numbers}"
    return (
        f"NOT SHOWN: {numbers}. About {settle['pairs']} pairs on new seeds would show a difference of "
        f"{100 * settle['difference']:.1f} points with a probability of {100 * settle['power']:g} %"
    )


def _more(row: Mapping[str, Any]) -> str:
    return "more" if row["difference"] > 0 else "less"
