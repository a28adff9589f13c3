"""Settings of stage 5, distillation."""

from __future__ import annotations

from pydantic.dataclasses import dataclass

from soundleap.training.objectives import DistillationAxes
from soundleap.training.rewards import RewardSettings
from soundleap.training.settings import STRICT, ScaleSettings


@dataclass(frozen=True, config=STRICT, kw_only=True)
class DistillationSettings(DistillationAxes, RewardSettings, ScaleSettings):
    """Settings of `distill`: the axes, rewards, the run, and what they work on.

    Attributes:
        cache: latents and text states to learn from; `batch_size` counts latent vectors.
        teacher: a model with a teacher (folder, known name or hub id) of any family, or a file with
            a network by itself. From a model also come what is left out of prediction, codec,
            vocoder and text, and the noise schedule.
        codec: file of the latent codec, for sounds.
        vocoder: file of the vocoder, for these.
        text: folder of the text encoder, for these; None with a file as teacher: the built-in one.
        start: a student to go on from, a file or a model; None: the teacher itself.
        drop_text: share of items that learn the empty prompt.
        target_ema: decay of the target network.
        ema: decay of the weights that are written.
        preview_prompts: of the sounds of snapshots.
        preview_guidance: guidance scale of these.
    """

    cache: str
    teacher: str
    codec: str | None = None
    vocoder: str | None = None
    text: str | None = None
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
        found = [*ScaleSettings.faults(self), *DistillationAxes.faults(self), *self.reward_faults()]
        if self.rewards and self.objective == "guided":
            found.append("objective is guided, whose answers are no sounds; leave rewards out")
        for name, most in (("drop_text", 1.0), ("target_ema", 1.0), ("ema", 1.0)):
            if not 0 <= getattr(self, name) <= most:
                found.append(f"{name} is {getattr(self, name):g}; allowed: 0 to {most:g}")
        return found
