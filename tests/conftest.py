"""Settings for all tests: headless software OpenGL, one thread a process; set before MuJoCo is imported."""

import os

os.environ.setdefault("MUJOCO_GL", "egl")
os.environ.setdefault("LP_NUM_THREADS", "0")
os.environ.setdefault("OMP_NUM_THREADS", "1")
# OpenVINO 2026.4 divides by zero in its AMX kernels where layers are as small as those of the tests' random models.
os.environ.setdefault("ONEDNN_MAX_CPU_ISA", "AVX512_CORE_BF16")
