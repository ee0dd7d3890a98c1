"""A small sound environment, and the same with one fault each: what the checker of environments must find."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import numpy as np

from vla_agent.contract import Camera, Contract, Field

COLOURS = {"red": (220, 30, 30), "green": (30, 180, 30), "blue": (30, 30, 220)}
SIZE, SPEED, REACHED = 48, 2.0, 2.5
CONTRACT = Contract(
    cameras=(Camera("top", SIZE, SIZE),),
    state=(Field("position", 2, "pixel", low=0.0, high=float(SIZE)),),
    action=(Field("velocity", 2, "pixel per period", low=-SPEED, high=SPEED),),
    control_hz=10.0,
    chunk_length=8,
)
FAULTS: dict[str, str] = {  # fault -> the check that must name it
    "the contract's rate is 0": "contract.values",
    "the seed is ignored": "reset.repeatable",
    "every seed gives one scene": "reset.varies",
    "the scene is drawn from numpy's global generator": "reset.generator",
    "the dynamics have noise without a seed": "step.repeatable",
    "the last velocity is kept over a reset": "reset.leak",
    "a camera is missing": "observation.contract",
    "images are floats from 0 to 1": "observation.contract",
    "images have their channels first": "observation.contract",
    "the state has a number too few": "observation.contract",
    "the state is in millimetres": "observation.contract",
    "the channels are in the order BGR": "image.channels",
    "images are upside down": "image.direction",
    "images are one step old": "image.age",
    "images are of the middle of the step": "image.age",
    "images of 0 to 1 are cast to bytes": "image.dark",
    "observations share one buffer": "observation.alias",
    "looking steps the simulation": "observe.changes",
    "success is a number": "step.success",
    "a step returns Gymnasium's five values": "step.success",
    "success is left over from the last episode": "step.early",
    "the instruction is empty": "instruction.empty",
    "two tasks have one instruction": "instruction.same",
    "there is no limit": "limit",
    "another task's name is taken": "tasks.unknown",
    "actions saturate at half of their limits": "action.range",
    "actions do nothing": "action.dead",
    "the caller's action is clipped in place": "action.changed",
    "the expert leaves the limits": "expert.limits",
    "the expert fails": "expert.success",
    "annotated points are in pixels": "annotations",
    "a perturbation stays": "perturb.undone",
    "a second close raises": "close",
}


class Sound:
    """Three coloured squares; the point has to reach the one that the task names.

    Args:
        fault: one of `FAULTS`; empty: none.
    """

    def __init__(self, fault: str = "") -> None:
        self.contract, self._fault, self._closed, self._entropy = CONTRACT, fault, False, np.random.default_rng()
        if fault == "the contract's rate is 0":
            self.contract = replace(CONTRACT, control_hz=0.0)
        self._velocity, self._done, self._wind = np.zeros(2), False, 0.0
        self._buffer = np.zeros((SIZE, SIZE, 3), np.uint8)

    def tasks(self) -> list[str]:
        return [f"go_{colour}" for colour in COLOURS]

    def groups(self) -> dict[str, list[str]]:
        return {"warm": ["go_red"], "cold": ["go_green", "go_blue"]}

    def limit(self, task: str) -> int:
        return 0 if self._fault == "there is no limit" else 60

    def reset(self, task: str, seed: int) -> str:
        self._colour = task.removeprefix("go_")
        if self._colour not in COLOURS:
            if self._fault != "another task's name is taken":
                raise KeyError(task)
            self._colour = "red"
        generator: Any = np.random.default_rng(seed)
        if self._fault == "the seed is ignored":
            generator = self._entropy
        elif self._fault == "every seed gives one scene":
            generator = np.random.default_rng(0)
        elif self._fault == "the scene is drawn from numpy's global generator":
            generator = np.random
        cells = generator.permutation(9)[:3]
        self._places = {c: np.array([8 + 16 * (k % 3), 8 + 16 * (k // 3)]) for c, k in zip(COLOURS, cells, strict=True)}
        self._position = self._middle = self._before = generator.uniform(2, SIZE - 3, 2)
        if self._fault != "the last velocity is kept over a reset":
            self._velocity = np.zeros(2)
        if self._fault != "success is left over from the last episode":
            self._done = False
        if self._fault == "the instruction is empty":
            return ""
        return "go there" if self._fault == "two tasks have one instruction" else f"go to the {self._colour} square"

    def observe(self, images: bool = True) -> dict[str, Any]:
        if self._fault == "looking steps the simulation":
            self._position = np.clip(self._position + 0.3, 1, SIZE - 2)
        state = self._position.astype(np.float32)
        if self._fault == "the state is in millimetres":
            state = state * 1000
        if self._fault == "the state has a number too few":
            state = state[:1]
        return {"state": state} | ({"images": self._images()} if images else {})

    def step(self, action: np.ndarray) -> Any:
        if self._fault == "the caller's action is clipped in place":
            action *= 0.5
        reach = SPEED / 2 if self._fault == "actions saturate at half of their limits" else SPEED
        asked = np.zeros(2) if self._fault == "actions do nothing" else np.clip(action, -reach, reach)
        if self._fault == "the dynamics have noise without a seed":
            asked = asked + 0.01 * random.SystemRandom().random()
        self._velocity = 0.2 * self._velocity + 0.8 * asked + self._wind
        self._before = self._position
        self._middle = np.clip(self._position + 0.5 * self._velocity, 1, SIZE - 2)
        self._position = np.clip(self._position + self._velocity, 1, SIZE - 2)
        done = bool(np.linalg.norm(self._position - self._places[self._colour]) < REACHED)
        self._done = self._done or done or self._fault == "success is left over from the last episode"
        if self._fault == "a step returns Gymnasium's five values":
            return self.observe(), float(done), done, False, {}
        return float(done) if self._fault == "success is a number" else self._done

    def expert(self) -> np.ndarray:
        way = self._places[self._colour] - self._position
        if self._fault == "the expert fails":
            way = np.array([SIZE / 2, SIZE / 2]) * 0 - way
        if self._fault != "the expert leaves the limits":
            way = np.clip(way, -SPEED, SPEED)
        return way.astype(np.float32)

    def annotations(self) -> dict[str, Any]:
        pixels = np.append(self._places[self._colour] + 0.5, SIZE)  # one is a metre
        point = pixels if self._fault == "annotated points are in pixels" else pixels / SIZE
        return {"points": {"top": np.stack([point, point])}, "located": np.tile(np.append(pixels[:2], 0), (2, 1))}

    def other_instructions(self) -> list[str]:
        return [f"go to the {colour} square" for colour in COLOURS if colour != self._colour]

    def versions(self) -> dict[str, str]:
        return {"squares": "1.0"}

    def axes(self) -> list[str]:
        return ["wind"]

    def perturb(self, axis: str, severity: int) -> None:
        if severity or self._fault != "a perturbation stays":
            self._wind = 0.2 * severity

    def render(self) -> np.ndarray:
        return self._drawn(self._position)

    def close(self) -> None:
        if self._closed and self._fault == "a second close raises":
            raise RuntimeError("it is closed")
        self._closed = True

    def _images(self) -> dict[str, np.ndarray]:
        seen = {"images are one step old": self._before, "images are of the middle of the step": self._middle}
        image: np.ndarray = self._drawn(seen.get(self._fault, self._position))
        if self._fault == "images are floats from 0 to 1":
            image = image / 255.0
        elif self._fault == "images of 0 to 1 are cast to bytes":
            image = (image / 255.0).astype(np.uint8)
        elif self._fault == "images have their channels first":
            image = image.transpose(2, 0, 1)
        elif self._fault == "the channels are in the order BGR":
            image = image[..., ::-1].copy()
        elif self._fault == "images are upside down":
            image = image[::-1].copy()
        elif self._fault == "observations share one buffer":
            self._buffer[:] = image
            image = self._buffer
        return {} if self._fault == "a camera is missing" else {"top": image}

    def _drawn(self, position: np.ndarray) -> np.ndarray:
        image = np.full((SIZE, SIZE, 3), 200, np.uint8)
        for colour, (x, y) in self._places.items():
            image[y - 4 : y + 5, x - 4 : x + 5] = COLOURS[colour]
        rows, columns = np.mgrid[:SIZE, :SIZE]
        near = np.clip(2.5 - np.hypot(columns - position[0], rows - position[1]), 0, 1)[..., None]
        return np.asarray(image * (1 - near), np.uint8)
