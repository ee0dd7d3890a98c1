"""Weights shared out over processes: each keeps a part of every one and gathers a layer when it is computed.

PyTorch's FSDP2 (`torch.distributed.fsdp.fully_shard`; Zhao et al., "PyTorch FSDP", VLDB 2023).  Every layer of a list
of layers is a unit, which is gathered for its own forward and backward; what is left over is gathered for a step.
Checkpoints hold whole tensors.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor


def shard(module: nn.Module, deep: nn.Module, device: torch.device, processes: int) -> FSDPModule:
    """Share out a module's weights, in place; its parameters become new objects.

    Args:
        deep: the part of it whose layers are units of their own.  They must be computed by their forward alone.

    Returns:
        the same module; nothing inside it may be computed but through its forward.
    """
    mesh = init_device_mesh(device.type, (processes,))
    for layer in _layers(deep):
        fully_shard(layer, mesh=mesh)
    return fully_shard(module, mesh=mesh)


def _layers(module: nn.Module) -> list[nn.Module]:
    """The items of the outermost lists of layers."""
    if isinstance(module, nn.ModuleList):
        return list(module)
    return [layer for child in module.children() for layer in _layers(child)]


def whole(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors, gathered where they are shared out; to be called by all processes."""
    return {name: t.full_tensor() if isinstance(t, DTensor) else t for name, t in tensors.items()}


def like(target: Tensor, value: Tensor) -> Tensor:
    """A whole ``value``, which every process has, shared out as ``target`` is."""
    if not isinstance(target, DTensor):
        return value
    value = value.to(target.device)
    return distribute_tensor(value, target.device_mesh, target.placements, src_data_rank=None)


def gather(module: nn.Module, keep: bool) -> None:
    """Bring a module back to the CPU, in place, with whole parameters where a process is to ``keep`` them.

    To be called by all processes.  The module cannot be computed any more, only be saved.
    """
    for owner in module.modules():
        owner._buffers |= {name: b.cpu() for name, b in owner._buffers.items() if b is not None}
        for name, parameter in owner._parameters.items():
            if isinstance(parameter, DTensor):
                full = parameter.detach().full_tensor()
                if keep:
                    owner._parameters[name] = nn.Parameter(full.cpu(), requires_grad=parameter.requires_grad)
