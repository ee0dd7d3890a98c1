"""How much code an observation passes through to become a chunk, counted along one real inference.

``policy.reset()`` and ``policy.act()`` run once under `sys.settrace`.  Every function of this project that is entered
counts, and so do the fields and the ``__init__`` of its class and of every class that is constructed on the way.  Code
lines are lines that hold code: no comments, docstrings or blank lines.  Other packages (torch, numpy, transformers) do
not count.
"""

from __future__ import annotations

import ast
import io
import sys
import tempfile
import tokenize
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Any

NAME = "house-path"
TITLE = "code lines from an observation to a chunk, the larger of the shipped policy and a pretrained VLM policy"
TARGET = 600
UNIT = "lines"
BETTER = "lower"
ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "vla_agent"
INSTRUCTION = "put the red mug in the tray"
FAMILY = "smolvlm"
NOT_CODE = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER)
Function = ast.FunctionDef | ast.AsyncFunctionDef
Entered = set[tuple[str, int]]  # file and a line inside a function or class


def run() -> dict[str, Any]:
    from benchmarks.policy.policy_families import untrained_policy
    from benchmarks.shared.random_vlms import save_small_vlm
    from vla_agent.policy.loading import load_policy

    with tempfile.TemporaryDirectory() as folder:
        policies = {
            "policies/tabletop-nano": load_policy(ROOT / "policies" / "tabletop-nano"),
            f"random weights, {FAMILY}": untrained_policy(save_small_vlm(FAMILY, Path(folder) / "model")),
        }
        rows = [{"policy": name, **row(traced(policy))} for name, policy in policies.items()]
    return {
        "value": max(row["lines"] for row in rows),
        "n": len(rows),
        "interval": None,
        "seeds": "0",
        "rows": rows,
        "notes": "reset() and act() once, on the CPU, in PyTorch; files: code lines of each that were counted",
    }


def traced(policy: Any) -> Entered:
    """What one episode's first inference enters."""
    from vla_agent.contract.blank_observation import blank_observation

    observation = blank_observation(policy.contract)
    with entered_code() as entered:
        policy.reset(INSTRUCTION, seed=0)
        policy.act(observation)
    return entered


@contextmanager
def entered_code() -> Iterator[Entered]:
    """The project's functions that this thread enters inside, and the classes whose generated constructor it runs."""
    entered: Entered = set()
    before = sys.gettrace()

    def note(frame: FrameType, event: str, _: Any) -> Callable[..., Any] | None:
        file = frame.f_code.co_filename
        if file.startswith(str(PACKAGE)):
            entered.add((file, frame.f_code.co_firstlineno))
        elif frame.f_code.co_varnames[:1] in (("self",), ("_cls",)):  # a dataclass, a named tuple
            entered.update(_constructed(frame))
        return None  # lines inside do not matter

    sys.settrace(note)
    try:
        yield entered
    finally:
        sys.settrace(before)


def _constructed(frame: FrameType) -> Entered:
    """Where the class whose generated constructor a frame runs is defined, if it is the project's."""
    if frame.f_code.co_filename != "<string>":
        return set()
    made = frame.f_locals[frame.f_code.co_varnames[0]]
    kind = made if isinstance(made, type) else type(made)
    file = getattr(sys.modules.get(kind.__module__), "__file__", None) or ""
    if not file.startswith(str(PACKAGE)):
        return set()
    classes = [node for node in ast.walk(_tree(file)) if isinstance(node, ast.ClassDef)]
    return {(file, node.body[0].lineno) for node in classes if node.name == kind.__qualname__.split(".")[-1]}


def row(entered: Entered) -> dict[str, Any]:
    """Code lines of all that was entered, in all and for each file."""
    counted: dict[str, set[int]] = {}
    for file, line in entered:
        counted.setdefault(file, set()).update(*(_span(part) for part in _counted_parts(file, line)))
    sizes = {Path(file).relative_to(ROOT).as_posix(): len(lines & _code_lines(file)) for file, lines in counted.items()}
    files = ", ".join(f"{file} {size}" for file, size in sorted(sizes.items(), key=lambda item: -item[1]))
    return {"lines": sum(sizes.values()), "functions": len(entered), "files": files}


def _counted_parts(file: str, line: int) -> list[ast.stmt]:
    """The function or method around a line, and of its class the fields and ``__init__``."""
    parts: list[ast.stmt] = []
    body = _tree(file).body
    while around := next((node for node in body if line in _span(node)), None):
        if isinstance(around, Function):
            return [*parts, around]
        if not isinstance(around, ast.ClassDef):
            return [*parts, around]
        parts += [node for node in around.body if isinstance(node, ast.Assign | ast.AnnAssign)]
        parts += [node for node in around.body if isinstance(node, Function) and node.name == "__init__"]
        body = around.body
    return parts


def _span(node: ast.stmt) -> range:
    """Lines of a statement, its decorators included."""
    first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", ()))])
    return range(first, (node.end_lineno or node.lineno) + 1)


@cache
def _tree(file: str) -> ast.Module:
    return ast.parse(Path(file).read_text(encoding="utf-8"))


@cache
def _code_lines(file: str) -> frozenset[int]:
    """Numbers of the lines that hold code."""
    text = Path(file).read_text(encoding="utf-8")
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in NOT_CODE:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(_tree(file)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            lines -= set(_span(node))  # a docstring
    return frozenset(lines)
