"""Weights sharded over processes: each keeps a part of every tensor and gathers a layer when it is computed.

PyTorch's FSDP2 (`torch.distributed.fsdp.fully_shard`; Zhao et al., "PyTorch FSDP", VLDB 2023).  Every layer of a list
of layers is a unit, which is gathered for its own forward and backward pass; all other weights are gathered for a whole
step.  Checkpoints hold full tensors.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor


def shard(module: nn.Module, deep: nn.Module, device: torch.device, processes: int) -> FSDPModule:
    """Shard a module's weights in place; its parameters become new objects.

    Args:
        deep: the submodule whose layers become units of their own.  They may be computed only by calling their forward.

    Returns:
        the same module.  It may be computed only by calling its forward.
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


def full_tensors(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors, gathered where they are sharded; to be called by all processes."""
    return {name: t.full_tensor() if isinstance(t, DTensor) else t for name, t in tensors.items()}


def sharded_like(target: Tensor, value: Tensor) -> Tensor:
    """A full ``value``, which every process has, sharded as ``target`` is."""
    if not isinstance(target, DTensor):
        return value
    value = value.to(target.device)
    return distribute_tensor(value, target.device_mesh, target.placements, src_data_rank=None)


def gather_to_cpu(module: nn.Module, keep: bool) -> None:
    """Move a sharded module back to the CPU in place, with full parameters in the processes that ``keep`` them.

    To be called by all processes.  Afterwards the module can be saved, but not computed.
    """
    for owner in module.modules():
        owner._buffers |= {name: b.cpu() for name, b in owner._buffers.items() if b is not None}
        for name, parameter in owner._parameters.items():
            if isinstance(parameter, DTensor):
                full = parameter.detach().full_tensor()
                if keep:
                    owner._parameters[name] = nn.Parameter(full.cpu(), requires_grad=parameter.requires_grad)
