"""One episode of any policy in any environment: seed in, outcome out.

The same order of calls as `sim.rollout.run_episode`, which the gate's certificates are bound to: on the tabletop both
give the same bits.
"""

from __future__ import annotations

import hashlib
import inspect
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sim.chunk_execution import delayed, open_loop
from sim.policies import Policy
from sim.tasks.events import Events
from vla_agent.environments.protocol import Environment, offers
from vla_agent.errors import EnvironmentFault
from vla_agent.policy.execution import ChunkExecutor

Images = dict[str, np.ndarray]  # camera -> (H, W, 3) uint8


@dataclass(frozen=True)
class Playing:
    """How an episode is played, and what is kept of it.

    Attributes:
        instruction: a function of the environment, called after the reset, that returns what the policy is told in
            place of the task's own instruction.
        executor, delay: turns chunks into actions; control periods of latency.  None: open loop without latency.
        frame_every: keep a video frame of every k-th control period and of the last one; 0 keeps none.
        film: renders the video frames; None: the cameras of the contract.
        most: control periods after which it ends, where the task's limit is later: a replay has no more actions.
    """

    instruction: Callable[[Environment], str] | None = None
    executor: ChunkExecutor | None = None
    delay: int = 0
    frame_every: int = 0
    film: Callable[[], Images] | None = None
    most: int | None = None


DEFAULTS = Playing()


@dataclass(frozen=True)
class Outcome:
    """The outcome of an episode, and all that is needed to replay it bit for bit."""

    task: str
    seed: int
    instruction: str  # given to the policy
    task_instruction: str  # of the task that success is measured against
    success: bool
    steps: int
    events: Events | None  # None: the environment tracks none
    actions: np.ndarray  # (steps, A) float32, as executed
    looks: tuple[int, ...]  # control periods at which the policy received images
    state_hash: str  # after the last step
    image_hash: str  # of every image that the policy received, and of the last ones
    seconds: float
    frames: list[Images] = field(default_factory=list)
    refusals: tuple[tuple[int, str], ...] = ()  # control periods from which the policy held still, and why


def play_episode(
    environment: Environment, policy: Policy, task: str, seed: int, playing: Playing = DEFAULTS
) -> Outcome:
    """Play until success or the task's limit.  Images are rendered only when the policy looks.

    Raises:
        EnvironmentFault: the environment breaks the protocol.
        ObservationError: the first observation does not fit the contract.
        ContractError: the policy returned something that is not a chunk.
    """
    began = time.perf_counter()
    own = environment.reset(task, seed)
    if not isinstance(own, str) or not own.strip():
        raise _fault("reset() returned no instruction", "reset", "a sentence", own, "say what is to be done")
    instruction = playing.instruction(environment) if playing.instruction else own
    if hasattr(policy, "bind") and offers(environment, "bind"):
        environment.bind(policy)  # type: ignore[attr-defined]  # optional
    options = {"seed": seed} if "seed" in inspect.signature(policy.reset).parameters else {}
    policy.reset(instruction, **options)
    observer = _Observer(environment, getattr(policy, "looks", True))
    source = _action_source(policy, observer, environment, playing)
    film = playing.film or (lambda: environment.observe()["images"])
    frames: list[Images] = []
    actions: list[np.ndarray] = []
    success, refusals, limit = False, _Refusals(), environment.limit(task)
    limit = limit if playing.most is None else min(limit, playing.most)
    while not success and len(actions) < limit:
        action = next(source)
        refusals.note(len(actions), getattr(policy, "refusal", None))
        if playing.frame_every and len(actions) % playing.frame_every == 0:
            frames.append(film())
        success = _truth(environment.step(action))
        actions.append(action)
        observer.step = len(actions)
    image_hash = observer.final_hash()
    if playing.frame_every:
        frames.append(film())
    return Outcome(
        task=task,
        seed=seed,
        instruction=instruction,
        task_instruction=own,
        success=success,
        steps=len(actions),
        events=environment.events() if offers(environment, "events") else None,  # type: ignore[attr-defined]
        actions=np.array(actions, np.float32),
        looks=tuple(observer.looks),
        state_hash=final_state(environment),
        image_hash=image_hash,
        seconds=time.perf_counter() - began,
        frames=frames,
        refusals=tuple(refusals.found),
    )


def final_state(environment: Environment) -> str:
    """The environment's own hash of its state; SHA-256 of the observed state where it has none."""
    if offers(environment, "state_hash"):
        return str(environment.state_hash())  # type: ignore[attr-defined]  # optional
    state = np.ascontiguousarray(environment.observe(images=False)["state"], np.float32)
    return hashlib.sha256(state.tobytes()).hexdigest()


def _truth(success: Any) -> bool:
    if not isinstance(success, (bool, np.bool_)):
        remedy = "return whether the task is done; a Gymnasium environment is wrapped by a YAML file"
        raise _fault("step() returned no truth value", "step", "True or False", type(success).__name__, remedy)
    return bool(success)


def _fault(what: str, key: str, expected: str, found: object, remedy: str) -> EnvironmentFault:
    return EnvironmentFault(
        what, key=key, expected=expected, found=found, remedy=f"{remedy}; vla-agent env check names all faults"
    )


class _Refusals:
    """When a policy begins to hold still, and why; a policy without ``refusal`` never does."""

    def __init__(self) -> None:
        self.found: list[tuple[int, str]] = []
        self._last: str | None = None

    def note(self, step: int, reason: str | None) -> None:
        if reason is not None and reason != self._last:
            self.found.append((step, reason))
        self._last = reason


class _Observer:
    """Observes when the policy asks; records when, and the hash of every image."""

    def __init__(self, environment: Environment, looks: bool) -> None:
        self._environment, self._with_images = environment, looks
        self._digest = hashlib.sha256()
        self.step = 0
        self.looks: list[int] = []

    def observe(self) -> dict[str, Any]:
        """``state`` (D,) and, where the policy uses them, ``images``."""
        observation = self._environment.observe(images=self._with_images)
        if self._with_images:
            if not self.looks:
                self._environment.contract.check_observation(observation)
            self.looks.append(self.step)
            self._add(observation["images"])
        return observation

    def state(self) -> np.ndarray:
        return np.asarray(self._environment.observe(images=False)["state"])

    def _add(self, images: Images) -> None:
        for name in sorted(images):
            self._digest.update(np.ascontiguousarray(images[name]).data)

    def final_hash(self) -> str:
        """Add the images after the last step; SHA-256 of all of them."""
        self._add(self._environment.observe()["images"])
        return self._digest.hexdigest()


def _action_source(
    policy: Policy, observer: _Observer, environment: Environment, playing: Playing
) -> Iterator[np.ndarray]:
    contract = environment.contract
    if playing.executor is None:
        return open_loop(policy, observer.observe, contract)
    return delayed(policy, observer.observe, observer.state, contract, playing.executor, playing.delay)
