"""Vocoder of the default family: a phase estimate, a network that corrects it, an inverse STFT.

The spectrum starts as Griffin-Lim's answer after a few iterations; a ConvNeXt network at the frame
rate predicts a log-gain and a rotation for every bin. A new network changes nothing, so training
starts at Griffin-Lim's quality and can only be kept where it improves on it.

Source: the ConvNeXt backbone and inverse-STFT head follow Siuzdak, Vocos (2023).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from soundleap.audio.mel import MelConfig, mel_filterbank
from soundleap.audio.stft import istft
from soundleap.models.griffin_lim import griffin_lim, magnitude_from_mel

MAX_LOG_GAIN = 4.0


@dataclass(frozen=True)
class ISTFTVocoderConfig:
    """Sizes of the vocoder; the mel settings are those of the front-end it inverts."""

    mel: MelConfig = field(default_factory=MelConfig)
    width: int = 256
    blocks: int = 8
    kernel_size: int = 7
    phase_iterations: int = 8
    phase_momentum: float = 0.99


class ConvNeXtBlock(nn.Module):
    """Depthwise convolution over time, then a two-layer perceptron, added to the input."""

    def __init__(self, width: int, kernel_size: int, initial_scale: float):
        super().__init__()
        self.depthwise = nn.Conv1d(
            width, width, kernel_size, padding=kernel_size // 2, groups=width
        )
        self.norm = nn.LayerNorm(width)
        self.expand = nn.Linear(width, 3 * width)
        self.contract = nn.Linear(3 * width, width)
        self.scale = nn.Parameter(torch.full((width,), initial_scale))

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[B, F, W]`` to the same shape."""
        y = self.depthwise(x.transpose(1, 2)).transpose(1, 2)
        y = self.contract(nn.functional.gelu(self.expand(self.norm(y))))
        return x + self.scale * y


class ISTFTVocoder(nn.Module):
    """Log10-mel ``[B, M, F]`` to waveform ``[B, F · hop_length]`` in about [-1, 1]."""

    draws_phase = True

    window: Tensor
    filterbank: Tensor

    def __init__(self, config: ISTFTVocoderConfig):
        super().__init__()
        self.config = config
        bins = config.mel.n_fft // 2 + 1
        self.register_buffer("window", torch.hann_window(config.mel.n_fft), persistent=False)
        self.register_buffer("filterbank", mel_filterbank(config.mel), persistent=False)
        self.embed = nn.Linear(config.mel.n_mels + 3 * bins, config.width)
        self.norm = nn.LayerNorm(config.width)
        self.blocks = nn.ModuleList(
            ConvNeXtBlock(config.width, config.kernel_size, 1.0 / config.blocks)
            for _ in range(config.blocks)
        )
        self.final_norm = nn.LayerNorm(config.width)
        self.head = nn.Linear(config.width, 2 * bins)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    @torch.no_grad()
    def estimate(self, mel: Tensor, initial_phase: Tensor) -> Tensor:
        """Return the starting spectrum ``[B, K, F]`` complex; no weights are involved.

        Args:
            mel: ``[B, M, F]``.
            initial_phase: ``[B, K, F]`` in radians, uniform noise in use.
        """
        return griffin_lim(
            magnitude_from_mel(mel, self.filterbank),
            self.window,
            self.config.mel.hop_length,
            initial_phase=initial_phase,
            iterations=self.config.phase_iterations,
            momentum=self.config.phase_momentum,
        )

    def refine(self, mel: Tensor, spectrum: Tensor) -> Tensor:
        """Return the corrected spectrum ``[B, K, F]``."""
        features = spectrum_features(spectrum, self.config.mel.hop_length, self.config.mel.n_fft)
        x = self.embed(torch.cat([mel, features], dim=1).transpose(1, 2))
        x = self.norm(x)
        for block in self.blocks:
            x = block(x)
        log_gain, rotation = self.head(self.final_norm(x)).float().transpose(1, 2).chunk(2, dim=1)
        gain = torch.exp(MAX_LOG_GAIN * torch.tanh(log_gain / MAX_LOG_GAIN))
        return spectrum * torch.polar(gain, rotation)

    def forward(self, mel: Tensor, initial_phase: Tensor) -> Tensor:
        """Return the waveform ``[B, F · hop_length]``; see `estimate` for the arguments.

        Gradients reach the mel by way of the magnitudes; the phases found count as constants.
        """
        estimate = self.estimate(mel, initial_phase)
        if mel.requires_grad:
            magnitude = magnitude_from_mel(mel, self.filterbank)
            estimate = magnitude * torch.polar(torch.ones_like(magnitude), estimate.angle())
        spectrum = self.refine(mel, estimate)
        return istft(spectrum, self.window, self.config.mel.hop_length)


def spectrum_features(spectrum: Tensor, hop_length: int, n_fft: int) -> Tensor:
    """Describe a spectrum without its absolute phase, ``[B, 3K, F]``.

    Log-magnitude, and cosine and sine of the phase's advance from the frame before, less the
    advance of each bin's centre frequency.
    """
    log_magnitude = torch.log10(spectrum.abs().clamp_min(1e-5))
    previous = nn.functional.pad(spectrum[:, :, :-1], (1, 0))
    bins = torch.arange(spectrum.shape[1], device=spectrum.device)
    turn = torch.polar(torch.ones_like(bins, dtype=torch.float32),
                       -2 * math.pi * hop_length / n_fft * bins.float())  # fmt: skip
    advance = spectrum * previous.conj() * turn[None, :, None]
    advance = advance / advance.abs().clamp_min(1e-8)
    return torch.cat([log_magnitude, advance.real, advance.imag], dim=1)
