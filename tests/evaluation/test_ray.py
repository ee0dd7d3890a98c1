"""Evaluation on a Ray cluster: the results of one worker, even if a worker dies."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import replace

import pytest

from sim.experts.planted_faults import load_planted
from vla_agent.cli.judge.worker_options import cores, workers_of
from vla_agent.errors import OptionError, SimulatorError
from vla_agent.evaluation.evaluate import EvaluationSettings, evaluate
from vla_agent.evaluation.play.ray_workers import _require_same


def test_workers_are_the_cores_here_or_all_of_the_cluster():
    assert workers_of(Namespace(workers=None, ray=None)) == cores()
    assert workers_of(Namespace(workers=None, ray="auto")) is None
    assert workers_of(Namespace(workers=3, ray="auto")) == 3
    with pytest.raises(OptionError, match="--workers"):
        workers_of(Namespace(workers=0, ray="auto"))


def test_a_machine_with_another_release_is_named_and_does_not_play():
    mine = {"policy": {"policy.json": "a"}, "simulator": "b" * 64, "mujoco": "3.17.0"}
    _require_same(mine, dict(mine))
    with pytest.raises(SimulatorError, match="would play other episodes") as error:
        _require_same(mine, mine | {"mujoco": "3.9.0", "policy": {}})
    assert error.value.key == "policy, mujoco" and "3.9.0" in str(error.value)


def test_without_ray_or_without_a_cluster_the_remedy_is_named(monkeypatch):
    try:
        import ray
    except ImportError:
        remedy = r"vla_agent\[ray\]"
    else:
        remedy = "ray start"
        monkeypatch.setattr(ray, "init", _no_cluster)
    with pytest.raises(OptionError, match=remedy):
        evaluate(
            EvaluationSettings("expert", "press_button", episodes=1, controls="none", workers=None, ray="127.0.0.1:1")
        )


def _no_cluster(**options):
    raise ConnectionError("nobody listens there")


def test_two_nodes_give_the_table_of_one_worker_though_a_worker_is_killed(tmp_path):
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'vla_agent[ray]'")
    from benchmarks.gate.ray_nodes import Killer, two_nodes

    settings = EvaluationSettings(
        "planted.none", "press_button,put_in_tray", episodes=3, controls="none", load=load_planted
    )
    alone = evaluate(settings)
    with two_nodes() as cluster:
        killer = Killer(cluster, after=2)
        report = evaluate(replace(settings, workers=None, ray=cluster.address), progress=killer)
    assert killer.killed is not None
    assert report["episodes"] == alone["episodes"] and len(alone["episodes"]) == 6
    assert report["summary"]["seconds"]["workers"] == 2
    assert report["summary"]["controls"] == alone["summary"]["controls"]
