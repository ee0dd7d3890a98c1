"""Versions and hashes: they tell whether two reports can be compared."""

from __future__ import annotations

import ast
import hashlib
import os
import platform
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from vla_agent.files.hashing import hash_file
from vla_agent.files.policy_files import hash_policy_files

PACKAGES = ("mujoco", "gymnasium", "numpy", "scipy")
LEARNED = ("torch", "transformers", "diffusers")
SIMULATOR = Path(__file__).resolve().parents[2] / "sim"


def versions(learned: bool) -> dict[str, Any]:
    """Packages, Python, platform, processor, renderer.  ``learned`` adds the packages that a learned policy runs on."""
    import vla_agent

    found = {"vla_agent": vla_agent.__version__}
    for name in PACKAGES + (LEARNED if learned else ()):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "absent"
    return found | {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu": f"{cpu_name()} ({os.cpu_count()} cores)",
        "renderer": renderer_name(),
    }


def renderer_name() -> str:
    """The renderer's own name, such as ``egl: llvmpipe (LLVM 15.0.6, 256 bits)``."""
    from sim.world import cameras

    backend = os.environ["MUJOCO_GL"]
    try:
        context = cameras.mujoco.GLContext(16, 16)
        context.make_current()
        from OpenGL import GL

        name = GL.glGetString(GL.GL_RENDERER).decode()
        context.free()
    except Exception:  # the world raises the proper error when it renders
        return f"{backend}: does not start"
    return f"{backend}: {name}"


def cpu_name() -> str:
    """The processor's name as the system gives it."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def hash_files(files: Iterable[Path], root: Path) -> str:
    """One SHA-256 over names and contents."""
    digest = hashlib.sha256()
    for file in sorted(set(files)):
        digest.update(f"{file.relative_to(root).as_posix()}:{hash_file(file)}\n".encode())
    return digest.hexdigest()


def hash_policy(folder: Path | None) -> dict[str, str]:
    """SHA-256 of every file of a policy folder that its loader reads; {} where there is no folder.

    Raises:
        CheckpointError: the folder holds other files than a policy's.
    """
    return hash_policy_files(folder).hashes if folder else {}


@cache
def hash_simulator() -> str:
    """One SHA-256 over the assets and the code that an episode runs through (not the task files, not other tools)."""
    assets = [f for f in (SIMULATOR / "assets").rglob("*") if f.is_file() and "__pycache__" not in f.parts]
    return hash_files([*assets, *_code(SIMULATOR / "rollout.py", SIMULATOR / "env.py")], SIMULATOR.parent)


def _code(*entries: Path) -> set[Path]:
    """The modules and all modules of this project that they import, directly or not."""
    found: set[Path] = set()
    waiting = list(entries)
    while waiting:
        file = waiting.pop()
        if file in found or not file.is_file():
            continue
        found.add(file)
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] in ("sim", "vla_agent"):
                for name in (node.module, *(f"{node.module}.{alias.name}" for alias in node.names)):
                    place = SIMULATOR.parent.joinpath(*name.split("."))
                    waiting += [place.with_suffix(".py"), place / "__init__.py"]
    return found


def compare(mine: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[str]:
    """Which versions differ, one line each."""
    return [f"{k}: {mine.get(k)} here, {theirs[k]} in the report" for k in theirs if mine.get(k) != theirs[k]]
