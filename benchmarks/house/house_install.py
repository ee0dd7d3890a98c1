"""A plain ``pip install .`` into a fresh environment, used from another folder, as a user of the package has it."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.record import ROOT

NAME = "house-install"
TITLE = "what works from another folder after a plain pip install into a fresh environment"
TARGET = 1.0
UNIT = "fraction"
BETTER = "higher"


def run() -> dict[str, Any]:
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        installed = Installed(work)
        for what, check in CHECKS.items():
            wrong = check(installed)
            rows.append({"what": what, "works": not wrong, "wrong": wrong[-300:]})
    works = sum(not row["wrong"] for row in rows)
    return {
        "value": works / len(rows),
        "n": len(rows),
        "interval": None,
        "seeds": [0],
        "rows": rows,
        "notes": "a new virtual environment that sees the packages of this one, none of them this project's; "
        "the checkout is built in a copy without its environment and runs.",
    }


class Installed:
    """A fresh environment with the package in it, and an empty folder to work in."""

    def __init__(self, work: Path) -> None:
        self.folder = work / "elsewhere"
        self.folder.mkdir()
        source, environment = work / "source", work / "environment"
        subprocess.run(["git", "clone", "-q", str(ROOT), str(source)], check=True)
        subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
        self.bin = environment / "bin"
        self.prefix = environment
        places = subprocess.check_output(
            [str(self.bin / "python"), "-c", "import sysconfig; print(sysconfig.get_paths()['purelib'])"], text=True
        )
        (Path(places.strip()) / "shared.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
        self.install = subprocess.run(
            [str(self.bin / "python"), "-m", "pip", "install", "-q", "--no-deps", str(source)],
            capture_output=True,
            text=True,
        )

    def call(self, *words: str) -> str:
        """Empty where the command ends with 0, else what it printed.  The source tree is on no path."""
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        command = [str(self.bin / words[0]), *words[1:]]
        done = subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, text=True, timeout=600)
        return "" if done.returncode == 0 else done.stdout + done.stderr or f"exit code {done.returncode}"


def _shipped(installed: Installed) -> str:
    share = installed.prefix / "share" / "vla_agent"
    wanted = ["package.xml", "launch/sim.launch.py", "config/robots/panda.yaml", "gates/tabletop.yaml"]
    wanted += ["policies/tabletop-nano/policy.json", "policies/finetune-lora.yaml"]
    return ", ".join(name for name in wanted if not (share / name).is_file())


def _from_the_environment(installed: Installed) -> str:
    code = "import vla_agent, sys; sys.exit(0 if vla_agent.__file__.startswith(sys.prefix) else vla_agent.__file__)"
    return installed.call("python", "-c", code)


def _ros_finds_it(installed: Installed) -> str:
    code = (
        "import os, sys; os.environ['AMENT_PREFIX_PATH'] = sys.prefix\n"
        "from ament_index_python.packages import get_package_share_directory as share, get_package_prefix as prefix\n"
        "from pathlib import Path\n"
        "assert (Path(share('vla_agent')) / 'launch' / 'sim.launch.py').is_file()\n"
        "assert os.access(Path(prefix('vla_agent')) / 'lib' / 'vla_agent' / 'policy_node', os.X_OK)\n"
    )
    return installed.call("python", "-c", code)


CHECKS: dict[str, Callable[[Installed], str]] = {
    "pip install .": lambda installed: installed.install.stderr if installed.install.returncode else "",
    "the package is the installed one": _from_the_environment,
    "shipped files are in share/vla_agent": _shipped,
    "vla-agent doctor": lambda installed: installed.call("vla-agent", "doctor"),
    "vla-agent eval of the shipped policy": lambda installed: installed.call(
        "vla-agent", "eval", "policies/tabletop-nano", "--tasks", "put_in_tray", "--episodes", "1", "--workers", "1"
    ),
    "vla-agent inspect": lambda installed: installed.call("vla-agent", "inspect", "policies/tabletop-nano"),
    "a robot file by name": lambda installed: installed.call(
        "python", "-c", "from vla_agent.robot.description import load_robot; load_robot('panda'); load_robot('so101')"
    ),
    "a gate file by name": lambda installed: installed.call(
        "python", "-c", "from vla_agent.gate.decision.gate_file import load_gate; load_gate('gates/tabletop.yaml')"
    ),
    "the ament index finds launch files and executables": _ros_finds_it,
}
