"""Which modules are guarded, the tests that are responsible for each, and a random sample of their mutants."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict
from ruamel.yaml import YAML

from benchmarks.mutants.mutant_runner import Job
from benchmarks.mutants.mutations import Mutation, difference, find_places, mutate
from vla_agent.errors import OptionError

HERE = Path(__file__).parent


class Guard(BaseModel):
    """Modules (files or folders) and the tests (patterns) that must notice their mutants."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    modules: list[str]
    tests: list[str]


class Group(BaseModel):
    """A part of the code: mutants drawn from it, the percentage that must be killed, and its guards."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    sample: int
    at_least: float
    guards: list[Guard]


@dataclass(frozen=True)
class Equivalent:
    """A mutant that no test can kill: the module, the lines before and after, and the reason."""

    module: str
    line: str
    mutant: str
    why: str

    @property
    def key(self) -> tuple[str, str, str]:
        """What a mutant is recognised by."""
        return self.module, self.line, self.mutant


def read_groups() -> dict[str, Group]:
    """The groups of ``guarded.yaml`` by name."""
    data = YAML(typ="safe").load(HERE / "guarded.yaml")
    return {name: Group.model_validate(group) for name, group in data.items()}


def read_equivalents() -> dict[tuple[str, str, str], Equivalent]:
    """The mutants of ``equivalent_mutants.yaml`` by what they are recognised by."""
    found = [Equivalent(**entry) for entry in YAML(typ="safe").load(HERE / "equivalent_mutants.yaml")]
    return {equivalent.key: equivalent for equivalent in found}


def key_of(job: Job) -> tuple[str, str, str]:
    """What a mutant is recognised by: module, lines before, lines after."""
    return job.mutation.module, *difference(job.source, job.changed)


def guarded_modules(root: Path, group: Group, only: Sequence[str] = ("",)) -> dict[str, tuple[str, ...]]:
    """Module -> its test files, of the modules that begin with one of ``only``.

    Raises:
        OptionError: there is no such module, or none of a guard's tests.
    """
    found: dict[str, tuple[str, ...]] = {}
    for guard in group.guards:
        modules = [m for m in modules_below(root, guard.modules) if m.startswith(tuple(only))]
        tests = sorted({str(f.relative_to(root)) for pattern in guard.tests for f in root.glob(pattern)})
        if modules and not tests:
            raise OptionError(
                "a guard has no tests",
                file=HERE / "guarded.yaml",
                key=", ".join(guard.modules),
                expected="test files of the checkout",
                found=", ".join(guard.tests),
                remedy="correct the patterns",
            )
        found |= dict.fromkeys(modules, tuple(tests))
    return found


def draw(root: Path, modules: dict[str, tuple[str, ...]], count: int, seed: str) -> list[Job]:
    """``count`` mutants, spread over the modules by their numbers of places; at most one for each place.

    A place is drawn first and one of its mutations then, so that an operator with many replacements (``+`` to eleven
    others) counts no more than a comparison.
    """
    rng = random.Random(seed)
    places = {module: find_places(root, module) for module in modules}
    total = sum(map(len, places.values()))
    jobs: list[Job] = []
    for module, its in places.items():
        share = min(len(its), max(1, round(count * len(its) / total))) if its else 0
        rng.shuffle(its)
        made = _jobs(root, modules[module], (rng.sample(place, len(place)) for place in its))
        jobs += [job for _, job in zip(range(share), made, strict=False)]
    rng.shuffle(jobs)
    return jobs


def every(root: Path, modules: dict[str, tuple[str, ...]]) -> list[Job]:
    """One mutant of every place of the modules and every family of operators: all of two mutants at most."""
    jobs = []
    for module, tests in modules.items():
        for place in find_places(root, module):
            few = [place] if len(place) > 2 else [[mutation] for mutation in place]
            jobs += list(_jobs(root, tests, few))
    return jobs


def _jobs(root: Path, tests: tuple[str, ...], places: Iterable[list[Mutation]]) -> Iterator[Job]:
    """The first mutation of each place that gives a program."""
    sources: dict[str, str] = defaultdict(str)
    for place in places:
        for mutation in place:
            source = sources[mutation.module] or (root / mutation.module).read_text(encoding="utf-8")
            sources[mutation.module] = source
            changed = mutate(source, mutation)
            if changed is not None:
                yield Job(mutation, source, changed, tests)
                break


def modules_below(root: Path, paths: Iterable[str]) -> Iterator[str]:
    """The Python files that ``paths`` (files or folders of the checkout) name, without ``__init__.py``."""
    for path in paths:
        found = [root / path] if (root / path).is_file() else sorted((root / path).rglob("*.py"))
        if not found:
            raise OptionError(
                "there is no such module",
                key=path,
                expected="a Python file or a folder of them in the checkout",
                found="nothing",
                remedy="correct benchmarks/mutants/guarded.yaml or --module",
            )
        yield from (str(file.relative_to(root)) for file in found if file.name != "__init__.py")
