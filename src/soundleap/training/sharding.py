"""Networks that no process has to hold whole: torch's `fully_shard` over all processes.

Every parameter is cut along its first dimension, one piece a process; a block's are put together
while it works. Averages and moments of the optimiser are cut alike. What is written and read is
whole, so that a run can go on with another number of processes, or unsharded.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any, cast

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from soundleap.models.store import save_state

BLOCKS = ("blocks", "down_blocks", "mid_block", "up_blocks")


def place(network: nn.Module, accelerator: Accelerator, *, sharded: bool) -> None:
    """Bring a network to the device, whole or one piece to each process.

    Args:
        network: to be changed in place; its optimiser is made afterwards.
        accelerator: of the run.
        sharded: whether to cut it; with one process there is nothing to cut.
    """
    if not sharded or accelerator.num_processes == 1:
        network.to(accelerator.device)
        return
    warnings.filterwarnings(
        "ignore", message="FSDP2-wrapped module .* returned a view"
    )  # kept as is
    mesh = init_device_mesh(accelerator.device.type, (accelerator.num_processes,))
    for part in (*blocks_of(network), network):
        piece = fully_shard(part, mesh=mesh, reshard_after_forward=True)
        piece.set_gradient_divide_factor(1.0)  # sums: the loss is a share of the batch's already
        piece.set_force_sum_reduction_for_comms(True)


def blocks_of(network: nn.Module) -> list[nn.Module]:
    """Return the blocks that a denoising network is made of, in order."""
    inner = getattr(network, "unet", network)
    found: list[nn.Module] = []
    for name in BLOCKS:
        part = getattr(inner, name, None)
        if isinstance(part, nn.ModuleList):
            found += list(part)
        elif isinstance(part, nn.Module):
            found.append(part)
    return found


def is_sharded(*modules: nn.Module) -> bool:
    """Return whether any parameter of the modules is cut."""
    return any(isinstance(p, DTensor) for module in modules for p in module.parameters())


def whole(value: Any, *, keep: bool = True) -> Any:
    """Put the tensors of a state together; all processes take part.

    Args:
        value: tensors, in dictionaries and lists.
        keep: whether this process is to have the result, on the CPU; else it gets None for them.
    """
    if isinstance(value, DTensor):
        full = value.full_tensor().detach()
        return full.cpu() if keep else None
    if isinstance(value, dict):
        return {k: whole(v, keep=keep) for k, v in cast("dict[Any, Any]", value).items()}
    if isinstance(value, list | tuple):
        return [whole(v, keep=keep) for v in cast("list[Any]", value)]
    return value


def load_module(module: nn.Module, state: dict[str, Any]) -> None:
    """Load a whole state into a module, cut or not."""
    own = module.state_dict()
    module.load_state_dict({k: _cut_like(own[k], v) if k in own else v for k, v in state.items()})


def load_optimizer(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Load a whole state into an optimiser whose parameters are cut or not."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    moments = {
        index: {
            name: _cut_like(parameters[index], value)
            if isinstance(value, Tensor) and value.shape == parameters[index].shape
            else value
            for name, value in values.items()
        }
        for index, values in state["state"].items()
    }
    kernels = [group["fused"] for group in optimizer.param_groups]
    optimizer.load_state_dict({**state, "state": moments})
    for group, fused in zip(optimizer.param_groups, kernels, strict=True):
        group["fused"] = fused  # not the state's: it may be from another version or device


def write_module(
    path: Path, module: nn.Module, config: dict[str, Any], accelerator: Accelerator
) -> None:
    """Write a module as `save_module` does, put together from all processes where it is cut.

    Called by all processes then; the first one writes.
    """
    state = whole(module.state_dict(), keep=accelerator.is_main_process)
    if accelerator.is_main_process:
        save_state(path, state, config)


def _cut_like(own: Tensor, value: Tensor) -> Tensor:
    if not isinstance(own, DTensor):
        return value
    data = value.to(own.device)
    return distribute_tensor(data, own.device_mesh, own.placements, src_data_rank=None)
