"""The gate's sequential test of success in another environment: shown or not, resumed, and never a certificate."""

from __future__ import annotations

from dataclasses import replace

import pytest

from vla_agent.cli import main
from vla_agent.errors import OptionError
from vla_agent.evaluation.evaluate import EvaluationSettings
from vla_agent.evaluation.result_store import read_report
from vla_agent.gate.success_in_environment import Demand, sentence, show_success

SOUND = "benchmarks.open.planted_environments:Sound"
SEED = 5_400_000


def settings(policy: str, out) -> EvaluationSettings:
    return EvaluationSettings(policy, seed=SEED, out=out, env=SOUND)


def test_an_expert_passes_early_and_random_actions_fail_early(tmp_path):
    good = show_success(settings("expert", tmp_path / "good"), Demand())
    test = good["summary"]["success_test"]
    assert test["verdict"] == "pass" and test["k"] == test["n"] < test["largest"] and test["interval"][0] > 0.8
    bad = show_success(settings("random", tmp_path / "bad"), Demand())["summary"]["success_test"]
    assert bad["verdict"] == "fail" and bad["n"] < test["largest"] and bad["interval"][1] < 0.9
    assert "PASS: success above 80 % is shown" in sentence(good)
    stored = read_report(tmp_path / "good" / "report.json")
    assert {row["task"] for row in stored["episodes"]} == {"go_red", "go_green", "go_blue"}
    assert "certificate" in stored["environment"]["left_out"] and not list(tmp_path.rglob("certificate.json"))


def test_an_interrupted_run_goes_on_to_the_same_verdict(tmp_path):
    whole = show_success(settings("random", tmp_path / "whole"), Demand(0.2, 0.2))

    def stop(played, done, total):
        if done == 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        show_success(settings("random", tmp_path / "cut"), Demand(0.2, 0.2), stop)
    again: list[str] = []
    resumed = show_success(
        replace(settings("random", tmp_path / "cut"), resume=True),
        Demand(0.2, 0.2),
        lambda p, *_: again.append(p.job.key),
    )
    assert len(again) == len(whole["episodes"]) - 7 and resumed["episodes"] == whole["episodes"]
    assert resumed["summary"]["success_test"] == whole["summary"]["success_test"]


def test_the_command_gives_no_certificate_and_refuses_a_robot(tmp_path, capsys):
    out = str(tmp_path / "out")
    assert (
        main(["gate", "expert", "--env", SOUND, "--above", "0.5", "--margin", "0.3", "-o", out, "--workers", "1"]) == 0
    )
    assert "PASS" in capsys.readouterr().out
    assert main(["gate", "expert", "--env", SOUND, "--robot", "panda", "-o", out]) == 2
    assert "no certificate" in capsys.readouterr().err
    with pytest.raises(OptionError):
        Demand(0.95, 0.1)
