"""Drive a Gymnasium environment of one's own: a contract, a policy, and ChunkExecutor between them."""

import gymnasium
import numpy as np

from vla_agent.contract import Camera, Contract, Field
from vla_agent.policy.execution import ChunkExecutor

COLOURS = {"red": (220, 30, 30), "green": (30, 180, 30), "blue": (30, 30, 220)}
VELOCITY = Field("velocity", 2, "pixel per period", low=-2.0, high=2.0)
CONTRACT = Contract((Camera("top", 32, 32),), (Field("position", 2, "pixel"),), (VELOCITY,), 10.0, chunk_length=8)


class Squares(gymnasium.Env):  # three coloured squares; the point has to reach the one that is named
    observation_space = gymnasium.spaces.Dict()  # the contract says it better: names, units, frames, limits
    action_space = gymnasium.spaces.Box(-2.0, 2.0, (2,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        cells = self.np_random.permutation(9)[:3]
        self.places = {c: np.array([4 + 12 * (k % 3), 4 + 12 * (k // 3)]) for c, k in zip(COLOURS, cells, strict=True)}
        self.named, self.position = str(self.np_random.choice(list(COLOURS))), self.np_random.uniform(0, 31, 2)
        return self._observe(), {"instruction": f"go to the {self.named} square"}

    def step(self, action):
        self.position = np.clip(self.position + np.clip(action, -2, 2), 0, 31)
        success = bool(np.linalg.norm(self.position - self.places[self.named]) < 2)
        return self._observe(), float(success), success, False, {}

    def _observe(self):
        image = np.full((32, 32, 3), 200, np.uint8)
        for colour, (x, y) in self.places.items():
            image[y - 2 : y + 3, x - 2 : x + 3] = COLOURS[colour]
        return {"images": {"top": image}, "state": self.position.astype(np.float32)}


def policy(observation, instruction):
    """Image, state and instruction -> chunk (8, 2): straight to the pixels of the named colour."""
    colour = next(COLOURS[word] for word in instruction.split() if word in COLOURS)
    rows, columns = np.nonzero((observation["images"]["top"] == colour).all(-1))
    way = np.linspace(observation["state"], [columns.mean(), rows.mean()], 9)  # the positions during the chunk
    return np.diff(way, axis=0).astype(np.float32)


env, successes, delay = Squares(), 0, 2  # a chunk comes two control periods after its observation
for seed in range(20):
    observation, info = env.reset(seed=seed)
    executor, coming = ChunkExecutor("open_loop", CONTRACT.chunk_length, execute=4), {}
    for step in range(40):
        if executor.due(step):
            CONTRACT.check_observation(observation)  # a wrong shape, type or NaN is named before the policy sees it
            executor.request(step, delay)
            coming[step + delay] = CONTRACT.check_chunk(policy(observation, info["instruction"])), step
        if step in coming:  # rows of the chunk whose time is over are skipped, never executed late
            executor.add(*coming.pop(step))
        action = executor.action(step)  # None: nothing is left, so hold
        observation, _, success, *_ = env.step(np.zeros(2) if action is None else action)
    successes += success
print(f"{successes} of 20 squares reached, with an inference latency of {delay} control periods")
