"""Settings of `finetune`, and how a model's description shapes them."""

from __future__ import annotations

from dataclasses import dataclass as plain_dataclass
from typing import Any

import torch
from pydantic.dataclasses import dataclass
from torch import Tensor

from soundleap.bundle_schema import Sampling
from soundleap.training.objectives.axes import DistillationAxes
from soundleap.training.settings import STRICT, RunSettings

MEANWHILE = (
    "a dog barks", "rain", "slow piano waltz in c minor", "a man speaks", "a church bell rings",
    "waves on a beach", "a car engine starts", "footsteps on gravel", "birds sing in the morning",
    "a drum beat", "a baby cries", "thunder", "a door creaks", "glass breaks", "a crowd applauds",
    "wind howls", "a clock ticks", "a helicopter flies by", "a cat meows", "a train passes",
    "acoustic guitar plays a slow melody", "an explosion", "water drips", "a siren wails",
    "a frog croaks", "a rooster crows", "typing on a keyboard", "a saw cuts wood",
    "a violin plays", "crickets at night", "a gunshot", "a phone rings",
)  # fmt: skip
"""Prompts whose sounds are to stay as they are."""


@dataclass(frozen=True, config=STRICT, kw_only=True)
class FinetuneSettings(RunSettings):
    """Settings of `finetune`; `batch_size` counts examples.

    Attributes:
        model: name, folder or hub id.
        base: SHA-256 of the network that is changed; another one is another run.
        sounds: folder or manifest.
        sounds_sha256: of their files and captions; others are another run.
        adapter: file that is written.
        name: of the adapter.
        rank: of the low-rank layers.
        alpha: their effect is scaled by alpha / rank; None: as the rank.
        targets: patterns of the layers' names; none: `lora.TARGETS`.
        teacher_iterations: first iterations, in which the teacher learns the sounds by denoising;
            the student begins with what the teacher has learned. 0 for a model without a teacher,
            all for one without a student.
        variants: examples of each sound.
        solver_steps: of the teacher in an interval.
        skip_share: length of an interval, as a share of the student's grid.
        target_ema: decay of the student's target.
        keep: weight of staying as before at other prompts; 0 leaves that out.
        keep_items: other prompts in a step.
        preview_prompts: of the sounds of snapshots; none: the first captions.
    """

    model: str
    base: str
    sounds: str
    sounds_sha256: str
    adapter: str
    name: str
    rank: int = 16
    alpha: float | None = None
    targets: tuple[str, ...] = ()
    iterations: int = 600
    teacher_iterations: int = 300
    batch_size: int = 8
    learning_rate: float = 2e-3
    final_learning_rate: float = 2e-5
    warmup_iterations: int = 20
    decay_share: float = 0.7
    weight_decay: float = 0.0
    variants: int = 8
    solver_steps: int = 2
    skip_share: float = 0.1
    target_ema: float = 0.9
    keep: float = 1.0
    keep_items: int = 3
    preview_prompts: tuple[str, ...] = ()
    checkpoint_minutes: float = 2.0
    snapshot_minutes: float = 60.0
    accumulation: int = 1

    def faults(self) -> list[str]:
        """Also refuse what makes no sense here."""
        found = super().faults()
        for name in ("rank", "variants", "solver_steps", "keep_items", "accumulation"):
            if getattr(self, name) < 1:
                found.append(f"{name} is {getattr(self, name)}; it must be at least 1")
        if self.alpha is not None and not self.alpha > 0:
            found.append(f"alpha is {self.alpha:g}; it must be above 0")
        if not 0 <= self.teacher_iterations <= self.iterations:
            found.append(
                f"teacher_iterations is {self.teacher_iterations}; allowed: 0 to iterations, "
                f"{self.iterations}"
            )
        if not 0 < self.skip_share <= 1:
            found.append(f"skip_share is {self.skip_share:g}; allowed: above 0, up to 1")
        if not 0 <= self.target_ema < 1:
            found.append(f"target_ema is {self.target_ema:g}; allowed: 0 to below 1")
        if not self.keep >= 0:
            found.append(f"keep is {self.keep:g}; it must be at least 0")
        return found


def axes_of(sampling: Sampling, settings: FinetuneSettings, *, taught: bool) -> DistillationAxes:
    """Return what a model's student is trained by: its own grid, boundary and guidance.

    Without a teacher the true sound takes its place (see `TrueSounds`).
    """
    grid = sampling.grid
    starts = sum(t > 0 for t in grid)
    return DistillationAxes(
        prediction=sampling.prediction if taught else "x0",
        student_prediction=sampling.student_prediction,
        grid_points=len(grid),
        grid_spacing="explicit",
        grid_timesteps=tuple(grid),
        skip_points=max(1, round(settings.skip_share * starts)),
        solver="ddim",
        solver_steps=settings.solver_steps if taught else 1,
        guidance_range=sampling.guidance_range,
        boundary=sampling.boundary,
        sigma_data=sampling.sigma_data,
        timestep_scaling=sampling.timestep_scaling,
        bottom_rule="data" if sampling.boundary == "identity" else "teacher",
        top_rule="unit_noise" if sampling.initial_noise == "unit" else "noise",
        distance="huber",
        huber_c=0.03,
    )


@plain_dataclass(frozen=True)
class TrueSounds:
    """Stands for a teacher where there is none: it knows the clean latents, whatever it is asked.

    A DDIM step along its flow leads from x_t to the same sound with the same noise at s.
    """

    x_0: Tensor

    def __call__(self, x_t: Tensor, t: Tensor, **conditions: Any) -> Tensor:
        """Give x_0, for both halves of a guided query."""
        return torch.cat([self.x_0] * (len(x_t) // len(self.x_0)))
