"""The contract's values; names, limits and instructions of the tasks."""

from __future__ import annotations

from collections.abc import Iterator

from vla_agent.contract.validation import impossible_values
from vla_agent.environments.check.probe import Finding, Probe

LONGEST = 500  # characters of an instruction that policies read
NOT_A_TASK = "no such task, surely"


def names_and_limits(probe: Probe) -> Iterator[Finding]:
    """Names are texts that occur once; limits are whole and positive; other names are refused."""
    names = list(probe.environment.tasks())
    wrong = [name for name in names if not isinstance(name, str) or not name.strip()]
    if wrong or len(set(map(str, names))) != len(names):
        yield Finding("tasks.names", f"tasks() returns {names[:5]}", "return different, non-empty texts")
    for task in probe.chosen:
        limit = probe.environment.limit(task)
        if type(limit) is not int or limit < 1:
            remedy = "return the control periods after which an episode has failed, a whole number above 0"
            yield Finding("limit", f"limit({task!r}) is {limit!r}", remedy)
            break
    try:
        probe.environment.reset(NOT_A_TASK, probe.settings.seed)
    except Exception:
        return
    yield Finding(
        "tasks.unknown", "reset() takes a task that does not exist", "raise an error: a wrong name would be evaluated"
    )


def contract_values(probe: Probe) -> Iterator[Finding]:
    """No value of the contract is impossible: names twice, sizes, rate, ranges."""
    for key, value in impossible_values(probe.contract).items():
        yield Finding("contract.values", f"{key} is {value}", "write a possible value: docs/contract.md")


def instructions(probe: Probe) -> Iterator[Finding]:
    """A text that says what to do, another one for each task."""
    said: dict[str, str] = {}
    for task in probe.chosen:
        text = probe.environment.reset(task, probe.settings.seed)
        if not isinstance(text, str) or not text.strip():
            yield Finding("instruction.empty", f"reset({task!r}, seed) returns {text!r}", "return the instruction")
            continue
        if len(text) > LONGEST:
            yield Finding("instruction.long", f"{len(text)} characters", f"say it in at most {LONGEST} characters")
        if text in said:
            remedy = "say what is to be done in this task: a policy cannot tell them apart by their words"
            yield Finding("instruction.same", f"{said[text]} and {task} are both {text!r}", remedy)
        said[text] = task
