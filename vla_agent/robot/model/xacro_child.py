"""The process that expands a xacro file: it reads what the model may name, and computes numbers and text.

A xacro file holds Python expressions, which xacro itself does not confine: ``python.vars`` and frames lead to any code.
Here an expression may not name what leads out of it, files are read below known folders within bounds, and the process
has little memory, little time, and no way to write files.  It reads a request (JSON) from stdin, and writes the URDF,
or what is wrong, as JSON to stdout.
"""

from __future__ import annotations

import ast
import io
import json
import resource
import sys
from pathlib import Path
from typing import Any

from vla_agent.errors import RobotError, VlaAgentError
from vla_agent.files.bounded_reading import read_text
from vla_agent.files.input_limits import MIB
from vla_agent.robot.model.packages import no_package, package_folders

MEMORY = 1024 * MIB  # the Python process itself takes 100 MiB; UR's whole description 60 MiB more
SECONDS = 60  # of computing; UR's whole description takes half a second
FILE_BYTES = 4 * MIB
FILES = 500  # included or loaded, each as often as it is named
REFUSED_NODES = (ast.Lambda, ast.GeneratorExp, ast.NamedExpr, ast.Await, ast.Yield)
# Attributes that lead from a value to code, frames or any object; names with an underscore in front are refused, too.
REFUSED_NAMES = {"mro", "format", "format_map"}
FRAMES = ("gi_", "cr_", "ag_", "tb_", "f_", "co_", "func_")  # beginnings of such attributes
HIDDEN = ("vars", "type", "hash", "isinstance", "issubclass", "repr")  # of xacro's namespace ``python``


def check_expression(text: str) -> None:
    """Raise ValueError where an expression uses what a robot's description does not need."""
    for node in ast.walk(ast.parse(text.strip(), mode="eval")):
        if isinstance(node, REFUSED_NODES):
            raise ValueError(f"{type(node).__name__} is not allowed in an expression")
        name = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
        if name in REFUSED_NAMES or name.startswith(("_", *FRAMES)):
            raise ValueError(f"the name {name} is not allowed in an expression")


class _Reader:
    """Stands for ``open`` in xacro: text of files below the folders that the model may name."""

    def __init__(self, root: Path, installed: bool) -> None:
        self.folders, self._count = {root: installed}, 0  # folder -> may its files be links to elsewhere?

    def __call__(self, name: str, *_: Any, **__: Any) -> io.StringIO:
        """The text of a file as an open one.

        Raises:
            RobotError: it lies elsewhere, is no regular file, too large, or has a document type.
        """
        path, self._count = Path(name), self._count + 1
        if self._count > FILES:
            raise _refused(name, f"at most {FILES} files", "more")
        if not any(_lies_below(path, folder, links) for folder, links in self.folders.items()):
            raise _refused(name, f"files below {', '.join(map(str, self.folders))}", "a file elsewhere")
        text = read_text(path, RobotError, FILE_BYTES)
        if "<!DOCTYPE" in text or "<!ENTITY" in text:
            raise _refused(name, "XML without document type and entities", "a declaration")
        return io.StringIO(text)


def _lies_below(path: Path, folder: Path, links: bool) -> bool:
    if links and ".." not in path.parts and path.is_relative_to(folder):
        return True
    return path.resolve().is_relative_to(folder.resolve())


def _refused(name: str, expected: str, found: str) -> RobotError:
    remedy = "put the file below the model's folder, or into a package"
    what = "the robot's xacro file names what it may not read"
    return RobotError(what, file=name, expected=expected, found=found, remedy=remedy)


def expand(request: dict[str, Any]) -> tuple[str, list[Path]]:
    """(URDF, folders of installed packages that were named) of a xacro file; see `main` for the request.

    Raises:
        Exception: any; xacro has no type of its own for what is wrong in a file.
    """
    import xacro
    from xacro import substitution_args

    file, packages = Path(request["file"]), request["packages"]
    reader = _Reader(Path(request["root"]), request["installed"])

    def find(name: str) -> str:
        folder = next(package_folders(name, packages), None)
        if folder is None:
            raise no_package(name, file, packages)
        reader.folders.setdefault(folder, str(folder) not in packages.values())
        return str(folder)

    safe_eval, evaluate = xacro.safe_eval, substitution_args._eval

    def checked(text: str, *rest: Any) -> Any:
        check_expression(text)
        return safe_eval(text, *rest)

    def checked_substitution(text: str, context: Any) -> str:
        check_expression(text)
        return evaluate(text, context)

    for name in HIDDEN:
        dict.pop(xacro._global_symbols["python"], name, None)
    xacro.open, xacro.safe_eval, xacro.error = reader, checked, lambda *_, **__: None
    substitution_args._eval, substitution_args._eval_find = checked_substitution, find
    substitution_args._eval_dict["find"] = find
    try:
        document = xacro.process_file(str(file), mappings=dict(request["arguments"]))
    except xacro.XacroException as error:
        raise _cause(error) from error
    return document.documentElement.toxml(), [folder for folder, links in reader.folders.items() if links]


def _cause(error: BaseException) -> BaseException:
    """The first of our own errors that xacro has wrapped, or the error itself."""
    inner: BaseException | None = error
    while inner is not None and not isinstance(inner, VlaAgentError):
        inner = getattr(inner, "exc", None)
    return inner or error


def main() -> None:
    """Answer one request with ``{"urdf", "folders"}``, ``{"missing"}`` or ``{"error"}``.

    The request: ``file``; ``root``, the folder that it and what it includes lie in, beside packages; ``installed``: may
    files below it be links; ``arguments`` of ``xacro:arg``; ``packages``: name -> folder, of the robot file.
    """
    request = json.load(sys.stdin)
    for limit, value in (
        (resource.RLIMIT_AS, MEMORY),
        (resource.RLIMIT_CPU, SECONDS),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(limit, (value, value))
    out, sys.stdout = sys.stdout, sys.stderr  # messages of the file are no answer
    try:
        urdf, folders = expand(request)
        answer: dict[str, Any] = {"urdf": urdf, "folders": list(map(str, folders))}
    except VlaAgentError as error:
        answer = {"error": f"{error.what}: {error.file}: {error.found}; {error.remedy}"}
    except ImportError as error:
        answer = {"missing": str(error)}
    except MemoryError:
        answer = {"error": f"it needs more than {MEMORY // MIB} MiB of memory"}
    except RecursionError:
        answer = {"error": "macros or properties that call themselves"}
    except Exception as error:
        answer = {"error": " ".join(str(error).split()) or type(error).__name__}
    json.dump(answer, out)
    out.flush()


if __name__ == "__main__":
    main()
