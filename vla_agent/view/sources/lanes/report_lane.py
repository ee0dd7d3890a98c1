"""An episode of an evaluation, simulated again from seed and recorded actions; and the expert on the same seed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from sim.env import TabletopEnv
from sim.policies import ExpertPolicy, Policy, ReplayPolicy
from sim.rollout import EpisodeResult, EpisodeSettings, run_episode
from sim.tasks.task import TaskFamily, select
from sim.world.world import Snapshot
from vla_agent.contract import Contract
from vla_agent.data.browse.shown import Signal, signals
from vla_agent.data.lerobot.dataset_schema import ACTION, STATE, vector_features
from vla_agent.errors import OptionError
from vla_agent.evaluation.play.player import Player, PlayerSettings
from vla_agent.evaluation.played_world import world_of
from vla_agent.evaluation.replay_episode import read_actions
from vla_agent.evaluation.result_store import key_of
from vla_agent.view.source import Scene, Status
from vla_agent.view.sources.lanes.lane import Lane, Place, Track
from vla_agent.view.sources.mujoco_scene import poses_of, scene_of

ALL_GROUPS = tuple(range(6))  # the world's cameras use geom groups to leave out what is out of view
FILM = 256  # pixels of images that are filmed: those of other environments


class SimulatedLane:
    """An episode of the tabletop, played once to the end; any of its moments is restored exactly.

    Args:
        env: set to the episode's family and split; another episode may be played in it, and this one shown again.
        instruction: given to the policy; None: the task's own.
    """

    def __init__(
        self, env: TabletopEnv, policy: Policy, seed: int, instruction: str | None, title: str, place: Place
    ) -> None:
        self._env = env
        self._place = place
        self._snapshots: list[Snapshot] = []
        settings = EpisodeSettings(instruction, before_step=self._keep)
        self.result: EpisodeResult = run_episode(self._env, policy, seed, settings)
        self._keep(self._env.world, np.empty(0))
        states, path = [], []
        for snapshot in self._snapshots:
            self._env.world.restore(snapshot)
            states.append(self._env.world.state())
            path.append(self._env.world.ee_position + place.offset)
        self._states = np.array(states)
        self.scene: Scene = scene_of(self._env.world.model, place.prefix, ALL_GROUPS)
        self.track = self._track(title, np.array(path))

    def _keep(self, world: Any, _: np.ndarray) -> None:
        self._snapshots.append(world.snapshot())

    def _track(self, title: str, path: np.ndarray) -> Track:
        contract, result = self._env.contract, self.result
        actions = _padded(result.actions, len(self._snapshots))
        return Track(
            hz=contract.control_hz,
            length=len(self._snapshots),
            title=title,
            instruction=result.instruction,
            outcome="success" if result.success else "no success",
            facts={"task": result.task, "seed": str(result.seed), "steps": str(result.steps)},
            signals=contract_signals(contract, actions, self._states),
            path=path,
            actions=actions,
        )

    def poses(self, frame: int) -> dict[str, np.ndarray]:
        world = self._env.world
        world.restore(self._snapshots[frame])
        poses = poses_of(world.model, world.data, self._place.prefix)
        for pose in poses.values():
            pose[:3] += self._place.offset
        return poses

    def images(self, frame: int) -> dict[str, np.ndarray]:
        self._env.world.restore(self._snapshots[frame])
        return self._env.world.render()

    def state(self, frame: int) -> np.ndarray:
        return self._states[frame]

    def supervisor(self, frame: int) -> Status | None:
        return None

    def close(self) -> None:
        """Nothing: the environment is its giver's."""


class FilmLane:
    """An episode of another environment, replayed once: its images, actions, and no geometry."""

    scene = Scene()

    def __init__(self, player: Player, row: Mapping[str, Any], arrays: tuple[Any, Any], title: str) -> None:
        actions, looks = arrays
        result = player.replay(row, actions, looks, FILM, film_every=1)
        contract = player.environment.contract
        self._frames = result.frames
        kept = _padded(result.actions, len(self._frames))
        self.same = result.state_hash == row["state_hash"]
        self.track = Track(
            hz=contract.control_hz,
            length=len(self._frames),
            title=title,
            instruction=result.instruction,
            outcome="success" if result.success else "no success",
            facts={"task": row["task"], "seed": str(row["seed"]), "steps": str(result.steps)},
            signals=contract_signals(contract, kept, None),
            path=None,
            actions=kept,
        )

    def poses(self, frame: int) -> dict[str, np.ndarray]:
        return {}

    def images(self, frame: int) -> dict[str, np.ndarray]:
        return self._frames[frame]

    def state(self, frame: int) -> np.ndarray | None:
        return None

    def supervisor(self, frame: int) -> Status | None:
        return None

    def close(self) -> None:
        """Nothing is open."""


Worlds = Callable[[TaskFamily, str], TabletopEnv]  # family, split -> an environment that is set to them


def report_lane(
    file: Path, report: Mapping[str, Any], index: int, place: Place, trusted: str | None, worlds: Worlds
) -> Lane:
    """Episode ``index`` of a report.

    Args:
        trusted: an environment that is not shipped, which the user names.

    Raises:
        ReportError: the actions are missing or damaged, or the environment is code that the user does not name.
        OptionError: there is no such episode.
    """
    row = _row(file, report, index)
    arrays = read_actions(file.with_name("actions.npz"), key_of(row))
    control = "" if row["control"] == "policy" else f", {row['control']}"
    title = f"{Path(str(report['policy'])).name}{control}"
    if "environment" in report:
        with closing(Player(PlayerSettings(report["policy"], world_of(report, row["task"], trusted).choice))) as player:
            film = FilmLane(player, row, arrays, title)
        return _told(film, row, film.same)
    env = worlds(_family(report, row), report["split"])
    lane = SimulatedLane(env, ReplayPolicy(*arrays), row["seed"], row["instruction"], title, place)
    return _told(lane, row, lane.result.state_hash == row["state_hash"])


def expert_lane(report: Mapping[str, Any], row: Mapping[str, Any], place: Place, worlds: Worlds) -> SimulatedLane:
    """The scripted expert on the same seed of the tabletop.

    Raises:
        OptionError: the report is of another environment.
    """
    if "environment" in report:
        raise OptionError(
            "the expert is shown on the tabletop alone",
            key="--against expert",
            expected="a report of the tabletop",
            found=report["environment"]["name"],
            remedy="evaluate with --controls expert, and give that episode's number",
        )
    env = worlds(_family(report, row), report["split"])
    return SimulatedLane(env, ExpertPolicy(), row["seed"], None, "expert", place)


def same_episode(report: Mapping[str, Any], row: Mapping[str, Any], file: Path) -> int:
    """The episode of another report with the same task, seed and control.

    Raises:
        OptionError: it has none.
    """
    for control in (row["control"], "policy"):
        wanted = (row["task"], row["seed"], control)
        for number, other in enumerate(report["episodes"]):
            if (other["task"], other["seed"], other["control"]) == wanted:
                return number
    raise OptionError(
        "the other report has no episode of this seed",
        file=file,
        key="--against",
        expected=f"task {row['task']}, seed {row['seed']}",
        found=f"{len(report['episodes'])} other episodes",
        remedy="evaluate both policies on the same tasks and seeds",
    )


def contract_signals(contract: Contract, actions: np.ndarray, states: np.ndarray | None) -> list[Signal]:
    """The plots of a contract's action and state."""
    names = vector_features(contract, annotations=False)
    units = {field.name: field.unit for field in (*contract.state, *contract.action)}
    found = signals("action", names[ACTION]["names"], actions, units)
    return found if states is None else found + signals("state", names[STATE]["names"], states, units)


def _row(file: Path, report: Mapping[str, Any], index: int) -> Mapping[str, Any]:
    rows = report["episodes"]
    if 0 <= index < len(rows):
        return rows[index]
    raise OptionError(
        "there is no such episode in the report",
        file=file,
        key="--episode",
        expected=f"0 to {len(rows) - 1}" if rows else "an evaluation with episodes",
        found=index if rows else "none",
        remedy="episodes are counted from 0, in the order of `episodes` in report.json",
    )


def _family(report: Mapping[str, Any], row: Mapping[str, Any]) -> TaskFamily:
    """The family, from its file where it lies outside of the suite."""
    file = report["summary"].get("settings", {}).get("tasks", {}).get(row["task"])
    return next(iter(select([file or row["task"]], report["suite"]).values()))


def _told(lane: Any, row: Mapping[str, Any], same: bool) -> Lane:
    """The lane with the report's own outcome, and whether the simulation gave the same."""
    outcome = "success" if row["success"] else str(row["failure"] or "no success").replace("_", " ")
    again = "bit for bit" if same else "another final state: use the release that wrote the report"
    refusals = row.get("refusals", ())
    facts = dict(lane.track.facts) | {"replayed": again}
    facts |= {"held still": "; ".join(f"from step {step}: {why}" for step, why in refusals)} if refusals else {}
    lane.track = replace(lane.track, outcome=outcome, facts=facts)
    return lane


def _padded(actions: np.ndarray, length: int) -> np.ndarray:
    """Rows (N, A) and NaN up to ``length``."""
    return np.pad(actions.astype(np.float64), ((0, length - len(actions)), (0, 0)), constant_values=np.nan)
