"""The gate's page: what it shows, other latencies, base against tuned, clips of failures, attempts."""

from __future__ import annotations

import re

import numpy as np
import pytest

from sim.experts.planted_faults import PlantedPolicy
from vla_agent.contract.tabletop import tabletop_contract
from vla_agent.errors import ReportError
from vla_agent.evaluation.evaluate import EvaluationSettings, evaluate
from vla_agent.gate.certificate import keys
from vla_agent.gate.certificate.verify import verify
from vla_agent.gate.evidence import ledger
from vla_agent.gate.report.failure_clips import choose, what
from vla_agent.gate.report.gate_page import condition, hardest, title_of
from vla_agent.gate.run_gate import GateSettings, run_gate

SUITE = """\
format: 1
name: page
tasks: [press_button]
seed: 530000
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
    gate(root, "planted.deaf", "deaf", clips=1, base=root / "good")
    return root


def gate(root, policy, out, **options):
    private, ledger_file = keys.load_private("lab", root / "keys"), root / "ledger.jsonl"
    settings = GateSettings(policy, root / "gate.yaml", root / out, "arm", private, ledger_file, load=load, **options)
    return run_gate(settings)


def test_the_page_says_what_it_is_about_and_needs_nothing_else(root):
    page = (root / "deaf" / "report.html").read_text()
    text = re.sub(r"<[^>]+>|\s+", " ", re.sub(r"<style>.*?</style>", "", page, flags=re.S))
    assert "does not pass the gate" in text and "probe.swap" in text, "verdict and why"
    for part in ("worst perturbation", "stubborn", "success with this latency", "Better than the base?",
                 "How does it fail?", "Attempts with this checkpoint", "SHA-256"):  # fmt: skip
        assert part in text
    assert text.index("does not pass") < text.index("Does it do the tasks?") < text.index("How does it fail?")
    sources = re.findall(r'(?:src|poster|href)="([^"]{0,20})', page)
    assert len(sources) == 3 and all(s.startswith("data:") for s in sources), "one clip: video, poster, strip"
    assert "http" not in page.replace("http-equiv", "") and "@import" not in page
    assert "prefers-color-scheme: dark" in page and "@media print" in page and "width=device-width" in page


def test_a_good_policy_s_page_has_no_reasons_and_no_empty_parts(root):
    page = (root / "good" / "report.html").read_text()
    assert "passes the gate page" in page and 'class="reasons' not in page
    assert "Better than the base?" not in page and "<video " not in page


def test_other_latencies_are_played_on_the_control_s_seeds_and_verified(root):
    report = verified(root, "good")
    cells = {e["control"] for e in report["episodes"]}
    assert {"delay.0", "delay.100"} < cells
    checks = report["summary"]["judgement"]["checks"]
    assert checks["delay.0"]["k"] == checks["delay.0"]["n"] == 1 and checks["delay.100"]["verdict"] == "reported"
    rows = {(e["control"], e["seed"]): e for e in report["episodes"]}
    late, control = rows["delay.100", 530000], rows["control", 530000]
    assert rows["delay.0", 530000]["state_hash"] == control["state_hash"], "nothing is added where nothing is late"
    assert late["steps"] > control["steps"], "it stands still until its first chunk comes"


def verified(root, out):
    from vla_agent.evaluation.result_store import read_report

    assert verify(root / out / "certificate.json", None, keys=root / "keys", ledger=root / "ledger.jsonl") == []
    return read_report(root / out / "report.json")


def test_the_base_stands_beside_the_tuned_policy(root):
    report = verified(root, "deaf")
    assert report["base"]["second"]["policy"] == "planted.none"
    assert report["base"]["overall"]["n"] >= 2 and report["base"]["verdict"] == "not shown"
    assert report["base"]["conditions"]["probe.swap"]["first_k"] == 0


def test_a_base_of_other_scenes_is_refused_before_the_attempt_is_counted(root):
    evaluate(EvaluationSettings("expert", "press_button", episodes=1, seed=3, controls="none", out=root / "other"))
    before = ledger.read_ledger(root / "ledger.jsonl")
    with pytest.raises(ReportError, match="press_button, seed 530000"):
        gate(root, "planted.none", "refused", base=root / "other")
    assert ledger.read_ledger(root / "ledger.jsonl") == before and not (root / "refused").exists()


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


def test_what_was_wrong_is_said_of_each_kind_of_episode():
    assert what({"control": "probe.blank", "failure": None}) == "did the task all the same"
    assert what({"control": "probe.removed", "failure": None}) == "did not refrain"
    assert what({"control": "probe.swap", "failure": "wrong_object", "original": True}) == "went for the first target"
    assert what({"control": "axis.camera.1", "failure": "never_grasped"}) == "never grasped"
    assert condition("axis.object_pose.2") == "object pose" and condition("delay.200") == "200 ms"
    assert title_of("delay.12.5") == "does what it is told when it thinks for 12.5 ms"


def test_the_hardest_scenes_are_wrong_under_several_conditions():
    rows = [{"task": "stack", "seed": s, "control": c, "outcome": o}
            for s, c, o in ((1, "control", False), (1, "axis.camera.1", False), (2, "control", False),
                            (2, "axis.camera.1", True), (3, "control", True))]  # fmt: skip
    found = hardest(rows)
    assert [(h["seed"], h["n"], h["wrong"]) for h in found] == [(1, 2, ["unperturbed", "camera"])]


def test_every_attempt_is_listed_with_its_end(tmp_path):
    file = tmp_path / "ledger.jsonl"
    for event, run, policy in (("start", "a", "p"), ("start", "z", "q"), ("start", "b", "p"), ("finish", "a", "p")):
        end = {"verdict": "fail", "certificate": "c"} if event == "finish" else {}
        ledger.append(file, {"event": event, "run": run, "policy": policy, "gate": "g"} | end)
    found = ledger.attempts(ledger.read_ledger(file), "p")
    assert [(a["number"], a["run"], a["verdict"]) for a in found] == [(1, "a", "fail"), (2, "b", None)]
