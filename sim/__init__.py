"""The simulated tabletop: scenes, tasks, experts and the harness that runs any policy in them.  Imports no torch.

Importing it registers ``vla_agent/Tabletop-v0`` with Gymnasium.  EGL renders, unless MUJOCO_GL names another backend.
"""

import os

import gymnasium

from vla_agent.errors import SimulatorError

os.environ.setdefault("MUJOCO_GL", "egl")
os.environ.setdefault("LP_NUM_THREADS", "0")  # one process per core is faster than llvmpipe's own threads

BACKENDS = ("egl", "osmesa", "glfw")
INSTALL = (
    "apt-get install libegl1 libegl-mesa0 libgl1-mesa-dri and set MUJOCO_GL=egl; "
    "or apt-get install libosmesa6 and set MUJOCO_GL=osmesa"
)
try:
    import mujoco  # noqa: F401
except ModuleNotFoundError:
    raise
except Exception as error:  # MuJoCo refuses the value of MUJOCO_GL, or the backend's bindings find no library
    raise SimulatorError(
        "MuJoCo cannot be loaded",
        key=f"MUJOCO_GL={os.environ.get('MUJOCO_GL')}",
        expected=f"an OpenGL backend of {', '.join(BACKENDS)}",
        found=error if isinstance(error, RuntimeError) else f"{type(error).__name__}: {error}",
        remedy=INSTALL,
    ) from error

ENVIRONMENT = "vla_agent/Tabletop-v0"

if ENVIRONMENT not in gymnasium.registry:
    gymnasium.register(id=ENVIRONMENT, entry_point="sim.env:TabletopEnv")
