"""The simulated tabletop: scenes, tasks, experts and the harness that runs any policy in them.  Imports no torch.

Importing it registers ``vla_agent/Tabletop-v0`` with Gymnasium.  EGL renders, unless MUJOCO_GL names another backend.
"""

import os

import gymnasium

from vla_agent.errors import SimulatorError

os.environ.setdefault("MUJOCO_GL", "egl")
os.environ.setdefault("LP_NUM_THREADS", "0")  # one process per core is faster than llvmpipe's own threads

BACKENDS = ("egl", "osmesa", "glfw")
try:
    import mujoco  # noqa: F401
except RuntimeError as error:  # MuJoCo refuses the value of MUJOCO_GL
    raise SimulatorError(
        "MuJoCo cannot be loaded",
        key=f"MUJOCO_GL={os.environ.get('MUJOCO_GL')}",
        expected=f"an OpenGL backend of {', '.join(BACKENDS)}",
        found=error,
        remedy="export MUJOCO_GL=egl",
    ) from error

ENVIRONMENT = "vla_agent/Tabletop-v0"

if ENVIRONMENT not in gymnasium.registry:
    gymnasium.register(id=ENVIRONMENT, entry_point="sim.env:TabletopEnv")
