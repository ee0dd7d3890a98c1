"""How many mutants of each group the tests have killed so far, without those that no test can tell."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.mutants.guarded_modules import Group, key_of, read_equivalents
from benchmarks.mutants.mutant_runner import Job, Outcome
from vla_agent.evaluation.exact_tests import clopper_pearson


class GroupTally:
    """Counts outcomes, one by one."""

    def __init__(self, groups: Mapping[str, Group]) -> None:
        self._groups = groups
        self._equivalent = read_equivalents()
        self._counts = {name: {"mutants": 0, "killed": 0, "by_timeout": 0, "equivalent": 0} for name in groups}
        self.survivors: list[str] = []
        self.wrongly: list[str] = []  # named equivalent, but killed

    def add(self, group: str, outcome: Outcome) -> None:
        """Count one more."""
        counts, survived = self._counts[group], outcome.result == "survived"
        if key_of(outcome.job) in self._equivalent:
            counts["equivalent"] += 1
            if not survived:
                self.wrongly.append(where(outcome.job))
            return
        counts["mutants"] += 1
        counts["killed"] += not survived
        counts["by_timeout"] += outcome.result == "timeout"
        if survived:
            self.survivors.append(where(outcome.job))

    def is_survivor(self, outcome: Outcome) -> bool:
        """Whether no test has noticed it, and no reason is known."""
        return outcome.result == "survived" and key_of(outcome.job) not in self._equivalent

    @property
    def killed(self) -> int:
        return sum(counts["killed"] for counts in self._counts.values())

    @property
    def mutants(self) -> int:
        """Without equivalent ones."""
        return sum(counts["mutants"] for counts in self._counts.values())

    @property
    def reached(self) -> bool:
        """Whether each group has the percentage that it needs."""
        return all(_percent(counts) >= self._groups[name].at_least for name, counts in self._counts.items())

    def rows(self) -> list[dict[str, Any]]:
        """Of a record, one for each group."""
        return [{"group": n, **counts, "percent": round(_percent(counts), 1)} for n, counts in self._counts.items()]

    def line(self) -> str:
        """For a line of progress."""
        parts = [f"{n} {c['killed']}/{c['mutants']}" for n, c in self._counts.items() if c["mutants"]]
        return f"killed {self.killed}/{self.mutants}: " + ", ".join(parts)

    def interval(self) -> list[float]:
        """Of 95 %, of the percentage of all that are killed."""
        return [100 * x for x in clopper_pearson(self.killed, self.mutants)]


def where(job: Job) -> str:
    """A mutant as a line of text."""
    module, before, after = key_of(job)
    return f"{module}:{job.mutation.line} `{before}` -> `{after}`"


def _percent(counts: Mapping[str, int]) -> float:
    return 100 * counts["killed"] / max(counts["mutants"], 1)
