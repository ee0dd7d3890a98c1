"""From episodes to the verdict: what passes, what fails, what is undecided, and what is said about it."""

from __future__ import annotations

import pytest

from vla_agent.evaluation.exact_tests import alpha_spent, clopper_pearson
from vla_agent.gate.decision.gate_file import load_gate
from vla_agent.gate.decision.judge import attribute_failures, judge, judged, label, reason
from vla_agent.gate.decision.plan import sequential_tests
from vla_agent.gate.evidence.inference_latency import certified_delay

CELLS = ("control", "axis.lighting.1", "axis.camera.2", "probe.swap", "probe.blank")
LONG = 200


@pytest.fixture(scope="module")
def gate(tmp_path_factory):
    file = tmp_path_factory.mktemp("gate") / "gate.yaml"
    file.write_text(
        "format: 2\nname: two\ntasks: [stack, press_button]\nalpha: 0.1\nbeta: 0.2\nchecks:\n"
        "  success: {threshold: 0.2, margin: 0.2}\n  family: {threshold: 0.3, margin: 0.4}\n  axes:\n"
        "    - {axis: lighting, severity: 1, threshold: 0.4, margin: 0.3}\n"
        "    - {axis: camera, severity: 2, threshold: null}\n  language:\n"
        "    - {probe: swap, threshold: 0.3, margin: 0.3}\n    - {probe: blank, threshold: null}\n"
    )
    return load_gate(file)


def rows(n=LONG, **good):
    """n episodes of each cell, alternately of both families; ``good``: cell (with _ for .) -> which succeed."""
    found = []
    for cell in CELLS:
        for i in range(n):
            success = good.get(cell.replace(".", "_"), lambda i: True)(i)
            outcome = success != (cell == "probe.blank")
            row = {"control": cell, "index": i, "task": ("stack", "press_button")[i % 2], "seed": i // 2}
            found.append(row | {"success": success, "outcome": outcome, "original": not success})
    return found


def never(i):
    return False


def verdicts(judgement):
    return {name: c["verdict"] for name, c in judgement["checks"].items()}


def test_all_judged_checks_must_pass(gate):
    judgement = judge(gate, rows(), 1)
    assert judgement["verdict"] == "pass" and judgement["reasons"] == []
    assert verdicts(judgement) == {
        "success": "pass",
        "family.stack": "pass",
        "family.press_button": "pass",
        "axis.lighting.1": "pass",
        "axis.camera.2": "reported",
        "probe.swap": "pass",
        "probe.blank": "reported",
    }


@pytest.mark.parametrize(
    ("good", "failed"),
    [
        ({"axis_lighting_1": never}, ["axis.lighting.1"]),
        ({"probe_swap": never}, ["probe.swap"]),
        ({"control": lambda i: i % 2 == 0 or i > 60}, ["family.press_button"]),
        ({"axis_camera_2": never, "probe_blank": never}, []),
    ],
)
def test_one_failed_check_is_enough_and_is_named(gate, good, failed):
    judgement = judge(gate, rows(**good), 1)
    assert [n for n, v in verdicts(judgement).items() if v == "fail"] == failed
    assert judgement["verdict"] == ("fail" if failed else "pass")
    assert [r.partition(":")[0] for r in judgement["reasons"]] == failed


def test_what_has_too_few_episodes_is_undecided_and_does_not_pass(gate):
    judgement = judge(gate, [r for r in rows() if r["control"] != "probe.swap" or r["index"] < 1], 1)
    assert judgement["verdict"] == "undecided" and judgement["checks"]["probe.swap"]["n"] == 1
    assert judgement["reasons"] == [reason("probe.swap", judgement["checks"]["probe.swap"])]
    assert judgement["reasons"][0].endswith("1 of 1, undecided")
    nothing = judge(gate, [], 1)
    assert nothing["verdict"] == "undecided" and len(nothing["reasons"]) == 5
    assert nothing["checks"]["axis.camera.2"]["rate"] is None and nothing["estimate"]["rate"] is None


def test_a_failure_weighs_more_than_an_open_check(gate):
    played = [r for r in rows(axis_lighting_1=never) if r["control"] != "probe.swap"]
    assert judge(gate, played, 1)["verdict"] == "fail"


def test_episodes_after_a_gap_do_not_count(gate):
    judgement = judge(gate, [r for r in rows() if (r["control"], r["index"]) != ("axis.camera.2", 3)], 1)
    assert judgement["checks"]["axis.camera.2"]["n"] == 3


def test_the_outcome_counts_and_not_the_success(gate):
    check = judge(gate, rows(), 1)["checks"]["probe.blank"]
    assert (check["k"], check["rate"]) == (0, 0.0), "it did the task without an instruction"


def test_decisions_use_the_stopped_sample_and_reports_all(gate):
    tests = sequential_tests(gate, alpha_spent(gate.alpha, 1))
    checks = judge(gate, rows(), 1)["checks"]
    stop = tests["success"].decide([True] * LONG)
    assert (checks["success"]["k"], checks["success"]["n"]) == (stop.k, stop.n) and stop.n < LONG
    assert checks["success"]["interval"] == list(tests["success"].interval(stop))
    assert checks["axis.camera.2"]["n"] == LONG
    assert checks["axis.camera.2"]["interval"] == list(clopper_pearson(LONG, LONG))
    half = judge(gate, rows(axis_camera_2=lambda i: i % 2 == 0), 1)["checks"]["axis.camera.2"]
    assert (half["k"], half["rate"]) == (LONG // 2, 0.5)


def test_a_check_states_how_it_was_judged(gate):
    for attempt in (1, 2):
        check = judge(gate, rows(), attempt)["checks"]["axis.lighting.1"]
        alpha = alpha_spent(0.1, attempt)
        assert (check["threshold"], check["margin"], check["alpha"], check["beta"]) == (0.4, 0.3, alpha, 0.2)
        assert check["largest"] == sequential_tests(gate, alpha)["axis.lighting.1"].size
    assert judge(gate, rows(), 1)["checks"]["probe.blank"]["largest"] is None


def test_a_later_attempt_is_held_to_a_stricter_test(gate):
    first, later = (judge(gate, rows(), attempt)["checks"]["success"]["n"] for attempt in (1, 5))
    assert later > first


def test_each_axis_is_compared_with_its_control_on_the_same_scenes(gate):
    played = rows(axis_lighting_1=lambda i: i % 4 != 0, control=lambda i: i % 4 != 1)
    axis = judge(gate, played, 1)["axes"]["axis.lighting.1"]
    assert (axis["k"], axis["control_k"], axis["n"]) == (150, 150, LONG)
    assert (axis["only_first"], axis["only_second"], axis["difference"]) == (50, 50, 0.0)
    without = [r for r in played if r["control"] != "control" or r["index"] >= 10]
    assert judge(gate, without, 1)["axes"]["axis.lighting.1"]["n"] == LONG - 10
    worse = judge(gate, rows(axis_lighting_1=lambda i: i >= 8), 1)["axes"]
    assert worse["axis.lighting.1"]["p"] == pytest.approx(2 / 256)
    assert worse["axis.lighting.1"]["holm"] == pytest.approx(4 / 256), "of two axes"


def test_pairs_of_instructions_are_classified(gate):
    played = rows(probe_swap=lambda i: i < 150, control=lambda i: i >= 20)
    language = judge(gate, played, 1)["language"]
    counts = {name: c["k"] for name, c in language.items()}
    assert counts == {"follow": 130, "indecisive": 20, "stubborn": 50, "ignorant": 0}
    assert all(c["n"] == LONG and c["interval"] == list(clopper_pearson(c["k"], LONG)) for c in language.values())


def test_reasons_are_sentences_with_numbers():
    check = {"verdict": "fail", "k": 3, "n": 9, "threshold": 0.65}
    assert reason("success", check) == "success: does the instructed task: 3 of 9, not shown to be above 65 %"
    assert "succeeds in put in tray" in reason("family.put_in_tray", check)
    assert "succeeds under object pose, severity 2" in reason("axis.object_pose.2", check)
    assert "succeeds with an inference latency of 12.5 ms" in reason("delay.12.5", check)
    assert "follows an instruction" in reason("probe.swap", check)


def test_a_report_holds_plain_data(gate):
    assert judged(gate, rows(20), 1)["checks"]["success"]["interval"].__class__ is list


def test_the_certified_latency_is_that_of_the_gate_file_or_the_measured_one_rounded_up(gate):
    given = gate.model_copy(update={"delay_ms": 30.0})
    assert certified_delay(gate, {"p99_ms": 50.0}, 20.0) == 50.0
    assert certified_delay(gate, {"p99_ms": 50.1}, 20.0) == 100.0
    assert certified_delay(given, {"p99_ms": 50.1}, 20.0) == 30.0
    assert certified_delay(given, {}, 20.0) == 0.0, "a scripted policy has no inference"


@pytest.mark.parametrize(
    ("first", "swapped", "original", "found"),
    [
        (True, True, False, "follow"),
        (True, True, True, "follow"),
        (True, False, True, "stubborn"),
        (False, False, True, "stubborn"),
        (True, False, False, "indecisive"),
        (False, True, False, "indecisive"),
        (False, True, True, "indecisive"),
        (False, False, False, "ignorant"),
    ],
)
def test_labels_part_all_pairs(first, swapped, original, found):
    assert label(first, swapped, original) == found


def test_what_an_oracle_does_is_told_where_the_gate_asks_it(gate):
    played = rows(40, control=lambda i: i % 4 == 0)
    asked = [{**r, "control": "oracle", "success": r["index"] % 2 == 0} for r in played if r["control"] == "control"]
    assert "apart" not in judge(gate, [*played, *asked], 1)
    checks = gate.checks.model_copy(update={"oracle": gate.checks.family.model_copy(update={"threshold": None})})
    apart = judge(gate.model_copy(update={"checks": checks}), [*played, *asked], 1)["apart"]
    pairs = [(i % 2 == 0, i % 4 == 0) for i in range(40)]
    assert apart == attribute_failures(pairs) and (apart["k"], apart["control_k"]) == (20, 10)


def test_failures_are_those_of_perception_that_true_places_mend_and_else_those_of_control():
    found = attribute_failures([(True, False)] * 3 + [(False, False)] * 2 + [(False, True)] + [(True, True)] * 4)
    assert (found["k"], found["control_k"], found["n"]) == (7, 5, 10)
    assert (found["only_first"], found["only_second"], found["p"]) == (3, 1, pytest.approx(10 / 16))
    assert found["perception"] == {"k": 3, "n": 5, "interval": list(clopper_pearson(3, 5))}
    assert found["control"] == {"k": 2, "n": 5, "interval": list(clopper_pearson(2, 5))}
