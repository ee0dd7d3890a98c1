"""Duration of ``make demo`` after the installation: from the command to the finished report."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.record import ROOT
from vla_agent.errors import ReportError

NAME = "spine-demo"
TITLE = "make demo after the installation, to the finished report"
TARGET = 300
UNIT = "s"
BETTER = "lower"


def command(out: Path) -> list[str]:
    """What ``make demo`` runs once the package is installed; read from make itself, so that both stay the same."""
    printed = subprocess.run(
        ["make", "--no-print-directory", "-s", "print-demo", f"OUT={out}"],
        cwd=ROOT,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    words = printed.stdout.split()
    return [sys.executable, "-m", "vla_agent", *words[1:]]


def run() -> dict[str, Any]:
    """Run the demo once in an empty folder.

    Raises:
        ReportError: the command failed or left no report.
    """
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "demo"
        words = command(out)
        start = time.perf_counter()
        done = subprocess.run(words, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        seconds = time.perf_counter() - start
        missing = [name for name in ("report.json", "report.html") if not (out / name).exists()]
        if done.returncode != 0 or missing:
            raise ReportError(
                "the demo did not finish",
                file=out,
                expected="exit code 0, report.json and report.html",
                found=f"exit code {done.returncode}, missing: {', '.join(missing) or 'none'}; {done.stderr[-500:]}",
                remedy=f"run it by hand: {' '.join(words)}",
            )
    return {
        "value": round(seconds, 1),
        "n": 1,
        "interval": None,
        "seeds": [0],
        "notes": " ".join(["vla-agent", *words[3:]]).replace(str(out), "OUT"),
    }
