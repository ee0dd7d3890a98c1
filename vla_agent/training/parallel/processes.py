"""Data-parallel training, in one process or in several that ``accelerate launch`` started.

The global batch is computed in pieces, each with random draws of its own: ``accumulate`` of them in each process.  So
two processes with one piece each are the same training as one process with two; only the order of sums differs.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs, DistributedType
from accelerate.state import AcceleratorState
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule

from vla_agent.errors import ProcessError, RecipeError
from vla_agent.training.parallel.sharding import shard


class Processes:
    """The processes of one training, seen from one of them.

    Args:
        accumulate: pieces of the batch that this process computes one after the other.
        precision: ``float32``, or ``bfloat16`` for mixed precision.
        sharded: each of several processes keeps a part of the weights (`vla_agent.training.parallel.sharding`).

    Raises:
        RecipeError: accelerate was launched in a mode that is not supported.
    """

    def __init__(self, accumulate: int = 1, precision: str = "float32", sharded: bool = False) -> None:
        if os.environ.get("ACCELERATE_USE_FSDP", "false").lower() == "true":  # accelerate fails on it without GPUs
            raise _unsupported_launch("--use_fsdp")
        AcceleratorState._reset_state()  # another training in this program may have had another precision
        # an adapter may lie in a branch that no batch uses, such as the last norm of a vision tower
        reducer = DistributedDataParallelKwargs(find_unused_parameters=True)
        self.accelerator = Accelerator(
            cpu=not torch.cuda.is_available(),
            mixed_precision={"float32": "no", "bfloat16": "bf16"}[precision],
            kwargs_handlers=[reducer],
        )
        kind = self.accelerator.distributed_type
        if kind not in (DistributedType.NO, DistributedType.MULTI_CPU, DistributedType.MULTI_GPU):
            raise _unsupported_launch(kind.value)
        self.accumulate, self._prepared = accumulate, nn.Module()
        self.count, self.index = self.accelerator.num_processes, self.accelerator.process_index
        self.sharded = sharded and self.count > 1

    @property
    def main(self) -> bool:
        """Whether this process writes the files and prints."""
        return self.accelerator.is_main_process

    @property
    def device(self) -> torch.device:
        return self.accelerator.device

    @property
    def pieces(self) -> int:
        """Pieces of the global batch, over all processes."""
        return self.accumulate * self.count

    def generators(self, seed: int) -> Iterator[torch.Generator]:
        """A generator for each piece that this process computes; a single piece is seeded with ``seed`` itself."""
        for piece in range(self.index * self.accumulate, (self.index + 1) * self.accumulate):
            yield torch.Generator().manual_seed(seed * self.pieces + piece)

    def prepare(self, model: nn.Module, deep: nn.Module | None = None) -> nn.Module:
        """The model to call in training: it computes in the given precision, and its gradients are averaged.

        Sharding works in place: the model's parameters are new objects afterwards.

        Args:
            deep: the submodule that has most of the weights, layer after layer.  Left out: the whole model.
        """
        if self.sharded:
            forward = model.forward
            model.forward = self.accelerator.autocast()(forward)  # type: ignore[method-assign]
            self._prepared = shard(model, deep or model, self.device, self.count)
        else:
            self._prepared = self.accelerator.prepare_model(model)
        return self._prepared

    def _without_sync(self, last: bool) -> AbstractContextManager:
        """Gradients are synchronised once a step, with its last piece."""
        if isinstance(self._prepared, FSDPModule):
            self._prepared.set_requires_gradient_sync(last)
            return nullcontext()
        return nullcontext() if last else self.accelerator.no_sync(self._prepared)

    def backward(self, seed: int, losses_of: Callable[[torch.Generator], dict[str, Tensor]]) -> dict[str, float]:
        """Gradients of a step, averaged over all pieces; the losses of this process's pieces, averaged."""
        mean: dict[str, float] = {}
        for number, generator in enumerate(self.generators(seed), 1):
            with self._without_sync(number == self.accumulate):
                losses = losses_of(generator)
                total = torch.stack(list(losses.values())).sum()
                self.accelerator.backward(total / self.accumulate)
            for key, value in losses.items():
                mean[key] = mean.get(key, 0.0) + value.item() / self.accumulate
        return mean

    def average(self, losses: dict[str, float], *flags: bool) -> tuple[dict[str, float], list[bool]]:
        """The losses' means over all processes, and for each flag whether any process has set it."""
        if self.count == 1:
            return losses, list(flags)
        sums = torch.tensor([*losses.values(), *map(float, flags)], dtype=torch.float64, device=self.device)
        sums = self.accelerator.reduce(sums, reduction="sum").tolist()
        means = (value / self.count for value in sums[: len(losses)])
        return dict(zip(losses, means, strict=True)), [value > 0 for value in sums[len(losses) :]]

    def main_first(self) -> AbstractContextManager:
        """A block that a machine's first process runs before the others, which reuse its results on disk."""
        return self.accelerator.local_main_process_first()

    def wait(self) -> None:
        """Wait until all processes have reached this line."""
        with self.peer_errors():
            self.accelerator.wait_for_everyone()

    @contextmanager
    def peer_errors(self) -> Iterator[None]:
        """Inside, a lost connection to another process becomes a typed error.

        Raises:
            ProcessError: another process has ended.
        """
        try:
            yield
        except RuntimeError as error:
            if self.count == 1 or not _is_connection_error(error):
                raise
            signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the launcher sends it, and would cut the error message off
            raise ProcessError(
                "another process of this training has ended",
                key=f"process {self.index} of {self.count}",
                expected="all of them to run to the end",
                found=str(error).splitlines()[0],
                remedy="look for its error above, or for a lack of memory; the same command with --resume continues",
            ) from error

    def close(self) -> None:
        """Leave the process group; each process calls it once, at the end."""
        if self.count > 1:
            self.accelerator.end_training()


def is_main() -> bool:
    """Whether this is the main process, also after `Processes.close`."""
    return os.environ.get("RANK", "0") == "0"


def single_process(stage: str, precision: str = "float32") -> Processes:
    """This process alone, for a stage that is not trained in several; ``precision`` as of `Processes`.

    Raises:
        RecipeError: there are several.
    """
    processes = Processes(precision=precision)
    if processes.count > 1:
        raise RecipeError(
            f"the stage {stage} is trained in one process",
            key="accelerate launch",
            expected="one process",
            found=processes.count,
            remedy="run vla-agent train without accelerate; vla-agent finetune takes several",
        )
    return processes


def _unsupported_launch(found: str) -> RecipeError:
    return RecipeError(
        "only the recipe decides how a training is distributed",
        key="accelerate launch",
        expected="--multi_gpu, or --cpu --num_processes N",
        found=found,
        remedy="accelerate launch --multi_gpu ...; add --set train.sharded=true to shard the weights",
    )


def _is_connection_error(error: RuntimeError) -> bool:
    """Whether the message is that of a broken connection."""
    if isinstance(error, torch.distributed.DistError):
        return True
    marks = ("gloo", "nccl", "connection closed", "connection reset", "broken pipe", "socket")
    return any(mark in str(error).lower() for mark in marks)
