"""Perturbations of dynamics: friction, mass, servo gain, latency of the commands."""

from __future__ import annotations

from collections import deque

import numpy as np

from sim.perturbations.variation import Effect
from sim.tasks.task import TaskInstance
from sim.world.world import World

FRICTION = (0.8, 0.6, 0.45)  # least factor; the largest is its inverse
MASS = (1.5, 2.5, 4.0)  # largest factor; the least is its inverse
GAIN = (0.8, 0.6, 0.4)  # least factor of the arm's position servos
DELAY = (1, 2, 3)  # control periods


def physics(task: TaskInstance, severity: int, rng: np.random.Generator) -> Effect:
    """Friction of all objects, or their mass and inertia."""
    kind, draw = str(rng.choice(["friction", "mass"])), float(rng.uniform(-1, 1))
    factor = (1 / FRICTION[severity - 1] if kind == "friction" else MASS[severity - 1]) ** draw

    def vary(world: World) -> None:
        model = world.model
        for slot in range(len(task.scene.objects)):
            body = model.body(f"slot{slot}")
            if kind == "friction":
                geoms = slice(body.geomadr[0], body.geomadr[0] + body.geomnum[0])
                world.alter("geom_friction", geoms, model.geom_friction[geoms] * factor)
                continue
            for name in ("body_mass", "body_subtreemass", "body_inertia"):
                world.alter(name, body.id, getattr(model, name)[body.id] * factor)
            # the solver's estimate of the inverse inertia
            world.alter("body_invweight0", body.id, model.body_invweight0[body.id] / factor)
            dofs = slice(body.dofadr[0], body.dofadr[0] + 6)
            world.alter("dof_invweight0", dofs, model.dof_invweight0[dofs] / factor)

    return Effect(task, vary, detail=f"{kind} x {factor:.2f}")


class _DelayedActions:
    """Delays each action by some control periods; until the first arrives, nothing moves."""

    def __init__(self, periods: int, gripper: float) -> None:
        self._periods, self._gripper = periods, gripper
        self._queue: deque[np.ndarray] = deque()

    def __call__(self, action: np.ndarray) -> np.ndarray:
        self._queue.append(np.array(action))
        if len(self._queue) > self._periods:
            return self._queue.popleft()
        return np.append(np.zeros(len(action) - 1), self._gripper).astype(np.float32)


def actuation(task: TaskInstance, severity: int, rng: np.random.Generator) -> Effect:
    """Weaker servos of the arm, or delayed commands (for control by end-effector deltas)."""
    kind, draw = str(rng.choice(["gain", "delay"])), float(rng.uniform(0, 1))
    factor = GAIN[severity - 1] ** draw
    periods = DELAY[severity - 1]

    def vary(world: World) -> None:
        if kind == "delay":
            world.action_filter = _DelayedActions(periods, task.scene.start.gripper)
            return
        arm = slice(0, 7)
        world.alter("actuator_gainprm", arm, world.model.actuator_gainprm[arm] * factor)
        world.alter("actuator_biasprm", arm, world.model.actuator_biasprm[arm] * factor)

    return Effect(task, vary, detail=f"{periods} periods late" if kind == "delay" else f"servo gain x {factor:.2f}")
