"""Settings for all tests: headless software OpenGL, one thread a process; set before MuJoCo is imported."""

import os

os.environ.setdefault("MUJOCO_GL", "egl")
os.environ.setdefault("LP_NUM_THREADS", "0")
os.environ.setdefault("OMP_NUM_THREADS", "1")
