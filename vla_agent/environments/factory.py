"""The class or function that makes an environment: of a file, or of an installed module."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from vla_agent.errors import EnvironmentFault


def factory_of(place: str) -> tuple[Callable[..., Any], Path | None]:
    """The class or function of ``FILE.py:NAME`` or ``MODULE:NAME``, and the file that it is in."""
    module_name, _, name = place.rpartition(":")
    module = _from_file(Path(module_name)) if module_name.endswith(".py") else _installed(module_name)
    factory = getattr(module, name, None)
    if not callable(factory):
        names = [n for n in vars(module) if not n.startswith("_") and callable(getattr(module, n))]
        near = difflib.get_close_matches(name, names, 3, 0.3)
        raise _fault("there is no such factory", place, f"a class or function of {module_name}", name,
                     f"did you mean {', '.join(near)}?" if near else "check the name after the colon")  # fmt: skip
    return factory, Path(module.__file__) if module.__file__ else None


def _from_file(file: Path) -> ModuleType:
    if not file.is_file():
        raise _fault("there is no such file", str(file), "a Python file", "nothing", "check the path")
    name = f"vla_agent_environment_{file.stem}"
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    _run(lambda: spec.loader.exec_module(module), str(file))  # type: ignore[union-attr]
    return module


def _installed(name: str) -> ModuleType:
    found: list[ModuleType] = []
    _run(lambda: found.append(importlib.import_module(name)), name)
    return found[0]


def _run(work: Callable[[], Any], place: str) -> None:
    try:
        work()
    except ModuleNotFoundError as error:
        remedy = (
            f"install {error.name} into {sys.executable}; a module that is not installed is named by its file: "
            "FILE.py:FACTORY"
        )
        raise _fault("the environment cannot be imported", place, "its packages", error, remedy) from error
    except Exception as error:
        found = f"{type(error).__name__}: {error}"
        raise _fault("the environment cannot be imported", place, "a module", found, "import it alone") from error


def _fault(what: str, file: str, expected: str, found: object, remedy: str) -> EnvironmentFault:
    return EnvironmentFault(what, file=file, expected=expected, found=found, remedy=remedy)
