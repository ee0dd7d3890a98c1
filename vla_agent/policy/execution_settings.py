"""Settings of an evaluation: execution mode, inference delay, and acceleration."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vla_agent.contract import Contract
from vla_agent.errors import OptionError
from vla_agent.policy.execution import MODES, ChunkExecutor, delay_steps
from vla_agent.policy.speed.accelerate import KINDS, accelerate


@dataclass(frozen=True)
class Execution:
    """Part of a run's settings.  The default is open loop, with the simulation paused during inference.

    Args:
        mode: one of `vla_agent.policy.execution.MODES`.
        delay_ms: inference delay in milliseconds, rounded up to whole control steps.
        renamed: pairs (the policy's name of a camera, the simulator's name of it).
        compiled: run the policy through ``torch.compile``.
        quantise: its weights are ``int8`` or ``int4``; empty: as they were trained.
        openvino: run it through OpenVINO.

    Raises:
        OptionError: no such mode or weights, or an invalid delay.
    """

    mode: str = "open_loop"
    delay_ms: float = 0.0
    renamed: tuple[tuple[str, str], ...] = ()
    compiled: bool = False
    quantise: str = ""
    openvino: bool = False

    def __post_init__(self) -> None:
        wrong: tuple[str, str, object] | None = None
        if self.mode not in MODES:
            wrong = ("--execution", ", ".join(MODES), self.mode)
        elif not 0 <= self.delay_ms <= 10_000:
            wrong = ("--delay-ms", "0 to 10000", self.delay_ms)
        elif self.quantise not in ("", *KINDS):
            wrong = ("--quantise", ", ".join(KINDS), self.quantise)
        if wrong:
            raise OptionError(
                "an option has an invalid value",
                key=wrong[0],
                expected=wrong[1],
                found=wrong[2],
                remedy="see vla-agent eval --help; docs/execution.md",
            )

    @property
    def plain(self) -> bool:
        """Whether it is the default, which needs no executor."""
        return self.mode == "open_loop" and self.delay_ms == 0

    def settings(self) -> dict[str, Any]:
        """For the report; empty for the default, so that reports of earlier releases compare as equal."""
        named: dict[str, Any] = {"execution": self.mode, "delay_ms": self.delay_ms}
        settings: dict[str, Any] = {} if self.plain else named
        chosen = {"renamed_cameras": dict(self.renamed), "compiled": self.compiled, "weights": self.quantise}
        chosen |= {"openvino": self.openvino}
        return settings | {key: value for key, value in chosen.items() if value}

    @staticmethod
    def identity(settings: Mapping[str, Any]) -> dict[str, Any]:
        """The execution settings in a report, with the defaults where they are missing."""
        default: dict[str, Any] = {"execution": "open_loop", "delay_ms": 0.0, "renamed_cameras": {}}
        default |= {"compiled": False, "weights": "", "openvino": False}
        return {key: settings.get(key, value) for key, value in default.items()}

    def executor(self, policy: Any, contract: Contract) -> tuple[ChunkExecutor, int]:
        """An executor for the policy, and the delay in control steps at the rate of ``contract``.

        For a policy without its own contract, chunks have the length of ``contract``.
        """
        length = getattr(policy, "contract", contract).chunk_length
        return ChunkExecutor(self.mode, length, policy.execute), delay_steps(self.delay_ms, contract.control_hz)

    def prepare(self, policy: Any) -> Any:
        """The policy with these accelerations, changed in place.

        Raises:
            OptionError: it runs on another machine, this machine does not support them, or it cannot continue chunks.
        """
        policy = accelerate(policy, self.compiled, self.quantise, self.openvino)
        self.require_continuing(policy)
        return policy

    def require_continuing(self, policy: Any) -> None:
        """Check that the policy can continue chunks where the mode needs it.

        Raises:
            OptionError: ``act`` has no argument ``committed``.
        """
        parameters = inspect.signature(policy.act).parameters
        takes = "committed" in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())
        if self.mode == "realtime" and not takes:
            raise OptionError(
                "this policy cannot be executed in real time",
                key="--execution",
                expected="a policy with act(observation, committed=...)",
                found=f"{type(policy).__name__}.act({', '.join(parameters)})",
                remedy="use open_loop, ensemble or adaptive",
            )
