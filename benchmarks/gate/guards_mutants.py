"""Mutants of the guards: how many the tests kill.  With ``--module`` or ``--group``: of a part, and which survive.

python -m benchmarks run guards-mutants
python -m benchmarks.gate.guards_mutants --module vla_agent/robot/safety/supervisor.py --all

Outcomes are kept in runs/bench/guards-mutants: a run that was stopped goes on where it was, and tries again what
another module or other tests may have changed.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.mutants.group_tally import GroupTally, where
from benchmarks.mutants.guarded_modules import Group, draw, every, guarded_modules, read_groups
from benchmarks.mutants.mutant_runner import Job, MutantRunner, Outcome, Report
from benchmarks.mutants.outcome_file import OutcomeFile
from vla_agent.errors import OptionError, VlaAgentError

NAME = "guards-mutants"
TITLE = "mutants of guards, drawn at random, that the tests kill"
TARGET = 90.0
UNIT = "%"
BETTER = "higher"
SEED = 17
FEWEST = 600
WORKERS = 2
ROOT = Path(__file__).parents[2]
OUTCOMES = ROOT / "runs" / "bench" / NAME / "outcomes.jsonl"
Grouped = list[tuple[str, Job]]  # jobs with their groups


def run() -> dict[str, Any]:
    """At least `FEWEST` mutants over all groups; each group must reach its own percentage, too."""
    groups = read_groups()
    jobs = drawn(groups, SEED)
    tally = try_mutants(groups, jobs)
    killed, total = tally.killed, tally.mutants
    return {
        "value": round(100 * killed / max(total, 1), 2),
        "n": total,
        "interval": tally.interval(),
        "seeds": str(SEED),
        "rows": tally.rows(),
        "passed": tally.reached and not tally.wrongly and total >= FEWEST and killed >= TARGET / 100 * total,
        "notes": _notes(tally),
    }


def drawn(groups: dict[str, Group], seed: int) -> Grouped:
    """The samples of all groups, in one random order: whenever it stops, the rates so far are those of a sample."""
    jobs = [
        (name, job)
        for name, group in groups.items()
        for job in draw(ROOT, guarded_modules(ROOT, group), group.sample, f"{seed} {name}")
    ]
    random.Random(seed).shuffle(jobs)
    return jobs


def _notes(tally: GroupTally) -> str:
    return (
        "a place is drawn first and one of its mutations then; operators of cosmic-ray, and a dropped condition or "
        "call; texts and annotations are left alone. Equivalent ones, with the reason for each: "
        "benchmarks/mutants/equivalent_mutants.yaml. Named equivalent, but killed: "
        f"{'; '.join(tally.wrongly) or 'none'}. Survivors: {'; '.join(tally.survivors) or 'none'}"
    )


def try_mutants(groups: dict[str, Group], jobs: Grouped, workers: int = WORKERS, file: Path = OUTCOMES) -> GroupTally:
    """Run the tests on each mutant that ``file`` has no outcome of; survivors are told as they come.

    Without mutants the tests must pass before, and those that killed any once more afterwards.

    Raises:
        OptionError: they do not; where it is afterwards, the outcomes of this run are forgotten.
    """
    from tqdm import tqdm

    tally, group_of = GroupTally(groups), {id(job): name for name, job in jobs}
    temporary = tempfile.TemporaryDirectory(prefix="mutants-")
    with _ended_by_sigterm(), temporary as scratch, tqdm(total=len(jobs), unit="mutant") as bar:
        runner = MutantRunner(ROOT, Path(scratch), workers)
        outcomes = OutcomeFile(file, runner.root)

        def count(outcome: Outcome) -> None:
            tally.add(group_of[id(outcome.job)], outcome)
            if tally.is_survivor(outcome):
                bar.write(f"survived: {where(outcome.job)}")
            bar.set_postfix_str(tally.line(), refresh=False)
            bar.update()

        def keep(outcome: Outcome) -> None:
            outcomes.append(outcome)
            count(outcome)

        kept = outcomes.kept(job for _, job in jobs)
        for outcome in kept:
            count(outcome)
        done = {id(outcome.job) for outcome in kept}
        _try(runner, outcomes, [job for _, job in jobs if id(job) not in done], keep)
    return tally


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """SIGTERM ends the forks, too, and removes the copies of the checkout, as Ctrl-C does."""
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _try(runner: MutantRunner, file: OutcomeFile, jobs: list[Job], report: Report) -> None:
    runner.check_tests(jobs)
    found = runner.run(jobs, report)
    try:
        runner.check_killers(found)
    except OptionError:
        file.drop(found)
        raise


def main(argv: Sequence[str] | None = None) -> int:
    """Try a part; exit codes: 0 all killed, 1 survivors, 2 bad input."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gate.guards_mutants", description=__doc__)
    parser.add_argument("--group", action="append", default=[], metavar="NAME", help="a group of guarded.yaml")
    parser.add_argument("--module", action="append", default=[], metavar="PATH", help="a guarded file or folder")
    parser.add_argument("--tests", nargs="+", metavar="FILE", help="instead of those of guarded.yaml")
    parser.add_argument("--sample", type=int, default=40, help="mutants drawn at random of each group (40)")
    parser.add_argument("--all", action="store_true", help="every place, instead of a sample")
    parser.add_argument("--seed", default="0")
    parser.add_argument("--workers", type=int, default=WORKERS)
    options = parser.parse_args(argv)
    try:
        groups = read_groups()
        tally = try_mutants(groups, _chosen(groups, options), options.workers)
    except VlaAgentError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for row in tally.rows():
        if row["mutants"] or row["equivalent"]:
            print(", ".join(f"{key} {value}" for key, value in row.items()))
    for text in tally.wrongly:
        print(f"named equivalent, but killed: {text}")
    return 1 if tally.survivors or tally.wrongly else 0


def _chosen(groups: dict[str, Group], options: argparse.Namespace) -> Grouped:
    """The mutants of the chosen modules."""
    jobs: Grouped = []
    for name, group in groups.items():
        if name in options.group or options.module:
            modules = guarded_modules(ROOT, group, options.module or ("",))
            if options.tests:
                modules = dict.fromkeys(modules, tuple(options.tests))
            made = every(ROOT, modules) if options.all else draw(ROOT, modules, options.sample, options.seed)
            jobs += [(name, job) for job in made]
    if not jobs:
        raise OptionError(
            "no module is chosen",
            key="--group, --module",
            expected=f"a group ({', '.join(groups)}) or a guarded file or folder",
            found=", ".join([*options.group, *options.module]) or "nothing",
            remedy="choose one; benchmarks/mutants/guarded.yaml lists the modules",
        )
    random.Random(options.seed).shuffle(jobs)
    return jobs


if __name__ == "__main__":
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(variable, "1")
    sys.exit(main())
