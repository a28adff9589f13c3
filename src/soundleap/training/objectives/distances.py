"""Distances between clean latents a and b: of the latents alone, or of the sounds they decode to.

    mse    mean (a - b)^2
    huber  mean sqrt((a - b)^2 + c^2) - c
    mel    (1 - r) mse(a, b) + r mean (mel(a) - mel(b))^2
    stft   (1 - r) mse(a, b) + r / 2 mean over resolutions of (convergence + log_magnitude)

with r = `sound_share`, mels and waveforms decoded without fill noise, X and Y the magnitudes of
a's and b's waveforms, at least 1e-4 each, convergence = |Y - X|_F / |Y|_F and log_magnitude =
mean |ln Y - ln X|. Means are over an item's own frames.

Source: Song and Dhariwal, Improved Techniques for Training Consistency Models (2023), equation 7;
Yamamoto et al., Parallel WaveGAN (2020), equations 4 and 5; as Bai et al., ConsistencyTTA (2024)
offer them (r is 0.3 for mel and 0.2 for stft there).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from soundleap.errors import InputError
from soundleap.training.objectives.terms import Distance, item_distance, item_mean

Decode = Callable[[Tensor, Tensor | None], Tensor]
"""``decode(latents [B, C, L(, H)], mask [B, L] or None) -> [B, ..., n · L]``, zero where padded."""

RESOLUTIONS = ((1024, 600, 120), (2048, 1200, 240), (512, 240, 50))
"""(n_fft, window, hop) in samples: Parallel WaveGAN's three resolutions."""

SMALLEST_POWER = 1e-8


def clean_distance(
    ours: Tensor,
    aim: Tensor,
    distance: Distance = "mse",
    *,
    huber_c: float = 1e-3,
    sound_share: float = 0.3,
    decode: Decode | None = None,
    mask: Tensor | None = None,
) -> Tensor:
    """Return the distance of each item's clean latents, ``[B]``.

    Args:
        ours: ``[B, C, L(, H)]``.
        aim: the same shape.
        distance: its name.
        huber_c: c of "huber".
        sound_share: r of "mel" and "stft".
        decode: to mels ``[B, M, F]`` for "mel", to waveforms ``[B, S]`` for "stft".
        mask: ``[B, L]``, True for an item's own latent vectors, which come first; None: all.

    Raises:
        InputError: if there is nothing to decode with.
    """
    if distance == "huber" or distance == "mse":
        return item_distance(ours, aim, distance, huber_c, mask)
    if decode is None:
        raise InputError(f"distance is {distance}, which needs a decoder of the latents")
    sounds = [decode(z, mask) for z in (ours, aim)]
    sound, wanted = sounds
    lengths = None if mask is None else mask.sum(1) * (sound.shape[-1] // mask.shape[1])
    measure = _mel_distance if distance == "mel" else stft_distance
    heard = measure(sound, wanted, lengths)
    return (1 - sound_share) * item_distance(ours, aim, mask=mask) + sound_share * heard


def stft_distance(ours: Tensor, aim: Tensor, lengths: Tensor | None = None) -> Tensor:
    """Return half of convergence + log_magnitude, averaged over `RESOLUTIONS`, ``[B]``.

    Frames are centred on multiples of the hop, with silence around the sound.

    Args:
        ours: waveforms ``[B, S]``, zero from their lengths on.
        aim: the same shape.
        lengths: ``[B]`` samples; None: all.
    """
    total = torch.zeros(len(ours), device=ours.device)
    for n_fft, window, hop in RESOLUTIONS:
        x, y = (_magnitude(sound.float(), n_fft, window, hop) for sound in (ours, aim))
        own = None if lengths is None else _frames(x, lengths // hop + 1)
        counted = x.new_ones(()) if own is None else own[:, None]
        apart = torch.linalg.vector_norm(((y - x) * counted).flatten(1), dim=1)
        convergence = apart / torch.linalg.vector_norm((y * counted).flatten(1), dim=1)
        total = total + convergence + item_mean((y.log() - x.log()).abs(), own)
    return total / (2 * len(RESOLUTIONS))


def _mel_distance(ours: Tensor, aim: Tensor, lengths: Tensor | None) -> Tensor:
    return item_distance(ours, aim, mask=None if lengths is None else _frames(ours, lengths))


def _frames(values: Tensor, counts: Tensor) -> Tensor:
    """Tell which of the last dimension's frames are an item's own, ``[B, F]``."""
    return torch.arange(values.shape[-1], device=values.device) < counts[:, None]


def _magnitude(waveform: Tensor, n_fft: int, win_length: int, hop_length: int) -> Tensor:
    window = torch.hann_window(win_length, device=waveform.device)
    spectrum = torch.stft(
        waveform, n_fft, hop_length, win_length, window, center=True, pad_mode="constant",
        return_complex=True,
    )  # fmt: skip
    power = spectrum.real**2 + spectrum.imag**2
    return power.clamp_min(SMALLEST_POWER).sqrt()
