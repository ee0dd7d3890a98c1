"""The whole of ``.ci/run`` from a clean clone: fresh virtual environment, install, lint, types, layers, all tests."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.record import ROOT

NAME = "house-ci"
TITLE = ".ci/run from a clean clone with a fresh virtual environment, nothing else running"
TARGET = 10
UNIT = "min"
BETTER = "lower"


def run() -> dict[str, Any]:
    """Run it once.

    Raises:
        RuntimeError: it failed.
    """
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder) / "clone"
        subprocess.run(["git", "clone", "-q", str(ROOT), str(clone)], check=True)
        environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")}
        start = time.perf_counter()
        done = subprocess.run(
            ["bash", ".ci/run"],
            cwd=clone,
            env={**environment, "CI": "true"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        minutes = (time.perf_counter() - start) / 60
    if done.returncode:
        raise RuntimeError(done.stdout[-4000:] + done.stderr[-2000:])
    slowest = [line.split() for line in done.stdout.splitlines() if "s call " in line or "s setup " in line]
    rows = [{"slowest tests": words[2], "seconds": words[0]} for words in slowest]
    return {"value": round(minutes, 2), "n": 1, "interval": None, "seeds": [], "rows": rows}
