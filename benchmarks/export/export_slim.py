"""What the runner of an exported policy needs: disk of its installation, and time to its first chunk."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

from benchmarks.export.exports import exported

NAME = "export-slim"
TITLE = (
    "installed size of numpy and onnxruntime over that of the whole package (passed: also at most 1 s of processor "
    "time from the start of Python to the first chunk, which is what a machine without other load takes)"
)
TARGET = 0.2
UNIT = "ratio"
BETTER = "lower"
STARTS, SECONDS = 9, 1.0
FIRST_CHUNK = """
import json, sys
sys.path.insert(0, sys.argv[1])
import numpy
from run import Policy
from parts.blank_observation import blank_observation
policy = Policy(sys.argv[1])
policy.reset("put the red mug in the tray")
chunk = policy.act(blank_observation(policy.contract))
print(json.dumps({"shape": chunk.shape, "loaded": sorted({m.partition(".")[0] for m in sys.modules})}))
"""


def run() -> dict[str, Any]:
    import numpy as np

    with tempfile.TemporaryDirectory() as place:
        python = _install(Path(place) / "venv")
        folder = exported()
        slim = sum(_size(name, python) for name in ("numpy", "onnxruntime", "flatbuffers", "protobuf", "packaging"))
        seconds, worked, loaded = [], [], set()
        for _ in range(STARTS + 1):
            begun, before = time.perf_counter(), _processor_time()
            done = subprocess.run(
                [python, "-I", "-c", FIRST_CHUNK, str(folder)], capture_output=True, text=True, check=True
            )
            seconds.append(time.perf_counter() - begun)
            worked.append(_processor_time() - before)
            loaded = set(json.loads(done.stdout)["loaded"])
    whole = {name: _size(name, sys.executable) for name in needed("vla_agent")}
    del seconds[0], worked[0]  # these compile Python's modules
    graphs = sum(f.stat().st_size for f in folder.glob("*.onnx"))
    median, waiting = float(np.median(worked)), os.getloadavg()[0] / (os.cpu_count() or 1)
    return {
        "value": slim / sum(whole.values()),
        "n": STARTS,
        "interval": None,
        "seeds": "none",
        "rows": [
            {"installation": "runner", "mib": slim / 2**20, "packages": 5},
            {"installation": "whole package", "mib": sum(whole.values()) / 2**20, "packages": len(whole)},
            {"installation": "graphs of the export", "mib": graphs / 2**20, "packages": 0},
        ],
        "passed": slim / sum(whole.values()) <= TARGET and median <= SECONDS,
        "notes": f"from the start of Python to the first chunk {median:.2f} s of processor time (median of {STARTS}; "
        f"{min(worked):.2f} to {max(worked):.2f} s), {float(np.median(seconds)):.1f} s on the clock, with "
        f"{waiting:.0f} programs to a processor; torch imported: {'torch' in loaded}; of the whole package "
        f"{max(whole, key=lambda n: whole[n])} takes {max(whole.values()) / 2**20:.0f} MiB",
    }


def _processor_time() -> float:
    """Seconds that processes which have ended worked, for themselves and in the kernel."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _install(folder: Path) -> str:
    """A virtual environment with numpy and onnxruntime alone; its Python."""
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    python = str(folder / "bin" / "python")
    pins = [f"{name}=={distribution(name).version}" for name in ("numpy", "onnxruntime")]
    subprocess.run([python, "-m", "pip", "install", "-q", *pins], check=True)
    return python


def _size(name: str, python: str) -> int:
    """Bytes of the files of an installed distribution."""
    code = (
        "import sys, importlib.metadata as m\n"
        "d = m.distribution(sys.argv[1])\n"
        "print(sum(p.stat().st_size for f in d.files or () if (p := f.locate()).is_file() and p.suffix != '.pyc'))"
    )
    found = subprocess.run([python, "-c", code, name], capture_output=True, text=True)
    return int(found.stdout) if found.returncode == 0 else 0


def needed(name: str) -> set[str]:
    """The distributions that a plain installation of the package brings, those of its own needs included."""
    found: set[str] = set()
    waiting = [name]
    while waiting:
        one = waiting.pop()
        try:
            wanted = [Requirement(text) for text in distribution(one).requires or ()]
        except PackageNotFoundError:
            continue
        for requirement in wanted:
            applies = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
            if applies and requirement.name.lower() not in found:
                found.add(requirement.name.lower())
                waiting.append(requirement.name)
    return found
