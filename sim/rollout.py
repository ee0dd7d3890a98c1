"""One episode in simulation: an environment, a policy and a seed in; the outcome out."""

from __future__ import annotations

import hashlib
import inspect
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sim.chunk_execution import Observe, delayed, open_loop
from sim.policies import Policy
from sim.tasks.events import Events, EventTracker
from sim.tasks.task import TaskInstance
from vla_agent.contract import Contract
from vla_agent.errors import OptionError
from vla_agent.policy.execution import ChunkExecutor

Images = dict[str, np.ndarray]  # camera -> (H, W, 3) uint8


@dataclass(frozen=True)
class EpisodeSettings:
    """How an episode is run, and what is kept of it.

    Attributes:
        instruction: given to the policy in place of the task's own; or a function of the task instance that returns it.
        executor: turns chunks into actions; without one, ``policy.execute`` rows of each chunk are executed, open loop.
        delay: inference latency in control steps, during which the simulation goes on; needs an executor.
        frame_every: keep a video frame of every k-th control step and of the last one; 0 keeps none.
        render_frame: renders the video frames, in place of the world's own cameras.
        before_step: called as ``before_step(world, action)`` before every control step.
    """

    instruction: str | Callable[[TaskInstance], str] | None = None
    executor: ChunkExecutor | None = None
    delay: int = 0
    frame_every: int = 0
    render_frame: Callable[[], Images] | None = None
    before_step: Callable[[Any, np.ndarray], None] | None = None

    def __post_init__(self) -> None:
        """Raise `OptionError` for a delay without an executor."""
        if self.delay and self.executor is None:
            raise OptionError(
                "an inference delay needs an executor, which decides what is executed meanwhile",
                key="delay",
                expected="0, or an executor",
                found=self.delay,
                remedy="pass executor=ChunkExecutor('open_loop', chunk_length, execute)",
            )


DEFAULTS = EpisodeSettings()


@dataclass(frozen=True)
class EpisodeResult:
    """The outcome of an episode, and all that is needed to replay it bit for bit."""

    task: str
    seed: int
    instruction: str  # given to the policy
    task_instruction: str  # of the task that success is measured against
    success: bool
    steps: int
    events: Events
    actions: np.ndarray  # (steps, A) float32, as executed
    looks: tuple[int, ...]  # control steps at which the policy received images
    state_hash: str  # of positions and velocities after the last step
    image_hash: str  # of every image that the policy received, and of both cameras after the last step
    seconds: float
    frames: list[Images] = field(default_factory=list)  # the video, where one was asked for
    refusals: tuple[tuple[int, str], ...] = ()  # control steps from which the policy held still, and why


def run_episode(env: Any, policy: Policy, seed: int, settings: EpisodeSettings = DEFAULTS) -> EpisodeResult:
    """Run one episode until success or the task's time limit.

    Images are rendered only when the policy observes, so that scripted policies cost physics alone.

    Args:
        env: the Gymnasium environment (`sim.env.TabletopEnv`, or wrapped).
        policy: anything that offers ``reset`` and ``act``; see `sim.policies` for the optional hooks.
        seed: decides the scene, the instruction and (where ``policy.reset`` takes a seed) the policy's randomness.
        settings: instruction, execution mode, latency, video.

    Raises:
        ContractError: the policy returned something that is not a chunk.
    """
    base = env.unwrapped
    began = time.perf_counter()
    task: TaskInstance = base.begin(seed)
    world = base.world
    instruction = _begin_policy(policy, world, task, seed, settings)
    observer = _EpisodeObserver(world, getattr(policy, "looks", True))
    action_source = _action_source(policy, observer.observe, world.state, base.contract, settings)
    render_frame = settings.render_frame or world.render
    frames: list[Images] = []
    actions: list[np.ndarray] = []
    tracker, success, refusals = EventTracker(world, task), False, _Refusals()
    while not success and len(actions) < task.steps_limit:
        action = next(action_source)
        refusals.note(len(actions), getattr(policy, "refusal", None))
        if settings.frame_every and len(actions) % settings.frame_every == 0:
            frames.append(render_frame())
        if settings.before_step:
            settings.before_step(world, action)
        world.step(action)
        tracker.update()
        actions.append(action)
        observer.step = len(actions)
        success = bool(task.success(world))
    image_hash = observer.final_hash()
    if settings.frame_every:
        frames.append(render_frame())
    return EpisodeResult(
        task=task.family,
        seed=seed,
        instruction=instruction,
        task_instruction=task.instruction,
        success=success,
        steps=len(actions),
        events=tracker.events(),
        actions=np.array(actions, np.float32),
        looks=tuple(observer.looks),
        state_hash=state_hash(world),
        image_hash=image_hash,
        seconds=time.perf_counter() - began,
        frames=frames,
        refusals=tuple(refusals.found),
    )


def _begin_policy(policy: Policy, world: Any, task: TaskInstance, seed: int, settings: EpisodeSettings) -> str:
    """Bind and reset the policy; returns the instruction that it was given."""
    given = settings.instruction
    instruction = given(task) if callable(given) else given or task.instruction
    if hasattr(policy, "bind"):
        policy.bind(world, task)
    options = {"seed": seed} if "seed" in inspect.signature(policy.reset).parameters else {}
    policy.reset(instruction, **options)
    return instruction


class _Refusals:
    """When a policy begins to hold still, and why; a policy without ``refusal`` never does."""

    def __init__(self) -> None:
        self.found: list[tuple[int, str]] = []
        self._last: str | None = None

    def note(self, step: int, reason: str | None) -> None:
        if reason is not None and reason != self._last:
            self.found.append((step, reason))
        self._last = reason


class _EpisodeObserver:
    """Renders an observation when the policy asks for one; records when, and the hash of every image."""

    def __init__(self, world: Any, with_images: bool) -> None:
        self._world, self._with_images = world, with_images
        self._digest = hashlib.sha256()
        self.step = 0
        self.looks: list[int] = []

    def observe(self) -> dict[str, Any]:
        """``state`` (D,) and, where the policy uses them, ``images``: camera -> (H, W, 3)."""
        observation: dict[str, Any] = {"state": self._world.state()}
        if self._with_images:
            observation["images"] = self._world.render()
            self.looks.append(self.step)
            self._add(observation["images"])
        return observation

    def _add(self, images: Images) -> None:
        for name in sorted(images):
            self._digest.update(np.ascontiguousarray(images[name]).data)

    def final_hash(self) -> str:
        """Add the images after the last step; SHA-256 of all of them."""
        self._add(self._world.render())
        return self._digest.hexdigest()


def _action_source(
    policy: Policy,
    observe: Observe,
    state: Callable[[], np.ndarray],
    contract: Contract,
    settings: EpisodeSettings,
) -> Iterator[np.ndarray]:
    if settings.executor is None:
        return open_loop(policy, observe, contract)
    return delayed(policy, observe, state, contract, settings.executor, settings.delay)


def state_hash(world: Any) -> str:
    """SHA-256 of all positions and velocities, as bits."""
    return hashlib.sha256(world.data.qpos.tobytes() + world.data.qvel.tobytes()).hexdigest()
