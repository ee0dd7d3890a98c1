"""The gate's page: what it shows, other latencies, base against tuned, clips of failures, attempts."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from conftest import Lab

from sim.experts.planted_faults import PlantedPolicy
from vla_agent.contract.tabletop import tabletop_contract
from vla_agent.errors import CheckpointError
from vla_agent.gate.certificate import keys
from vla_agent.gate.report.failure_clips import choose, failure_text
from vla_agent.gate.report.gate_page import hardest
from vla_agent.gate.report.wording import condition, headline, latency_refusal, strength_of_evidence, title_of

TRYING_OUT = "; for trying out, not for hardware"
SUITE = """\
format: 2
name: page
tasks: [press_button]
estimated: 2
block: 2
reported: 1
checks:
  success: {threshold: 0.05, margin: 0.60}
  family: {threshold: null}
  axes:
    - {axis: lighting, severity: 1, threshold: 0.05, margin: 0.60}
  language:
    - {probe: swap, threshold: 0.30, margin: 0.60}
  delays:
    - {delay_ms: 100, threshold: null}
    - {delay_ms: 0, threshold: null}
"""


class Chunked(PlantedPolicy):
    """Gives whole chunks, so that it can be driven with a delay; every row is the expert's next action."""

    contract = tabletop_contract()

    def act(self, observation):
        return np.tile(super().act(observation), (16, 1))


def load(name):
    return Chunked(name.removeprefix("planted."))


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Two gates: of a good policy, and of a deaf one whose page shows the good one as its base."""
    root = tmp_path_factory.mktemp("page")
    (root / "gate.yaml").write_text(SUITE)
    keys.create("lab", root / "keys")
    gate(root, "planted.none", "good", clips=0)
    gate(root, "planted.deaf", "deaf", clips=1, base="planted.none")
    return root


def gate(root, policy, out, **options):
    return Lab(root).gate(policy, out, suite=root / "gate.yaml", load=load, **options)


def test_the_page_says_what_it_is_about_and_needs_nothing_else(root):
    page = (root / "deaf" / "report.html").read_text()
    text = re.sub(r"<[^>]+>|\s+", " ", re.sub(r"<style>.*?</style>", "", page, flags=re.S))
    assert "does not pass the gate" in text and "probe.swap" in text, "verdict and why"
    for part in ("worst perturbation", "stubborn", "success with this latency", "Comparison with the base",
                 "Failures", "Attempts with this checkpoint", "SHA-256"):  # fmt: skip
        assert part in text
    assert text.index("does not pass") < text.index("Robustness to perturbations") < text.index("Attempts with")
    sources = re.findall(r'(?:src|poster|href)="([^"]{0,20})', page)
    assert len(sources) == 3 and all(s.startswith("data:") for s in sources), "one clip: video, poster, strip"
    assert "http" not in page.replace("http-equiv", "") and "@import" not in page
    assert "prefers-color-scheme: dark" in page and "@media print" in page and "width=device-width" in page


def test_a_good_policy_s_page_has_no_reasons_and_no_empty_parts(root):
    page = (root / "good" / "report.html").read_text()
    assert "passes the gate page" in page and 'class="reasons' not in page
    assert "for trying out, not for hardware" in page, "two episodes are few"
    assert "Comparison with the base" not in page and "<video " not in page


def test_other_latencies_are_played_on_the_control_s_seeds_and_verified(root):
    report = verified(root, "good")
    cells = {e["control"] for e in report["episodes"]}
    assert {"delay.0", "delay.100"} < cells
    checks = report["summary"]["judgement"]["checks"]
    assert checks["delay.0"]["k"] == checks["delay.0"]["n"] == 1 and checks["delay.100"]["verdict"] == "reported"
    seed = report["certified"]["attempt"]["seed"]
    rows = {(e["control"], e["seed"]): e for e in report["episodes"]}
    late, control = rows["delay.100", seed], rows["control", seed]
    assert rows["delay.0", seed]["state_hash"] == control["state_hash"], "nothing is added where nothing is late"
    assert late["steps"] > control["steps"], "it stands still until its first chunk comes"


def verified(root, out):
    assert Lab(root).verify(out) == []
    return json.loads((root / out / "report.json").read_text())


def test_the_base_stands_beside_the_tuned_policy_on_the_same_seeds(root):
    report = verified(root, "deaf")
    base, control = report["base"], [e for e in report["episodes"] if e["control"] == "control"]
    assert base["second"]["policy"] == "planted.none" and base["policy"]["name"] == "planted.none"
    assert base["overall"]["n"] == len(control) and base["verdict"] == "not shown" and base["conditions"] == {}
    assert [e["seed"] for e in base["episodes"]] == [e["seed"] for e in control]
    assert all(e["success"] for e in base["episodes"]), "it was played, without this policy's fault"


def test_a_base_that_does_not_exist_is_refused_before_the_attempt_is_counted(root, tmp_path):
    before = (root / "ledger.jsonl").read_bytes()
    with pytest.raises(CheckpointError, match="no such policy"):
        Lab(root).gate("expert", "refused", suite=root / "gate.yaml", base=str(tmp_path / "none"))
    assert (root / "ledger.jsonl").read_bytes() == before and not (root / "refused").exists()


def test_clips_are_spread_over_conditions_and_scenes_and_failed_checks_come_first():
    def row(control, seed=0, outcome=False, task="stack"):
        return {"control": control, "outcome": outcome, "failure": "dropped", "task": task, "seed": seed}

    rows = [row("axis.camera.1"), row("axis.camera.1", 1), row("control"), row("control"), row("control", task="push"),
            row("control", outcome=True), row("probe.swap"), row("delay.100")]  # fmt: skip
    checks = {name: {"verdict": "reported"} for name in ("axis.camera.1", "delay.100")}
    checks["probe.swap"] = {"verdict": "fail"}
    assert choose(rows, checks, 12) == [2, 4, 3, 6, 1, 7, 0]
    assert choose(rows, checks, 3) == [2, 6, 1]
    assert choose(rows, checks, 0) == []


def test_each_kind_of_episode_states_its_failure():
    assert failure_text({"control": "probe.blank", "failure": None}) == "did the task anyway"
    assert failure_text({"control": "probe.removed", "failure": None}) == "did not refrain"
    assert (
        failure_text({"control": "probe.swap", "failure": "wrong_object", "original": True})
        == "went for the first target"
    )
    assert failure_text({"control": "axis.camera.1", "failure": "never_grasped"}) == "never grasped"
    assert condition("axis.object_pose.2") == "object pose" and condition("delay.200") == "200 ms"
    assert title_of("delay.12.5") == "does the instructed task with an inference latency of 12.5 ms"


@pytest.mark.parametrize(
    ("verdict", "low", "text"),
    [
        ("pass", 0.1582, "this shows at least 15.8 % success at 95 % confidence" + TRYING_OUT),
        ("pass", 0.4999, "this shows at least 49.9 % success at 95 % confidence" + TRYING_OUT),
        ("pass", 0.5, "this shows at least 50 % success at 95 % confidence"),
        ("fail", 0.1, "this shows at least 10 % success at 95 % confidence"),
        ("fail", 0.0, "this shows no success rate above 0"),
    ],
)
def test_a_gate_states_what_its_own_numbers_show(verdict, low, text):
    judgement = {"verdict": verdict, "estimate": {"interval": [low, 1.0]}}
    assert strength_of_evidence(judgement) == text


def test_the_headline_is_the_estimate_over_all_unperturbed_episodes():
    families = {"put_in_tray": {"k": 7, "n": 10}, "push": {"k": 30, "n": 30}}
    worst = {"name": "put_in_tray", "k": 7, "n": 10, "interval": [0.348, 0.933]}
    estimate = {"rate": 0.85, "interval": [0.701, 0.943], "worst_family": worst}
    found = headline({"families": families, "estimate": estimate})
    assert found == (
        "success 85.0 % (70 to 94 %), mean over 2 families, 37 of 40 unperturbed episodes; "
        "worst family put in tray: 7 of 10 (35 to 93 %)"
    )
    nothing = {"rate": None, "interval": [0.0, 1.0], "worst_family": None}
    assert "not estimated" in headline({"families": families, "estimate": nothing})


def test_the_page_leads_with_the_estimate_and_not_with_the_test_s_sample(root):
    report = verified(root, "good")
    page = (root / "good" / "report.html").read_text()
    text = re.sub(r"<[^>]+>|\s+", " ", re.sub(r"<style>.*?</style>", "", page, flags=re.S))
    judgement = report["summary"]["judgement"]
    n = judgement["families"]["press_button"]["n"]
    assert n > judgement["checks"]["success"]["n"], "more was played than the test needed"
    assert headline(judgement).removeprefix("success") in text and f"{n} of {n}" in text
    assert text.index(f"{n} of {n}") < text.index("own sample, up to where it stopped") < text.index("Every family")


def test_a_machine_slower_than_certified_is_named():
    report = {"certified": {"latency": {"certified_ms": 50.0}}, "latency": {"p99_ms": 71.9}}
    assert "would refuse this machine" in latency_refusal(report) and "71.9 ms" in latency_refusal(report)
    assert latency_refusal(report | {"latency": {"p99_ms": 49.0}}) == latency_refusal(report | {"latency": {}}) == ""


def test_the_hardest_scenes_are_wrong_under_several_conditions():
    rows = [{"task": "stack", "seed": s, "control": c, "outcome": o}
            for s, c, o in ((1, "control", False), (1, "axis.camera.1", False), (2, "control", False),
                            (2, "axis.camera.1", True), (3, "control", True))]  # fmt: skip
    found = hardest(rows)
    assert [(h["seed"], h["n"], h["wrong"]) for h in found] == [(1, 2, ["unperturbed", "camera"])]
