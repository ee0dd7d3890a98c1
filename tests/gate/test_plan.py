"""The gate file's limits and defaults, and which episodes a gate asks for in each round."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import TINY

from sim.perturbations.catalogue import find_effect
from vla_agent.errors import GateError
from vla_agent.evaluation.exact_tests import alpha_spent
from vla_agent.files.hashing import hash_file
from vla_agent.gate.decision import plan
from vla_agent.gate.decision.gate_file import ORACLE, load_gate, parse_gate
from vla_agent.gate.decision.plan import Planner, episodes_by_check, sequential_tests, task_files, variation_of

ROOT = Path(__file__).parents[2]


def data(**changed):
    """A gate's plain data, of one family."""
    checks = {
        "success": {"threshold": 0.3, "margin": 0.3},
        "family": {"threshold": None},
        "language": [{"probe": "swap", "threshold": 0.3, "margin": 0.3}],
    }
    checks |= changed.pop("checks", {})
    return {"format": 2, "name": "small", "tasks": ["press_button"], "checks": checks} | changed


def made(**changed):
    return parse_gate(data(**changed), "gate.yaml")


CAMERA = {"axis": "camera", "severity": 1, "threshold": 0.3, "margin": 0.3}
SWAP = {"probe": "swap", "threshold": 0.3, "margin": 0.3}


@pytest.mark.parametrize(
    ("key", "good", "bad"),
    [
        ("alpha", (0.001, 0.499), (0, 0.5, -0.1)),
        ("beta", (0.001, 0.499), (0, 0.5)),
        ("block", (1,), (0, -1)),
        ("reported", (1,), (0,)),
        ("estimated", (1,), (0,)),
        ("validity_days", (1,), (0,)),
        ("delay_ms", (0, 1.5, None), (-0.1,)),
        ("execution", ("open_loop", "ensemble", "adaptive", "realtime"), ("other",)),
        ("split", ("seen", "objects"), ("wordings",)),
        ("suite", ("tabletop",), ("other",)),
        ("tasks", ([], ["stack", "press_button"]), (["other"],)),
        ("format", (2,), (1, 3, "2")),
        ("extra", (), (1,)),
        ("seed", (), (0, 500_000)),
    ],
)
def test_every_key_is_held_to_its_limits(key, good, bad):
    for value in good:
        assert made(**{key: value}).model_dump()[key] == (tuple(value) if key == "tasks" else value)
    for value in bad:
        with pytest.raises(GateError) as error:
            made(**{key: value})
        assert key in error.value.key and error.value.remedy


@pytest.mark.parametrize(
    ("checks", "good"),
    [
        ({"success": {"threshold": 0.89}}, True),
        ({"success": {"threshold": 0.9}}, False),
        ({"success": {"threshold": None}}, False),
        ({"success": {"threshold": 0}}, False),
        ({"success": {"threshold": 0.001, "margin": 0.998}}, True),
        ({"success": {"threshold": 0.5, "margin": 0.5}}, False),
        ({"success": {"threshold": 0.5, "margin": 0}}, False),
        ({"family": {"threshold": 0.2, "margin": 0.79}}, True),
        ({"family": {"threshold": 1.0, "margin": 0.1}}, False),
        ({"axes": [CAMERA | {"severity": 3}]}, True),
        ({"axes": [CAMERA | {"severity": 4}]}, False),
        ({"axes": [CAMERA | {"severity": 0}]}, False),
        ({"axes": [CAMERA, CAMERA | {"severity": 2}]}, True),
        ({"axes": [CAMERA, CAMERA]}, False),
        ({"delays": [{"delay_ms": 10_000, "threshold": None}, {"delay_ms": 0, "threshold": None}]}, True),
        ({"delays": [{"delay_ms": 10_001, "threshold": None}]}, False),
        ({"delays": [{"delay_ms": -1, "threshold": None}]}, False),
        ({"delays": [{"delay_ms": 5, "threshold": None}] * 2}, False),
        ({"language": []}, False),
        ({"language": [SWAP | {"threshold": None}]}, False),
        ({"language": [SWAP, SWAP]}, False),
        ({"language": [{"probe": "blank", "threshold": 0.3}]}, False),
        ({"oracle": {"threshold": None}}, True),
    ],
)
def test_every_check_is_held_to_its_limits(checks, good):
    if good:
        made(checks=checks)
        return
    with pytest.raises(GateError):
        made(checks=checks)


def test_what_is_left_out_has_a_stated_default():
    gate = made(tasks=[])
    stated = (gate.alpha, gate.beta, gate.block, gate.reported, gate.estimated, gate.validity_days, gate.delay_ms)
    assert stated == (0.05, 0.05, 20, 20, 20, 90, None)
    assert (gate.suite, gate.split, gate.execution, gate.checks.family.margin) == ("tabletop", "seen", "open_loop", 0.1)
    assert len(gate.families()) == 10 and gate.checks.oracle is None


def test_checks_have_the_names_of_their_cells():
    more = {"axes": [CAMERA], "delays": [{"delay_ms": 12.5, "threshold": None}], "oracle": {"threshold": None}}
    names = list(made(checks=more).checks_by_name())
    assert names == ["success", "family.press_button", "axis.camera.1", "probe.swap", "delay.12.5", ORACLE]


@pytest.mark.parametrize("content", ["[1, 2]", "text", ""])
def test_what_is_no_mapping_is_no_gate_file(tmp_path, content):
    (tmp_path / "gate.yaml").write_text(content)
    with pytest.raises(GateError, match="not a mapping"):
        load_gate(tmp_path / "gate.yaml")


def planner(gate, seed=100, excluded=()):
    return Planner(gate, sequential_tests(gate, alpha_spent(gate.alpha, 1)), seed, excluded)


def asked(jobs, cell):
    return [(j.task, j.seed, j.index) for j in jobs if j.control == cell]


def played(jobs, good=lambda job: True):
    return [
        {"control": j.control, "task": j.task, "seed": j.seed, "index": j.index, "success": good(j), "outcome": good(j)}
        for j in jobs
    ]


def test_the_first_round_asks_for_a_block_of_every_check():
    more = {"axes": [CAMERA], "delays": [{"delay_ms": 100, "threshold": None}], "oracle": {"threshold": None}}
    gate = made(tasks=["stack", "press_button"], block=6, reported=3, estimated=2, checks=more)
    jobs = planner(gate).next_round([])
    control = asked(jobs, "control")
    assert control[:6] == [(("stack", "press_button")[i % 2], 100 + i // 2, i) for i in range(6)], "families take turns"
    assert len(asked(jobs, "axis.camera.1")) == 6 and len(asked(jobs, "probe.swap")) == 6
    for cell in ("delay.100", ORACLE):
        assert asked(jobs, cell) == control[:3], "as many as are reported, on the control's scenes"
    assert len({j.key for j in jobs}) == len(jobs), "each once"


def test_every_perturbed_episode_has_its_control():
    gate = made(block=3, estimated=1, checks={"axes": [CAMERA]})
    p, rows = planner(gate), []
    while jobs := p.next_round(rows):
        rows += played(jobs, lambda j: j.control != "axis.camera.1")
        control = {(r["task"], r["seed"]) for r in rows if r["control"] == "control"}
        assert {(r["task"], r["seed"]) for r in rows} == control
    assert len(rows) < 100


def test_scenes_that_do_not_admit_a_variation_are_left_out():
    gate = made(tasks=["press_button", "stack"])
    p = planner(gate, seed=0)
    scenes = [p.scene("probe.swap", i) for i in range(40)]
    swap = variation_of("probe.swap")
    admitted = [
        (task, seed)
        for seed in range(scenes[-1][1] + 1)
        for task in ("press_button", "stack")
        if find_effect(swap, p.families[task].episode(seed, "seen"), seed) is not None
    ]
    assert scenes == admitted[:40] and scenes[-1][1] > 19, "some were left out"
    assert [planner(gate, seed=0).scene("probe.swap", i) for i in (7, 3)] == [scenes[7], scenes[3]], "in any order"


def test_a_variation_that_no_scene_admits_is_an_error(monkeypatch):
    tried = []

    def never(variation, task, seed):
        tried.append(seed)

    monkeypatch.setattr(plan, "find_effect", never)
    with pytest.raises(GateError, match="no scene") as error:
        planner(made()).scene("probe.swap", 0)
    assert "probe.swap" in error.value.key and len(tried) == plan.MOST_SKIPPED == 500


def test_an_undecided_family_gets_a_quarter_of_a_block_and_at_least_four():
    for block, quarter in ((8, 4), (20, 5), (40, 10)):
        gate = made(block=block, estimated=1, checks={"family": {"threshold": 0.3, "margin": 0.3}})
        p = planner(gate)
        assert len(list(p._block("family.press_button", gate.checks.family, []))) == quarter


def test_a_decided_check_asks_for_nothing_more_and_no_test_for_more_than_its_size():
    gate = made(block=500, estimated=1)
    p = planner(gate)
    size = p.tests["success"].size
    rows = played(p.next_round([]))
    assert sum(r["control"] == "control" for r in rows) >= size and len(asked(p.next_round([]), "probe.swap")) == size
    assert p.next_round(rows) == []
    assert len(list(p._block("success", gate.checks.success, rows[:1]))) == size - 1


def test_excluded_checks_are_not_played():
    more = {"delays": [{"delay_ms": 100, "threshold": None}], "oracle": {"threshold": None}}
    jobs = planner(made(checks=more), excluded=("delay.100", ORACLE)).next_round([])
    assert {j.control for j in jobs} == {"control", "probe.swap"}


def test_episodes_count_in_order_up_to_the_first_gap():
    gate = made(tasks=["stack", "press_button"])
    rows = [{"control": "control", "index": i, "task": ("stack", "press_button")[i % 2]} for i in (3, 0, 1, 2, 4, 7, 6)]
    found = episodes_by_check(rows, gate)
    assert [r["index"] for r in found["success"]] == [0, 1, 2, 3, 4]
    assert [r["index"] for r in found["family.stack"]] == [0, 2, 4, 6]
    assert [r["index"] for r in found["family.press_button"]] == [1, 3]
    assert found["probe.swap"] == []


def test_task_files_are_hashed_by_family():
    found = task_files(made(tasks=["stack"]))
    assert list(found) == ["stack"] and found["stack"] == hash_file(ROOT / "sim" / "tasks" / "tabletop" / "stack.yaml")


def row(task, index, seed, outcome, control=plan.CONTROL):
    return {"task": task, "index": index, "seed": seed, "outcome": outcome, "success": outcome, "control": control}


def test_every_family_is_played_for_the_estimate_in_any_case(tmp_path):
    (tmp_path / "gate.yaml").write_text(
        TINY.replace("[press_button]", "[press_button, stack]").replace("estimated: 2", "estimated: 7")
    )
    gate = load_gate(tmp_path / "gate.yaml")
    planner = Planner(gate, sequential_tests(gate, alpha_spent(gate.alpha, 1)), 100)
    rows: dict = {}
    for jobs in planner.rounds(rows):
        rows |= {j.key: row(j.task, j.index, j.seed, True, j.control) | {"original": False} for j in jobs}
    played = [(r["task"], r["seed"]) for r in rows.values() if r["control"] == plan.CONTROL]
    for task in ("press_button", "stack"):
        assert sorted(seed for t, seed in played if t == task)[:7] == list(range(100, 107))
    assert len(played) == 14, "no more than that: the tests stop earlier"


def test_the_plan_follows_from_outcomes_alone(tmp_path):
    """Where a run was interrupted makes no difference, and a missing episode is an error."""
    (tmp_path / "gate.yaml").write_text(TINY)
    gate = load_gate(tmp_path / "gate.yaml")

    def planned(seed, good):
        planner, rows = Planner(gate, sequential_tests(gate, alpha_spent(gate.alpha, 1)), seed), {}
        for jobs in planner.rounds(rows):
            rows |= {j.key: row(j.task, j.index, j.seed, good(j), j.control) | {"original": False} for j in jobs}
        return rows

    rows = planned(100, lambda job: job.index % 2 == 0)
    assert list(rows) == list(planned(100, lambda job: job.index % 2 == 0))
    assert list(rows) != list(planned(100, lambda job: True))
    other = planned(500, lambda job: job.index % 2 == 0)
    assert {r["seed"] for r in other.values()} == {r["seed"] + 400 for r in rows.values()}
    planner = Planner(gate, sequential_tests(gate, alpha_spent(gate.alpha, 1)), 100)
    missing = dict(rows)
    missing.pop(next(iter(rows)))
    with pytest.raises(KeyError):
        list(planner.rounds(missing))
