"""Run a gate: count the attempt, play rounds of episodes until every check is decided, judge, write, sign."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sim.policies import Policy
from sim.tasks.task import select
from vla_agent.contract.tabletop import tabletop_contract
from vla_agent.environments.tabletop import TabletopChoice
from vla_agent.errors import GateError
from vla_agent.evaluation import provenance
from vla_agent.evaluation.compare_reports import compare_reports
from vla_agent.evaluation.exact_tests import alpha_spent
from vla_agent.evaluation.play.player import SCRIPTED, PlayedEpisode, PlayerSettings, load_learned
from vla_agent.evaluation.play.workers import open_workers
from vla_agent.evaluation.report.clips import CLIPS, film
from vla_agent.evaluation.result_store import identity_of
from vla_agent.files.canonical_json import changes
from vla_agent.gate.candidate import Candidate, find_candidate
from vla_agent.gate.certificate.bound_files import contract_parts, simulator_files
from vla_agent.gate.certificate.keys import Key
from vla_agent.gate.certificate.lab_key import LabKey
from vla_agent.gate.certificate.statement import gate_predicate
from vla_agent.gate.decision.gate_file import ORACLE, GateFile, hash_gate, read_gate
from vla_agent.gate.decision.judge import judged
from vla_agent.gate.decision.plan import CONTROL, Planner, sequential_tests, task_files
from vla_agent.gate.evidence import inference_latency, ledger
from vla_agent.gate.evidence.attempt import Attempt, start_attempt, unfinished_attempt
from vla_agent.gate.evidence.episode_log import EpisodeLog
from vla_agent.gate.evidence.gate_player import job_of, play
from vla_agent.gate.evidence.perception_oracle import accepts_oracle_points
from vla_agent.gate.report.failure_clips import choose, film_one
from vla_agent.gate.report.gate_page import page
from vla_agent.gate.seal import finish_interrupted, require_free, seal
from vla_agent.policy.execution_settings import Execution

Progress = Callable[[PlayedEpisode, int, int], None]  # an episode, how many are done, how many after this round


@dataclass(frozen=True)
class GateSettings:
    """Which policy is tried against which gate file.  The outcomes do not depend on ``workers``.

    Attributes:
        policy: folder or hub name of a learned policy, address of a server, "expert" or "random".
        suite: the gate file.
        out: folder for report.json, report.html, actions.npz, gate.yaml, ledger.jsonl and certificate.json.
        robot: name of the robot that the certificate is for.
        private: the key that signs certificate, ledger and scratch files.
        ledger_file: where attempts are counted.
        robot_file: SHA-256 of the robot's file; empty: certified for no hardware.
        trusted: fingerprint -> key, whose lines in the ledger count, beside those of ``private``.
        workers, ray, load: as in `vla_agent.evaluation.evaluate.EvaluationSettings`.
        resume: continue an unfinished run in ``out``, which is no new attempt.
        base: the policy that this one was tuned from; its unperturbed episodes on the same seeds are played, too, and
            shown beside it on the page.
        clips: the most failures that the page shows as videos.
        policy_files: the folder of the files that a server serves; of a server alone.
    """

    policy: str
    suite: Path
    out: Path
    robot: str
    private: Ed25519PrivateKey
    ledger_file: Path
    robot_file: str = ""
    trusted: Mapping[str, Key] = field(default_factory=dict)
    workers: int | None = 1
    ray: str | None = None
    load: Callable[..., Policy] = load_learned
    resume: bool = False
    base: str | None = None
    clips: int = CLIPS
    policy_files: Path | None = None

    @property
    def signer(self) -> LabKey:
        return LabKey(self.trusted, self.private)


@dataclass(frozen=True)
class _Run:
    """What one run of a gate works with, all of it read once, at its start."""

    settings: GateSettings
    file: GateFile
    candidate: Candidate
    base: Candidate | None
    simulator: dict[str, str]
    head: dict[str, Any]
    attempt: Attempt

    @property
    def execution(self) -> Execution:
        return Execution(self.file.gate.execution, self.attempt.delay_ms)

    @property
    def recorded(self) -> dict[str, Any]:
        """The settings that the report states."""
        return {"run": self.attempt.run, "gate": self.attempt.gate} | self.execution.settings()

    def player(self, candidate: Candidate) -> PlayerSettings:
        gate = self.file.gate
        families = select(list(gate.tasks) or None, gate.suite)
        choice = TabletopChoice(families, gate.split)
        return PlayerSettings(candidate.name, choice, candidate.load, self.execution)

    def log_event(self, event: str, **more: Any) -> ledger.Entry:
        """Enter an event of this attempt in the ledger."""
        says = {"event": event, "run": self.attempt.run, "policy": self.attempt.policy, "gate": self.attempt.gate}
        return ledger.append(self.settings.ledger_file, says | more, self.settings.signer)


def run_gate(settings: GateSettings, progress: Progress | None = None) -> dict[str, Any]:
    """Run the gate and write its evidence and certificate; the report.

    Raises:
        VlaAgentError: a wrong gate file or policy, another run in ``out``, a broken ledger or scratch file, or policy,
            base, gate file or simulator were changed while the gate ran.
    """
    began, out = time.perf_counter(), settings.out
    if settings.resume and (out / "certificate.json").exists():
        return finish_interrupted(out, settings.ledger_file, settings.signer, settings.private)
    require_free(out)
    run, resumed = _begin(settings)
    origin = {"attempt": run.attempt.entry, "seed": run.attempt.seed, "policy": run.attempt.policy,
              "gate": run.attempt.gate, "identity": identity_of(run.head | {"summary": {"settings": run.recorded}}),
              "simulator": run.simulator}  # fmt: skip
    entries = ledger.read_ledger(settings.ledger_file, settings.signer)
    ends = [(e["episodes"], e["head"]) for e in ledger.of_run(entries, run.attempt.run, ledger.STOPPED, ledger.RESUMED)]
    with closing(EpisodeLog(out, origin, settings.signer, ends)) as log:
        if resumed:
            run.log_event(ledger.RESUMED, **log.end)
        with (
            _interruptions(run, log),
            open_workers(run.player(run.candidate), settings.workers, settings.ray) as workers,
        ):
            excluded = _excluded(run)
            rows = _play_rounds(run, log, workers, excluded, progress)
            judgement = judged(run.file.gate, rows, run.attempt.number)
            report = _report(run, rows, judgement, excluded)
            if run.base:
                report["base"] = _compared(run, run.base, report)
            clips = film(rows, choose(rows, judgement["checks"], settings.clips), log.actions, workers, film_one)
            _require_unchanged(run)
            seconds = {"wall": round(time.perf_counter() - began, 2), "episodes": round(log.seconds, 2)}
            report["summary"]["seconds"] = seconds | {"workers": workers.count}
        certificate = seal(out, report, page(report, clips), run.file.data, log, settings.private)
        run.log_event(ledger.FINISH, verdict=judgement["verdict"], certificate=certificate)
        finish_interrupted(out, settings.ledger_file, settings.signer, settings.private)
    return report


def _begin(settings: GateSettings) -> tuple[_Run, bool]:
    """Read all that is tried, then find or count the attempt; and whether it was there already."""
    file = read_gate(settings.suite)
    candidate = find_candidate(settings.policy, settings.load, settings.policy_files)
    base = find_candidate(settings.base, settings.load) if settings.base else None
    head = _head(settings, file, candidate)
    places = settings.out, candidate.parts["digest"], file.sha256, settings.ledger_file
    out, policy, gate, ledger_file = places
    attempt = unfinished_attempt(out, settings.resume, policy, gate, ledger_file, settings.signer)
    resumed = attempt is not None
    if attempt is None:
        latency = _latency(file, candidate)
        attempt = start_attempt(out, policy, gate, ledger_file, latency, settings.signer)
    return _Run(settings, file, candidate, base, simulator_files(), head, attempt), resumed


def _head(settings: GateSettings, file: GateFile, candidate: Candidate) -> dict[str, Any]:
    """The head of the report: policy, suite, split, versions, hashes."""
    gate = file.gate
    return {
        "policy": settings.policy,
        "suite": gate.suite,
        "split": gate.split,
        "versions": provenance.versions(candidate.learned and not candidate.served),
        "hashes": {
            "policy": candidate.parts["files"],
            "tasks": task_files(gate),
            "simulator": provenance.hash_simulator(),
            "contract": candidate.contract.hash,
        },
    }


def _latency(file: GateFile, candidate: Candidate) -> tuple[float, dict[str, Any]]:
    """The delay to simulate, milliseconds, and what was measured.  A scripted policy has no inference."""
    family = next(iter(select(list(file.gate.tasks) or None, file.gate.suite).values()))
    measured = inference_latency.measure(candidate.load(candidate.name), family) if candidate.learned else {}
    return inference_latency.certified_delay(file.gate, measured, tabletop_contract().control_hz), measured


def _excluded(run: _Run) -> tuple[str, ...]:
    """The checks that the policy does not admit."""
    gate = run.file.gate
    if run.candidate.name in SCRIPTED:
        return (*(delay.cell for delay in gate.checks.delays), ORACLE)
    with_oracle = ORACLE in gate.checks_by_name() and accepts_oracle_points(run.candidate.load(run.candidate.name))
    return () if with_oracle else (ORACLE,)


@contextmanager
def _interruptions(run: _Run, log: EpisodeLog) -> Iterator[None]:
    """Enter in the ledger where an interrupted run stopped, and one whose policy or code was changed meanwhile."""
    try:
        yield
    except _ChangedMeanwhile as error:
        run.log_event(ledger.ABORTED, reason=error.key)
        raise
    except BaseException:
        run.log_event(ledger.STOPPED, **log.end)
        raise


def _play_rounds(
    run: _Run, log: EpisodeLog, workers: Any, excluded: tuple[str, ...], progress: Progress | None
) -> list[dict[str, Any]]:
    """Play what is missing of every round; all episodes of the plan, in the report's order."""
    gate, attempt = run.file.gate, run.attempt
    tests = sequential_tests(gate, alpha_spent(gate.alpha, attempt.number))
    planned: set[str] = set()
    for jobs in Planner(gate, tests, attempt.seed, excluded).rounds(log.records):
        planned |= {job.key for job in jobs}
        missing = [job for job in jobs if job.key not in log.records]
        total = len(log) + len(missing)
        for played in workers.map(play, missing):
            log.add(played)
            if progress:
                progress(played, len(log), total)
    return sorted((log.records[key] for key in planned), key=lambda r: (r["control"], r["index"]))


def _report(
    run: _Run, rows: list[dict[str, Any]], judgement: dict[str, Any], excluded: tuple[str, ...]
) -> dict[str, Any]:
    settings, candidate = run.settings, run.candidate
    entries = ledger.read_ledger(settings.ledger_file, settings.signer)
    predicate = gate_predicate(
        robot={"name": settings.robot, "file": settings.robot_file},
        policy=candidate.parts,
        contract=contract_parts(candidate.contract),
        simulator=run.simulator,
        gate=run.file.gate,
        attempt=run.attempt,
        head=run.head,
        judgement=judgement,
    )
    return run.head | {
        "gate": run.file.gate.model_dump(mode="json"),
        "excluded": list(excluded),
        "certified": predicate,
        "latency": run.attempt.measured,
        "attempts": ledger.attempts(entries, run.attempt.policy),
        "ledger": entries[-1]["hash"],
        "episodes": rows,
        "summary": {"judgement": judgement, "settings": run.recorded},
    }


def _compared(run: _Run, base: Candidate, report: Mapping[str, Any]) -> dict[str, Any]:
    """The comparison with the base, whose unperturbed episodes are played on the same seeds."""
    settings = run.settings
    jobs = [job_of(row) for row in report["episodes"] if row["control"] == CONTROL]
    with open_workers(run.player(base), settings.workers, settings.ray) as workers:
        rows = sorted((played.record for played in workers.map(play, jobs)), key=lambda r: int(r["index"]))
    files = settings.out / "report.json", Path(base.name)
    theirs = {key: value for key, value in report.items() if key != "gate"} | {"policy": base.name, "episodes": rows}
    return compare_reports(files, report, theirs) | {"policy": base.parts, "episodes": rows}


class _ChangedMeanwhile(GateError):
    """Something that was read at the start has changed."""


def _require_unchanged(run: _Run) -> None:
    """Hash policy, base, gate file, task files and simulator again.

    Raises:
        _ChangedMeanwhile: another hash than at the start.
    """
    tasks = task_files(run.file.gate)
    now = {"gate file": hash_gate(run.settings.suite), "simulator": simulator_files(), "tasks": tasks}
    start = {"gate file": run.file.sha256, "simulator": run.simulator, "tasks": run.head["hashes"]["tasks"]}
    for what, candidate in (("policy", run.candidate), ("base", run.base)):
        if candidate is not None and candidate.learned:
            start[what], now[what] = candidate.parts["files"], candidate.read_files()
    for key, expected, found in changes(start, now):
        raise _ChangedMeanwhile(
            "what is tried was changed while the gate ran; nothing is certified",
            file=run.settings.out,
            key=key,
            expected=expected,
            found=found,
            remedy="leave policy, gate file and code as they are while a gate runs; begin a new attempt",
        )
