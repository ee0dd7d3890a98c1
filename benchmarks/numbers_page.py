"""The page ``docs/benchmarks.md``: every record of ``benchmarks/results`` with unit and meaning, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from benchmarks import record
from vla_agent.errors import VlaAgentError

FILE = record.ROOT / "docs" / "benchmarks.md"
HEADINGS = {
    "spine": "Simulator, shipped policy, evaluation",
    "nano": "What the shipped policy understands",
    "policy": "Policies: heads, backbones, speed, delay",
    "finetune": "Fine-tuning and data",
    "gate": "The gate and its certificate",
    "guards": "Tests of guards",
    "serving": "Serving",
    "ros": "ROS 2",
    "open": "Other environments, plain data, real trials",
    "house": "The project itself",
}
# Differences of two rates are in percentage points: a success that falls from 90 % to 88 % falls by 2 points.
DIFFERENCES = (
    "gate-power",
    "nano-free",
    "nano-synonyms",
    "nano-typos",
    "policy-heads",
    "policy-quantised",
    "spine-grounding",
    "spine-objects",
    "spine-wordings",
)
# What a bare "share", "ratio" or "%" is of; other units say it themselves.
NOUNS = {
    "finetune-badinput": "of the planted defects",
    "finetune-cost": "error",
    "finetune-data-wait": "of the time",
    "finetune-load-rate": "LeRobot's frames/s",
    "finetune-train-rate": "LeRobot's samples/s",
    "guards-mutants": "of the mutants",
    "nano-languages": "the success in English",
    "policy-contract-faults": "of the altered contracts",
    "policy-delay": "the success without delay",
    "policy-seams": "the value inside chunks",
    "policy-serve-faults": "of the faults",
    "policy-vs-smolvla": "our latency",
    "ros-colcon": "of the checks",
    "ros-faults": "of the faults",
    "ros-signals": "of the signals",
    "ros-soak": "(negative: less memory than before)",
    "spine-badinput": "of the bad inputs",
    "spine-env-rate": "the bare loop's rate",
    "spine-eval-rate": "the environment's ceiling",
}
HEAD = """\
# Benchmarks

This page is written by `python -m benchmarks docs` from the records in
[benchmarks/results](../benchmarks/results); a test compares the two. Do not edit it by hand.

- **Result**: the value with its unit; in brackets the 95 % interval, where there is one. "2.6 times our latency" means
  that what is measured takes 2.6 times as long as ours.
- **n**: number of samples behind it (episodes, calls, cases, ...; the record says which).
- **Record**: the file with seeds, rows, notes, versions, hardware and the command that measures it again.

Percentages of episodes are success rates in simulation. All was measured on two CPU cores of a virtual machine
without a GPU; each record names its processor: an AMD EPYC (before 28 November 2026 one without AVX-512, about half as
fast), or an Intel Xeon with AMX.

<!-- not run: from the root of the repository; measuring takes minutes to hours -->
```bash
python -m benchmarks list  # every benchmark: value, target, what falls short
python -m benchmarks run spine-latency  # measures, and writes its record
python -m benchmarks docs  # writes this page again
```
"""


def page() -> str:
    """The whole page, Markdown."""
    rooms: dict[str, list[str]] = {}
    for name, module in record.modules().items():
        rooms.setdefault(module.split(".")[1], []).append(name)
    order = [*HEADINGS, *sorted(set(rooms) - set(HEADINGS))]
    parts = [part for room in order if room in rooms for part in _section(room, sorted(rooms[room]))]
    return "\n".join([HEAD, *parts])


def _section(room: str, names: list[str]) -> Iterator[str]:
    yield f"## {HEADINGS.get(room, room)}\n"
    yield "| what is measured | result | target | reached | n | record |"
    yield "|---|---|---|---|---|---|"
    unmeasured = []
    for name in names:
        result = record.read(name)
        if result is None:
            unmeasured.append(f"`{name}`")
        else:
            yield _row(name, result)
    if unmeasured:
        yield f"\nNot measured yet: {', '.join(unmeasured)}."
    yield ""


def _row(name: str, result: dict[str, Any]) -> str:
    try:
        title = record.load(name).TITLE
    except (VlaAgentError, ImportError):  # a module of an optional package that is missing here
        title = result["title"]
    sign = "at least" if result["better"] == "higher" else "at most"
    target, unit, _ = _parts(result, result["target"])
    cells = (
        title,
        _result(result),
        f"{sign} {target}{unit}",
        "yes" if result["passed"] else "**no**",
        f"{result['n']:,}",
        f"[`{name}`](../benchmarks/results/{name}.json)",
    )
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _result(result: dict[str, Any]) -> str:
    """A record's value in words that can be read alone: ``**87.0 %** of episodes (83.8 to 89.7 %)``."""
    if result["value"] is None:  # what was to be measured did not come about: its rows say why
        return "**not reached**"
    number, unit, noun = _parts(result, result["value"])
    text = f"**{number}{unit}** {noun}".rstrip()
    if interval := result.get("interval"):
        low, high = (_parts(result, bound)[0] for bound in interval)
        text += f" ({low} to {high}{unit})"
    return text


def _parts(result: dict[str, Any], value: float) -> tuple[str, str, str]:
    """Number, unit, and what it is of: ``("87.0", " %", "of episodes")``."""
    unit, noun = str(result["unit"]), NOUNS.get(result["name"], "")
    if result["name"] in DIFFERENCES:
        return f"{100 * value:.1f}", " percentage points", ""
    if unit.removeprefix("of ").isdigit():
        return f"{value:.4g}", f" {unit}", ""
    if unit.startswith(("share", "of ")):
        noun = noun or unit.removeprefix("share").strip() or "of the cases"
        if value and abs(value) < 0.0005:
            return f"{value:.1e}", "", noun
        return f"{100 * value:.1f}".removesuffix(".0"), " %", noun
    if unit == "ratio":
        return f"{value:.3g}", " times", noun
    return f"{value:.3g}", f" {unit}", noun
