"""Which tests execute which lines of a module: the ones that a mutant of these lines is tried on first."""

from __future__ import annotations

import ast
import json
import os
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from benchmarks.mutants.fork_watch import Seconds

Lines = dict[str, dict[str, list[int]]]  # test -> module -> lines


@dataclass(frozen=True)
class Recorded:
    """What a `LineRecorder` noted: ``lines`` of each test, what it took, and its fixtures that other tests share.

    ``shared``: of each test, seconds until it can begin where it is the first one to use these fixtures.
    """

    lines: Lines
    seconds: dict[str, Seconds]
    shared: dict[str, float]

    def by_speed(self) -> list[str]:
        """The tests, those first that fail soonest where they fail."""
        return sorted(self.lines, key=lambda test: self.seconds[test].clock + self.shared[test])


class LineRecorder:
    """A pytest plugin that notes the lines of some modules that each test executes, its fixtures included.

    What a fixture of a wider scope executes counts for every test that uses it.

    Args:
        root: the checkout.
        modules: paths in it.
    """

    def __init__(self, root: Path, modules: Collection[str]) -> None:
        self._modules = {str(root / module): module for module in modules}
        self._found: dict[str, set[tuple[str, int]]] = defaultdict(set)
        self._shared: dict[str, set[tuple[str, int]]] = defaultdict(set)  # fixture of a wider scope -> lines
        self._uses: dict[str, set[str]] = {}
        self._now: set[tuple[str, int]] = set()
        self._seconds: dict[str, Seconds] = {}
        self._made: dict[str, float] = {}  # fixture of a wider scope -> seconds until it is there

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_setup(self, item: Any) -> Iterator[None]:
        definitions = item._fixtureinfo.name2fixturedefs
        wide = {n for n in item.fixturenames if n in definitions and definitions[n][-1].scope != "function"}
        self._uses[item.nodeid] = wide
        began = _now()
        with self:
            yield
        self._seconds[item.nodeid] = _since(began)
        for name in wide:
            self._shared[name] |= self._now
        self._found[item.nodeid] |= self._now

    @pytest.hookimpl(hookwrapper=True)
    def pytest_fixture_setup(self, fixturedef: Any) -> Iterator[None]:
        began = time.monotonic()
        yield
        if fixturedef.scope != "function":
            self._made[fixturedef.argname] = time.monotonic() - began

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_call(self, item: Any) -> Iterator[None]:
        began = _now()
        with self:
            yield
        self._seconds[item.nodeid] += _since(began)
        self._found[item.nodeid] |= self._now

    def __enter__(self) -> None:
        self._now = set()
        threading.settrace(self._trace)
        sys.settrace(self._trace)

    def __exit__(self, *_: object) -> None:
        sys.settrace(None)
        threading.settrace(None)  # type: ignore[arg-type]

    def _trace(self, frame: FrameType, event: str, _: object) -> Any:
        module = self._modules.get(frame.f_code.co_filename)
        if module is None:
            return None
        self._now.add((module, frame.f_lineno))
        return self._trace

    def write(self, file: Path) -> None:
        """Write what `read_recorded` reads."""
        lines: Lines = {}
        for test, found in self._found.items():
            own = found.union(*(self._shared[name] for name in self._uses[test]))
            lines[test] = {m: sorted(n for module, n in own if module == m) for m in {module for module, _ in own}}
        seconds = {test: [its.cpu, its.clock] for test, its in self._seconds.items()}
        shared = {test: sum(self._made.get(name, 0.0) for name in its) for test, its in self._uses.items()}
        file.write_text(json.dumps({"lines": lines, "seconds": seconds, "shared": shared}), encoding="utf-8")


class Selection:
    """A pytest plugin that runs the chosen tests alone, in their order, file by file.

    Args:
        tests: their node ids.
        failed: the file that gets the node id of the last test that failed.
    """

    def __init__(self, tests: Sequence[str], failed: Path) -> None:
        self._failed = failed
        self._place = {test: k for k, test in enumerate(tests)}
        self.files = tuple(dict.fromkeys(test.partition("::")[0] for test in tests))

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        chosen = [item for item in items if item.nodeid in self._place]
        file = {name: k for k, name in enumerate(self.files)}
        items[:] = sorted(chosen, key=lambda i: (file[i.nodeid.partition("::")[0]], self._place[i.nodeid]))

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.failed:
            self._failed.write_text(report.nodeid, encoding="utf-8")


def read_recorded(file: Path) -> Recorded:
    """What a `LineRecorder` wrote."""
    found = json.loads(file.read_text(encoding="utf-8"))
    return Recorded(found["lines"], {test: Seconds(*its) for test, its in found["seconds"].items()}, found["shared"])


def _now() -> Seconds:
    """Since some moment: of the clock, and of CPU of this process and of the children that it has waited for."""
    times = os.times()
    return Seconds(times.user + times.system + times.children_user + times.children_system, time.monotonic())


def _since(began: Seconds) -> Seconds:
    now = _now()
    return Seconds(now.cpu - began.cpu, now.clock - began.clock)


def covering_tests(lines: Lines, source: str, module: str, line: int) -> list[str]:
    """The tests that execute the statement at ``line``.

    Of a statement outside of functions: the tests that execute any of the module, or none of all modules: they may
    look at its constants alone.
    """
    wanted = _statement(source, line)
    if wanted is None:
        return [test for test, executed in lines.items() if executed.get(module) or not any(executed.values())]
    return [test for test, executed in lines.items() if any(n in wanted for n in executed.get(module, []))]


def _statement(source: str, line: int) -> range | None:
    """The lines of the innermost statement at ``line``, without those inside it; None outside of functions."""
    best: range | None = None
    inside = False
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            inside = inside or node.body[0].lineno <= line <= (node.end_lineno or 0)
        elif isinstance(node, ast.stmt) and node.lineno <= line <= (node.end_lineno or 0):
            body = getattr(node, "body", None)
            last = body[0].lineno - 1 if body and body[0].lineno > line else node.end_lineno or line
            if best is None or node.lineno >= best.start:
                best = range(node.lineno, max(last, line) + 1)
    return best if inside else None
