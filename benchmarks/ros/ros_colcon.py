"""The package with colcon and pip: its type, installed files, whether launch finds its nodes, its tests."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vla_agent.ros.process.graph_table import GRAPHS
from vla_agent.ros.process.start import EXECUTABLES

NAME = "ros-colcon"
TITLE = "checks of colcon list, build and test, and of Node(package=, executable=) after colcon and after pip"
TARGET = 1.0
UNIT = "share"
BETTER = "higher"
ROOT = Path(__file__).parents[2]
COLCON = ROOT / ".venv-colcon" / "bin" / "colcon"  # of `make colcon-check`
TESTS = (
    "tests/package/test_packaging.py",
    "tests/ros/test_nodes.py",
    "tests/robot/test_robot.py",
    "tests/robot/test_safety.py",
)
FIND = "from ament_index_python.packages import get_package_prefix as prefix; print(prefix('vla_agent'))"


def run() -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        rows = pip_checks(Path(folder) / "pip") + colcon_checks(Path(folder) / "workspace")
    passed = sum(not row["wrong"] for row in rows)
    return {
        "value": passed / len(rows),
        "n": len(rows),
        "interval": None,
        "seeds": "none",
        "rows": rows,
        "notes": f"executables are looked up in the ament index, as launch_ros does, and each is started; colcon test "
        f"runs {', '.join(TESTS)}",
    }


def colcon_command() -> str | None:
    """Where colcon is, None where it is not."""
    return str(COLCON) if COLCON.exists() else shutil.which("colcon")


def colcon_checks(
    workspace: Path, tests: Sequence[str] = TESTS, executables: Sequence[str] = EXECUTABLES
) -> list[dict[str, str]]:
    """`colcon list`, `build` and `test` in a workspace with a copy of the package."""
    colcon = colcon_command()
    if colcon is None:
        raise RuntimeError("colcon is not installed: make colcon-check")
    copy_package(workspace / "src" / "vla_agent")
    listed = _run([colcon, "list"], workspace)
    rows = [_row("colcon list", "" if "(ros.ament_python)" in listed.stdout else _output(listed))]
    built = _run([colcon, "build"], workspace)
    rows.append(_row("colcon build", "" if built.returncode == 0 else _output(built)))
    rows += installed_checks("colcon", workspace / "install" / "vla_agent", executables)
    tested = _run([colcon, "test", "--return-code-on-test-failure", "--pytest-args", *tests], workspace)
    result = _run([colcon, "test-result", "--all"], workspace)
    ran = "Summary: 0 tests" not in result.stdout and "Summary:" in result.stdout
    rows.append(_row("colcon test", "" if tested.returncode == 0 and ran else _output(tested) + result.stdout[-500:]))
    return rows


def pip_checks(prefix: Path, executables: Sequence[str] = EXECUTABLES) -> list[dict[str, str]]:
    """`pip install` into a prefix of its own, without its dependencies, which this interpreter has."""
    source = prefix.with_name("source")
    copy_package(source)
    words = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--no-deps", "--ignore-installed"]
    done = _run([*words, "--no-build-isolation", "--quiet", "--prefix", str(prefix), str(source)], source)
    return [
        _row("pip install", "" if done.returncode == 0 else _output(done)),
        *installed_checks("pip", prefix, executables),
    ]


def installed_checks(kind: str, prefix: Path, executables: Sequence[str]) -> list[dict[str, str]]:
    """What has to stand below ``prefix``, and whether the nodes are found and start."""
    share = prefix / "share" / "vla_agent"
    wanted = [share / "package.xml", prefix / "share/ament_index/resource_index/packages/vla_agent"]
    wanted += [share / "launch" / f"{graph}.launch.py" for graph in GRAPHS]
    wanted += [share / path.relative_to(ROOT) for path in sorted((ROOT / "config").rglob("*.*"))]
    missing = [str(path.relative_to(prefix)) for path in wanted if not path.is_file()]
    rows = [_row(f"{kind}: package.xml, index, launch, config", ", ".join(missing))]
    packages = next(prefix.glob("lib/python*/site-packages"), prefix)
    env = {"AMENT_PREFIX_PATH": str(prefix), "PYTHONPATH": str(packages)}
    found = _run([sys.executable, "-c", FIND], prefix, **env).stdout.strip()
    rows.append(_row(f"{kind}: the ament index finds it", "" if found == str(prefix) else found or "nothing"))
    wrong = [name for name in executables if not _starts(prefix / "lib" / "vla_agent" / name, env)]
    rows.append(_row(f"{kind}: executables start", ", ".join(wrong)))
    return rows


def _starts(executable: Path, env: dict[str, str]) -> bool:
    """Whether the executable starts its node: it refuses an unknown robot with our own error message."""
    if not os.access(executable, os.X_OK):
        return False
    if executable.name == "instruction_node":  # it has no robot
        done = _run([str(executable), "--help"], executable.parent, **env)
        return done.returncode == 0 and done.stdout.startswith("usage: instruction_node")
    done = _run([str(executable), "--ros-args", "-p", "robot:=no_such_robot"], executable.parent, **env)
    return done.returncode == 2 and "no_such_robot" in done.stderr


def copy_package(folder: Path) -> None:
    """The files that git knows, so that no build writes into this tree."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    for name in listed.decode().split("\0"):
        if name and (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)


def _run(words: list[str], folder: Path, **more: str) -> subprocess.CompletedProcess[str]:
    env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | more
    return subprocess.run(words, cwd=folder, env=env, capture_output=True, text=True, timeout=1200)


def _row(check: str, wrong: str) -> dict[str, str]:
    return {"check": check, "wrong": wrong}


def _output(done: subprocess.CompletedProcess[str]) -> str:
    return f"exit code {done.returncode}: {(done.stdout + done.stderr)[-500:]}"
