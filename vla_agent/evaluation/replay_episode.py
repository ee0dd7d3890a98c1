"""Replay an episode of a report from its seed and its recorded actions, and compare all hashes."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vla_agent.environments.episode import Outcome
from vla_agent.errors import OptionError, ReportError
from vla_agent.evaluation import provenance
from vla_agent.evaluation.play.player import Player, PlayerSettings
from vla_agent.evaluation.played_world import world_of
from vla_agent.evaluation.report.video import caption, inset, write_video
from vla_agent.evaluation.result_store import key_of, read_episode_arrays, read_report
from vla_agent.files.write_aside import file_aside


@dataclass(frozen=True)
class ReplayResult:
    """Result of a replay.  ``differences``: versions and hashes that are not those of the report."""

    row: Mapping[str, Any]
    result: Outcome
    same_state: bool
    same_images: bool
    differences: list[str]
    control_hz: float

    @property
    def exact(self) -> bool:
        return self.same_state and self.same_images and self.result.success == self.row["success"]


def replay(
    report_file: Path, episode: int, size: int = 384, video: Path | None = None, env: str | None = None
) -> ReplayResult:
    """Reproduce episode number ``episode`` of a report; write its video where ``video`` is given.

    The actions are read from ``actions.npz`` beside the report.  ``env``: the report's environment, where it is none of
    the shipped ones: it is code that only the user may name.

    Raises:
        ReportError: the report or the actions are missing or damaged, or its environment is not the one of ``env``.
        OptionError: there is no such episode.
    """
    report = read_report(report_file)
    rows = report["episodes"]
    if not 0 <= episode < len(rows):
        raise OptionError(
            "there is no such episode in the report",
            file=report_file,
            key="--episode",
            expected=f"0 to {len(rows) - 1}",
            found=episode,
            remedy="episodes are counted from 0, in the order of `episodes` in report.json",
        )
    row = rows[episode]
    actions, looks = read_actions(report_file.with_name("actions.npz"), key_of(row))
    world = world_of(report, row["task"], env)
    with closing(Player(PlayerSettings(report["policy"], world.choice))) as player:
        result = player.replay(row, actions, looks, size, film_every=1 if video is not None else 0)
        hz = player.environment.contract.control_hz
    current = {"simulator": world.simulator, row["task"]: world.tasks[row["task"]]}
    recorded = {"simulator": report["hashes"]["simulator"], row["task"]: report["hashes"]["tasks"].get(row["task"])}
    differences = [f"hash of {k} differs" for k in current if current[k] != recorded[k]]
    mine = world.versions(learned=False)
    shared = {k: v for k, v in report["versions"].items() if k in mine and k != "vla_agent"}
    differences += provenance.compare(mine, shared)
    if video is not None:
        _write(video, row, result, hz)
    return ReplayResult(
        row,
        result,
        same_state=result.state_hash == row["state_hash"],
        same_images=result.image_hash == row["image_hash"],
        differences=differences,
        control_hz=hz,
    )


def read_actions(file: Path, key: str) -> tuple[np.ndarray, tuple[int, ...]]:
    """Actions (N, A) of an episode, and the steps at which its policy received images.

    Raises:
        ReportError: they are missing or damaged.
    """
    try:
        actions, looks = read_episode_arrays(file, key, ReportError)
        if actions.ndim != 2 or looks.ndim != 1 or len(looks) > max(len(actions), 1):
            raise ValueError(f"actions {actions.shape} and looks {looks.shape}")
        return actions, tuple(int(i) for i in looks)
    except ReportError:
        raise
    except Exception as error:  # missing, damaged, or not numbers
        raise ReportError(
            "the episode's actions cannot be read",
            file=file,
            key=key,
            expected="the actions.npz that `vla-agent eval` wrote beside the report",
            found=f"{type(error).__name__}: {error}",
            remedy="keep actions.npz beside report.json, or evaluate again",
        ) from error


def _write(video: Path, row: Mapping[str, Any], result: Outcome, hz: float) -> None:
    """The first camera, with the second in a corner where there is one."""
    outcome = "success" if result.success else str(row["failure"]).replace("_", " ")
    frames = []
    for i, images in enumerate(result.frames):
        last = i == len(result.frames) - 1
        text = f"{row['instruction']} - {outcome}" if last else row["instruction"]
        main, *others = images.values()
        frames.append(caption(inset(main, others[0]) if others else main, text, f"{i / hz:.1f} s"))
    frames += [frames[-1]] * 15  # time to read the outcome
    with file_aside(video) as aside:
        write_video(aside, [_padded(f, frames[-1].shape[0]) for f in frames], hz, crf=20)


def _padded(frame: np.ndarray, height: int) -> np.ndarray:
    """The frame with its last row repeated to ``height``: the last caption may need one line more."""
    return np.pad(frame, ((0, height - frame.shape[0]), (0, 0), (0, 0)), mode="edge")
