"""Short-time Fourier transform and its inverse with exactly ``samples / hop_length`` frames."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def stft(waveform: Tensor, window: Tensor, hop_length: int) -> Tensor:
    """Return the complex spectrum of a waveform whose length is a multiple of the hop.

    The waveform is reflected by ``(n_fft - hop) / 2`` samples at both ends, so frame *k* is centred
    on the middle of hop *k* and F = S / hop_length.

    Args:
        waveform: ``[B, S]``; S a multiple of `hop_length`, longer than half a window.
        window: ``[n_fft]``.
        hop_length: samples between frames.

    Returns:
        ``[B, n_fft // 2 + 1, F]`` complex.
    """
    n_fft = window.shape[0]
    side = (n_fft - hop_length) // 2
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


def _overlap_add(pieces: Tensor, total: int, hop_length: int) -> Tensor:
    folded = functional.fold(
        pieces, (1, total), kernel_size=(1, pieces.shape[1]), stride=(1, hop_length)
    )
    return folded[:, 0, 0]
