"""Wall clock and processor time of the stages of one iteration."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

STAGES = ("encode", "text", "teacher", "target", "student", "backward", "optimiser", "ema", "total")
"""Latents of the clip, text states, the teacher's queries, the target's, the student's forward and
backward pass, AdamW, the averages; total also holds what lies between them."""


@dataclass
class Clock:
    """Seconds by stage, summed over one iteration.

    Attributes:
        wall: wall clock.
        cpu: processor time of the process, all cores together.
    """

    wall: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    cpu: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))

    @contextmanager
    def stage(self, name: str) -> Generator[None]:
        """Count the block to a stage."""
        wall, cpu = time.perf_counter(), time.process_time()
        try:
            yield
        finally:
            self.wall[name] += time.perf_counter() - wall
            self.cpu[name] += time.process_time() - cpu

    def around(self, name: str, network: Callable[..., Tensor]) -> Callable[..., Tensor]:
        """Count the calls of a network to a stage."""

        def timed(*args: Any, **conditions: Any) -> Tensor:
            with self.stage(name):
                return network(*args, **conditions)

        return timed
