"""The simulated tabletop: scenes, tasks, experts and the harness that runs any policy in them.  Imports no torch.

Importing it makes ``vla_agent/Tabletop-v0`` known to Gymnasium.
"""

import gymnasium

ENVIRONMENT = "vla_agent/Tabletop-v0"

if ENVIRONMENT not in gymnasium.registry:
    gymnasium.register(id=ENVIRONMENT, entry_point="sim.env:TabletopEnv")
