"""The simulated tabletop: scenes, tasks, experts and the harness that runs any policy in them.  Imports no torch."""

from sim.registration import register

register()
