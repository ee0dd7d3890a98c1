"""Runs pytest in a fork of this process, which has the libraries loaded, on a copy of the checkout."""

from __future__ import annotations

import contextlib
import importlib
import os
import resource
import shutil
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.mutants.covering_tests import LineRecorder, Selection

COPIED = ("benchmarks", "config", "docs", "examples", "gates", "launch", "policies", "sim", "tests", "vla_agent")
OURS = ("vla_agent", "sim", "benchmarks", "tests", "conftest")  # modules that each fork imports anew
LINES, LIBRARIES, LOG, KILLER = "lines.json", "libraries.txt", "tests.log", "killer.txt"  # what a fork leaves behind
MEMORY = 16 * 2**30  # bytes of address space that a fork may take
NOT_LOADED = (
    "OpenGL",
    "glfw",
    "mujoco.egl",
    "mujoco.glfw",
    "mujoco.osmesa",
    "ray",
    "rclpy",
)  # have threads or a display


def copy_checkout(source: Path, target: Path) -> Path:
    """Copy what the tests need."""
    ignore = shutil.ignore_patterns("__pycache__", "*.partial", "results", "img")
    for name in COPIED:
        shutil.copytree(source / name, target / name, ignore=ignore, symlinks=True)
    for file in source.iterdir():
        if file.is_file():
            shutil.copy2(file, target / file.name)
    (target / "benchmarks" / "results").mkdir()
    return target


def share_compiled(roots: Sequence[Path]) -> None:
    """Each copy of the checkout gets the compiled modules of the others; their sources have the same times."""
    for root in roots:
        for file in root.rglob("*.pyc"):
            for other in roots:
                target = other / file.relative_to(root)
                if not target.exists():
                    target.parent.mkdir(exist_ok=True)
                    shutil.copy2(file, target)


def fork_tests(
    root: Path,
    tests: Sequence[str],
    cpu: float | None = None,
    plugin: LineRecorder | Selection | None = None,
) -> int:
    """Fork; the child runs the tests in ``root``, in a process group of its own, and ends with 0 where all pass.

    With a recorder it leaves behind compiled modules, the lines that were executed, and the names of the libraries.

    Args:
        cpu: seconds of CPU after which the system ends any of its processes, whoever watches; None: no limit.
    """
    (root / KILLER).unlink(missing_ok=True)
    recorder = plugin if isinstance(plugin, LineRecorder) else None
    pid = os.fork()
    if pid:
        return pid
    try:
        os.setsid()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        _redirect(root / LOG)
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if cpu is not None:
            resource.setrlimit(resource.RLIMIT_CPU, (int(cpu) + 1, int(cpu) + 1))
        _forget_ours(root)
        sys.dont_write_bytecode = recorder is None
        os.environ |= {"PYTHONPATH": str(root), "PYTHONDONTWRITEBYTECODE": "1" if recorder is None else ""}
        os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
        import pytest

        options = ["-x", "-q", "-o", "addopts=--strict-markers", "-p", "no:cacheprovider"]
        options += [f"--basetemp={root / 'tmp'}", f"--rootdir={root}"]
        code = int(pytest.main([*options, *tests], [] if plugin is None else [plugin]))
        sys.stdout.flush()
        if recorder is not None:
            recorder.write(root / LINES)
            (root / LIBRARIES).write_text("\n".join(list(sys.modules)), encoding="utf-8")
        os._exit(code)
    except BaseException:
        os._exit(70)


def load_libraries(root: Path) -> None:
    """Import what a fork with a recorder used: all but the project's modules and those that no fork would survive."""
    for name in (root / LIBRARIES).read_text(encoding="utf-8").split():
        if name.partition(".")[0] not in OURS and not name.startswith((*NOT_LOADED, "test_")):
            with contextlib.suppress(Exception):
                importlib.import_module(name)


def selection(root: Path, tests: Sequence[str]) -> Selection:
    """These tests alone; `killer` says afterwards which one failed."""
    return Selection(tests, root / KILLER)


def killer(root: Path) -> str:
    """The test that failed; empty where the process died, or the tests could not be imported."""
    file = root / KILLER
    return file.read_text(encoding="utf-8") if file.exists() else ""


def last_lines(root: Path) -> str:
    """The end of the log."""
    return "\n".join((root / LOG).read_text(encoding="utf-8", errors="replace").splitlines()[-15:])


def _redirect(log: Path) -> None:
    """Output goes to ``log``, input comes from nowhere."""
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for number, target in ((nothing, 0), (out, 1), (out, 2)):
        os.dup2(number, target)
    sys.stdin = os.fdopen(0, closefd=False)
    sys.stdout = os.fdopen(1, "w", buffering=1, closefd=False)
    sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False)


def _forget_ours(root: Path) -> None:
    """The project's modules are imported anew, from ``root``."""
    for name in [n for n in sys.modules if n.partition(".")[0] in OURS]:
        del sys.modules[name]
    sys.meta_path = [f for f in sys.meta_path if "vla_agent" not in getattr(f, "__module__", "")]
    checkout = str(Path(__file__).parents[2])
    sys.path = [str(root), *(p for p in sys.path if p not in ("", ".", checkout))]
    os.chdir(root)
    importlib.invalidate_caches()
