"""Every example of `examples/`, run from a fresh virtual environment into which the checkout was installed by pip.

The tracked files are copied and installed without their dependencies.  The heavy wheels (torch, MuJoCo, rclpy, ...) are
those of the environment that measures: its folder of packages is added behind the fresh one, and the package has to
come from the fresh one.  Each example runs in a folder of its own with one thread, `minimal.py` in full.  LeRobot is
that of ``.venv-lerobot`` (`make lerobot-check`); an example that only says what is missing does not count.
"""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import tempfile
import time
import venv
from pathlib import Path
from typing import Any

from benchmarks.record import ROOT
from vla_agent.errors import ReportError

NAME = "house-examples"
TITLE = "examples that run to their end in a fresh environment made by pip install of the checkout"
TARGET = 10
UNIT = "of 10"
BETTER = "higher"
PATIENCE = 3600.0  # seconds for one example


def run() -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        checkout, environment = Path(folder) / "checkout", Path(folder) / "venv"
        copy_tracked(checkout)
        python = fresh_environment(checkout, environment)
        examples = [*sorted((checkout / "examples").glob("[0-9]*.py")), checkout / "examples" / "minimal.py"]
        rows = [run_example(python, example, Path(folder) / f"run-{example.stem}") for example in examples]
    minimal = rows[-1].pop("last lines")
    for row in rows[:-1]:
        row.pop("last lines")
    return {
        "value": sum(row["complete"] for row in rows),
        "n": len(rows),
        "interval": None,
        "seeds": [0],
        "rows": rows,
        "notes": f"minimal.py: {minimal}.  One thread; the heavy wheels are those of the measuring environment.  Not "
        "complete with exit code 0: LeRobot or rclpy is missing, and the example said how to install it.",
    }


def copy_tracked(target: Path) -> None:
    """Copy the tracked files of the checkout, as they are on disk."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout
    for name in filter(None, listed.decode().split("\0")):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            (target / name).write_bytes((ROOT / name).read_bytes())


def fresh_environment(checkout: Path, folder: Path) -> Path:
    """A virtual environment with the checkout installed; the path of its Python.

    Raises:
        ReportError: the package is not that of the fresh environment.
        CalledProcessError: pip failed.
    """
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    packages = Path(_output(python, "import sysconfig; print(sysconfig.get_path('purelib'))"))
    heavy = sysconfig.get_path("purelib")
    (packages / "heavy_wheels.pth").write_text(f"import site; site.addsitedir({heavy!r})\n")
    words = [str(python), "-m", "pip", "install", "-q", "--no-deps", str(checkout)]
    subprocess.run(words, check=True, cwd=folder, stdout=subprocess.DEVNULL)
    found = Path(_output(python, "import vla_agent; print(vla_agent.__file__)"))
    if not found.is_relative_to(folder):
        raise ReportError(
            "the fresh environment uses another package",
            file=found,
            expected=f"vla_agent below {folder}",
            found=found,
            remedy="measure from an environment whose packages can be added behind those of another",
        )
    return python


def run_example(python: Path, example: Path, folder: Path) -> dict[str, Any]:
    """Run one example in a new folder; its row, with the last three lines that it printed."""
    folder.mkdir()
    env = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")}
    env |= {"HOME": str(folder), "TMPDIR": str(folder), "OMP_NUM_THREADS": "1"}
    env.setdefault("VLA_AGENT_LEROBOT_PYTHON", str(ROOT / ".venv-lerobot" / "bin" / "python"))
    start = time.perf_counter()
    done = subprocess.run(
        [str(python), str(example)], cwd=folder, env=env, capture_output=True, text=True, timeout=PATIENCE
    )
    seconds = time.perf_counter() - start
    if done.returncode:
        print(f"{example.name}: {done.stderr[-2000:]}", file=sys.stderr)
    lines = done.stdout.strip().splitlines()
    missing = any("is not installed" in line or "is missing" in line for line in lines)
    return {
        "example": example.name,
        "lines": len(example.read_text(encoding="utf-8").splitlines()),
        "seconds": round(seconds, 1),
        "exit code": done.returncode,
        "complete": done.returncode == 0 and not missing,
        "last lines": "; ".join(lines[-3:]),
    }


def _output(python: Path, code: str) -> str:
    done = subprocess.run([str(python), "-c", code], cwd=python.parent, check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout.strip()
