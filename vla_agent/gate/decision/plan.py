"""Which episodes a gate plays next, given those played: rounds that depend on outcomes only, not on workers.

A cell is a condition: ``control`` (nothing changed), ``axis.NAME.SEVERITY``, ``probe.NAME``, ``delay.MS`` (another
latency) or ``oracle`` (given the true places of target and goal).  Its episodes are numbered; number i of the control,
of a delay and of ``oracle`` is family i mod F at the attempt's first seed + i div F.  Other cells leave out the
episodes that do not admit their variation.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sim.perturbations.catalogue import find_effect
from sim.perturbations.variation import Variation
from sim.tasks.task import TaskFamily, select
from vla_agent.errors import GateError
from vla_agent.evaluation.play.player import Job
from vla_agent.files.hashing import hash_file
from vla_agent.gate.decision.gate_file import DELAY, ORACLE, Check, Gate
from vla_agent.gate.decision.sequential_test import SequentialTest, design

CONTROL = "control"
MOST_SKIPPED = 500  # episodes in a row that do not admit a variation, after which its cell is an error


@dataclass(frozen=True)
class GateJob(Job):
    """Episode ``index`` of the cell that ``control`` names."""

    index: int = 0


def variation_of(cell: str) -> Variation | None:
    """The variation that a cell's name means; None where scene and instruction stay unchanged."""
    kind, _, rest = cell.partition(".")
    name, _, severity = rest.partition(".")
    return None if kind in (CONTROL, DELAY, ORACLE) else Variation(name, int(severity or 0))


def delay_of(cell: str) -> float | None:
    """The latency in milliseconds that a cell is played with; None: the certified one."""
    kind, _, rest = cell.partition(".")
    return float(rest) if kind == DELAY else None


def task_files(gate: Gate) -> dict[str, str]:
    """Family -> SHA-256 of the file that describes it, which may lie outside the simulator."""
    return {name: hash_file(task.file) for name, task in select(list(gate.tasks) or None, gate.suite).items()}


def sequential_tests(gate: Gate, alpha: float) -> dict[str, SequentialTest]:
    """The test of every judged check, at the error rate that this attempt may spend."""
    judged = {name: c for name, c in gate.checks_by_name().items() if c.threshold is not None}
    return {name: design(float(c.threshold or 0), c.margin, alpha, gate.beta) for name, c in judged.items()}


def episodes_by_check(rows: Sequence[Mapping[str, Any]], gate: Gate) -> dict[str, list[Mapping[str, Any]]]:
    """Check name -> its episodes in the order in which they count, up to the first that is missing."""
    cells: dict[str, dict[int, Mapping[str, Any]]] = {}
    for row in rows:
        cells.setdefault(row["control"], {})[row["index"]] = row
    control, families = cells.get(CONTROL, {}), gate.families()
    found = {}
    for name in gate.checks_by_name():
        if name == "success":
            found[name] = list(_until_missing(control, 0, 1))
        elif name.startswith("family."):
            found[name] = list(_until_missing(control, families.index(name.removeprefix("family.")), len(families)))
        else:
            found[name] = list(_until_missing(cells.get(name, {}), 0, 1))
    return found


def _until_missing(rows: Mapping[int, Mapping[str, Any]], start: int, step: int) -> Iterator[Mapping[str, Any]]:
    while start in rows:
        yield rows[start]
        start += step


@dataclass
class Planner:
    """Plans the rounds of one attempt.

    Attributes:
        seed: the attempt's first.
        excluded: checks that the policy does not admit, which are not played.
    """

    gate: Gate
    tests: Mapping[str, SequentialTest]
    seed: int
    excluded: tuple[str, ...] = ()
    _scenes: dict[str, list[tuple[str, int]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.families: dict[str, TaskFamily] = select(list(self.gate.tasks) or None, self.gate.suite)
        self._order = list(self.families)
        self._checks = self.gate.checks_by_name()

    def rounds(self, rows: Mapping[str, Mapping[str, Any]]) -> Iterator[list[GateJob]]:
        """Every round's episodes, in order, without end until every check is decided.

        Args:
            rows: key -> episode.  Those of a round must be there when the next round is asked for, so that the plan
                follows from the outcomes alone, wherever a run was interrupted.
        """
        played: list[Mapping[str, Any]] = []
        while jobs := self.next_round(played):
            yield jobs
            played += [rows[job.key] for job in jobs]

    def next_round(self, rows: Sequence[Mapping[str, Any]]) -> list[GateJob]:
        """The next episodes: a block for every undecided check, and the controls of what is paired; [] at the end."""
        wanted: dict[tuple[str, int], None] = {}
        for name, played in episodes_by_check(rows, self.gate).items():
            if name in self.excluded:
                continue
            for index in self._block(name, self._checks[name], played):
                cell = CONTROL if name == "success" or name.startswith("family.") else name
                wanted[cell, index] = None
        paired = [self.scene(c, i) for c, i in wanted if c != CONTROL]
        paired += [(r["task"], r["seed"]) for r in rows if r["control"] != CONTROL]
        for task, seed in paired:
            wanted[CONTROL, (seed - self.seed) * len(self._order) + self._order.index(task)] = None
        have = {(r["control"], r["index"]) for r in rows}
        return [GateJob(c, *self.scene(c, i), i) for c, i in wanted if (c, i) not in have]

    def _block(self, name: str, check: Check, played: Sequence[Mapping[str, Any]]) -> range:
        n, families = len(played), len(self._order)
        if name.startswith("family."):
            first = self._order.index(name.removeprefix("family."))
            wanted = self._episodes_wanted(name, check, played, max(4, self.gate.block // 4))
            wanted = max(wanted, self.gate.estimated - n)
            return range(first + n * families, first + (n + wanted) * families, families)
        return range(n, n + self._episodes_wanted(name, check, played, self.gate.block))

    def _episodes_wanted(self, name: str, check: Check, played: Sequence[Mapping[str, Any]], block: int) -> int:
        if check.threshold is None:
            own = self.gate.reported if not name.startswith("family.") else 0
            return max(0, min(block, own - len(played)))
        test = self.tests[name]
        if test.decide([bool(r["outcome"]) for r in played]).verdict is not None:
            return 0
        return min(block, test.size - len(played))

    def scene(self, cell: str, index: int) -> tuple[str, int]:
        """Family and seed of an episode.

        Raises:
            GateError: no scene admits the variation.
        """
        count = len(self._order)
        if variation_of(cell) is None:
            return self._order[index % count], self.seed + index // count
        scenes = self._scenes.setdefault(cell, [])
        variation = variation_of(cell)
        assert variation is not None
        last = 0
        if scenes:
            task, seed = scenes[-1]
            last = (seed - self.seed) * count + self._order.index(task) + 1
        skipped = 0
        while len(scenes) <= index:
            task, seed = self.scene(CONTROL, last)
            last += 1
            if find_effect(variation, self.families[task].episode(seed, self.gate.split), seed) is not None:
                scenes.append((task, seed))
                skipped = 0
            elif (skipped := skipped + 1) >= MOST_SKIPPED:
                raise GateError(
                    "no scene of the gate's tasks admits the variation",
                    key=f"checks: {cell}",
                    expected="tasks in which it makes sense",
                    found=", ".join(self._order),
                    remedy="leave the check out, or add tasks",
                )
        return scenes[index]
