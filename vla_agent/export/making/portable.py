"""The modules that the runner of an exported policy needs, copied beside it: they import numpy and nothing else.

A folder ``parts`` takes them, each under its own name; imports of ``vla_agent.ROOM.NAME`` become ``parts.NAME``.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from vla_agent.export import exported

PACKAGE = "vla_agent"
ROOT = Path(exported.__file__).parents[2]  # the folder of the package
RUNNER = Path(exported.__file__).with_name("run.py")
PARTS = "parts"
_IMPORT = re.compile(rf"^(\s*)from ({PACKAGE}(?:\.\w+)*) import ", re.MULTILINE)


def write_runner(folder: Path) -> list[str]:
    """Write ``run.py`` and its parts; their names in the folder."""
    (folder / PARTS).mkdir()
    written = []
    for module in sorted(_needed(RUNNER)):
        name = module.name if module == RUNNER else f"{PARTS}/{module.name}"
        if name in written:
            raise ValueError(f"two modules of the runner are called {module.name}")
        (folder / name).write_text(_IMPORT.sub(_portable, module.read_text(encoding="utf-8")), encoding="utf-8")
        written.append(name)
    return written


def _portable(found: re.Match[str]) -> str:
    """The import of a module, or of a name in it, from the folder of parts."""
    indent, path = found[1], found[2]
    is_module = (ROOT.parent / Path(*path.split("."))).with_suffix(".py").is_file()
    # the package vla_agent.contract gives the names of its module of the same name
    own = is_module or (ROOT.parent / Path(*path.split(".")) / f"{path.rpartition('.')[2]}.py").is_file()
    return f"{indent}from {PARTS}.{path.rpartition('.')[2]} import " if own else f"{indent}from {PARTS} import "


def _needed(entry: Path) -> set[Path]:
    """The module and all modules of the package that it imports, directly or not."""
    found: set[Path] = set()
    waiting = [entry]
    while waiting:
        module = waiting.pop()
        if module not in found:
            found.add(module)
            waiting += _imported(module)
    return found


def _imported(module: Path) -> Iterator[Path]:
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.ImportFrom) or not (node.module or "").startswith(f"{PACKAGE}."):
            continue
        path = ROOT.parent / Path(*str(node.module).split("."))
        modules = [path / f"{alias.name}.py" for alias in node.names]
        for file in (path.with_suffix(".py"), path / f"{path.name}.py", *modules):
            if file.is_file():
                yield file
