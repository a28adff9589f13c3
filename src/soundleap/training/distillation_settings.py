"""Settings of stage 5, distillation."""

from __future__ import annotations

from pydantic.dataclasses import dataclass

from soundleap.training.objectives import DistillationAxes
from soundleap.training.settings import STRICT, ScaleSettings


@dataclass(frozen=True, config=STRICT, kw_only=True)
class DistillationSettings(DistillationAxes, ScaleSettings):
    """Settings of `distill`: the axes, the run, and what they work on.

    Attributes:
        cache: latents and text states to learn from; `batch_size` counts latent vectors.
        teacher: file of the teacher.
        codec: file of the latent codec, for the sounds of snapshots.
        vocoder: file of the vocoder, for these.
        start: file of a student to go on from; None: the teacher itself.
        drop_text: share of items that learn the empty prompt.
        target_ema: decay of the target network.
        ema: decay of the weights that are written.
        preview_prompts: of the sounds of snapshots.
        preview_guidance: guidance scale of these.
    """

    cache: str
    teacher: str
    codec: str
    vocoder: str | None = None
    start: str | None = None
    drop_text: float = 0.05
    target_ema: float = 0.95
    ema: float = 0.995
    preview_prompts: tuple[str, ...] = (
        "a dog barks",
        "rain",
        "slow piano waltz in c minor",
        "a man speaks",
    )
    preview_guidance: float = 3.0

    def faults(self) -> list[str]:
        """Also refuse settings that contradict each other."""
        found = [*ScaleSettings.faults(self), *DistillationAxes.faults(self)]
        for name, most in (("drop_text", 1.0), ("target_ema", 1.0), ("ema", 1.0)):
            if not 0 <= getattr(self, name) <= most:
                found.append(f"{name} is {getattr(self, name):g}; allowed: 0 to {most:g}")
        return found
