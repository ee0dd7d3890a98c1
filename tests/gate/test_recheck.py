"""What `verify` says of a ledger's lines, of rows and of a plan: each difference alone, with both sides."""

from __future__ import annotations

from dataclasses import replace

import pytest

from vla_agent.gate.decision.gate_file import parse_gate
from vla_agent.gate.evidence.attempt import Attempt
from vla_agent.gate.recheck import recompute

RUN = "a-run"
GATE = {
    "format": 2,
    "name": "small",
    "tasks": ["press_button"],
    "checks": {
        "success": {"threshold": 0.3, "margin": 0.3},
        "family": {"threshold": None},
        "language": [{"probe": "swap", "threshold": 0.3, "margin": 0.3}],
        "delays": [{"delay_ms": 100, "threshold": None}],
    },
}


def event(name: str, run: str = RUN, **more) -> dict:
    return {"event": name, "run": run, **more}


def told(found) -> list[tuple]:
    return [(d.what, d.expected, d.found) for d in found]


def test_an_attempt_ends_once_with_this_certificate_and_verdict():
    end = event("finish", verdict="pass", certificate="c1")
    others = [event("start"), event("finish", "other-run", verdict="fail", certificate="c2")]
    assert told(recompute.check_end([*others, end], RUN, "pass", "c1")) == []
    for ends, found in (
        ([], "no such line"),
        ([end | {"verdict": "fail"}], [("fail", "c1")]),
        ([end | {"certificate": "c2"}], [("pass", "c2")]),
        ([end, end], [("pass", "c1")] * 2),
        ([event("finish")], [(None, None)]),
    ):
        differs = told(recompute.check_end([*others, *ends], RUN, "pass", "c1"))
        assert differs == [("ledger.finish", "pass, certificate c1", found)]


def test_an_aborted_attempt_is_named_with_its_reason():
    gate, attempt = parse_gate(GATE, "gate.yaml"), attempt_of_run()
    entries = [event("start"), event("aborted", "other-run", reason="x")]
    assert told(recompute.check_attempt(attempt, entries, gate, False)) == []
    entries += [event("aborted", reason="policy"), event("aborted")]
    assert told(recompute.check_attempt(attempt, entries, gate, False)) == [
        ("ledger.aborted", "a gate that ended", "policy"),
        ("ledger.aborted", "a gate that ended", None),
    ]


def test_a_latency_is_measured_of_a_learned_policy_alone():
    gate, attempt = parse_gate(GATE, "gate.yaml"), attempt_of_run()
    measured = replace(attempt, measured={"p99_ms": 50.1}, delay_ms=100.0)
    assert told(recompute.check_attempt(measured, [], gate, True)) == []
    assert told(recompute.check_attempt(attempt, [], gate, True)) == [("ledger.measured", "a measured latency", {})]
    assert told(recompute.check_attempt(measured, [], gate, False)) == [
        ("ledger.measured", "no latency: a scripted policy has no inference", {"p99_ms": 50.1})
    ]
    assert told(recompute.check_attempt(replace(attempt, delay_ms=1.0), [], gate, False)) == [
        ("ledger.delay_ms", 0.0, 1.0)
    ]


def attempt_of_run() -> Attempt:
    return Attempt(RUN, 1, "entry", 0.0, {}, "policy", "gate", 100)


def row(index: int, control: str = "control", **more) -> dict:
    usual = {"task": "press_button", "seed": 100 + index, "success": True, "outcome": True, "actions_hash": "h"}
    return usual | {"control": control, "index": index} | more


def test_an_outcome_follows_from_success_and_condition():
    gate = parse_gate(GATE, "gate.yaml")
    for control in ("control", "delay.100"):
        assert told(recompute.check_rows(gate, [row(0, control)])) == []
        wrong = row(0, control, outcome=False)
        assert told(recompute.check_rows(gate, [wrong])) == [
            (f"report.json: {control}/press_button/100 outcome", True, False)
        ]
    every = [{"probe": name, "threshold": 0.3, "margin": 0.3} for name in ("swap", "blank", "blind", "removed")]
    gate = parse_gate(GATE | {"checks": GATE["checks"] | {"language": every}}, "gate.yaml")
    for success in (True, False):
        for probe, outcomes in (
            ("swap", {success}),
            ("blank", {not success}),
            ("blind", {not success}),
            ("removed", {True, False}),  # whether anything was touched, which a replay tells
        ):
            for outcome in (True, False):
                found = told(recompute.check_rows(gate, [row(0, f"probe.{probe}", success=success, outcome=outcome)]))
                wrong = (f"report.json: probe.{probe}/press_button/100 outcome", not outcome, outcome)
                assert found == ([] if outcome in outcomes else [wrong])


@pytest.mark.parametrize(
    ("control", "task", "named"),
    [
        ("family.press_button", "press_button", "control"),
        ("success", "press_button", "control"),
        ("oracle", "press_button", "control"),
        ("control", "stack", "task"),
        ("oracle", "stack", "control, task"),
    ],
)
def test_a_row_of_no_cell_or_family_of_the_gate_is_named(control, task, named):
    found = told(recompute.check_rows(parse_gate(GATE, "gate.yaml"), [row(0), row(1, control, task=task)]))
    assert found == [("report.json: episodes.1", "an episode of a gate", f"wrong {named}")]


def test_rows_are_exactly_those_that_the_planner_asks_for():
    gate, attempt = parse_gate(GATE | {"block": 4, "reported": 1, "estimated": 1}, "gate.yaml"), attempt_of_run()
    planner = recompute.Planner(gate, recompute.sequential_tests(gate, 0.025), attempt.seed, ("delay.100",))
    rows: dict = {}
    for jobs in planner.rounds(rows):
        rows |= {j.key: row(j.index, j.control, seed=j.seed, task=j.task) for j in jobs}
    episodes = list(rows.values())

    def found(episodes, excluded=("delay.100",), learned=False) -> list[tuple]:
        return told(
            recompute.check_plan(gate, attempt, {"episodes": episodes, "excluded": list(excluded)}, learned=learned)
        )

    key = list(rows)[-1]
    assert found(episodes) == []
    assert found([*episodes, episodes[0], episodes[0]]) == [("report.json: episodes", "each episode once", "2 twice")]
    assert found(episodes[:-1]) == [("report.json: episodes", f"the planned {key}", "no such episode")]
    more = [row(900), row(901)]
    assert found([*episodes, *more]) == [
        ("report.json: episodes", "no episode that was not planned", f"control/press_button/{100 + n}")
        for n in (900, 901)
    ]
    turned = [episodes[0] | {"index": 7}, episodes[1] | {"index": 8}, *episodes[2:]]
    assert found(turned) == [(f"report.json: {next(iter(rows))} index", 0, 7)]
    assert found(episodes, ("delay.100",), learned=True)[0] == ("report.json: excluded", ["oracle"], ("delay.100",))
    assert found(episodes, ("probe.swap",))[0] == (
        "report.json: excluded",
        ["delay.100", "oracle"],
        ("probe.swap",),
    )
    assert found(episodes, ())[0][1].startswith("the planned delay.100/")


def test_long_values_are_shortened_in_what_is_said():
    from vla_agent.gate.recheck.difference import Difference

    for length, shown in ((70, "x" * 70), (71, "x" * 67 + "...")):
        text = str(Difference("what", "x" * length, 1))
        assert text == f"what: certified {shown}, found 1"
