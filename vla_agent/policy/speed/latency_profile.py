"""The time profile of a policy: a row for each section, with its work and its distance to the machine's limits.

instruction      once an instruction: the text encoder, and everything that depends on the text only
copy             images and state in, chunk out
vision           images -> image tokens, or points and the features under them
language         the transformer over image tokens and instruction
head: condition  keys, values and modulation, once an observation
head: denoising  one row for all steps; ``runs`` is their number (other heads: ``tokens``, ``one pass``)
rest             checks, normalisation, and everything between the sections

In OpenVINO ``vision`` includes the small backbone's ``language``, and ``head: denoising`` the condition.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Any

from vla_agent.contract.blank_observation import blank_observation
from vla_agent.models.timing_sections import INSTRUCTION, watch_sections
from vla_agent.policy.speed.accelerate import accelerate
from vla_agent.policy.speed.compiling import device_of
from vla_agent.policy.speed.machine_limits import Machine, measure, now
from vla_agent.policy.speed.operation_counts import Counter, Work

if TYPE_CHECKING:
    from vla_agent.policy.policy import VLAPolicy

ONCE = "instruction"
WARM = 3


@dataclass(frozen=True)
class Row:
    """One section of a chunk (or of an instruction).  Times are medians over chunks, of all its runs together."""

    section: str
    runs: int
    ms: float
    fraction: float  # of a chunk's time; 0 for the instruction
    mflop: float
    mib: float  # weights and inputs that must be read
    min_ms: float  # by the machine's peaks
    efficiency: float  # min_ms / ms


class _Clock:
    """A watcher that adds up the seconds of each section."""

    def __init__(self, device: Any) -> None:
        self.seconds: dict[str, float] = {}
        self._device = device

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        start = now(self._device)
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + now(self._device) - start


def profile(
    policy: VLAPolicy, chunks: int = 50, compiled: bool = False, openvino: bool = False, quantise: str = ""
) -> tuple[list[Row], Machine]:
    """Rows of the sections, ``chunk`` last, and the machine's peaks, measured in the same run.

    Args:
        compiled, openvino, quantise: change the policy in place (`speed.accelerate`), after its work has been
            counted.
    """
    device = device_of(policy)
    observation = blank_observation(policy.contract)
    counter = Counter()
    policy.reset(INSTRUCTION)
    policy.act(observation)
    with watch_sections(counter):
        policy.reset(INSTRUCTION)
        policy.act(observation)
    accelerate(policy, compiled, quantise, openvino)
    timings = [_timed_inference(policy, observation, device) for _ in range(WARM + chunks)][WARM:]
    policy.forget()
    dtype = next(p.dtype for p in policy.backbone.parameters())
    machine = measure(device, dtype)
    total = 1000 * median(whole for _, whole in timings)
    rows = [
        _row(name, work, 1000 * median(seconds.get(name, 0.0) for seconds, _ in timings), total, machine)
        for name, work in counter.work.items()
    ]
    rest = median(whole - sum(s for name, s in seconds.items() if name != ONCE) for seconds, whole in timings)
    rows.append(_row("rest", Work(runs=1), 1000 * max(rest, 0.0), total, machine))
    each_chunk = [work for name, work in counter.work.items() if name != ONCE]
    chunk = Work(sum(w.flops for w in each_chunk), sum(w.size for w in each_chunk), 1)
    return [*rows, _row("chunk", chunk, total, total, machine)], machine


def _timed_inference(policy: VLAPolicy, observation: dict[str, Any], device: Any) -> tuple[dict[str, float], float]:
    """Seconds of each section of one ``reset`` and ``act``, and of ``act``."""
    clock = _Clock(device)
    with watch_sections(clock):
        policy.reset(INSTRUCTION)
        start = now(device)
        policy.act(observation)
        return clock.seconds, now(device) - start


def _row(name: str, work: Work, ms: float, total: float, machine: Machine) -> Row:
    min_ms = 1000 * machine.seconds(work.flops, work.size)
    fraction = 0.0 if name == ONCE else ms / total
    return Row(name, work.runs, ms, fraction, work.flops / 1e6, work.size / 2**20, min_ms, min_ms / ms if ms else 0.0)
