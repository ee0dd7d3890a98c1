"""Settings for all tests: headless software OpenGL, one thread a process; set before MuJoCo is imported."""

import os

os.environ.setdefault("MUJOCO_GL", "egl")
os.environ.setdefault("LP_NUM_THREADS", "0")
os.environ.setdefault("OMP_NUM_THREADS", "1")
# OpenVINO 2026.4 divides by zero in its AMX kernels where layers are as small as those of the tests' random models.
os.environ.setdefault("ONEDNN_MAX_CPU_ISA", "AVX512_CORE_BF16")

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
