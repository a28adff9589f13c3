"""Stored text states as the conditions of a sampler or an objective."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from soundleap.latents import Conditions

from .items import Item, ParityError


def halves(item: Item, count: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Give a network's keywords for the prompts and for the empty prompt.

    They are stored as one batch, the empty prompt's first; with several samples of a prompt each
    is repeated.

    Raises:
        ParityError: if their number does not fit.
    """
    embeds, mask = item.input("prompt_embeds_cf"), item.input("prompt_mask_cf").bool()
    times, rest = divmod(2 * count, len(embeds))
    if rest or len(embeds) % 2:
        raise ParityError(f"in/prompt_embeds_cf holds {len(embeds)} texts for {count} samples")
    empty, prompts = (
        {
            "text_embeds": states.repeat_interleave(times, dim=0),
            "text_mask": kept.repeat_interleave(times, dim=0),
        }
        for states, kept in zip(embeds.chunk(2), mask.chunk(2), strict=True)
    )
    return prompts, empty


def sampler_conditions(
    prompts: dict[str, Tensor],
    empty: dict[str, Tensor] | None,
    w: float,
    length: int,
    post: float = 1.0,
) -> Conditions:
    """Make the conditions of a `LatentSampler`.

    Args:
        prompts: keywords for the prompts, [B, ...].
        empty: the same for the empty prompt, [B, ...] or [1, ...]; None where it is not asked.
        w: guidance scale; kept in float64, so that one less is exact.
        length: latent vectors of every sample.
        post: guidance scale of the student's answers; used above 1.
    """
    rows = [prompts] if empty is None else [prompts, empty]
    count = len(prompts["text_embeds"])
    embeds, mask = (
        torch.stack([row[name].expand_as(prompts[name]) for row in rows])
        for name in ("text_embeds", "text_mask")
    )
    return Conditions(
        embeds=embeds,
        mask=mask,
        w=torch.full((count,), w, dtype=torch.float64),
        negative=False,
        lengths=[length] * count,
        post=torch.full((count,), post) if post > 1 else None,
    )
