"""Random episodes of a result, played again with its policy: what comes out otherwise than stated."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing
from functools import partial
from typing import Any

import numpy as np

from sim.tasks.task import load_suite
from vla_agent.environments.tabletop import TabletopChoice
from vla_agent.errors import ReportError
from vla_agent.evaluation.play.player import SCRIPTED, Player, PlayerSettings, load_learned
from vla_agent.evaluation.play.worker_protocol import one_thread
from vla_agent.leaderboard.evaluate_suite import BLIND, job_of
from vla_agent.leaderboard.frozen_suite import read_suite
from vla_agent.leaderboard.play_frozen import load_blind, play
from vla_agent.leaderboard.result_file import COLUMNS
from vla_agent.policy.execution_settings import Execution


def differences(result: Mapping[str, Any], policy: str, count: int, seed: int) -> Iterator[str]:
    """Play ``count`` random episodes of a result again; each difference in a row, in words.

    Another processor rounds otherwise: then states may differ, and outcomes seldom do.

    Args:
        result: as `read_result` returns it.
        policy: folder, hub name or server of the policy with the stated digest, or the name of a scripted one.
        seed: of the choice of episodes.

    Raises:
        ReportError: the result is of a scripted policy of another name.
        VlaAgentError: the policy has another digest, or this simulator is not the suite's.
    """
    suite, execution = read_suite(result["suite"]["name"]), result["execution"]
    settings = PlayerSettings(
        policy,
        TabletopChoice(load_suite("tabletop"), suite.split),
        _loader(result, policy),
        Execution(execution["mode"], execution["delay_ms"]),
    )
    chosen = np.random.default_rng(seed).choice(len(suite.episodes), min(count, len(suite.episodes)), replace=False)
    with closing(Player(settings)) as player, one_thread():
        for number in sorted(chosen):
            job = job_of(suite, suite.episodes[number], result["policy"]["control"])
            found = play(player, job).record
            for column, stated in zip(COLUMNS, result["episodes"][number], strict=True):
                if found[column] != stated:
                    yield f"{job.key}, {column}: stated {stated}, played {found[column]}"


def _loader(result: Mapping[str, Any], policy: str) -> Any:
    stated = result["policy"]
    if not stated["digest"] and policy != stated["name"]:
        raise ReportError(
            "the result is of another policy",
            key="policy.name",
            expected=policy,
            found=stated["name"],
            remedy=f"name one of {', '.join(SCRIPTED)} as the result does",
        )
    load: Any = partial(load_learned, expected=stated["digest"] or None)
    return partial(load_blind, load=load) if stated["control"] == BLIND else load
