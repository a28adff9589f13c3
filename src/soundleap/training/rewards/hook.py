"""Where rewards enter distillation: loss - sum(weight * reward) of each item."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from soundleap.training.batches import LatentBatch
from soundleap.training.decoding import SoundDecoder
from soundleap.training.objectives import ConsistencyTerms
from soundleap.training.rewards.apply import Answers, Rewards, draw_seeds
from soundleap.training.rewards.base import RewardSettings
from soundleap.training.rewards.sounds import Sounds
from soundleap.training.teacher_parts import TeacherParts


@dataclass(frozen=True)
class RewardedDraws:
    """What chance decides in a step with rewards.

    Attributes:
        objective: what the objective drew.
        seeds: ``[B]`` of each item's fill noise and first phase.
    """

    objective: Any
    seeds: Tensor

    @classmethod
    def of(cls, objective: Any, count: int, generator: torch.Generator) -> RewardedDraws:
        """Draw the seeds, after all else."""
        return cls(objective, draw_seeds(count, generator))

    def part(self, items: slice) -> RewardedDraws:
        """Return those of some items."""
        return RewardedDraws(self.objective.part(items), self.seeds[items])


def load_rewards(
    settings: RewardSettings, parts: TeacherParts, device: torch.device
) -> Rewards | None:
    """Open a run's rewards and the codec through which they hear; None where there are none.

    Raises:
        InputError: naming everything that is missing or does not fit.
        BundleError: if codec or vocoder can't be read.
    """
    if not settings.rewards:
        return None
    codec = parts.load_codec()
    there = parts.vocoder is not None and parts.vocoder.exists()
    decoder = SoundDecoder(codec.latent, codec.vocoder if there else None)
    return Rewards(settings, Sounds(decoder, level_offset=parts.sampling.remove_dc), device)


def rewarded(
    rewards: Rewards, terms: ConsistencyTerms, batch: LatentBatch, seeds: Tensor
) -> dict[str, Tensor]:
    """Return what a batch costs: ``loss [B]`` with the rewards subtracted, and what to tell.

    Args:
        rewards: of the run.
        terms: what the objective found.
        batch: the items.
        seeds: theirs, of `RewardedDraws`.
    """
    longest = batch.x_0.shape[2]
    mask = batch.mask
    found = rewards(
        Answers(
            ours=terms.ours,
            x_0=batch.x_0.to(terms.ours.device),
            lengths=[longest] * len(batch) if mask is None else mask.sum(1).tolist(),
            prompts=batch.words,
            t=terms.t,
            weight=terms.weight,
            seeds=seeds,
        )
    )
    told = {"distillation": terms.loss.detach(), **found.told}
    return {"loss": terms.loss - found.total, **told}
