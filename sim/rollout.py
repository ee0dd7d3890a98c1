"""One episode: a policy, an environment, a seed; what came of it."""

from __future__ import annotations

import hashlib
import inspect
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sim.chunk_execution import delayed, open_loop
from sim.policies import Policy
from sim.tasks.events import Events, Watcher
from vla_agent.errors import OptionError
from vla_agent.policy.execution import ChunkExecutor


@dataclass(frozen=True)
class EpisodeResult:
    """What happened, and all that is needed to make it happen again, bit for bit."""

    task: str
    seed: int
    instruction: str  # what the policy was told
    task_instruction: str  # what was asked, and what success is counted against
    success: bool
    steps: int
    events: Events
    actions: np.ndarray  # (steps, A) float32, as carried out
    looks: tuple[int, ...]  # control steps before which the policy was shown pictures
    state_hash: str  # of positions and velocities after the last step
    image_hash: str  # of every picture shown to the policy, and of one pair after the last step
    seconds: float
    frames: list[dict[str, np.ndarray]] = field(default_factory=list)  # where filmed: camera -> (H, W, 3) uint8


def run_episode(
    env: Any,
    policy: Policy,
    seed: int,
    instruction: str | Callable[[Any], str] | None = None,
    film_every: int = 0,
    film: Callable[[], dict[str, np.ndarray]] | None = None,
    recorder: Callable[[Any, np.ndarray], None] | None = None,
    executor: ChunkExecutor | None = None,
    delay: int = 0,
) -> EpisodeResult:
    """Run one episode until success or the task's time limit.

    Pictures are rendered only when the policy is about to look, so scripted policies cost physics alone.

    Args:
        env: the Gymnasium environment (`sim.env.TabletopEnv`, or wrapped).
        policy: anything that offers ``reset`` and ``act``; see `sim.policies` for the optional hooks.
        seed: decides the scene, the instruction and (where it takes a seed) the policy's randomness.
        instruction: told to the policy in place of the task's own; or a function of the task instance that gives it.
        film_every: keep pictures of every k-th control step and of the last; 0 keeps none.
        film: how to take them, in place of the world's own cameras.
        recorder: called as ``recorder(world, action)`` before every control step.
        executor: turns chunks into actions; without one, ``policy.execute`` rows of a chunk are carried out, open loop.
        delay: control steps that the simulation advances while the policy thinks; needs an executor.

    Raises:
        ContractError: the policy returned something that is not a chunk.
        OptionError: a delay without an executor.
    """
    if delay and executor is None:
        raise OptionError(
            "nothing says what to do while the policy thinks",
            key="delay",
            expected="0, or an executor",
            found=delay,
            remedy="pass executor=ChunkExecutor('open_loop', chunk_length, execute)",
        )
    base = env.unwrapped
    began = time.perf_counter()
    task = base.begin(seed)
    world = base.world
    told = instruction(task) if callable(instruction) else instruction or task.instruction
    if hasattr(policy, "bind"):
        policy.bind(world, task)
    options = {"seed": seed} if "seed" in inspect.signature(policy.reset).parameters else {}
    policy.reset(told, **options)
    shows = getattr(policy, "looks", True)
    film = film or world.render
    images = hashlib.sha256()
    frames: list[dict[str, np.ndarray]] = []
    actions: list[np.ndarray] = []
    looks: list[int] = []
    watcher, success = Watcher(world, task), False

    def look() -> dict[str, Any]:
        observation: dict[str, Any] = {"state": world.state()}
        if shows:
            observation["images"] = world.render()
            looks.append(len(actions))
            _hash_images(images, observation["images"])
        return observation

    if executor is None:
        source = open_loop(policy, look, base.contract)
    else:
        source = delayed(policy, look, world.state, base.contract, executor, delay)
    while not success and len(actions) < task.steps_limit:
        action = next(source)
        if film_every and len(actions) % film_every == 0:
            frames.append(film())
        if recorder:
            recorder(world, action)
        world.step(action)
        watcher.update()
        actions.append(action)
        success = bool(task.success(world))
    _hash_images(images, world.render())
    if film_every:
        frames.append(film())
    return EpisodeResult(
        task=task.family,
        seed=seed,
        instruction=told,
        task_instruction=task.instruction,
        success=success,
        steps=len(actions),
        events=watcher.events(),
        actions=np.array(actions, np.float32),
        looks=tuple(looks),
        state_hash=state_hash(world),
        image_hash=images.hexdigest(),
        seconds=time.perf_counter() - began,
        frames=frames,
    )


def state_hash(world: Any) -> str:
    """SHA-256 of all positions and velocities, as bits."""
    return hashlib.sha256(world.data.qpos.tobytes() + world.data.qvel.tobytes()).hexdigest()


def _hash_images(digest: Any, images: dict[str, np.ndarray]) -> None:
    for name in sorted(images):
        digest.update(np.ascontiguousarray(images[name]).data)
