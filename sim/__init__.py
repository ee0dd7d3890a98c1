"""The simulated tabletop: scenes, tasks, experts and the harness that runs any policy in them.  Imports no torch.

Importing it makes ``vla_agent/Tabletop-v0`` known to Gymnasium and, where nothing is set, chooses EGL for pictures.
"""

import os

import gymnasium

os.environ.setdefault("MUJOCO_GL", "egl")
os.environ.setdefault("LP_NUM_THREADS", "0")  # one process per core is faster than llvmpipe's own threads

ENVIRONMENT = "vla_agent/Tabletop-v0"

if ENVIRONMENT not in gymnasium.registry:
    gymnasium.register(id=ENVIRONMENT, entry_point="sim.env:TabletopEnv")
