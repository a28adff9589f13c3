"""What `soundleap bench` is asked to measure, checked before torch is imported."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

from soundleap.bundle_schema import Family, Manifest, NetworkName, TeacherSolver
from soundleap.errors import InputError, unknown_name
from soundleap.requests import Request, complete_all

PROMPTS = (
    "rain on a tin roof",
    "a dog barks twice in the distance",
    "slow piano in a large hall",
    "an engine starts and idles",
    "birds in a forest at dawn",
    "a woman speaks, then people laugh",
    "waves on a pebble beach with strong wind",
    "footsteps on gravel",
)
MOST_RUNS = 10_000
MOST_BATCH = 1024
MOST_THREADS = 4096


@dataclass(frozen=True, kw_only=True)
class BenchSettings:
    """What to measure.

    Attributes:
        model: as for `TextToAudio.from_pretrained`; None for the default model.
        family: measure a model of this published family and size with random weights instead.
        network: "student" or "teacher".
        steps: numbers of steps; empty takes the network's default.
        batch_sizes: numbers of sounds made at once.
        duration_in_s: length of every sound; None takes the model's own.
        runs: measurements of each case, after one that does not count.
        threads: that torch uses inside an operation; None leaves torch's default.
        device: "auto", "cpu", "cuda", ...
        cold: also measure the command in new processes.
        dtype: as for `TextToAudio`.
        low_memory: as for `TextToAudio`; the peak is then that of the largest stage.
        solver: of the teacher; None for the model's own.
    """

    model: str | None = None
    family: str | None = None
    network: NetworkName = "student"
    steps: tuple[int, ...] = ()
    batch_sizes: tuple[int, ...] = (1, 4)
    duration_in_s: float | None = 10.0
    runs: int = 7
    threads: int | None = None
    device: str = "auto"
    cold: bool = True
    dtype: str | None = None
    low_memory: bool = False
    solver: TeacherSolver | None = None

    def __post_init__(self) -> None:
        """Check what needs no model.

        Raises:
            InputError: naming the first value that is not allowed.
        """
        check_whole("runs", self.runs, MOST_RUNS)
        if self.family is not None and self.model is not None:
            raise InputError("model and family are both given; give one of them")
        if self.family is not None and self.family not in get_args(Family)[1:]:
            raise unknown_name("family", self.family, get_args(Family)[1:])
        if self.threads is not None:
            check_whole("threads", self.threads, MOST_THREADS)
        if not self.batch_sizes:
            raise InputError("no batch size is given; give at least one")
        for size in self.batch_sizes:
            check_whole("batch", size, MOST_BATCH)
        for name, values in (("steps", self.steps), ("batch", self.batch_sizes)):
            if len(set(values)) < len(values):
                raise InputError(f"{name} names a value twice: {', '.join(map(str, values))}")

    def steps_for(self, manifest: Manifest) -> tuple[int, ...]:
        """Give the numbers of steps, the network's default filled in."""
        return self.steps or (manifest.sampling.step_limits(self.network)[0],)

    def requests(self, steps: int, batch_size: int) -> list[Request]:
        """Make the requests of one case: different prompts, seeds 0, 1, ..."""
        return [
            Request(
                PROMPTS[i % len(PROMPTS)],
                duration_in_s=self.duration_in_s,
                num_inference_steps=steps,
                seed=i,
                network=self.network,
                solver=self.solver,
            )
            for i in range(batch_size)
        ]

    def check(self, manifest: Manifest) -> None:
        """Compare with a model's limits.

        Raises:
            InputError: naming the first value that is not allowed.
        """
        for steps in self.steps_for(manifest):
            complete_all(self.requests(steps, 1), manifest)


def as_tuple(values: Sequence[int] | None, default: tuple[int, ...]) -> tuple[int, ...]:
    """Turn a command line's list into a tuple; nothing given takes the default."""
    return tuple(values) if values else default


def check_whole(name: str, value: int, most: int) -> None:
    """Refuse a number outside of 1 to `most`.

    Raises:
        InputError: naming it.
    """
    if not 1 <= value <= most:
        raise InputError(f"{name} is {value}; allowed: 1 to {most}")
