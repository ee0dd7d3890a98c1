"""Two policies pair by pair: stop as soon as one is shown to be better, with one error rate over all looks.

The pairs come in a fixed order: the first seed of every task, the second of every task, and so on.  They are read here
from two reports, or played by `play_pairs`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vla_agent.errors import OptionError
from vla_agent.evaluation.compare_reports import POWER, UNPERTURBED, outcomes_of, report_file, require_same_scenes
from vla_agent.evaluation.exact_tests import pairs_to_settle
from vla_agent.evaluation.result_store import read_report
from vla_agent.evaluation.sequential.sequential_pairs import MOST_PAIRS, SequentialPairs, forecast
from vla_agent.evaluation.success_statistics import paired_difference

WORDS = {1: "better", -1: "worse", 0: "not shown"}
Pair = tuple[str, int, bool, bool]  # task, seed, outcome of each


@dataclass(frozen=True)
class SequentialSettings:
    """``most``: pairs after which the comparison ends, fixed beforehand (None: all that both reports have); ``alpha``:
    error rate of the verdict over all looks; ``smallest``: the smallest difference that matters."""

    most: int | None = None
    alpha: float = 0.05
    smallest: float = 0.05

    def require(self) -> None:
        """Raise where a value is impossible.

        Raises:
            OptionError: naming it.
        """
        for key, value in (("--alpha", self.alpha), ("--smallest", self.smallest)):
            if not 0 < value < 1:
                raise impossible(key, "above 0, below 1", value)
        if self.most is not None and not 1 <= self.most <= MOST_PAIRS:
            raise impossible("--most", f"1 to {MOST_PAIRS:,}", self.most)


def impossible(key: str, expected: str, found: object) -> OptionError:
    """The error for an option of ``vla-agent compare``."""
    return OptionError("an option has an impossible value", key=key, expected=expected, found=found,
                       remedy="see vla-agent compare --help")  # fmt: skip


def in_reports(first: str, second: str) -> bool:
    """Whether both are reports (or their folders), and not policies.

    Raises:
        OptionError: one is, the other is not.
    """
    found = [Path(p).suffix == ".json" or (Path(p) / "report.json").is_file() for p in (first, second)]
    if found[0] != found[1]:
        raise impossible("A, B", "two reports, or two policies", "one of each")
    return found[0]


def read_pairs(first: Path, second: Path) -> tuple[list[Pair], list[str]]:
    """The unperturbed pairs of two reports in the order of play, and the policies' names.

    Raises:
        ReportError: a report cannot be read, or they do not have the same episodes.
        OptionError: they have none in common, or one is a gate's, which stops on its own.
    """
    files = [report_file(path) for path in (first, second)]
    reports = [read_report(file) for file in files]
    for file, report in zip(files, reports, strict=True):
        if "gate" in report:
            raise impossible("A, B", "reports of vla-agent eval: a gate stops on its own", file)
    require_same_scenes(files, *reports)
    mine, theirs = (outcomes_of(report) for report in reports)
    shared = [key for key in mine if key in theirs and key[0] == UNPERTURBED[0]]
    if not shared:
        raise impossible("A, B", "episodes with the same tasks and seeds", "none that both have")
    return in_order([(task, seed, mine[c, task, seed], theirs[c, task, seed]) for c, task, seed in shared]), [
        str(report["policy"]) for report in reports
    ]


def in_order(pairs: Sequence[Pair]) -> list[Pair]:
    """The k-th seed of every task before the (k + 1)-th of any."""
    tasks = list(dict.fromkeys(task for task, *_ in pairs))
    rank: dict[tuple[str, int], int] = {}
    for task in tasks:
        for place, seed in enumerate(sorted(seed for name, seed, *_ in pairs if name == task)):
            rank[task, seed] = place
    return sorted(pairs, key=lambda p: (rank[p[0], p[1]], tasks.index(p[0])))


def compare_sequential(
    pairs: Iterable[Pair], names: Sequence[str], most: int, settings: SequentialSettings
) -> dict[str, Any]:
    """Take pairs until the verdict is there, or ``most`` were taken, or there are no more.

    Returns:
        ``verdict``: "better", "worse" or "not shown", of the first; ``row``: pairs, counts, difference with its nominal
        interval; ``most``; ``alpha``; ``ended``: nothing more can be taken; ``more``: what an open comparison needs:
        `forecast`'s, or, where it has ended, the ``pairs`` of a new comparison of fixed size and the ``difference``.
    """
    state = SequentialPairs(most, settings.alpha)
    taken: list[Pair] = []
    for pair in pairs:
        taken.append(pair)
        state.add(np.array([pair[2]]), np.array([pair[3]]))
        if state.verdict[0] or state.n == most:
            break
    row = paired_difference([p[2] for p in taken], [p[3] for p in taken])
    row |= {"first_k": sum(p[2] for p in taken), "second_k": sum(p[3] for p in taken)}
    verdict = WORDS[int(state.verdict[0])]
    ended = verdict != "not shown" or state.n == most
    more: Mapping[str, Any] | None = None
    if verdict == "not shown" and not ended:
        more = forecast(state)
    elif verdict == "not shown":
        n, difference = pairs_to_settle(
            row["n"], row["only_first"], row["only_second"], settings.smallest, settings.alpha, POWER
        )
        more = {"pairs": n, "difference": difference, "power": POWER}
    return {
        "first": names[0],
        "second": names[1],
        "verdict": verdict,
        "row": row,
        "tasks": len({p[0] for p in taken}),
        "last": {"task": taken[-1][0], "seed": taken[-1][1]} if taken else None,
        "most": most,
        "alpha": settings.alpha,
        "ended": ended,
        "more": more,
    }


def sentence(result: Mapping[str, Any], first: str = "A", second: str = "B") -> str:
    """The verdict on ``first``, and what is still needed where it is open."""
    row, alpha, more = result["row"], result["alpha"], result["more"]
    alone = f"alone {row['only_first']} and {row['only_second']}"
    counts = f"{first} {row['first_k']}, {second} {row['second_k']} of {row['n']}; {alone}"
    if result["verdict"] != "not shown":
        word = "more" if result["verdict"] == "better" else "less"
        saved = result["most"] - row["n"]
        return (
            f"{result['verdict'].upper()}: {first} succeeds {word} often than {second}, shown after {row['n']} pairs "
            f"({counts}), {saved} fewer than the most; error at most {100 * alpha:g} % over all looks"
        )
    if result["ended"]:
        return (
            f"NOT SHOWN within {result['most']} pairs ({counts}). About {more['pairs']} pairs on new seeds would show "
            f"a difference of {100 * more['difference']:.1f} points with a probability of {100 * more['power']:g} %"
        )
    if more["pairs"] is None:
        return f"OPEN after {row['n']} pairs ({counts}); with these rates {result['most']} pairs would not decide it"
    return (
        f"OPEN after {row['n']} pairs ({counts}). With these rates about {more['pairs']} more pairs decide it, with a "
        f"probability of {100 * more['chance']:.0f} % within the {result['most'] - row['n']} that are left"
    )
