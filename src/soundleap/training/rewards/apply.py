"""Rewards of a batch: the student's answers are decoded and scored, and the scores weighed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from soundleap.errors import InputError
from soundleap.training.rewards.base import Needs, Reward, RewardSettings, open_rewards
from soundleap.training.rewards.sounds import Sounds

PREFIX = "reward/"
"""Of the names of scores in ``stats.jsonl``."""
WAVEFORMS_AT_ONCE = 4
"""Sounds that are vocoded together; bounds the memory of a batch and never changes a result."""


@dataclass(frozen=True)
class Answers:
    """What is rewarded.

    Attributes:
        ours: ``[B, C, L(, H)]`` the student's answers x_0.
        x_0: the latents of the recordings, like `ours`.
        lengths: latent vectors of each item; the rest is padding.
        prompts: B captions; an item of the empty one gets no reward.
        t: ``[B]`` times at which the student was asked, on the CPU.
        weight: ``[B]`` each item's weight in the loss.
        seeds: ``[B]`` of fill noise and first phases, on the CPU; see `draw_seeds`.
    """

    ours: Tensor
    x_0: Tensor
    lengths: Sequence[int]
    prompts: Sequence[str]
    t: Tensor
    weight: Tensor
    seeds: Tensor


@dataclass(frozen=True)
class RewardOfBatch:
    """What a batch was rewarded, zero where an item was not.

    Attributes:
        total: ``[B]`` weighted sum, to be subtracted from the items' losses.
        told: ``[B]`` each, detached: the scores as ``reward/<name>`` and, as ``rewarded``, 1 where
            an item was scored.
    """

    total: Tensor
    told: dict[str, Tensor]


def draw_seeds(count: int, generator: torch.Generator) -> Tensor:
    """Draw a seed for each item, so that its noise depends on no other item's."""
    return torch.randint(2**62, (count,), generator=generator)


def mean_scores(means: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Turn means over all items into means over those that were scored.

    Args:
        means: of what `RewardOfBatch.told` tells, among others.
    """
    share = means.get("rewarded")
    if share is None:
        return dict(means)
    return {
        name: value / share.clamp_min(1e-9) if name.startswith(PREFIX) else value
        for name, value in means.items()
    }


class Rewards:
    """The rewards of a run.

    Args:
        settings: which, and how they are weighed.
        sounds: the model's codec.
        device: where the networks run.
        rewards: open ones to use instead of opening those of the settings.

    Raises:
        InputError: naming everything that is missing or does not fit.
    """

    def __init__(
        self,
        settings: RewardSettings,
        sounds: Sounds,
        device: torch.device,
        rewards: Sequence[Reward] | None = None,
    ) -> None:
        self.settings, self.sounds = settings, sounds
        opened = open_rewards(settings, sounds.mel) if rewards is None else rewards
        self.opened: list[Reward] = list(opened)
        deaf = [r.name for r in self.opened if r.needs == "waveform"]
        if deaf and sounds.decoder.vocoder is None:
            raise InputError(
                f"rewards {', '.join(deaf)} hear waveforms; set vocoder to the vocoder's file"
            )
        for part in (*self.opened, sounds.decoder.latent, sounds.decoder.vocoder):
            if isinstance(part, torch.nn.Module):
                part.to(device).requires_grad_(False)

    @property
    def networks(self) -> list[dict[str, str]]:
        """Name and network of each reward, for the model's provenance."""
        return [{"name": reward.name, "network": reward.network} for reward in self.opened]

    def __call__(self, answers: Answers) -> RewardOfBatch:
        """Score a batch; gradients flow to `answers.ours`."""
        ours = answers.ours
        precise = torch.promote_types(ours.dtype, torch.float32)
        rows: list[int] = []
        scores: dict[str, list[Tensor]] = defaultdict(list)
        with torch.autocast(ours.device.type, enabled=False):
            for part in self._parts(answers):
                rows += part
                for name, score in self._scores(answers, part, precise):
                    scores[name].append(score.to(precise))
        nothing = torch.zeros(len(ours), dtype=precise, device=ours.device)
        index = torch.tensor(rows, dtype=torch.long, device=ours.device)
        placed = {
            term.name: nothing.index_copy(0, index, torch.cat(scores[term.name]))
            if rows
            else nothing
            for term in self.settings.rewards
        }
        total = nothing
        for term in self.settings.rewards:
            total = total + term.weight * placed[term.name]
        if self.settings.reward_weighting == "as_loss":
            total = total * answers.weight.to(total)
        told = {f"{PREFIX}{name}": value.detach() for name, value in placed.items()}
        return RewardOfBatch(total, {**told, "rewarded": nothing.index_fill(0, index, 1.0)})

    def _parts(self, answers: Answers) -> Iterator[list[int]]:
        """Give the rows that are rewarded, those of one length together."""
        lowest = self.settings.reward_from_t
        groups: dict[int, list[int]] = defaultdict(list)
        for row, (t, prompt) in enumerate(zip(answers.t.tolist(), answers.prompts, strict=True)):
            if t >= lowest and prompt:
                groups[answers.lengths[row]].append(row)
        for rows in groups.values():
            size = WAVEFORMS_AT_ONCE if "waveform" in self._needs() else len(rows)
            yield from (rows[start : start + size] for start in range(0, len(rows), size))

    def _needs(self) -> set[Needs]:
        return {reward.needs for reward in self.opened}

    def _scores(
        self, answers: Answers, rows: list[int], precise: torch.dtype
    ) -> Iterator[tuple[str, Tensor]]:
        length = answers.lengths[rows[0]]
        seeds = [int(answers.seeds[row]) for row in rows]
        prompts = [answers.prompts[row] for row in rows]
        ours, x_0 = (z[rows, :, :length].to(precise) for z in (answers.ours, answers.x_0))
        heard = self.sounds.hear(ours, seeds, self._needs())
        references: dict[Needs, Tensor] = {}
        if any(term.term != "text" for term in self.settings.rewards):
            with torch.no_grad():
                references = self.sounds.hear(x_0, seeds, self._needs())
        for term, reward in zip(self.settings.rewards, self.opened, strict=True):
            reference = None if term.term == "text" else references[reward.needs]
            yield term.name, self._score(reward, heard[reward.needs], prompts, reference)

    def _score(
        self, reward: Reward, sound: Tensor, prompts: Sequence[str], reference: Tensor | None
    ) -> Tensor:
        if reward.needs != "waveform":  # small enough to be kept for the backward pass
            return reward(sound, prompts, reference)
        return self.sounds.decoder.run(lambda x: reward(x, prompts, reference), sound)
