"""The Gymnasium environment ``vla_agent/Tabletop-v0``: one task family, a new scene at each reset."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from sim.tasks.task import TaskFamily, TaskInstance, select
from sim.world.panda import ACTION_LIMITS
from sim.world.world import World
from vla_agent.contract.tabletop import CAMERAS, CONTROL_HZ, tabletop_contract
from vla_agent.errors import ContractError, TaskError

STATE_LIMITS = np.array([2.0] * 3 + [1.001] * 6 + [1.0] + [4.0] * 7, np.float32)


def _family(task: str | TaskFamily) -> TaskFamily:
    if isinstance(task, TaskFamily):
        return task
    chosen = select([str(task)])
    return next(iter(chosen.values()))


class TabletopEnv(gymnasium.Env[dict[str, Any], np.ndarray]):
    """Observation: ``images`` (camera -> (H, W, 3) uint8) and ``state`` (17,).  Action: see the contract.

    Reward 1 at success, which terminates; the family's time limit truncates.  An episode depends on its seed alone.

    Args:
        task: name of a family of the suite, path of a task file, or a family.
        image_size: (height, width) of both cameras, pixels.
        control: ``ee_delta`` or ``joint_position``.
        split: ``seen``, ``wordings`` or ``objects``.
        render_mode: ``rgb_array`` gives both images side by side.

    Raises:
        TaskError: no such family or split, or a broken task file.
        OptionError: no such control mode, or an image size out of range.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": int(CONTROL_HZ)}

    def __init__(
        self,
        task: str | TaskFamily = "put_in_tray",
        image_size: tuple[int, int] = (96, 96),
        control: str = "ee_delta",
        split: str = "seen",
        render_mode: str | None = None,
    ) -> None:
        self.set_task(_family(task), split)
        self.world = World(image_size, control)
        self.render_mode = render_mode
        self.contract = tabletop_contract(self.world.image_size, control)
        image = spaces.Box(0, 255, (*self.world.image_size, 3), np.uint8)
        low = -STATE_LIMITS
        low[9] = 0.0
        self.observation_space = spaces.Dict(
            {
                "images": spaces.Dict(dict.fromkeys(CAMERAS, image)),
                "state": spaces.Box(low, STATE_LIMITS, dtype=np.float32),
            }
        )
        self.action_space = spaces.Box(*ACTION_LIMITS[control], dtype=np.float32)
        self._task: TaskInstance | None = None
        self._steps = 0

    @property
    def task(self) -> TaskInstance:
        """The running episode's task."""
        assert self._task is not None, "reset first"
        return self._task

    def set_task(self, family: TaskFamily, split: str = "seen") -> None:
        """Choose the family and split of the next episodes; the world stays.

        Raises:
            TaskError: no such split, or the family has no wordings for it.
        """
        family.wordings_of(split)
        self.family, self.split = family, split

    def begin(self, seed: int, vary: Callable[[World], None] | None = None) -> TaskInstance:
        """Lay out the episode of a seed and return its task, without rendering; ``vary`` as in `World.reset`."""
        self._task = self.family.episode(seed, self.split)
        self._steps = 0
        self.world.reset(self._task.scene, vary)
        return self._task

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Begin the episode of ``seed``; without one, of the next seed of the environment's own generator.

        ``options["task"]`` (a family's name, file or object) and ``options["split"]`` hold for all later episodes too.

        Raises:
            TaskError: unknown option, family or split.
        """
        super().reset(seed=seed)
        options = options or {}
        unknown = sorted(set(options) - {"task", "split"})
        if unknown:
            raise TaskError(
                "unknown reset option", key=unknown[0], expected="task, split", found=unknown, remedy="use one of these"
            )
        if options:
            self.set_task(_family(options.get("task", self.family)), options.get("split", self.split))
        self.begin(int(self.np_random.integers(2**31)) if seed is None else seed)
        return self._observe(), self._info(False)

    def step(self, action: np.ndarray) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        """One control period (50 ms).  ``action``: (A,) finite numbers in the contract's layout; the world clips them.

        Raises:
            ContractError: another shape or type, NaN or infinity; then nothing has changed.
        """
        task = self.task
        self.world.step(self._checked(action))
        self._steps += 1
        success = bool(task.success(self.world))
        truncated = not success and self._steps >= task.steps_limit
        return self._observe(), float(success), success, truncated, self._info(success)

    def render(self) -> np.ndarray | None:  # type: ignore[override]  # an image, not Gymnasium's type variable
        """(H, 2 W, 3) uint8: both images side by side."""
        if self.render_mode != "rgb_array":
            return None
        return np.concatenate(list(self.world.render().values()), axis=1)

    def close(self) -> None:
        """Free the renderer.  Optional: it is freed when the process ends, too."""
        self.world.close()

    def _checked(self, action: Any) -> np.ndarray:
        try:
            array = np.asarray(action)
        except ValueError:  # lists of different lengths
            array = np.array(None)
        numbers = array.dtype.kind in "fiu" and array.shape == self.action_space.shape
        if numbers and np.isfinite(array).all():
            return array
        layout = ", ".join(f"{field.name}[{field.size}] {field.unit}" for field in self.contract.action)
        raise ContractError(
            "the action cannot be executed",
            key="action",
            expected=f"{self.action_space.shape} finite numbers: {layout}",
            found=array.tolist() if numbers else f"shape {array.shape} of {array.dtype}: {str(action)[:100]}",
            remedy="pass one action, such as a row of the policy's chunk",
        )

    def _observe(self) -> dict[str, Any]:
        return {"images": self.world.render(), "state": self.world.state()}

    def _info(self, success: bool) -> dict[str, Any]:
        task = self.task
        return {
            "instruction": task.instruction,
            "task": task.family,
            "success": success,
            "bindings": dict(task.bindings),
        }
