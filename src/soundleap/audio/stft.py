"""Short-time Fourier transform and its inverse with exactly ``samples / hop_length`` frames."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional


def stft(waveform: Tensor, window: Tensor, hop_length: int, *, centred: bool = False) -> Tensor:
    """Return the complex spectrum of a waveform.

    The waveform is reflected by ``(n_fft - hop) / 2`` samples at both ends, so frame *k* is centred
    on the middle of hop *k* and F = S // hop_length; samples beyond the last whole hop only show in
    the frames before. With `centred` it is reflected by ``n_fft / 2``, so frame *k* is centred on
    sample k · hop_length and there is one frame more.

    Args:
        waveform: ``[B, S]``; longer than half a window. To invert, S must be a multiple of the hop.
        window: ``[n_fft]``.
        hop_length: samples between frames.
        centred: where the frames lie.

    Returns:
        ``[B, n_fft // 2 + 1, F]`` complex.
    """
    n_fft = window.shape[0]
    side = n_fft // 2 if centred else (n_fft - hop_length) // 2
    padded = functional.pad(waveform[:, None], (side, side), mode="reflect")[:, 0]
    return torch.stft(padded, n_fft, hop_length, window=window, center=False, return_complex=True)


def istft(spectrum: Tensor, window: Tensor, hop_length: int) -> Tensor:
    """Invert `stft` by windowed overlap-add (least squares, Griffin and Lim 1984, equation 6).

    Args:
        spectrum: ``[B, n_fft // 2 + 1, F]`` complex.
        window: ``[n_fft]``.
        hop_length: samples between frames.

    Returns:
        ``[B, F * hop_length]``.
    """
    n_fft, frames = window.shape[0], spectrum.shape[2]
    side = (n_fft - hop_length) // 2
    pieces = torch.fft.irfft(spectrum, n=n_fft, dim=1) * window[None, :, None]
    total = (frames - 1) * hop_length + n_fft
    waveform = _overlap_add(pieces, total, hop_length)
    power = (window**2)[None, :, None].expand(1, n_fft, frames)
    envelope = _overlap_add(power, total, hop_length)
    inside = slice(side, side + frames * hop_length)
    return waveform[:, inside] / envelope[:, inside].clamp_min(1e-8)


def fourier_basis(window: Tensor) -> Tensor:
    """Return the windowed cosines and negative sines that a convolutional transform uses.

    Published checkpoints hold them as ``stft_fn.forward_basis``; `stft` gives the same numbers
    without them.

    Args:
        window: ``[n_fft]``.

    Returns:
        ``[2 * (n_fft // 2 + 1), n_fft]``: real parts of all bins, then imaginary parts.
    """
    n_fft = window.shape[0]
    steps = torch.arange(n_fft, device=window.device)
    bins = torch.arange(n_fft // 2 + 1, device=window.device)
    angles = (bins[:, None] * steps % n_fft).double() * (2 * math.pi / n_fft)
    return (torch.cat([angles.cos(), -angles.sin()]) * window.double()).to(window.dtype)


def _overlap_add(pieces: Tensor, total: int, hop_length: int) -> Tensor:
    folded = functional.fold(
        pieces, (1, total), kernel_size=(1, pieces.shape[1]), stride=(1, hop_length)
    )
    return folded[:, 0, 0]
