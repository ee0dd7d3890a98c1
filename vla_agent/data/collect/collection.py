"""Collects a dataset with worker processes: each attempt becomes a part file, all of them one LeRobotDataset folder."""

from __future__ import annotations

import hashlib
import importlib.metadata
import multiprocessing
import shutil
import subprocess
import threading
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any

import sim
from vla_agent import __version__
from vla_agent.contract import Contract
from vla_agent.data.collect.episode_recording import Attempt
from vla_agent.data.collect.interrupts import ignore_interrupts, start_worker, stop_on_signal
from vla_agent.data.collect.other_environment import Options, chosen_environment, record_other, versions_of
from vla_agent.data.collect.unfinished_collection import Parts, Plan, spread_evenly
from vla_agent.data.lerobot.dataset_writer import refuse_existing, write_dataset
from vla_agent.data.lerobot.episode import encode, save_part
from vla_agent.environments.choice import Choice, Facts
from vla_agent.environments.protocol import Environment
from vla_agent.environments.tabletop import NAME
from vla_agent.errors import DatasetError, SimulatorError
from vla_agent.policy.execution_settings import Execution

ROBOT = "franka_panda_robotiq_2f85"
BYTES_PER_EPISODE = 2**19  # estimate of an episode's size on disk until one is recorded


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the content of the episodes; written to ``recipe.json`` and ``meta/collection.json``."""

    suite: str
    tasks: tuple[str, ...]  # names of the suite's families, or task files
    seed: int
    noise: float
    image_size: int
    storage: str
    takeover: str | None = None  # folder of the policy that acts first
    takeover_execution: tuple[str, ...] = ("open_loop",)  # execution modes; an episode draws one,
    takeover_delays_ms: tuple[float, ...] = (0.0,)  # and one of these inference latencies
    vary: tuple[str, ...] = ()  # of `sim.perturbations.appearance.APPEARANCE_AXES`
    split: str = "seen"  # of `sim.tasks.task.SPLITS`: wordings, and pairs of colour and shape
    env: str = NAME  # another environment by its name: its tasks, images and expert
    env_options: Options = ()

    def data(self) -> dict[str, Any]:
        """As plain data; of the tabletop without the keys of other environments, as earlier releases wrote it."""
        mine = asdict(self)
        return {k: v for k, v in mine.items() if self.other or k not in ("env", "env_options")}

    @property
    def other(self) -> bool:
        """Whether it is not the tabletop."""
        return self.env != NAME

    def chosen(self) -> tuple[Choice, Facts]:
        """The environment that is not the tabletop."""
        return chosen_environment(self.env, self.tasks, self.env_options)


@dataclass(frozen=True)
class Progress:
    """The state after an attempt: the plan so far, and the attempt's task, outcome and number of frames."""

    plan: Plan
    task: str
    outcome: str
    frames: int


def collect(
    recipe: Recipe,
    directory: Path,
    episodes: int,
    workers: int,
    resume: bool = False,
    report: Callable[[Progress], None] = lambda _: None,
) -> Plan:
    """Collect ``episodes`` successful episodes into a LeRobotDataset folder.

    SIGINT or SIGTERM ends it early: running episodes are finished and kept in ``<directory>.parts``, and the returned
    plan is not ``complete``.  The same call with ``resume`` continues from there, to the same dataset as without the
    interruption.

    Args:
        recipe: what is recorded.
        directory: the new folder.
        episodes: spread evenly over the tasks.
        workers: processes.
        resume: continue an unfinished collection.
        report: called after every attempt.

    Raises:
        TaskError: unknown suite or task.
        DatasetError: the folder or an unfinished collection exists, a task fails too often, or the disk is full.
        SimulatorError: the simulator cannot start, or a worker died.
    """
    tasks = task_names(recipe)
    refuse_existing(directory)
    plan = Plan(spread_evenly(episodes, tasks), recipe.seed)
    parts = Parts(directory)
    parts.open(recipe.data() | {"versions": versions(recipe)}, resume)
    plan.outcomes = parts.outcomes()
    with stop_on_signal() as stop:
        _run_attempts(recipe, parts, plan, workers, stop, report)
    if plan.complete:
        record = recipe.data() | {"versions": versions(recipe), "git": _git(), "summary": plan.summary()}
        robot = recipe.env if recipe.other else ROBOT
        write_dataset(directory, contract(recipe), parts.episodes(plan), recipe.storage, robot, record)
        parts.delete()
    return plan


def task_names(recipe: Recipe) -> list[str]:
    """The tasks of a recipe.

    Raises:
        TaskError: the tabletop has no such suite, task or split.
        OptionError: another environment has no such task, or no expert.
    """
    if recipe.other:
        return list(recipe.chosen()[0].tasks)
    from sim.tasks.task import select

    families = select(list(recipe.tasks), recipe.suite)
    for family in families.values():
        family.wordings_of(recipe.split)  # refuses an unknown split before any work
    return list(families)


def contract(recipe: Recipe) -> Contract:
    """The contract of the simulator with the recipe's image size, or of another environment."""
    from vla_agent.contract.tabletop import tabletop_contract

    if recipe.other:
        return recipe.chosen()[1].contract
    return tabletop_contract(image_size=(recipe.image_size, recipe.image_size))


def versions(recipe: Recipe) -> dict[str, str]:
    """Versions that the episodes depend on: another one may give different bits."""
    if recipe.other:
        return versions_of(recipe.chosen()[1])
    found = {name: importlib.metadata.version(name) for name in ("mujoco", "numpy", "av")}
    found |= {"vla_agent": __version__, "sim": _hash_folder(Path(sim.__path__[0]), ("*.py", "*.yaml"))}
    return found | ({"takeover": _hash_folder(Path(recipe.takeover), ("*",))} if recipe.takeover else {})


def _run_attempts(
    recipe: Recipe, parts: Parts, plan: Plan, workers: int, stop: threading.Event, report: Callable[[Progress], None]
) -> None:
    """Run attempts until the plan is complete, or until ``stop`` is set and the running ones are done."""
    if plan.complete:
        return
    written, size = 0, 0
    running: dict[Future[tuple[str, int, int]], tuple[str, int]] = {}
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=start_worker) as pool:
        try:
            while not plan.complete:
                while not stop.is_set() and len(running) <= workers and (job := plan.next()):
                    _check_disk(parts, plan, size / written if written else BYTES_PER_EPISODE)
                    with ignore_interrupts():  # a worker must not start with Ctrl-C enabled
                        running[pool.submit(_record_attempt, recipe, str(parts.folder), *job)] = job
                if not running:
                    return
                for future in wait(running, timeout=0.5, return_when=FIRST_COMPLETED).done:
                    task, seed = running.pop(future)
                    outcome, frames, size_now = future.result()
                    written, size = written + (size_now > 0), size + size_now
                    plan.finish(task, seed, outcome)
                    report(Progress(plan, task, outcome, frames))
        except BrokenProcessPool as error:
            raise SimulatorError(
                "a worker process died",
                file=parts.folder,
                key="--workers",
                expected="processes that run to the end",
                found=f"{error} (out of memory, or killed)",
                remedy="continue with --resume and fewer workers: finished episodes were kept",
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)


_envs: dict[int, Any] = {}  # in a worker process: one compiled simulation and one loaded policy, reused
_policies: dict[str, Any] = {}
_others: dict[tuple[str, Options], Environment] = {}


def _record_attempt(recipe: Recipe, folder: str, task: str, seed: int) -> tuple[str, int, int]:
    """One attempt in a worker: its outcome, its frames, and the bytes of its part file."""
    attempt, hz = _attempt_other(recipe, task, seed) if recipe.other else _attempt(recipe, task, seed)
    parts = Parts(Path(folder.removesuffix(".parts")))
    if attempt.episode is None:
        parts.save_outcome(task, seed, attempt.outcome)
        return attempt.outcome, 0, 0
    episode = encode(attempt.episode, recipe.storage, round(hz))
    path = parts.episode_path(task, seed)
    save_part(path, episode)
    return attempt.outcome, episode.length, path.stat().st_size


def _attempt_other(recipe: Recipe, task: str, seed: int) -> tuple[Attempt, float]:
    """An attempt in another environment, which this worker keeps open; and its control rate."""
    key = recipe.env, recipe.env_options
    if key not in _others:
        _others[key] = Choice(recipe.env, (task,), recipe.env_options).open()
    environment = _others[key]
    return record_other(environment, task, seed, recipe.noise), environment.contract.control_hz


def _attempt(recipe: Recipe, task: str, seed: int) -> tuple[Attempt, float]:
    """An attempt on the tabletop, and its control rate."""
    from sim.tasks.task import select
    from vla_agent.data.collect.episode_recording import Recording, record

    family = select(list(recipe.tasks), recipe.suite)[task]
    policy = _policy(recipe.takeover, contract(recipe))
    executions = [Execution(*drawn) for drawn in product(recipe.takeover_execution, recipe.takeover_delays_ms)]
    env = _env(recipe.image_size)
    attempt = record(env, family, seed, Recording(recipe.noise, policy, executions, recipe.vary, recipe.split))
    return attempt, env.contract.control_hz


def _env(image_size: int) -> Any:
    """This worker's environment, made once."""
    from sim.env import TabletopEnv

    if image_size not in _envs:
        _envs[image_size] = TabletopEnv(image_size=(image_size, image_size))
    return _envs[image_size]


def _policy(folder: str | None, expected: Contract) -> Any:
    """This worker's policy, loaded once; it must fit the simulator's contract."""
    if folder is None:
        return None
    if folder not in _policies:
        import torch

        from vla_agent.policy.loading import load_policy

        torch.set_num_threads(1)
        policy = load_policy(folder)
        policy.contract.require(expected, f"policy {folder}", "the simulator", ignore=("chunk_length",))
        _policies[folder] = policy
    return _policies[folder]


def _check_disk(parts: Parts, plan: Plan, bytes_per_episode: float) -> None:
    """Raise where the disk cannot hold the rest of the collection."""
    wanted = sum(plan.wanted.values())
    missing = wanted - sum(outcome == "recorded" for outcome in plan.outcomes.values())
    need = int((missing + wanted) * bytes_per_episode) + 2**26  # the missing parts, and the dataset made of all parts
    free = shutil.disk_usage(parts.folder).free
    if free < need:
        raise DatasetError(
            "too little space on the disk",
            file=parts.folder,
            key="--episodes",
            expected=f"about {need / 1e9:.2f} GB free",
            found=f"{free / 1e9:.2f} GB free",
            remedy="free space and continue with --resume, or collect fewer episodes: finished episodes were kept",
        )


def _hash_folder(folder: Path, patterns: tuple[str, ...]) -> str:
    """The first 16 digits of a SHA-256 over names and bytes of the files that match."""
    digest = hashlib.sha256()
    files = {p for pattern in patterns for p in folder.rglob(pattern) if p.is_file() and "__pycache__" not in p.parts}
    for path in sorted(files):
        digest.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def _git() -> str | None:
    """``git describe`` of the source tree, where the package runs from one."""
    folder = Path(__file__).parents[3]
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--tags"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
