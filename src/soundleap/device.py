"""Devices, and the time that work on them takes."""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch

from soundleap.errors import InputError


def find_device(device: str | torch.device) -> torch.device:
    """Turn a name into a device that is there.

    Raises:
        InputError: for an unknown name or a device that this machine lacks.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        found = torch.device(device)
        torch.zeros(1, device=found)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).split("\n")[0]
        raise InputError(f"device {str(device)!r} can't be used here: {reason}") from None
    return found


@dataclass
class Stages:
    """Seconds spent in the stages of one call: load, text, network, codec, vocoder."""

    device: torch.device
    seconds: dict[str, float] = field(default_factory=dict[str, float])

    @contextmanager
    def __call__(self, name: str) -> Generator[None]:
        """Add the time of a block to a stage; waits for the accelerator where there is one."""
        start = time.perf_counter()
        yield
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start
