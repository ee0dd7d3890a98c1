"""Python files as the lines that count: no comments, docstrings or blank lines; functions with their sizes."""

from __future__ import annotations

import ast
import io
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.record import ROOT

PACKAGES = ("vla_agent", "sim", "benchmarks")
_NOTHING = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER)
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


@dataclass(frozen=True)
class Function:
    """One function or method: where it stands, its lines (docstring included) and its parameters (self not counted)."""

    place: str
    lines: int
    parameters: int


def files() -> list[Path]:
    """Every Python file of the packages."""
    return [file for package in PACKAGES for file in sorted((ROOT / package).rglob("*.py"))]


def code_lines(file: Path) -> dict[int, str]:
    """Line number -> text without surrounding blanks, of the lines that hold code."""
    source = file.read_text(encoding="utf-8")
    text = source.splitlines()
    held: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in _NOTHING:
            held.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.Module, ast.ClassDef, *_FUNCTIONS)) and ast.get_docstring(node, clean=False):
            docstring = node.body[0]
            held -= set(range(docstring.lineno, (docstring.end_lineno or docstring.lineno) + 1))
    return {number: text[number - 1].strip() for number in sorted(held)}


def functions(file: Path) -> Iterator[Function]:
    """All functions of a file, methods and inner ones too."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, _FUNCTIONS):
            given = node.args
            named = [*given.posonlyargs, *given.args, *given.kwonlyargs]
            own = named[:1] and named[0].arg in ("self", "cls")
            count = len(named) - bool(own) + bool(given.vararg) + bool(given.kwarg)
            place = f"{file.relative_to(ROOT)}:{node.lineno} {node.name}"
            yield Function(place, (node.end_lineno or node.lineno) - node.lineno + 1, count)
