"""A plain `gymnasium.Env` that knows nothing of this project; `squares.yaml` makes it an environment.  Files to copy.

Three coloured squares; the point has to reach the one that the instruction names.  It needs no simulator.
"""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np

COLOURS = {"red": (220, 30, 30), "green": (30, 180, 30), "blue": (30, 30, 220)}
SIZE, SPEED, REACHED = 48, 2.0, 2.5  # pixels; pixels a period; pixels


class Squares(gymnasium.Env[dict[str, Any], np.ndarray]):
    """Observation: ``top`` (48, 48, 3) uint8 and ``position`` (2,) pixels.  Action: (2,) pixels a period."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}
    render_mode = "rgb_array"

    def __init__(self) -> None:
        self.action_space = gymnasium.spaces.Box(-SPEED, SPEED, (2,), np.float32)
        picture = gymnasium.spaces.Box(0, 255, (SIZE, SIZE, 3), np.uint8)
        place = gymnasium.spaces.Box(0, SIZE, (2,), np.float32)
        self.observation_space = gymnasium.spaces.Dict({"top": picture, "position": place})

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[dict[str, Any], dict]:
        super().reset(seed=seed)
        cells = self.np_random.permutation(9)[:3]
        self.places = {c: np.array([8 + 16 * (k % 3), 8 + 16 * (k // 3)]) for c, k in zip(COLOURS, cells, strict=True)}
        self.named = str(self.np_random.choice(list(COLOURS)))
        self.position = self.np_random.uniform(2, SIZE - 3, 2)
        return self._observation(), {"instruction": f"go to the {self.named} square"}

    def step(self, action: np.ndarray) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        self.position = np.clip(self.position + np.clip(action, -SPEED, SPEED), 1, SIZE - 2)
        done = bool(np.linalg.norm(self.position - self.places[self.named]) < REACHED)
        return self._observation(), float(done), done, False, {}

    def render(self) -> np.ndarray:  # type: ignore[override]  # an image, not Gymnasium's type variable
        image = np.full((SIZE, SIZE, 3), 200, np.uint8)
        for colour, (x, y) in self.places.items():
            image[y - 4 : y + 5, x - 4 : x + 5] = COLOURS[colour]
        x, y = self.position.astype(int)
        image[y - 1 : y + 2, x - 1 : x + 2] = 0
        return image

    def _observation(self) -> dict[str, Any]:
        return {"top": self.render(), "position": self.position.astype(np.float32)}
