"""Distances of decoded sounds, in closed form; and the objective that compares by them."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from gaussian_networks import SCHEDULE, draws, make, noise, student, text
from pydantic import ValidationError
from torch import Tensor

from soundleap.errors import InputError
from soundleap.training.objectives import (
    DistillationAxes,
    clean_distance,
    item_distance,
    objective_from,
    stft_distance,
)


def twice(latents: Tensor, mask: Tensor | None) -> Tensor:
    """A decoder: every vector becomes two frames, twice as loud."""
    mel = 2 * latents.repeat_interleave(2, dim=2)
    return mel if mask is None else mel * mask.repeat_interleave(2, dim=1)[:, None]


def spread(latents: Tensor, mask: Tensor | None) -> Tensor:
    """A decoder to waveforms, 1000 samples a vector."""
    return twice(latents, mask)[:, 0].repeat_interleave(500, dim=1)


def test_mel_distance_is_a_mixture_of_two_means() -> None:
    ours, aim = noise(2, 3, 5), noise(2, 3, 5, seed=1)
    mse = item_distance(ours, aim)
    for share in (0.3, 1.0):
        found = clean_distance(ours, aim, "mel", sound_share=share, decode=twice)
        torch.testing.assert_close(found, (1 - share) * mse + share * 4 * mse)


@pytest.mark.parametrize(("distance", "decode"), [("mel", twice), ("stft", spread)])
def test_padding_does_not_count(distance: Any, decode: Any) -> None:
    ours, aim = noise(2, 3, 5).float(), noise(2, 3, 5, seed=1).float()
    mask = torch.arange(5) < torch.tensor([[5], [2]])
    together = clean_distance(ours, aim, distance, decode=decode, mask=mask)
    alone = clean_distance(ours[1:, :, :2], aim[1:, :, :2], distance, decode=decode)
    torch.testing.assert_close(together[1:], alone)
    whole = clean_distance(ours[:1], aim[:1], distance, decode=decode)
    torch.testing.assert_close(together[:1], whole)


def test_stft_distance_of_a_gain() -> None:
    """Twice as loud: convergence 1/2 of its aim, log-magnitude ln 2 where there is any sound."""
    sound = torch.randn(2, 4000, generator=torch.Generator().manual_seed(0))
    found = stft_distance(sound, 2 * sound)
    torch.testing.assert_close(found, torch.full((2,), (0.5 + math.log(2)) / 2), rtol=1e-4, atol=0)
    assert stft_distance(sound, sound).tolist() == [0, 0]


def test_equal_sounds_and_silence_have_gradients() -> None:
    for level in (1.0, 0.0):
        sound = level * torch.randn(1, 3000, generator=torch.Generator().manual_seed(0))
        own = sound.clone().requires_grad_()
        stft_distance(own, sound).sum().backward()
        assert own.grad is not None
        assert bool(torch.isfinite(own.grad).all())


def test_an_objective_compares_by_sounds() -> None:
    axes = DistillationAxes(distance="mel", sound_share=1.0)
    positive, drawn = text(0.3, 0.2), draws(torch.tensor([9, 40]), 3.0)
    terms = make(axes, decode=twice)(noise(2, 3, 5), positive, text(0.0), drawn)
    torch.testing.assert_close(terms.distance, 4 * item_distance(terms.ours, terms.target))


def test_a_distance_of_sounds_needs_a_decoder() -> None:
    with pytest.raises(InputError, match="distance is stft, which needs a decoder"):
        objective_from(
            DistillationAxes(distance="stft"), SCHEDULE, teacher=student, student=student,
            target=student,
        )  # fmt: skip
    with pytest.raises(InputError, match="distance is mel, which needs a decoder"):
        clean_distance(noise(1, 2, 3), noise(1, 2, 3), "mel")
    with pytest.raises(ValidationError, match="which compares outputs of networks, and distance"):
        DistillationAxes(objective="guided", distance="mel", sound_share=0)
