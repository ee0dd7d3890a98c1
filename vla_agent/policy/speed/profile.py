"""Where a policy's time goes: a row for each part, with its work and its distance to what the machine can do.

instruction      once an instruction: the text encoder, and all that depends on the text alone
copy             pictures and state in, chunk out
vision           pictures -> image tokens, or points and what lies under them
language         the transformer over image tokens and instruction
head: condition  keys, values and modulation, once an observation
head: denoising  one row for all steps; ``runs`` says how many (other heads: ``tokens``, ``one pass``)
In OpenVINO ``vision`` holds the small backbone's ``language``, and ``head: denoising`` the condition.
rest             checks, normalisation, and what lies between the parts
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Any

from vla_agent.contract.blank_observation import blank_observation
from vla_agent.models.timing_sections import watched
from vla_agent.policy.speed.accelerate import accelerate
from vla_agent.policy.speed.compiling import INSTRUCTIONS, device_of
from vla_agent.policy.speed.machine_limits import Machine, measure, now
from vla_agent.policy.speed.operation_counts import Counter, Work

if TYPE_CHECKING:
    from vla_agent.policy.policy import VLAPolicy

ONCE = "instruction"
WARM = 3


@dataclass(frozen=True)
class Row:
    """One part of a chunk (or of an instruction).  Times are medians over chunks, of all its runs together."""

    part: str
    runs: int
    ms: float
    share: float  # of a chunk's time; of an instruction's, 0
    mflop: float
    mib: float  # weights and inputs that must come in
    least_ms: float  # by the machine's peaks
    reached: float  # least_ms / ms


class _Clock:
    """A watcher that adds up the seconds of each part."""

    def __init__(self, device: Any) -> None:
        self.seconds: dict[str, float] = {}
        self._device = device

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        begun = now(self._device)
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + now(self._device) - begun


def profile(
    policy: VLAPolicy, chunks: int = 50, compiled: bool = False, openvino: bool = False, quantise: str = ""
) -> tuple[list[Row], Machine]:
    """Rows of the parts, ``chunk`` last, and the machine's peaks, measured in the same run.

    Args:
        compiled, openvino, quantise: change the policy in place (`speed.accelerate`), after its work has been
            counted.
    """
    device = device_of(policy)
    observation = blank_observation(policy.contract)
    counter = Counter()
    policy.reset(INSTRUCTIONS[1])
    policy.act(observation)
    with watched(counter):
        policy.reset(INSTRUCTIONS[1])
        policy.act(observation)
    accelerate(policy, compiled, quantise, openvino)
    times: list[dict[str, float]] = []
    whole: list[float] = []
    for i in range(WARM + chunks):
        clock = _Clock(device)
        with watched(clock):
            policy.reset(INSTRUCTIONS[1])
            begun = now(device)
            policy.act(observation)
            seconds = now(device) - begun
        if i >= WARM:
            times.append(clock.seconds)
            whole.append(seconds)
    policy.forget()
    dtype = next(p.dtype for p in policy.backbone.parameters())
    machine = measure(device, dtype)
    total = 1000 * median(whole)
    rows = [
        _row(name, counter.work[name], 1000 * median(t.get(name, 0.0) for t in times), total, machine)
        for name in counter.work
    ]
    inner = [median(w - sum(s for n, s in t.items() if n != ONCE) for t, w in zip(times, whole, strict=True))]
    rows.append(_row("rest", Work(runs=1), 1000 * max(inner[0], 0.0), total, machine))
    parts = [work for name, work in counter.work.items() if name != ONCE]
    together = Work(sum(w.flops for w in parts), sum(w.size for w in parts), 1)
    return [*rows, _row("chunk", together, total, total, machine)], machine


def _row(name: str, work: Work, ms: float, total: float, machine: Machine) -> Row:
    least = 1000 * machine.seconds(work.flops, work.size)
    share = 0.0 if name == ONCE else ms / total
    return Row(name, work.runs, ms, share, work.flops / 1e6, work.size / 2**20, least, least / ms if ms else 0.0)
