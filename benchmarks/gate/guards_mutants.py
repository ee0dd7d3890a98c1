"""Mutants of the guards: how many the tests kill.  With ``--module`` or ``--group``: of a part, and which survive.

python -m benchmarks run guards-mutants
python -m benchmarks.gate.guards_mutants --module vla_agent/robot/safety/supervisor.py --all
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.mutants.guarded_modules import (
    draw,
    every,
    guarded_modules,
    key_of,
    read_equivalents,
    read_groups,
)
from benchmarks.mutants.mutant_runner import Job, MutantRunner, Outcome
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
Reporter = Callable[[Outcome], None]


def run() -> dict[str, Any]:
    """At least `FEWEST` mutants over all groups; each group must reach its own percentage, too."""
    from vla_agent.evaluation.exact_tests import clopper_pearson

    groups = read_groups()
    results = {}
    for name, group in groups.items():
        results[name] = try_mutants(draw(ROOT, guarded_modules(ROOT, group), group.sample, f"{SEED} {name}"))
    equivalent = read_equivalents()
    rows, wrongly, survivors = [], [], []
    killed, total, met = 0, 0, True
    for name, outcomes in results.items():
        counted = [o for o in outcomes if key_of(o.job) not in equivalent]
        wrongly += [_where(o) for o in outcomes if o not in counted and o.result != "survived"]
        survivors += [_where(o) for o in counted if o.result == "survived"]
        dead = sum(o.result != "survived" for o in counted)
        timeouts = sum(o.result == "timeout" for o in counted)
        percent = 100 * dead / max(len(counted), 1)
        met = met and percent >= groups[name].at_least
        counts = {"mutants": len(counted), "killed": dead, "by_timeout": timeouts, "percent": round(percent, 1)}
        rows.append({"group": name, **counts, "equivalent": len(outcomes) - len(counted)})
        killed, total = killed + dead, total + len(counted)
    return {
        "value": round(100 * killed / max(total, 1), 2),
        "n": total,
        "interval": [100 * x for x in clopper_pearson(killed, total)],
        "seeds": str(SEED),
        "rows": rows,
        "passed": met and not wrongly and total >= FEWEST and killed >= TARGET / 100 * total,
        "notes": _notes(wrongly, survivors),
    }


def _notes(wrongly: list[str], survivors: list[str]) -> str:
    return (
        "a place is drawn first and one of its mutations then; operators of cosmic-ray, and a dropped condition or "
        "call; texts and annotations are left alone. Equivalent ones, with the reason for each: "
        "benchmarks/mutants/equivalent_mutants.yaml. Named equivalent, but killed: "
        f"{'; '.join(wrongly) or 'none'}. Survivors: {'; '.join(survivors) or 'none'}"
    )


def try_mutants(jobs: list[Job], workers: int = WORKERS, report: Reporter = lambda outcome: None) -> list[Outcome]:
    """Run the tests on each mutant; without mutants they must pass before and after."""
    with tempfile.TemporaryDirectory(prefix="mutants-") as scratch:
        runner = MutantRunner(ROOT, Path(scratch), workers)
        runner.check_tests(jobs)
        outcomes = runner.run(jobs, report)
        runner.check_tests(jobs)
    return outcomes


def _where(outcome: Outcome) -> str:
    module, before, after = key_of(outcome.job)
    return f"{module}:{outcome.job.mutation.line} `{before}` -> `{after}`"


def main(argv: Sequence[str] | None = None) -> int:
    """Try a part; exit codes: 0 all killed, 1 survivors, 2 bad input."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gate.guards_mutants", description=__doc__)
    parser.add_argument("--group", action="append", default=[], metavar="NAME", help="a group of guarded.yaml")
    parser.add_argument("--module", action="append", default=[], metavar="PATH", help="a guarded file or folder")
    parser.add_argument("--tests", nargs="+", metavar="FILE", help="instead of those of guarded.yaml")
    parser.add_argument("--sample", type=int, default=40, help="mutants drawn at random (40)")
    parser.add_argument("--all", action="store_true", help="every place, instead of a sample")
    parser.add_argument("--seed", default="0")
    parser.add_argument("--workers", type=int, default=WORKERS)
    options = parser.parse_args(argv)
    try:
        return _try(options)
    except VlaAgentError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _try(options: argparse.Namespace) -> int:
    modules = _chosen(options)
    jobs = every(ROOT, modules) if options.all else draw(ROOT, modules, options.sample, options.seed)
    known = read_equivalents()
    tally: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))

    def report(outcome: Outcome) -> None:
        equivalent = key_of(outcome.job) in known
        tally[outcome.job.mutation.module]["equivalent" if equivalent else outcome.result] += 1
        if outcome.result == "survived" and not equivalent:
            print(f"survived: {_where(outcome)}", flush=True)

    outcomes = try_mutants(jobs, options.workers, report)
    for module, counts in sorted(tally.items()):
        print(f"{module}: {', '.join(f'{n} {result}' for result, n in sorted(counts.items()))}")
    seconds = sum(o.seconds for o in outcomes) / max(len(outcomes), 1)
    print(f"{len(outcomes)} mutants, {seconds:.1f} s each")
    return 1 if any(counts["survived"] for counts in tally.values()) else 0


def _chosen(options: argparse.Namespace) -> dict[str, tuple[str, ...]]:
    """The chosen modules with their tests."""
    groups = read_groups()
    modules: dict[str, tuple[str, ...]] = {}
    for name, group in groups.items():
        if name in options.group or options.module:
            modules |= guarded_modules(ROOT, group, options.module or ("",))
    if options.tests:
        modules = dict.fromkeys(modules, tuple(options.tests))
    if not modules:
        raise OptionError(
            "no module is chosen",
            key="--group, --module",
            expected=f"a group ({', '.join(groups)}) or a guarded file or folder",
            found=", ".join([*options.group, *options.module]) or "nothing",
            remedy="choose one; benchmarks/mutants/guarded.yaml lists the modules",
        )
    return modules


if __name__ == "__main__":
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(variable, "1")
    sys.exit(main())
