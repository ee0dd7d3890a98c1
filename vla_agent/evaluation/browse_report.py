"""The episodes of an evaluation for the page of ``data browse``, simulated again from their seeds and actions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from sim.policies import ReplayPolicy
from sim.rollout import EpisodeSettings, run_episode
from sim.tasks.task import select
from vla_agent.contract import Contract
from vla_agent.contract.tabletop import CAMERAS
from vla_agent.data.browse.shown import Shown, ShownEpisode, choose, jerk, signals, spread
from vla_agent.data.lerobot.dataset_schema import ACTION, STATE, vector_features
from vla_agent.environments.tabletop import TabletopChoice
from vla_agent.errors import ReportError
from vla_agent.evaluation.play.player import Player, PlayerSettings
from vla_agent.evaluation.replay_episode import read_actions
from vla_agent.evaluation.result_store import key_of, read_report

SIZE = 192  # pixels of the images, which are rendered for the page


@contextmanager
def show_report(report_file: Path, wanted: Sequence[int] | None, frames: int) -> Iterator[Shown]:
    """An evaluation; its failures first where not all episodes are shown.

    Args:
        report_file: ``report.json``, with ``actions.npz`` beside it.
        wanted: numbers of the episodes, in the order of the report; None: all, or `EPISODES` of them.
        frames: images per episode and camera, at most.

    Raises:
        ReportError: report or actions are missing or damaged, or of another environment than the tabletop.
        OptionError: an episode is not there.
    """
    report = read_report(report_file)
    rows = report["episodes"]
    chosen = choose(range(len(rows)), wanted, {k for k, row in enumerate(rows) if not row["success"]})
    if "environment" in report:
        raise _other_environment(report_file, report["environment"]["name"])
    files = report["summary"].get("settings", {}).get("tasks", {})
    families = select([files.get(name) or name for name in {row["task"]: 0 for row in rows}], report["suite"])
    choice = TabletopChoice(families, report["split"])
    with closing(Player(PlayerSettings(report["policy"], choice))) as player:
        yield Shown(
            title=f"{report['policy']} on {report['suite']} ({report['split']})",
            facts=[
                f"evaluation of {len(rows)} episodes; {len(chosen)} are shown",
                f"images rendered again at {SIZE} px from seeds and recorded actions; numbers as in `vla-agent replay`",
            ],
            fps=20.0,
            count=len(chosen),
            episodes=(_episode(player, report_file, rows[k], k, frames) for k in chosen),
        )


def _episode(player: Player, report_file: Path, row: Mapping[str, Any], index: int, frames: int) -> ShownEpisode:
    actions, looks = read_actions(report_file.with_name("actions.npz"), key_of(row))
    env = player.tabletop(row["task"])
    render = player.film(SIZE, CAMERAS)
    numbers = spread(len(actions), frames)
    states: list[np.ndarray] = []
    images: dict[str, list[np.ndarray]] = {camera: [] for camera in CAMERAS}
    settings = EpisodeSettings(
        row["instruction"], before_step=partial(_look, states, images, set(numbers.tolist()), render)
    )
    result = run_episode(env, ReplayPolicy(actions, looks), row["seed"], settings)
    state = np.array(states, np.float32)
    contract: Contract = env.contract
    names = vector_features(contract, annotations=False)
    units = {f.name: f.unit for f in (*contract.state, *contract.action)}
    found = [] if result.state_hash == row["state_hash"] else [_difference(index)]
    return ShownEpisode(
        index=index,
        task=row["instruction"],
        origin=f"{row['task']}, seed {row['seed']}, {row['control']}" + (f", {row['failure']}" * bool(row["failure"])),
        length=len(state),
        success=bool(row["success"]),
        jerk=jerk(state, state.std(axis=0)),
        findings=found,
        signals=signals("action", names[ACTION]["names"], result.actions, units)
        + signals("state", names[STATE]["names"], state, units),
        numbers=numbers[numbers < len(state)],
        images={camera: np.array(some) for camera, some in images.items()},
    )


def _look(
    states: list[np.ndarray], images: dict[str, list[np.ndarray]], wanted: set[int], render: Any, world: Any, _: Any
) -> None:
    """Keep the state before every step, and the images of the wanted ones."""
    if len(states) in wanted:
        for camera, image in render().items():
            images[camera].append(image)
    states.append(np.array(world.state()))


def _other_environment(file: Path, name: str) -> ReportError:
    return ReportError(
        "the page shows episodes of the tabletop alone",
        file=file,
        key="environment",
        expected="tabletop",
        found=name,
        remedy="vla-agent replay makes the video of an episode; report.html has some",
    )


def _difference(index: int) -> dict[str, Any]:
    return {
        "check": "replay",
        "what": "the simulation did not reproduce the episode",
        "episode": index,
        "frame": None,
        "key": "state_hash",
        "found": "another final state",
        "remedy": "use the release that wrote the report; vla-agent replay names the difference",
        "error": True,
    }
