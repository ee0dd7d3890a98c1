"""Work of the sections of an inference: floating-point operations, and the bytes that must be read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode


@dataclass
class Work:
    """Work of one or more runs of a section."""

    flops: float = 0.0
    size: float = 0.0  # bytes
    runs: int = 0


class _Incoming(TorchDispatchMode):
    """Bytes of tensors that are read and were made outside: weights, inputs.  Each is counted once."""

    def __init__(self) -> None:
        super().__init__()
        self.size = 0
        self._known: dict[int, Any] = {}  # storages so far, kept alive so that no address is reused

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        for tensor in _tensors((args, kwargs)):
            if self._is_new(tensor):
                self.size += tensor.numel() * tensor.element_size()
        result = func(*args, **(kwargs or {}))
        for tensor in _tensors(result):
            self._is_new(tensor)
        return result

    def _is_new(self, tensor: Tensor) -> bool:
        storage = tensor.untyped_storage()
        key = storage._cdata
        new = key not in self._known
        self._known.setdefault(key, storage)
        return new


def _tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


class Counter:
    """A watcher of `vla_agent.models.timing_sections` that counts work; only for policies that are not compiled."""

    def __init__(self) -> None:
        self.work: dict[str, Work] = {}

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        work = self.work.setdefault(name, Work())
        before = torch.backends.mha.get_fastpath_enabled()
        torch.backends.mha.set_fastpath_enabled(
            False
        )  # the fast path runs a whole layer in one operation that has no counter
        try:
            with FlopCounterMode(display=False) as flops, _Incoming() as incoming:
                yield
        finally:
            torch.backends.mha.set_fastpath_enabled(before)
        work.flops += flops.get_total_flops()
        work.size += incoming.size
        work.runs += 1
