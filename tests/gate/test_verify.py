"""`verify` computes again every number that it vouches for: what a forger with a trusted key would write is refused."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest

from sim.experts.planted_faults import PlantedPolicy, load_planted
from sim.tasks.task import select
from vla_agent.contract.tabletop import tabletop_contract
from vla_agent.environments.tabletop import TabletopChoice
from vla_agent.errors import CertificateError
from vla_agent.evaluation.play.player import PlayerSettings
from vla_agent.gate.certificate import keys
from vla_agent.gate.certificate.certificate import read_certificate
from vla_agent.gate.certificate.statement import counts_of
from vla_agent.gate.certificate.verify import _up_to, ledger_of, replay_sample
from vla_agent.gate.decision.gate_file import load_gate
from vla_agent.gate.decision.judge import judged
from vla_agent.gate.evidence import ledger
from vla_agent.gate.evidence.played_actions import actions_hash
from vla_agent.gate.recheck.retrace_sample import TOLERANCE, retrace_rows


def consistent(lab, report):
    """The report and the payload with judgement, counts and estimate that follow from its episodes."""
    payload = lab.payload()
    judgement = judged(load_gate(lab.root / "out" / "gate.yaml"), report["episodes"], 1)
    report["summary"]["judgement"] = judgement
    payload |= {"counts": counts_of(judgement), "estimate": judgement["estimate"], "verdict": judgement["verdict"]}
    return report, payload


def test_an_untouched_certificate_holds(finished):
    assert finished.verify() == []
    assert finished.verify(ledger=finished.ledger) == []
    assert replay_sample(finished.root / "out" / "certificate.json", "expert", 99, 0) == []


def test_a_forged_but_unchanged_certificate_holds(lab):
    """The forger of the other tests makes no difference by itself."""
    lab.forge()
    assert lab.verify() == []


@pytest.mark.parametrize(
    ("path", "value", "named"),
    [
        (("robot", "name"), "other", None),
        (("gate", "name"), "other", "certificate.gate.name"),
        (("gate", "alpha"), 0.01, "certificate.gate.alpha"),
        (("gate", "beta"), 0.01, "certificate.gate.beta"),
        (("gate", "checks", "success", "threshold"), 0.9, "certificate.gate.checks.success.threshold"),
        (("gate", "checks", "success", "margin"), 0.05, "certificate.gate.checks.success.margin"),
        (("attempt", "number"), 2, "certificate.attempt.number"),
        (("attempt", "alpha"), 0.05, "certificate.attempt.alpha"),
        (("attempt", "entry"), "0" * 64, "certificate.attempt.entry"),
        (("attempt", "seed"), 7, "certificate.attempt.seed"),
        (("attempt", "run"), "other", "ledger"),
        (("execution",), "ensemble", "certificate.execution"),
        (("latency", "certified_ms"), 900.0, "certificate.latency.certified_ms"),
        (("latency", "measured_ms"), 900.0, "certificate.latency.measured_ms"),
        (("counts", "success", "k"), 99, "certificate.counts.success.k"),
        (("estimate", "rate"), 0.5, "certificate.estimate.rate"),
        (("estimate", "interval"), [0.9, 1.0], "certificate.estimate.interval.0"),
        (("expires",), "2199-01-01T00:00:00+00:00", "certificate.expires"),
        (("policy", "digest"), "0" * 64, "certificate.policy.digest"),
        (("simulator", "sim/env.py"), "0" * 64, "simulator.sim/env.py"),
        (("versions", "mujoco"), "0", "report.json.versions.mujoco"),
    ],
)
def test_every_number_of_a_signed_certificate_is_computed_again(lab, path, value, named):
    """The report's own copy agrees, and only what computes the number again can find it."""
    payload = lab.payload()
    inside = payload
    for key in path[:-1]:
        inside = inside[key]
    inside[path[-1]] = value
    lab.forge(payload=payload)
    found = lab.verify()
    assert all(named in text for text in found) and bool(found) == (named is not None), found


def test_the_report_s_copy_must_be_the_certificate(lab):
    report, payload = lab.report(), lab.payload() | {"robot": {"name": "other", "file": ""}}
    lab.forge(report, payload)
    (lab.root / "out" / "report.json").write_text(json.dumps(report))
    assert any("certificate.robot.name" in text for text in lab.verify())


def test_an_untrusted_or_revoked_key_and_another_time_are_named(lab, tmp_path):
    from datetime import datetime, timezone

    keys.create("stranger", tmp_path / "strange")
    late = datetime(2199, 1, 1, tzinfo=timezone.utc)
    assert any("expired" in text for text in lab.verify(now=late))
    lab.forge(private=keys.load_private("stranger", tmp_path / "strange"))
    found = lab.verify()
    assert len(found) == 1 and "not signed by a trusted key" in found[0]
    lab.forge()
    keys.revoke(lab.payload()["id"], "a test", lab.root / "keys")
    assert any("revoked" in text for text in lab.verify())


def test_a_learned_policy_s_certificate_needs_its_folder(lab):
    payload = lab.payload()
    payload["policy"]["files"] = {"head.safetensors": "0" * 64}
    from vla_agent.files.canonical_json import digest

    payload["policy"]["digest"] = digest(payload["policy"]["files"])
    lab.forge(payload=payload)
    found = lab.verify()
    assert "policy: certified 1 files, found no policy folder" in found
    assert any("ledger.measured" in text for text in found), "its latency was never measured"


@pytest.mark.parametrize("name", ["report.json", "actions.npz", "gate.yaml"])
def test_changed_and_missing_evidence_is_named(lab, name):
    file = lab.root / "out" / name
    content = file.read_bytes()
    file.write_bytes(content + b"\n")
    assert any(f"evidence.{name}" in text for text in lab.verify())
    file.unlink()
    assert any(f"evidence.{name}" in text and "no such file" in text for text in lab.verify())


def test_a_report_whose_judgement_does_not_follow_is_refused(lab):
    report = lab.report()
    report["summary"]["judgement"]["checks"]["success"]["interval"][0] = 0.9
    lab.forge(report)
    assert ["report.json: summary.judgement.checks.success.interval.0" in text for text in lab.verify()] == [True]


@pytest.mark.parametrize(
    ("key", "value", "named"),
    [
        ("latency", {"p99_ms": 1.0}, "report.json.latency"),
        ("attempts", [], "report.json.attempts"),
        ("ledger", "0" * 64, "report.json.attempts"),
        ("gate", {}, "report.json.gate"),
        ("excluded", ["probe.swap"], "report.json: excluded"),
    ],
)
def test_what_the_report_states_beside_the_episodes_is_checked(lab, key, value, named):
    lab.forge(lab.report() | {key: value})
    found = lab.verify()
    assert found and any(named in text for text in found), found


def test_attempts_are_listed_as_the_report_saw_them():
    entries = [{"hash": name} for name in "acb"]
    assert [len(_up_to(entries, last)) for last in ("a", "c", "b", "x", None)] == [1, 2, 3, 0, 0]


def test_a_learned_policy_may_leave_out_no_latency(lab):
    """Only a scripted one, which has no inference."""
    from vla_agent.gate.recheck.recompute import attempt_in, check_plan

    entries = ledger.read_ledger(lab.ledger, lab.signer)
    attempt = attempt_in(entries, lab.payload()["attempt"]["run"])
    (lab.root / "late.yaml").write_text(
        (lab.root / "tiny.yaml").read_text() + "  delays:\n    - {delay_ms: 100, threshold: null}\n"
    )
    gate = load_gate(lab.root / "late.yaml")
    report = lab.report() | {"excluded": ["delay.100", "oracle"]}
    assert list(check_plan(gate, attempt, report, learned=False)) == []
    assert [d.what for d in check_plan(gate, attempt, report, learned=True)] == ["report.json: excluded"]


def test_the_attempt_must_stand_in_the_ledger_and_have_ended_so(lab):
    lines = lab.ledger.read_bytes()
    certificate, copy_of_lines = lab.root / "out" / "certificate.json", lab.root / "out" / "ledger.jsonl"
    assert ledger_of(certificate, lab.root / "keys") == copy_of_lines and copy_of_lines.read_bytes() == lines
    copy_of_lines.write_bytes(lines.partition(b"\n")[0] + b"\n")
    assert ["ledger.finish" in text for text in lab.verify()] == [True], "its end is not there"
    copy_of_lines.unlink()
    assert ledger_of(certificate, lab.root / "keys") == lab.root / "keys" / "ledger.jsonl"
    assert ["the start of run" in text for text in lab.verify()] == [True], "there is no ledger"
    assert lab.verify(ledger=lab.ledger) == []
    run = lab.payload()["attempt"]["run"]
    says = {"run": run, "policy": lab.payload()["policy"]["digest"], "gate": "g"}
    ledger.append(lab.ledger, says | {"event": "finish", "verdict": "pass", "certificate": "c"}, lab.signer)
    assert any("ledger.finish" in text for text in lab.verify(ledger=lab.ledger)), "it ended twice"
    ledger.append(lab.ledger, says | {"event": "aborted", "reason": "policy"}, lab.signer)
    assert any("ledger.aborted" in text for text in lab.verify(ledger=lab.ledger))


def test_a_ledger_of_untrusted_hands_is_refused(lab, tmp_path):
    """Even where it says what the certificate needs."""
    keys.create("stranger", tmp_path / "strange")
    own = LabOf(tmp_path / "strange").signer
    file = tmp_path / "ledger.jsonl"
    for entry in ledger.read_ledger(lab.ledger, lab.signer):
        ledger.append(file, {k: v for k, v in entry.items() if k not in ("hash", "signature")}, own)
    assert any("ledger was changed" in text for text in lab.verify(ledger=file))


class LabOf:
    def __init__(self, folder):
        from vla_agent.gate.certificate.lab_key import LabKey

        self.signer = LabKey(keys.trusted(folder), keys.load_private("stranger", folder))


def test_the_delay_follows_from_gate_file_and_measurement(lab):
    from dataclasses import replace

    from vla_agent.gate.recheck.recompute import attempt_in, check_attempt

    entries = ledger.read_ledger(lab.ledger, lab.signer)
    attempt = attempt_in(entries, lab.payload()["attempt"]["run"])
    gate = load_gate(lab.root / "tiny.yaml")
    fixed = gate.model_copy(update={"delay_ms": 70.0})

    def found(gate, learned, **changed):
        return [d.what for d in check_attempt(replace(attempt, **changed), entries, gate, learned)]

    assert found(gate, False) == []
    assert found(gate, False, delay_ms=50.0) == ["ledger.delay_ms"]
    assert found(gate, True, delay_ms=100.0, measured={"p99_ms": 50.1}) == []
    assert found(gate, True, delay_ms=50.0, measured={"p99_ms": 50.0}) == []
    assert found(gate, True, delay_ms=50.0, measured={"p99_ms": 50.1}) == ["ledger.delay_ms"]
    assert found(fixed, True, delay_ms=70.0, measured={"p99_ms": 90.0}) == []
    assert found(gate, False, delay_ms=100.0, measured={"p99_ms": 50.1}) == ["ledger.measured"]


def test_an_edited_outcome_alone_contradicts_its_success(lab):
    report = lab.report()
    row = next(r for r in report["episodes"] if r["control"] == "probe.swap")
    row["outcome"] = not row["outcome"]
    lab.forge(*consistent(lab, report))
    assert any(f"{row['control']}/{row['task']}/{row['seed']} outcome" in text for text in lab.verify())


def test_a_row_without_its_parts_is_refused(lab):
    good = lab.report()
    for name, value in (
        ("outcome", 1),
        ("index", "0"),
        ("actions_hash", None),
        ("success", "yes"),
        ("seed", True),
        ("control", "axis.lighting.x"),
        ("control", "axis.camera.1"),
        ("control", "success"),
        ("task", "stack"),
    ):
        report = copy.deepcopy(good)
        report["episodes"][0][name] = value
        lab.forge(report)
        found = lab.verify()
        assert len(found) == 1 and f"episodes.0: certified an episode of a gate, found wrong {name}" in found[0], found


def test_every_wrong_row_is_named(lab):
    report = lab.report()
    for row in report["episodes"][:2]:
        row["index"] = "0"
    lab.forge(report)
    assert [f"episodes.{number}" in text for number, text in enumerate(lab.verify())] == [True, True]


@pytest.mark.parametrize(
    ("key", "value"), [("episodes", {"a": 1}), ("episodes", []), ("hashes", []), ("excluded", 5), ("summary", {})]
)
def test_a_report_of_another_form_is_a_difference_and_no_fault_of_the_program(lab, key, value):
    lab.forge(lab.report() | {key: value})
    assert any("report" in text for text in lab.verify())


def test_exactly_the_planned_episodes_are_accepted(lab):
    report = lab.report()

    def found(change):
        changed = copy.deepcopy(report)
        change(changed["episodes"])
        lab.forge(*consistent(lab, changed))
        return " ".join(lab.verify())

    def other_seed(rows):
        rows[-1]["seed"] += 1000

    def more(rows):
        rows.append(rows[-1] | {"index": rows[-1]["index"] + 1, "seed": rows[-1]["seed"] + 1000})

    assert "the planned" in found(lambda rows: rows.pop())
    assert "the planned" in found(other_seed)
    assert "no episode that was not planned" in found(more)
    assert "1 twice" in found(lambda rows: rows.append(rows[-1]))
    assert " index: certified 0, found 5" in found(lambda rows: rows[0].update(index=5))


def replayed(lab, policy="expert", count=2) -> list[str]:
    """What a replay of the first episodes finds; a sample of all of them is `replay_sample`."""
    rows = lab.report()["episodes"][:count]
    settings = PlayerSettings(policy, TabletopChoice(select(["press_button"])))
    try:
        return [str(d) for d in retrace_rows(rows, lab.root / "out" / "actions.npz", settings)]
    except CertificateError as error:
        return [str(error)]


def test_a_forged_success_is_found_by_replay(lab):
    """Everything else follows from it: only the simulation can tell."""
    report = lab.report()
    row = report["episodes"][0]
    row["success"] = row["outcome"] = not row["success"]
    lab.forge(report)
    found = replayed(lab)
    assert len(found) == 2 and all(".success" in text or ".outcome" in text for text in found)


@pytest.mark.parametrize("name", ["steps", "instruction", "failure", "state_hash", "image_hash", "task_instruction"])
def test_whatever_a_row_says_is_compared(lab, name):
    report = lab.report()
    report["episodes"][0][name] = 1 if name == "steps" else "other"
    lab.forge(report)
    assert [f".{name}: " in text for text in replayed(lab)] == [True]


def test_exchanged_episodes_are_found_by_replay(lab):
    report = lab.report()
    a, b = report["episodes"][:2]
    for key in set(a) - {"index", "seed", "task", "control"}:
        a[key], b[key] = b[key], a[key]
    with np.load(lab.root / "out" / "actions.npz") as stored:
        arrays = dict(stored)
    for part in ("actions", "looks"):
        first, second = (f"{r['control']}/{r['task']}/{r['seed']}/{part}" for r in (a, b))
        arrays[first], arrays[second] = arrays[second], arrays[first]
    np.savez_compressed(lab.root / "out" / "actions.npz", **arrays)
    lab.forge(report)
    assert lab.verify() == [] and any("state_hash" in text or "end before" in text for text in replayed(lab))


def rewritten_actions(lab, change):
    """Other actions of the first episode, with their hash in the row."""
    report = lab.report()
    row = report["episodes"][0]
    key = f"{row['control']}/{row['task']}/{row['seed']}"
    with np.load(lab.root / "out" / "actions.npz") as stored:
        arrays = dict(stored)
    arrays[f"{key}/actions"] = change(arrays[f"{key}/actions"].copy())
    np.savez_compressed(lab.root / "out" / "actions.npz", **arrays)
    return report, row, arrays[f"{key}/actions"], arrays[f"{key}/looks"]


def test_other_actions_than_those_of_the_row_are_refused(lab):
    report, *_ = rewritten_actions(lab, lambda actions: actions + 1e-6)
    lab.forge(report)
    assert any("are not those that were played" in text for text in replayed(lab))
    (lab.root / "out" / "actions.npz").write_bytes(b"no archive")
    assert any("are not those that were played" in text for text in replayed(lab))


def test_actions_that_end_too_early_are_refused(lab):
    report, row, actions, looks = rewritten_actions(lab, lambda actions: actions[:-1])
    row["actions_hash"] = actions_hash(actions, looks)
    lab.forge(report)
    assert any("end before the episode does" in text for text in replayed(lab))


class Shifted(PlantedPolicy):
    """The expert, with an error in one direction, as a part of that action's range."""

    contract = tabletop_contract()
    error = 0.0

    def act(self, observation):
        action = super().act(observation)
        action[0, 0] += self.error * 0.05
        return action


def test_the_policy_must_act_as_recorded_within_the_tolerance(lab):
    """The expert played: a policy that acts otherwise did not, however well it would have done."""
    for error, same in ((0.0, True), (0.9 * TOLERANCE, True), (1.1 * TOLERANCE, False), (np.nan, False)):

        def load(name, error=error):
            policy = Shifted()
            policy.error = error
            return policy

        found = [str(d) for d in replay_sample(lab.root / "out" / "certificate.json", "none", 2, 0, load)]
        assert (found == []) == same, (error, found)
        assert same or any("the policy acts otherwise" in text or "NaN" in text for text in found), found
    assert read_certificate(lab.root / "out" / "certificate.json").payload["verdict"] == "pass"


def test_an_episode_of_the_expert_under_another_name_is_found(lab):
    found = [str(d) for d in replay_sample(lab.root / "out" / "certificate.json", "planted.blind", 99, 0, load_planted)]
    assert found == [], "it acts as the expert does"
    found = replayed(lab, policy="random")
    assert any("the policy acts otherwise" in text for text in found)
