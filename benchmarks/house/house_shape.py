"""The shape of the code: long functions, many parameters, branching, full folders, lines that stand twice."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

from benchmarks.house.code_lines import PACKAGES, code_lines, files, functions
from benchmarks.record import ROOT

NAME = "house-shape"
TITLE = "functions over 60 lines, over 8 parameters, complexity over 10; folders over 14 modules"
TARGET = 0
UNIT = "findings"
BETTER = "lower"
LINES, PARAMETERS, COMPLEXITY, MODULES = 60, 8, 10, 14
RUN, RUNS = 6, 5  # identical lines in two places make a run; so many runs are borne


def run() -> dict[str, Any]:
    found = {
        f"functions over {LINES} lines": long_functions(),
        f"functions over {PARAMETERS} parameters": wide_functions(),
        f"functions of complexity over {COMPLEXITY}": complex_functions(),
        f"folders over {MODULES} modules": full_folders(),
    }
    twice = repeated_runs()
    count = sum(len(places) for places in found.values())
    rows = [{"finding": kind, "count": len(places), "where": "; ".join(places[:5])} for kind, places in found.items()]
    rows.append({"finding": f"runs of {RUN} identical lines", "count": len(twice), "where": "; ".join(twice[:8])})
    return {
        "value": count,
        "n": sum(1 for file in files() for _ in functions(file)),
        "interval": None,
        "seeds": [],
        "rows": rows,
        "passed": count == 0 and len(twice) <= RUNS,
        "notes": f"n counts functions of {', '.join(PACKAGES)}; at most {RUNS} runs of {RUN} identical lines pass.",
    }


def long_functions() -> list[str]:
    """Functions of more than `LINES` lines, docstring included."""
    return [f"{f.place} ({f.lines})" for file in files() for f in functions(file) if f.lines > LINES]


def wide_functions() -> list[str]:
    """Functions of more than `PARAMETERS` parameters, self not counted."""
    return [f"{f.place} ({f.parameters})" for file in files() for f in functions(file) if f.parameters > PARAMETERS]


def complex_functions() -> list[str]:
    """Functions whose cyclomatic complexity (McCabe, 1976; counted by ruff) is over `COMPLEXITY`."""
    command = [sys.executable, "-m", "ruff", "check", "--select", "C901", "--exit-zero", "--output-format", "json"]
    command += ["--config", f"lint.mccabe.max-complexity={COMPLEXITY}", *PACKAGES]
    findings = json.loads(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout)
    return [f"{Path(f['filename']).relative_to(ROOT)}:{f['location']['row']}" for f in findings]


def full_folders() -> list[str]:
    """Folders with more than `MODULES` modules besides ``__init__``."""
    modules: dict[Path, int] = defaultdict(int)
    for file in files():
        modules[file.parent] += file.stem != "__init__"
    return [f"{folder.relative_to(ROOT)} ({n})" for folder, n in modules.items() if n > MODULES]


def repeated_runs() -> list[str]:
    """Runs of at least `RUN` identical lines of code, imports left out, that stand in two places."""
    texts = {file: [*_without_imports(file).items()] for file in files()}
    places: dict[tuple[str, ...], list[tuple[Path, int]]] = defaultdict(list)
    for file, lines in texts.items():
        for start in range(len(lines) - RUN + 1):
            places[tuple(text for _, text in lines[start : start + RUN])].append((file, start))
    same = {(file, start) for found in places.values() if len(found) > 1 for file, start in found}
    runs = []
    for found in places.values():
        first, *others = found
        for other in others:
            if not _goes_on(first, other, same, texts):
                runs.append(" ~ ".join(f"{f.relative_to(ROOT)}:{texts[f][start][0]}" for f, start in (first, other)))
    return runs


def _goes_on(a: tuple[Path, int], b: tuple[Path, int], same: set[Any], texts: dict[Path, list[Any]]) -> bool:
    """Whether the line before both is the same too: then the run was counted there."""
    before = (a[0], a[1] - 1), (b[0], b[1] - 1)
    return all(place in same for place in before) and len({texts[f][start][1] for f, start in before}) == 1


def _without_imports(file: Path) -> dict[int, str]:
    lines = code_lines(file)
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            for number in range(node.lineno, (node.end_lineno or node.lineno) + 1):
                lines.pop(number, None)
    return {number: text for number, text in lines.items() if any(c.isalnum() for c in text)}
