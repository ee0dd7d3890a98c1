"""The frozen suite as a benchmark of `vla-eval` (vla-evaluation-harness): one of its tasks is one episode of the suite.

`vla-eval run --config config/vla_eval/tabletop-1.yaml` asks any of its model servers.  Its success of a task is the
outcome of the episode: in a probe, whether the policy did as it should, which may be nothing at all.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from vla_eval.benchmarks.base import StepBenchmark, StepResult
from vla_eval.specs import GRIPPER_01, IMAGE_RGB, LANGUAGE, DimSpec

from sim.tasks.events import EventTracker
from sim.tasks.task import load_suite
from vla_agent.contract.tabletop import tabletop_contract
from vla_agent.errors import OptionError
from vla_agent.gate.evidence.gate_player import environment_of, outcome_of
from vla_agent.leaderboard.frozen_suite import read_suite
from vla_agent.leaderboard.play_frozen import FrozenJob, lay_player, require_frozen

METRES, RADIANS = 0.025, 0.15  # largest motion in a control period


class TabletopBenchmark(StepBenchmark):  # type: ignore[misc]  # the package has no types here
    """A suite's episodes behind vla-eval's interface.

    Observations: ``images`` (front, wrist: (H, W, 3) uint8), ``state`` (17,) float32, ``task_description``.  Actions:
    (7,) in the contract's units: metres, rotation vector in radians, gripper 0 open to 1 closed.

    Args:
        suite: name of a frozen suite.
        part: success, robustness or grounding; empty: all of it.

    Raises:
        OptionError: no such part.
        TaskError: no such suite, or its file was changed.
    """

    render_backends: ClassVar[frozenset[str]] = frozenset({"gpu", "cpu"})

    def __init__(self, suite: str = "tabletop-1", part: str = "") -> None:
        super().__init__()
        self.suite = read_suite(suite)
        if part and part not in self.suite.parts:
            raise OptionError(
                "the suite has no such part",
                key="part",
                expected=", ".join(self.suite.parts),
                found=part,
                remedy="leave it out for the whole suite",
            )
        self._cells = self.suite.parts[part] if part else tuple(c for cells in self.suite.parts.values() for c in cells)
        self._player = lay_player(self.suite)
        self._contract = tabletop_contract()

    @classmethod
    def configure_render(cls, mode: str) -> dict[str, str]:
        """Nothing: MuJoCo renders by EGL, on a GPU or in software, whichever is there."""
        return {}

    def get_tasks(self) -> list[dict[str, Any]]:
        """One task an episode, named CELL/FAMILY/SEED; its ``suite`` is the part that it counts for."""
        part_of = {cell: part for part, cells in self.suite.parts.items() for cell in cells}
        return [
            {"name": episode.key, "suite": part_of[episode.cell], "number": number}
            for number, episode in enumerate(self.suite.episodes)
            if episode.cell in self._cells
        ]

    def reset(self, task: dict[str, Any]) -> None:
        """Lay the episode out.

        Raises:
            TaskError: this simulator lays out another than the frozen one.
        """
        e = self.suite.episodes[task["number"]]
        self._job = FrozenJob(e.cell, e.task, e.seed, 0, e.instruction, e.fingerprint)
        self._env = environment_of(self._player, self._job)
        self._instance = require_frozen(self._env, self._job)
        self._tracker, self._steps, self._succeeded = EventTracker(self._env.world, self._instance), 0, False

    def step(self, action: dict[str, Any]) -> StepResult:
        """One control period of 50 ms.

        Raises:
            ContractError: the action is not 7 finite numbers.
        """
        (row,) = self._contract.check_chunk(np.asarray(action["actions"], np.float32)[None])
        self._env.world.step(row)
        self._tracker.update()
        self._steps += 1
        self._succeeded = bool(self._instance.success(self._env.world))
        done = self._succeeded or self._steps >= self._instance.steps_limit
        return StepResult(obs=None, reward=float(self._succeeded), done=done, info={})

    def make_obs(self, raw_obs: Any, task: dict[str, Any]) -> dict[str, Any]:
        """What the model server gets."""
        world = self._env.world
        return {"images": world.render(), "state": world.state(), "task_description": self._job.told}

    def get_step_result(self, step_result: StepResult) -> dict[str, Any]:
        """``success``: the outcome; ``goal_reached``: whether the task's goal was, which a probe may forbid."""
        outcome = outcome_of(self._job.control, self._succeeded, self._tracker.events())
        return {"success": outcome, "goal_reached": self._succeeded}

    def get_metric_keys(self) -> dict[str, str]:
        return {"success": "mean", "goal_reached": "mean"}

    def get_metadata(self) -> dict[str, Any]:
        """The longest episode, and which suite it is."""
        longest = max(load_suite("tabletop")[task].time_limit for task in self.suite.tasks)
        return {"max_steps": int(longest), "suite": self.suite.name, "suite_sha256": self.suite.sha256}

    def get_action_spec(self) -> dict[str, DimSpec]:
        position = DimSpec("position", 3, "delta_xyz_metres", (-METRES, METRES))
        rotation = DimSpec("rotation", 3, "axis_angle", (-RADIANS, RADIANS))
        return {"position": position, "rotation": rotation, "gripper": GRIPPER_01}

    def get_observation_spec(self) -> dict[str, DimSpec]:
        state = DimSpec("state", 17, "eef_pos3_rot6d6_gripper1_joints7")
        return {"front": IMAGE_RGB, "wrist": IMAGE_RGB, "state": state, "language": LANGUAGE}

    def get_hold_action(self, last_action: dict[str, Any] | None) -> dict[str, Any]:
        """Rest, with the gripper as it was last commanded."""
        gripper = 0.0 if last_action is None else float(np.asarray(last_action["actions"]).ravel()[-1])
        return {"actions": np.array([0.0] * 6 + [gripper], np.float32)}

    def cleanup(self) -> None:
        self._player.close()
