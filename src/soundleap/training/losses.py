"""Losses between waveforms."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from soundleap.audio.mel import LogMel

RESOLUTIONS = (256, 512, 1024, 2048)


class SpectralLoss(nn.Module):
    """Multi-resolution log-magnitude distance plus log-mel distance.

    Source: Yamamoto et al., Parallel WaveGAN (2020), equations 3 to 6, with the spectral
    convergence left out.
    """

    def __init__(self, front_end: LogMel, mel_weight: float = 3.0):
        super().__init__()
        self.front_end = front_end
        self.mel_weight = mel_weight

    def forward(self, waveform: Tensor, target: Tensor) -> Tensor:
        """Return the loss of every item ``[B]`` for waveforms ``[B, S]``."""
        mel = (self.front_end(waveform) - self.front_end(target)).abs().flatten(1).mean(1)
        return self.mel_weight * mel + magnitude_distance(waveform, target)


def magnitude_distance(waveform: Tensor, target: Tensor) -> Tensor:
    """Return the mean absolute difference of log10-magnitudes over the resolutions, ``[B]``."""
    total = torch.zeros(waveform.shape[0], device=waveform.device)
    for n_fft in RESOLUTIONS:
        ours, real = (_log_magnitude(w, n_fft) for w in (waveform, target))
        total = total + (ours - real).abs().flatten(1).mean(1)
    return total / len(RESOLUTIONS)


def _log_magnitude(waveform: Tensor, n_fft: int) -> Tensor:
    window = torch.hann_window(n_fft, device=waveform.device)
    s = torch.stft(waveform, n_fft, n_fft // 4, window=window, return_complex=True)
    return torch.log10(s.abs().square() + 1e-6) * 0.5


def discriminator_loss(real: Tensor, fake: Tensor) -> Tensor:
    """Hinge loss of one discriminator (Lim and Ye, Geometric GAN, 2017, equation 13)."""
    return torch.relu(1.0 - real).mean() + torch.relu(1.0 + fake).mean()


def feature_distance(real: list[Tensor], fake: list[Tensor]) -> Tensor:
    """Mean relative distance of hidden layers (feature matching, MelGAN, 2019, equation 4)."""
    terms = [
        (r.detach().float() - f.float()).abs().mean() / r.detach().float().abs().mean()
        for r, f in zip(real, fake, strict=True)
    ]
    return torch.stack(terms).mean()
