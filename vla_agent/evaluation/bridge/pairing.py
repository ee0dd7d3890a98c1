"""Joins real trials with simulated episodes of the same policy, task and scene, or says why they do not fit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vla_agent.errors import ReportError
from vla_agent.evaluation.bridge.real_rate import Counts
from vla_agent.evaluation.bridge.real_trials import Scene, Trial, wrong
from vla_agent.evaluation.bridge.simulated_episodes import Simulated


@dataclass(frozen=True)
class Study:
    """Real trials of one policy, with its simulated episodes.

    Attributes:
        pairs: scene -> (real outcome, simulated outcome).
        unpaired: scene -> outcome of every simulated episode without a real trial, of the tasks that were tried.
    """

    simulated: Simulated
    pairs: Mapping[Scene, tuple[bool, bool]]
    unpaired: Mapping[Scene, bool]

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks of the real trials, in the order of the trials."""
        return tuple(dict.fromkeys(task for task, _ in self.pairs))

    def counts(self, task: str | None = None) -> Counts:
        """Counts of one task, or of all, with the tasks' share among the real trials.

        For all, each task gives as many unpaired episodes for each of its real trials as the others, the first in the
        file's order: else the simulated rate would be that of another mixture of tasks.

        Raises:
            ReportError: a task has fewer unpaired simulated episodes than real trials share them out.
        """
        pairs = [pair for (name, _), pair in self.pairs.items() if task in (None, name)]
        chosen = self._drawn() if task is None else [o for (name, _), o in self.unpaired.items() if name == task]
        with_success = [real for real, simulated in pairs if simulated]
        with_failure = [real for real, simulated in pairs if not simulated]
        paired = sum(with_success), len(with_success), sum(with_failure), len(with_failure)
        return Counts(*paired, m=sum(chosen), simulated=len(chosen))

    def _drawn(self) -> list[bool]:
        trials = Counter(task for task, _ in self.pairs)
        there = {task: [o for (name, _), o in self.unpaired.items() if name == task] for task in trials}
        each = min(len(there[task]) / number for task, number in trials.items())
        drawn = [o for task, number in trials.items() for o in there[task][: int(each * number + 1e-9)]]
        if not drawn:
            scarce = min(trials, key=lambda task: len(there[task]) / trials[task])
            raise ReportError(
                "too few simulated episodes have no real trial",
                file=self.simulated.file,
                key=f"task {scarce}",
                expected=f"many more than its {trials[scarce]} real trials",
                found=len(there[scarce]),
                remedy="vla-agent eval POLICY --episodes 500 --controls none -o DIR: simulated episodes cost no trial",
            )
        return drawn


def pair(file: Path, trials: Sequence[Trial], simulated: Sequence[Simulated]) -> list[Study]:
    """One study for each policy of the trials, in the order of ``simulated``.

    Raises:
        ReportError: a trial of another policy, an unknown task, or without its simulated episode or with another
            outcome of it; simulated episodes of a policy that was not tried, or of one policy twice.
    """
    _require_different(simulated)
    mine: dict[int, list[Trial]] = {number: [] for number in range(len(simulated))}
    for trial in trials:
        mine[_policy_of(file, trial, simulated)].append(trial)
    studies = []
    for number, source in enumerate(simulated):
        if not mine[number]:
            raise wrong(file, "column policy", f"trials of {_title(source)} ({source.file}), too", "none",
                        "leave its simulated episodes out, or add its trials")  # fmt: skip
        studies.append(_study(file, mine[number], source))
    return studies


def _require_different(simulated: Sequence[Simulated]) -> None:
    known = [source.policy for source in simulated if source.policy]
    if len(simulated) > 1 and (len(known) < len(simulated) or len(set(known)) < len(known)):
        raise ReportError(
            "the simulated episodes do not tell the policies apart",
            key="--simulated",
            expected="reports of vla-agent eval, each of another policy",
            found="; ".join(f"{source.file}: {source.policy or 'no digest'}" for source in simulated),
            remedy="give one report for each policy; several CSV files of trials are compared one by one",
        )


def _policy_of(file: Path, trial: Trial, simulated: Sequence[Simulated]) -> int:
    """Which of the simulated policies made the trial."""
    named = "; ".join(_title(source) for source in simulated)
    if trial.policy is None:
        if len(simulated) > 1:
            raise wrong(file, f"row {trial.row}, column policy", f"one of {named}", "no such column",
                        "add the column policy with the digest of each trial's policy")  # fmt: skip
        return 0
    matches = [n for n, source in enumerate(simulated) if source.policy and source.policy.startswith(trial.policy)]
    if len(matches) != 1:
        raise wrong(file, f"row {trial.row}, column policy", f"the digest of {named}", trial.policy,
                    "give the simulated episodes of the weights that were on the robot")  # fmt: skip
    return matches[0]


def _title(source: Simulated) -> str:
    return f"{source.name} {source.policy or '(digest unknown)'}"


def _study(file: Path, trials: Sequence[Trial], source: Simulated) -> Study:
    tasks = list(dict.fromkeys([*source.tasks, *(t.scene[0] for t in trials if t.simulated is not None)]))
    pairs = {}
    for trial in trials:
        task, scene = trial.scene
        if task not in tasks:
            raise wrong(file, f"row {trial.row}, column task", ", ".join(tasks), task,
                        "correct the name, or evaluate this task in simulation, too")  # fmt: skip
        there = source.outcomes.get(trial.scene)
        if there is None and trial.simulated is None:
            raise wrong(file, f"row {trial.row}, columns task and scene or seed", f"a scene of {source.file}",
                        f"{task} {scene}, which was not simulated",
                        "simulate this scene, too, or add its outcome in the column simulated")  # fmt: skip
        if there is not None and trial.simulated is not None and there != trial.simulated:
            raise wrong(file, f"row {trial.row}, column simulated", f"{int(there)}, as in {source.file}",
                        int(trial.simulated), "correct the row, or leave the column out")  # fmt: skip
        pairs[trial.scene] = trial.success, bool(trial.simulated if there is None else there)
    tried = {task for task, _ in pairs}
    unpaired = {s: outcome for s, outcome in source.outcomes.items() if s not in pairs and s[0] in tried}
    return Study(source, pairs, unpaired)
