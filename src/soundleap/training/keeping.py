"""Staying as before at prompts that are not the subject: a network against its own beginning.

The frozen network dreams up a sound for another prompt from noise, the sound is made noisy again,
and the changed network has to answer there as the frozen one does. No recordings are needed.

Source: Ruiz et al., DreamBooth (2022), section 3.3 (prior preservation), with the distance between
sounds replaced by that between answers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from soundleap.diffusion.schedules import NoiseSchedule
from soundleap.diffusion.times import per_sample
from soundleap.training.objectives.terms import item_distance

TOP_SHARE = 0.4
"""Of the items, those that are asked at the noisiest time, where sampling begins."""

Answer = Callable[[Any, dict[str, Any], Tensor, Tensor, Tensor], Tensor]
"""``answer(network, conditions, w [k], x_t [k, ...], t [k]) -> x_0``."""


@dataclass(frozen=True)
class KeepingDraws:
    """What chance decides: which prompts, at which times, with which guidance and noises."""

    prompt: Tensor
    t: Tensor
    w: Tensor
    first: Tensor
    again: Tensor

    def part(self, items: slice) -> KeepingDraws:
        """Return those of some items."""
        return KeepingDraws(
            self.prompt[items], self.t[items], self.w[items], self.first[items], self.again[items]
        )


@dataclass(frozen=True)
class Keeping:
    """The distance between a changed network's answers and those of the frozen one.

    Attributes:
        schedule: the noise schedule.
        times: ``[T]`` rising, where the network may be asked.
        guidance_range: of the guidance scales.
        prompts: how many prompts there are.
        scale: of the first noise.
    """

    schedule: NoiseSchedule
    times: Tensor
    guidance_range: tuple[float, float]
    prompts: int
    scale: float = 1.0

    def draw(self, count: int, shape: tuple[int, ...], generator: torch.Generator) -> KeepingDraws:
        """Draw for so many items of a shape, on the CPU."""
        prompt = torch.randint(self.prompts, (count,), generator=generator)
        number = torch.randint(len(self.times), (count,), generator=generator)
        top = torch.rand(count, generator=generator) < TOP_SHARE
        low, high = self.guidance_range
        w = low + (high - low) * torch.rand(count, generator=generator)
        first, again = torch.randn(2, count, *shape, generator=generator)
        t = torch.where(top, self.times[-1], self.times[number])
        return KeepingDraws(prompt, t, w, first, again)

    def losses(
        self, answer: Answer, network: Any, frozen: Any, conditions: dict[str, Any],
        draws: KeepingDraws, device: torch.device,
    ) -> Tensor:  # fmt: skip
        """Return the distance of every item ``[k]``, with the network's gradient."""
        t, w = draws.t, draws.w.to(device)
        top = self.times[-1].expand(len(t))
        first = self.scale * draws.first.to(device)
        with torch.no_grad():
            dreamt = answer(frozen, conditions, w, first, top)
            noisy = self.schedule.add_noise(dreamt.float(), draws.again.to(device), t)
            x_t = torch.where(per_sample(t == top, first).bool(), first, noisy)
            aim = answer(frozen, conditions, w, x_t, t)
        ours = answer(network, conditions, w, x_t, t)
        return item_distance(ours, aim, "huber", 0.03)
