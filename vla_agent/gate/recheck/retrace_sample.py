"""Episodes of a sample, simulated again from their actions, while the policy says what it would have done itself."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from sim.world.panda import ACTION_LIMITS
from vla_agent.evaluation.play.player import Player, PlayerSettings
from vla_agent.evaluation.play.worker_protocol import one_thread
from vla_agent.evaluation.result_store import key_of
from vla_agent.gate.evidence.gate_player import job_of, retrace
from vla_agent.gate.evidence.played_actions import read_actions
from vla_agent.gate.recheck.difference import Difference, differences

TOLERANCE = 1e-3  # of an action's range; the same processor gives the same bits, others differ by their rounding
UNSEEN = "actions_hash"  # the part of a row that is checked before its episode is simulated


def choose(rows: Sequence[Mapping[str, Any]], count: int, seed: int) -> list[Mapping[str, Any]]:
    """``count`` random rows, or all where there are fewer."""
    chosen = np.random.default_rng(seed).choice(len(rows), min(count, len(rows)), replace=False)
    return [rows[i] for i in sorted(chosen)]


def retrace_rows(
    rows: Sequence[Mapping[str, Any]], actions_file: Path, settings: PlayerSettings
) -> Iterator[Difference]:
    """Simulate the episodes of these rows again; what differs from them, and where the policy acts otherwise.

    Everything in a row is compared: instruction, success, outcome, steps, failure, and the hashes of the last state and
    of all images.  The policy is asked at the recorded observations.

    Raises:
        CertificateError: the actions cannot be read, are not those of the row, or end before the episode does.
    """
    with closing(Player(settings)) as player, one_thread():
        for row in rows:
            yield from _retraced(player, row, actions_file)


def _retraced(player: Player, row: Mapping[str, Any], actions_file: Path) -> Iterator[Difference]:
    key = f"replay {key_of(row)}"
    actions, looks = read_actions(actions_file, row)
    found, own, own_looks = retrace(player, job_of(row), actions)
    expected = {name: value for name, value in row.items() if name != UNSEEN}
    yield from differences(key, expected, json.loads(json.dumps(found)))
    if looks.tolist() != list(own_looks):
        yield Difference(f"{key}.looks", looks.tolist(), list(own_looks))
    if own.shape != actions.shape:
        yield Difference(f"{key}.actions", f"{len(actions)} steps", f"{len(own)} steps")
        return
    env = player.tabletop(row["task"])
    low, high = ACTION_LIMITS[env.world.control]
    apart = np.abs(own - actions) / (high - low)
    if len(own) and not apart.max() <= TOLERANCE:  # NaN is a difference, too
        step, column = np.unravel_index(np.argmax(np.nan_to_num(apart, nan=np.inf)), apart.shape)
        mine, theirs = float(actions[step, column]), float(own[step, column])
        yield Difference(f"{key}.actions.{step}.{column}: the policy acts otherwise", mine, theirs)
