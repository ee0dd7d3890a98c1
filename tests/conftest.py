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

# Files whose tests wait for processes or take 10 s, the costliest first.  They begin, all in one worker: at the end no
# other waits for one of them, no two graphs of nodes disturb each other's clocks, and one server of forks is enough.
LONG = (
    "test_guards_mutants.py",  # it forks its worker, which is still small
    "test_ros_graphs.py",
    "test_ros_graph.py",
    "test_enforcement_nodes.py",
    "test_processes.py",
    "test_examples.py",
    "test_rounds.py",
    "test_documents.py",
    "test_speed.py",
    "test_instruction_node.py",
    "test_robot_commands.py",
    "test_cameras.py",
    "test_graph_two_robots.py",
    "test_ray.py",
)


def pytest_collection_modifyitems(items):
    place = {name: number for number, name in enumerate(LONG)}
    items.sort(key=lambda item: place.get(item.path.name, len(LONG)))


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
