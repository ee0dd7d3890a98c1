"""Settings for all tests: headless software OpenGL, one thread a process; set before MuJoCo is imported."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

os.environ.setdefault("MUJOCO_GL", "egl")
os.environ.setdefault("LP_NUM_THREADS", "0")
os.environ.setdefault("OMP_NUM_THREADS", "1")
# OpenVINO 2026.4 divides by zero in its AMX kernels where layers are as small as those of the tests' random models.
os.environ.setdefault("ONEDNN_MAX_CPU_ISA", "AVX512_CORE_BF16")
# It sends an event to its maker at each conversion, in a forked process: half of the time of the tests with OpenVINO.
sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # OpenVINO does without

from hypothesis import HealthCheck, settings  # noqa: E402

# Random examples are the same in every run, and a busy machine is no failure.
settings.register_profile(
    "repeatable", derandomize=True, database=None, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("repeatable")

# Files with tests of 10 s and more: they begin first, so that no worker is left with one at the end.
LONG = ("test_ros_graphs.py", "test_ros_graph.py", "test_processes.py", "test_examples.py", "test_enforcement.py")


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: item.path.name not in LONG)


ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def interfaces() -> Path:
    """A folder for PYTHONPATH (and already in `sys.path`) with control_msgs, franka_msgs, moveit_msgs and tf2_msgs.

    They are built once, below the virtual environment, from tests/interfaces/packages; skipped where no compiler is.
    """
    return built_interfaces(sorted((ROOT / "tests" / "interfaces" / "packages").glob("*/package.xml")))


@pytest.fixture(scope="session")
def own_interfaces() -> Path:
    """The same with vla_agent_interfaces."""
    return built_interfaces([ROOT / "vla_agent_interfaces" / "package.xml"])


def built_interfaces(manifests: list[Path]) -> Path:
    script, cache = ROOT / "scripts" / "build_interfaces.py", Path(sys.prefix) / ".interfaces"
    command = [sys.executable, str(script), "--cache", str(cache), *(str(manifest.parent) for manifest in manifests)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode == 3:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stderr
    folder = done.stdout.splitlines()[-1]
    if folder not in sys.path:
        sys.path.append(folder)
    return Path(folder)
