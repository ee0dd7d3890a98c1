"""Meta-World MT50 (Yu et al., 2019; `metaworld` 3.1): 50 tasks of a Sawyer arm, as LeRobot evaluates them.

Input: ``reset("drawer-open-v3", seed)``.  Output: camera corner2, placed as in LeRobot's protocol; state = hand xyz and
gripper; action = hand translation and gripper effort in [-1, 1]; 80 Hz, 500 periods.

Traps that are handled here:

- ``env.reset(seed=...)`` ignores the seed: the goal follows ``env.seed()`` with ``seeded_rand_vec``;
- some lists give push and push-back one sentence: here each task has its own;
- the renderer's image is upside down *and* mirrored (both axes are flipped);
- the observation's goal is clipped to 0 until a cached space is dropped: scripted experts then reach for 0;
- the mark of the goal in the first image is where the last episode's kinematics left it, by micrometres;
- 28 of the 50 tasks are "easy": `groups` lets a report state the mean over tasks and the mean over groups.
"""

from __future__ import annotations

import hashlib
import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
from metaworld.env_dict import ALL_V3_ENVIRONMENTS
from metaworld.policies import ENV_POLICY_MAP

from vla_agent.contract import Camera, Contract, Field

CAMERA, PLACE = "corner2", (0.75, 0.075, 0.7)  # m; its position in the model is another
RENDERED, LIMIT = 480, 500  # pixels a side, control periods
TASKS: dict[str, dict[str, str]] = json.loads(Path(__file__).with_name("metaworld_tasks.json").read_text())
SENTENCES = {task: text for tasks in TASKS.values() for task, text in tasks.items()}


class MetaWorld:
    """`vla_agent.environments.protocol.Environment` of MT50.  ``size``: of the image, a divisor of what is rendered."""

    def __init__(self, size: str = "480", rendered: int = RENDERED) -> None:
        self._size, self._rendered = int(size), rendered
        if rendered % self._size:
            raise ValueError(f"size: expected a divisor of {rendered}, such as 120 or 60, found {size}")
        self.contract = Contract(
            cameras=(Camera(CAMERA, self._size, self._size),),
            state=(Field("ee_position", 3, "m", "world"), Field("gripper", 1, "1 open", low=0.0, high=1.0)),
            action=(
                Field("hand_translation", 3, "cm per period", "world", -1.0, 1.0),
                Field("gripper_effort", 1, "-1 opens, 1 closes", low=-1.0, high=1.0),
            ),
            control_hz=80.0,
            chunk_length=16,
        )
        self._env: Any = None
        self._task = ""

    def tasks(self) -> list[str]:
        return list(SENTENCES)

    def groups(self) -> dict[str, list[str]]:
        """The four groups of difficulty (Seo et al., Masked World Models, 2022)."""
        return {group: list(sentences) for group, sentences in TASKS.items()}

    def limit(self, task: str) -> int:
        return LIMIT

    def reset(self, task: str, seed: int) -> str:
        sentence = SENTENCES[task]
        if task != self._task:
            self.close()
            self._env = ALL_V3_ENVIRONMENTS[task](
                render_mode="rgb_array", camera_name=CAMERA, width=self._rendered, height=self._rendered
            )
            self._env.model.cam_pos[self._env.model.camera(CAMERA).id] = PLACE
            self._env._set_task_called = True  # MT50 draws its goals itself, from the seed
            self._env._freeze_rand_vec, self._env.seeded_rand_vec = False, True
            self._env._partially_observable = False  # experts read the goal; the policy sees its mark
            self._env.__dict__.pop("sawyer_observation_space", None)  # cached, with the goal clipped to 0
            self._task = task
        self._env.seed(seed)
        self._env.action_space.seed(seed)
        self._seen, _ = self._env.reset()
        mujoco.mj_kinematics(self._env.model, self._env.data)  # reset moves the goal's mark after it
        self._expert = ENV_POLICY_MAP[task]()
        return sentence

    def observe(self, images: bool = True) -> dict[str, Any]:
        found: dict[str, Any] = {"state": np.asarray(self._seen[:4], np.float32)}
        return found | {"images": {CAMERA: self.render()}} if images else found

    def step(self, action: np.ndarray) -> bool:
        if self._env.curr_path_length >= self._env.max_path_length:
            return False  # it refuses further steps
        self._seen, _, _, _, info = self._env.step(np.clip(action, -1.0, 1.0).astype(np.float32))
        return bool(info["success"])

    def render(self) -> np.ndarray:
        fold = self._rendered // self._size
        image = self._env.render()[::-1, ::-1].reshape(self._size, fold, self._size, fold, 3)
        return image.mean((1, 3)).round().astype(np.uint8)

    def expert(self) -> np.ndarray:
        return np.clip(self._expert.get_action(self._seen), -1.0, 1.0).astype(np.float32)

    def foreign_instructions(self) -> list[str]:
        return [text for task, text in SENTENCES.items() if task != self._task]

    def state_hash(self) -> str:
        parts = (self._env.data.qpos, self._env.data.qvel, self._env.data.mocap_pos)
        return hashlib.sha256(b"".join(part.tobytes() for part in parts)).hexdigest()

    def versions(self) -> dict[str, str]:
        return {name: version(name) for name in ("metaworld", "mujoco", "gymnasium", "numpy")}

    def close(self) -> None:
        if self._env is not None:
            self._env.close()
        self._env, self._task = None, ""
