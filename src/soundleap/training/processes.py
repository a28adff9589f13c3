"""Training on one process or on several, under accelerate and torchrun.

Every process draws the same global batch and takes its share of it; only the first one writes.
Messages between processes (who was told to stop, whether a file could be written) go between CPUs,
so that they never wait for a GPU.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from typing import Any, TypeVar

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import InitProcessGroupKwargs
from torch import Tensor
from torch.distributed.tensor import DTensor

from soundleap.errors import InputError, SoundleapError
from soundleap.training.settings import RunSettings

Result = TypeVar("Result")
PATIENCE = timedelta(hours=1)
"""How long processes wait for each other: one may be writing sounds meanwhile."""
BUCKET = 2**23
"""Numbers that travel together when gradients are added up."""


def make_accelerator(settings: RunSettings, *, several: bool = False) -> Accelerator:
    """Set up device, precision and processes.

    Args:
        settings: of the run.
        several: whether the stage can share its work between processes.

    Raises:
        InputError: if started as one of several processes and the stage can't.
    """
    on_gpu = torch.cuda.is_available()
    launched = "LOCAL_RANK" in os.environ  # by torchrun or accelerate
    backend = "cpu:gloo,cuda:nccl" if on_gpu else "gloo"
    if launched:
        os.environ.setdefault("OMP_NUM_THREADS", str(settings.threads))  # what accelerate goes by
    forget_precision(settings.mixed_precision)
    group = InitProcessGroupKwargs(backend=backend, timeout=PATIENCE)
    accelerator = Accelerator(
        mixed_precision=settings.mixed_precision,
        cpu=not on_gpu,
        kwargs_handlers=[group] if launched else None,
    )
    torch.set_num_threads(settings.threads)
    if accelerator.num_processes > 1 and not several:
        raise InputError(
            f"started as {accelerator.num_processes} processes, but this stage runs as one: "
            "give its command without torchrun"
        )
    return accelerator


def forget_precision(wanted: str) -> None:
    """Let this Python process begin a run in another precision than its run before.

    accelerate keeps the first run's precision for the whole process and refuses any other.
    """
    shared = AcceleratorState._shared_state  # pyright: ignore[reportPrivateUsage]
    if shared and AcceleratorState().mixed_precision != wanted:
        AcceleratorState._reset_state()  # pyright: ignore[reportPrivateUsage]


def shares(
    accelerator: Accelerator, count: int, accumulation: int = 1
) -> Iterator[tuple[slice, int]]:
    """Part the items of a global batch between processes and micro-batches.

    Every process gets as many parts, as each has to take part in what they do together. Where
    there are fewer items than parts, one with no items of its own gets the first, to count 0.

    Yields:
        The items, and how many of them count.
    """
    processes = accelerator.num_processes
    micro = min(accumulation, -(-count // processes))
    first = accelerator.process_index * micro
    for part in range(first, first + micro):
        start, stop = (count * p // (processes * micro) for p in (part, part + 1))
        yield (slice(start, stop), stop - start) if stop > start else (slice(0, 1), 0)


def any_process(accelerator: Accelerator, *flags: bool) -> list[bool]:
    """Return for every flag whether any process has set it."""
    if accelerator.num_processes == 1:
        return list(flags)
    votes = torch.tensor(flags, dtype=torch.uint8)
    torch.distributed.all_reduce(votes, torch.distributed.ReduceOp.MAX)
    return votes.bool().tolist()


def on_first(accelerator: Accelerator, work: Callable[[], Result]) -> Result:
    """Do something on the first process alone and give its result, small and plain, to all.

    Raises:
        SoundleapError: on the other processes, if it failed; the first one raises what it was.
    """
    if accelerator.num_processes == 1:
        return work()
    outcome: list[Any] = [None, None]
    failure: Exception | None = None
    if accelerator.is_main_process:
        try:
            outcome[0] = work()
        except Exception as error:
            failure, outcome[1] = error, str(error) or type(error).__name__
    torch.distributed.broadcast_object_list(outcome, device=torch.device("cpu"))
    if failure is not None:
        raise failure
    if outcome[1] is not None:
        raise SoundleapError(f"the first process stopped: {outcome[1]}")
    return outcome[0]


def add_up(accelerator: Accelerator, tensors: Iterable[Tensor]) -> None:
    """Replace tensors by their sums over all processes, in place; shards add up by themselves."""
    if accelerator.num_processes == 1:
        return
    bucket: list[Tensor] = []
    for tensor in tensors:
        if isinstance(tensor, DTensor):
            continue
        if bucket and (
            sum(t.numel() for t in bucket) + tensor.numel() > BUCKET
            or tensor.dtype != bucket[0].dtype
        ):
            _add_up_together(bucket)
            bucket = []
        bucket.append(tensor)
    if bucket:
        _add_up_together(bucket)


def _add_up_together(tensors: list[Tensor]) -> None:
    flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
    torch.distributed.all_reduce(flat)
    for tensor, total in zip(tensors, flat.split([t.numel() for t in tensors]), strict=True):
        tensor.copy_(total.view_as(tensor))
