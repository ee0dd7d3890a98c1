"""Outcomes of mutants on disk, so that a stopped run goes on; each is bound to the sources that it came from."""

from __future__ import annotations

import ast
import fcntl
import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from benchmarks.mutants.mutant_runner import Job, Outcome
from vla_agent.errors import OptionError

FORMAT = 1


class OutcomeFile:
    """A file with a JSON line for each outcome.

    An outcome counts as long as the module, the mutant and the tests are the same: of a killed one, the test that
    killed it, with all that is no test in its file; of every other one, all files of tests.  What lies beside tests
    (conftest.py, helpers) counts as a part of them.

    Args:
        file: the lines; made, with its folder, by the first outcome.
        root: the copy of the checkout in which the tests run: nothing changes there meanwhile.
    """

    def __init__(self, file: Path, root: Path) -> None:
        self._file, self._root = file, root
        self._digests: dict[tuple[tuple[str, ...], str], str] = {}

    def kept(self, jobs: Iterable[Job]) -> list[Outcome]:
        """The outcomes of these jobs that are there and still count, the latest of each.

        Raises:
            OptionError: a line is not one of this format; a last line that was cut off is left out.
        """
        lines = {line["mutant"]: line for line in self._lines()}
        found = []
        for job in jobs:
            line = lines.get(_mutant(job))
            if line is not None and line["tests"] == self._tests(job, line["killer"]):
                found.append(Outcome(job, line["result"], line["seconds"], line["killer"]))
        return found

    def append(self, outcome: Outcome) -> None:
        """Write one more line, at once; other runs may do so, too."""
        job = outcome.job
        line = {
            "format": FORMAT,
            "mutant": _mutant(job),
            "tests": self._tests(job, outcome.killer),
            "module": job.mutation.module,
            "line": job.mutation.line,
            "operator": job.mutation.operator,
            "result": outcome.result,
            "killer": outcome.killer,
            "seconds": round(outcome.seconds, 2),
        }
        self._file.parent.mkdir(parents=True, exist_ok=True)
        with self._file.open("ab") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            stream.truncate(self._whole())
            stream.write(json.dumps(line).encode() + b"\n")

    def drop(self, outcomes: Iterable[Outcome]) -> None:
        """Take the lines of these outcomes out."""
        gone = {_mutant(outcome.job) for outcome in outcomes}
        lines = [json.dumps(line) + "\n" for line in self._lines() if line["mutant"] not in gone]
        beside = self._file.with_suffix(".tmp")
        beside.write_text("".join(lines), encoding="utf-8")
        os.replace(beside, self._file)

    def _lines(self) -> list[dict[str, Any]]:
        if not self._file.exists():
            return []
        found = []
        for number, text in enumerate(self._file.read_bytes()[: self._whole()].splitlines(), 1):
            try:
                line = json.loads(text)
                if line["format"] != FORMAT:
                    raise ValueError(f"format {line['format']}")
            except (ValueError, KeyError, TypeError) as error:
                raise OptionError(
                    "a line of the outcomes cannot be read",
                    file=self._file,
                    key=f"line {number}",
                    expected=f"an outcome of format {FORMAT}",
                    found=str(error),
                    remedy="delete the file: its mutants are tried again",
                ) from error
            found.append(line)
        return found

    def _whole(self) -> int:
        """Bytes up to the end of the last whole line."""
        return self._file.read_bytes().rfind(b"\n") + 1 if self._file.exists() else 0

    def _tests(self, job: Job, killer: str) -> str:
        """Digest of the tests that an outcome depends on; of no test where the killer is none of the job's."""
        file, _, name = killer.partition("::")
        if killer and file not in job.tests:
            return "none"
        key = ((file,) if killer else job.tests, name.partition("[")[0])
        if key not in self._digests:
            self._digests[key] = _digest_of_tests(self._root, *key)
        return self._digests[key]


def _mutant(job: Job) -> str:
    text = json.dumps([job.mutation.module, job.source, job.changed])
    return hashlib.sha256(text.encode()).hexdigest()


def _digest_of_tests(root: Path, tests: tuple[str, ...], only: str) -> str:
    """Of the test files (of the test ``only``, where it is not empty) and of what lies beside and above them."""
    texts = {test: _without_others((root / test).read_text(encoding="utf-8"), only) for test in tests}
    for folder in {(root / test).parent for test in tests}:
        beside = [f for f in folder.glob("*.py") if not f.name.startswith("test_")]
        above = [f for a in folder.parents if a.is_relative_to(root) for f in a.glob("conftest.py")]
        texts |= {str(f.relative_to(root)): f.read_text(encoding="utf-8") for f in (*beside, *above)}
    return hashlib.sha256(json.dumps(sorted(texts.items())).encode()).hexdigest()


def _without_others(source: str, only: str) -> str:
    """A test file without its tests but ``only``; the whole file where that is empty, or none of them."""
    body = ast.parse(source).body
    tests = [n for n in body if isinstance(n, ast.FunctionDef) and n.name.startswith("test_")]
    if only not in {test.name for test in tests}:
        return source
    return "\n".join(ast.unparse(n) for n in body if n not in tests or n.name == only)
