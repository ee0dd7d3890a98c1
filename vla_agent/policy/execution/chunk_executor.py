"""One `ChunkExecutor` for simulator and robot: which action now, and when to observe again."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from vla_agent.errors import ContractError, OptionError
from vla_agent.policy.execution.blending import adaptive_ensemble, newest, temporal_ensemble
from vla_agent.policy.execution.chunks import Chunks
from vla_agent.policy.execution.realtime import Committed, commit

_BLEND: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "open_loop": newest,
    "ensemble": temporal_ensemble,
    "adaptive": adaptive_ensemble,
    "realtime": newest,
}
MODES = tuple(_BLEND)


class ChunkExecutor:
    """Turns chunks (T, A), each computed from the observation of a known control step, into one action a control step.

    Row i of a chunk belongs to control step (step of its observation) + i, whenever it arrives: rows whose time has
    passed are skipped, never executed late.  One inference runs at a time.  In every control step::

        for chunk, its_step in new_chunks: executor.add(chunk, its_step)
        if executor.due(step): start an inference with this observation and executor.request(step, delay)
        action = executor.action(step)

    ==========  =============================================  ========================================
    mode        action                                         observes again
    ==========  =============================================  ========================================
    open_loop   of the newest chunk                            ``execute`` steps after the last request
    ensemble    mean of all chunks, the oldest first (ACT)     at every step
    adaptive    mean by similarity to the newest (CogACT)      at every step
    realtime    of the newest chunk, which continues the one   ``execute`` steps after the last request
                before (real-time chunking)
    ==========  =============================================  ========================================

    Args:
        mode: one of `MODES`.
        chunk_length: T.
        execute: control steps between observations, 1 to T; ensembles observe at every step regardless.

    Raises:
        OptionError: no such mode, or ``execute`` is not within the chunk.
    """

    def __init__(self, mode: str, chunk_length: int, execute: int) -> None:
        if mode not in MODES:
            raise OptionError(
                "there is no such execution mode",
                key="mode",
                expected=", ".join(MODES),
                found=mode,
                remedy="choose one of these; docs/execution.md compares them",
            )
        if not 1 <= execute <= chunk_length:
            raise OptionError(
                "execute is not within the chunk",
                key="execute",
                expected=f"1 to the chunk's length, {chunk_length}",
                found=execute,
                remedy="half of a chunk is a good start",
            )
        self.mode, self.chunk_length = mode, chunk_length
        self.every = 1 if mode in ("ensemble", "adaptive") else execute
        self.reset()

    def reset(self) -> None:
        """Begin an episode: drop all chunks and requests."""
        self._chunks = Chunks()
        self._requested: int | None = None  # control step of the last request
        self._idle = True  # no request is pending

    def due(self, step: int) -> bool:
        """Should an inference be started with the observation of control step ``step``?"""
        return self._idle and (self._requested is None or step - self._requested >= self.every)

    def request(self, step: int, delay: int) -> Committed | None:
        """Register the start of an inference with the observation of ``step``.

        Args:
            delay: control steps until the chunk arrives; an upper bound is safer than a lower one.

        Returns:
            In mode "realtime" the committed actions from ``step`` on; None in other modes, and where there are none.
        """
        self._requested, self._idle = step, False
        if self.mode != "realtime":
            return None
        return commit(self._chunks.ahead(step), self.chunk_length, delay)

    def add(self, chunk: np.ndarray, step: int) -> None:
        """Add ``chunk`` (T, A), computed from the observation of control step ``step``; it may be late.

        Raises:
            ContractError: it is not T finite rows.
        """
        array = np.asarray(chunk, np.float32)
        if array.ndim != 2 or len(array) != self.chunk_length or not np.isfinite(array).all():
            raise ContractError(
                "a chunk does not fit the executor",
                key="chunk",
                expected=f"({self.chunk_length}, A) finite numbers, one row per control period",
                found=f"{array.shape}" + ("" if np.isfinite(array).all() else " with NaN or infinity"),
                remedy="make the executor with the chunk length of the policy's contract",
            )
        self._chunks.add(array, step)
        if step == self._requested:
            self._idle = True

    def action(self, step: int) -> np.ndarray | None:
        """(A,) for control step ``step``; None when no row is left (the caller holds, see `hold`)."""
        self._chunks.forget(step)
        rows = self._chunks.rows(step)
        return _BLEND[self.mode](rows) if len(rows) else None
