"""Finds and makes mutations: the operators of cosmic-ray, and two of ours that drop a guard or a call.

A mutation is one change at one place.  Left out is what no test should hold: texts (f-strings, the arguments of a
raised error or of a log line), type annotations, ``__repr__`` and ``__str__``, whether a dataclass is frozen (mypy
holds that), whether ``zip`` checks lengths, the stars of a signature, and identity in place of equality, which is the
same for small numbers and words.
"""

from __future__ import annotations

import ast
import difflib
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from vla_agent.errors import OptionError

TEXT_CALLS = {"print", "warn", "debug", "info", "warning", "error", "exception"}
SAME = ("ReplaceComparisonOperator_Eq_Is", "ReplaceComparisonOperator_NotEq_IsNot")  # as good as no change
FLAGS = {"zip": "strict", "dataclass": "frozen", "field": "repr"}  # function -> argument that is left alone
TEXT_METHODS = {"__repr__", "__str__"}
Position = tuple[int, int]  # line from 1, column from 0


@dataclass(frozen=True)
class Mutation:
    """One change: occurrence ``occurrence`` of the operator named ``operator`` in the file ``module``."""

    module: str
    operator: str
    occurrence: int
    line: int
    column: int

    @property
    def family(self) -> str:
        """The operator without what it replaces: all comparisons are one family."""
        return re.sub(r"_.*", "", self.operator)


def find_places(root: Path, module: str) -> list[list[Mutation]]:
    """The places of a module where a mutation can be made, and the mutations that each of them has.

    Args:
        root: the checkout.
        module: path of the file in it.
    """
    from cosmic_ray.ast import ast_nodes, get_ast

    source = (root / module).read_text(encoding="utf-8")
    nodes = list(ast_nodes(get_ast(source)))
    left_out = list(_left_out(source))
    places: dict[tuple[int, int, str], list[Mutation]] = {}
    for name, operator in _operators().items():
        occurrence = -1
        for node in nodes:
            star = node.parent is not None and node.parent.type in ("parameters", "lambdef")  # no multiplication
            for start, _ in operator.mutation_positions(node):
                occurrence += 1
                if not star and not any(low <= start < high for low, high in left_out):
                    mutation = Mutation(module, name, occurrence, *start)
                    places.setdefault((*start, mutation.family), []).append(mutation)
    return [places[key] for key in sorted(places)]


def mutate(source: str, mutation: Mutation) -> str | None:
    """The source with the mutation in it; None where that is no program, or the same one."""
    from cosmic_ray.mutating import mutate_code

    try:
        changed = mutate_code(source, _operators()[mutation.operator], mutation.occurrence)
    except AttributeError:  # of cosmic-ray's operator for exceptions, where one is named with its module
        return None
    if changed is None:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)  # as of `is` with a number
            same = ast.dump(ast.parse(changed)) == ast.dump(ast.parse(source))
            compile(changed, mutation.module, "exec")
    except SyntaxError:
        return None
    return None if same else changed


def difference(source: str, changed: str) -> tuple[str, str]:
    """The lines that a mutation takes out and those that it puts in, without indentation."""
    lines = list(difflib.ndiff(source.splitlines(), changed.splitlines()))
    before, after = ("\n".join(line[2:].strip() for line in lines if line.startswith(sign)) for sign in ("- ", "+ "))
    return before.strip(), after.strip()


@cache
def _operators() -> dict[str, Any]:
    """Name -> operator.

    Raises:
        OptionError: cosmic-ray is not installed.
    """
    try:
        from cosmic_ray import plugins
    except ImportError as error:
        raise OptionError(
            "the mutation tool is missing",
            key="cosmic-ray",
            expected="the extra 'mutants'",
            found=str(error),
            remedy=".venv/bin/pip install -c constraints.txt -e '.[mutants]'",
        ) from error
    found = {}
    for name in plugins.operator_names():
        operator = plugins.get_operator(name)
        if not operator.arguments() and name.partition("/")[2] not in SAME:
            found[name.partition("/")[2]] = operator()
    return {**found, "DropGuard": _drop_guard(), "DropCall": _drop_call()}


def _drop_guard() -> Any:
    """An operator that cosmic-ray lacks: a condition that is never true."""
    import parso
    from cosmic_ray.operators.operator import Operator

    class DropGuard(Operator):
        """``if wrong: raise ...`` -> ``if False: raise ...``, for every condition of an if statement."""

        def mutation_positions(self, node):  # noqa: ANN001, ANN202
            if node.type == "if_stmt":
                for word, condition in zip(node.children, node.children[1:], strict=False):
                    if getattr(word, "value", "") in ("if", "elif"):
                        yield condition.start_pos, condition.end_pos

        def mutate(self, node, index):  # noqa: ANN001, ANN202
            at = [i for i, word in enumerate(node.children) if getattr(word, "value", "") in ("if", "elif")][index]
            node.children[at + 1] = parso.parse(" False")
            return node

        @classmethod
        def examples(cls):  # noqa: ANN206
            return ()

    return DropGuard()


def _drop_call() -> Any:
    """An operator that cosmic-ray lacks: a call that is not made."""
    import parso
    from cosmic_ray.operators.operator import Operator

    class DropCall(Operator):
        """``check(x)`` -> ``None``, for a call whose result is not used."""

        def mutation_positions(self, node):  # noqa: ANN001, ANN202
            if node.type == "atom_expr" and node.parent.type == "simple_stmt":
                yield node.start_pos, node.end_pos

        def mutate(self, node, index):  # noqa: ANN001, ANN202
            nothing = parso.parse("None").children[0]
            nothing.prefix = node.get_first_leaf().prefix
            node.children = [nothing]
            return node

        @classmethod
        def examples(cls):  # noqa: ANN206
            return ()

    return DropCall()


def _left_out(source: str) -> Iterator[tuple[Position, Position]]:
    """Parts of the source in which nothing is changed."""
    lines = source.splitlines()

    def span(node: Any) -> tuple[Position, Position]:
        def column(line: int, offset: int) -> int:  # ast counts bytes, parso characters
            return len(lines[line - 1].encode()[:offset].decode())

        start = node.lineno, column(node.lineno, node.col_offset)
        return start, (node.end_lineno, column(node.end_lineno, node.end_col_offset))

    for node in ast.walk(ast.parse(source)):
        for part in _texts(node):
            yield span(part)


def _texts(node: ast.AST) -> list[ast.AST]:
    """The annotation, text or arguments of a text in ``node`` itself."""
    if isinstance(node, (ast.arg, ast.AnnAssign)):
        return [node.annotation] if node.annotation else []
    if isinstance(node, ast.JoinedStr):
        return [node]
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        return [node] if node.name in TEXT_METHODS else [node.returns] if node.returns else []
    if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
        return _arguments(node.exc)
    return _texts_of_call(node) if isinstance(node, ast.Call) else []


def _texts_of_call(call: ast.Call) -> list[ast.AST]:
    name = _name(call.func)
    if name in FLAGS:
        return [keyword.value for keyword in call.keywords if keyword.arg == FLAGS[name]]
    return _arguments(call) if name in TEXT_CALLS else []


def _arguments(call: ast.Call) -> list[ast.AST]:
    return [*call.args, *(keyword.value for keyword in call.keywords)]


def _name(function: ast.expr) -> str:
    """The last part of a called name."""
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
