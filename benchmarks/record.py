"""Results on disk: what is written beside a measured value, so that a reader can judge it and repeat it."""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import os
import platform
import subprocess
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from types import ModuleType
from typing import Any

from vla_agent import __version__
from vla_agent.errors import OptionError, VlaAgentError
from vla_agent.files.write_aside import write_text

RESULTS = Path(__file__).parent / "results"
ROOT = Path(__file__).parent.parent
NEEDED = ("value", "n", "interval", "seeds")
OPTIONAL = ("rows", "notes", "passed")
DECLARED = ("NAME", "TITLE", "TARGET", "UNIT", "BETTER", "run")
PACKAGES = ("mujoco", "numpy", "torch", "transformers", "diffusers", "gymnasium", "av", "pyarrow")
VECTORS = (
    "avx2",
    "avx512f",
    "avx512_bf16",
    "avx512_vnni",
    "avx_vnni",
    "amx_bf16",
    "asimd",
    "sve",
)  # of cpuinfo's flags


def modules() -> dict[str, str]:
    """Name -> module of every benchmark: a file that declares ``NAME``; ``a-b`` lies in ``a_b.py``."""
    folder = Path(__file__).parent
    files = [f for f in sorted(folder.glob("*/*.py")) if "\nNAME = " in f.read_text(encoding="utf-8")]
    return {f.stem.replace("_", "-"): f"benchmarks.{f.parent.name}.{f.stem}" for f in files}


def names() -> list[str]:
    """Names of all benchmarks."""
    return sorted(modules())


def load(name: str) -> ModuleType:
    """The module of benchmark ``name``.

    Raises:
        OptionError: there is no such benchmark, or its module lacks a declaration.
    """
    if name not in names():
        raise OptionError(
            f"there is no benchmark '{name}'",
            key="NAME",
            expected=", ".join(names()),
            found=name,
            remedy="choose one of these; `python -m benchmarks list` describes them",
        )
    module = importlib.import_module(modules()[name])
    missing = [part for part in DECLARED if not hasattr(module, part)]
    if missing or name != module.NAME or module.BETTER not in ("higher", "lower"):
        raise OptionError(
            f"the benchmark '{name}' is not declared in full",
            file=module.__file__,
            key=", ".join(missing) or "NAME, BETTER",
            expected=f"{', '.join(DECLARED)}; NAME = '{name}'; BETTER 'higher' or 'lower'",
            found=f"NAME = {getattr(module, 'NAME', None)!r}, BETTER = {getattr(module, 'BETTER', None)!r}",
            remedy="see benchmarks/__init__.py",
        )
    return module


def measure(name: str) -> dict[str, Any]:
    """Run benchmark ``name``, write its result aside, rename it into place, and return it."""
    module = load(name)
    measured = module.run()
    wrong = [key for key in NEEDED if key not in measured] + [key for key in measured if key not in NEEDED + OPTIONAL]
    if wrong:
        raise OptionError(
            f"the benchmark '{name}' returned other keys",
            file=module.__file__,
            key=", ".join(wrong),
            expected=", ".join(NEEDED + OPTIONAL),
            found=", ".join(measured),
            remedy="see benchmarks/__init__.py",
        )
    result = {
        "name": name,
        "title": module.TITLE,
        "value": measured["value"],
        "unit": module.UNIT,
        "target": module.TARGET,
        "better": module.BETTER,
        "passed": bool(measured.get("passed", reaches(measured["value"], module.TARGET, module.BETTER))),
        "n": measured["n"],
        "interval": measured["interval"],
        "seeds": measured["seeds"],
        "command": f"python -m benchmarks run {name}",
        "hardware": hardware(),
        "versions": versions(),
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }
    result |= {key: measured[key] for key in ("rows", "notes") if key in measured}
    write(result)
    return result


def reaches(value: float | None, target: float, better: str) -> bool:
    """Does ``value`` reach ``target``?  A value that could not be measured (None) does not."""
    if value is None:
        return False
    return value >= target if better == "higher" else value <= target


def write(result: Mapping[str, Any]) -> Path:
    """Write a result to ``benchmarks/results/NAME.json``, whole or not at all."""
    path = RESULTS / f"{result['name']}.json"
    write_text(path, json.dumps(result, indent=2, allow_nan=False) + "\n")
    return path


def read(name: str) -> dict[str, Any] | None:
    """The last result of ``name``, or None where it was never measured.

    Raises:
        VlaAgentError: the file is damaged.
    """
    path = RESULTS / f"{name}.json"
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise VlaAgentError(
            "a benchmark result cannot be read",
            file=path,
            expected="JSON as `python -m benchmarks run` writes it",
            found=str(error),
            remedy=f"measure again: python -m benchmarks run {name}",
        ) from error


def hardware() -> dict[str, Any]:
    """What the number was measured on: processor and its vector instructions, cores, memory, GPU."""
    fields: dict[str, str] = {}
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():  # one block a core; they are alike
        lines = (line.partition(":") for line in reversed(cpuinfo.read_text().splitlines()))
        fields = {key.strip(): value.strip() for key, _, value in lines}
    flags = fields.get("flags", fields.get("Features", "")).split()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "processor": fields.get("model name") or platform.processor() or platform.machine(),
        "vectors": " ".join(flag for flag in VECTORS if flag in flags),
        "cores": os.cpu_count(),
        "memory_gib": round(memory, 1),
        "gpu": _gpu(),
    }


def versions() -> dict[str, str]:
    """Versions of what the number depends on, and the commit it was measured at."""
    found = {"python": platform.python_version(), "vla_agent": __version__, "commit": _commit()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _gpu() -> str | None:
    try:
        query = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
        return subprocess.run(query, capture_output=True, text=True, timeout=20, check=True).stdout.strip() or None
    except (OSError, subprocess.SubprocessError):
        return None


def _commit() -> str:
    """The git commit, with ``+changes`` where tracked files differ from it."""
    try:
        commit = _git("rev-parse", "--short=12", "HEAD")
        return commit + ("+changes" if _git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return "unknown"


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=20, check=True)
    return done.stdout.strip()
