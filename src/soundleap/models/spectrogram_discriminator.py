"""Discriminators that judge a waveform by its spectrogram at several resolutions."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

RESOLUTIONS = (256, 512, 1024)
CHANNELS = (24, 32, 48, 48)
COMPRESSION = 0.3


class SpectrogramDiscriminator(nn.Module):
    """Two-dimensional convolutions on a compressed complex spectrogram.

    Source: the complex input follows Défossez et al., EnCodec (2022), section 3.4; sizes are ours.
    """

    window: Tensor

    def __init__(self, n_fft: int):
        super().__init__()
        self.n_fft = n_fft
        self.register_buffer("window", torch.hann_window(n_fft), persistent=False)
        strides = ((2, 2), (2, 1), (2, 2), (1, 1))
        kernels = ((7, 5), (5, 3), (5, 3), (3, 3))
        inputs = (2, *CHANNELS[:-1])
        self.layers = nn.ModuleList(
            weight_norm(nn.Conv2d(i, o, k, s, (k[0] // 2, k[1] // 2)))
            for i, o, k, s in zip(inputs, CHANNELS, kernels, strides, strict=True)
        )
        self.last = weight_norm(nn.Conv2d(CHANNELS[-1], 1, 3, padding=1))

    def spectrogram(self, waveform: Tensor) -> Tensor:
        """Return ``[B, 2, K, F]``: real and imaginary part of S·|S|^(0.3 - 1)."""
        s = torch.stft(waveform, self.n_fft, self.n_fft // 4, window=self.window,
                       return_complex=True)  # fmt: skip
        s = s * (s.abs() + 1e-4) ** (COMPRESSION - 1.0)
        return torch.stack([s.real, s.imag], dim=1)

    def forward(self, spectrogram: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return the logits and the hidden layers."""
        hidden: list[Tensor] = []
        x = spectrogram
        for layer in self.layers:
            x = nn.functional.leaky_relu(layer(x), 0.1)
            hidden.append(x)
        return self.last(x), hidden


class MultiResolutionDiscriminator(nn.Module):
    """One `SpectrogramDiscriminator` for every resolution."""

    def __init__(self, resolutions: tuple[int, ...] = RESOLUTIONS):
        super().__init__()
        self.parts = nn.ModuleList(SpectrogramDiscriminator(n) for n in resolutions)

    def spectrograms(self, waveform: Tensor) -> list[Tensor]:
        """Return the parts' inputs for ``waveform [B, S]`` (float32)."""
        return [part.spectrogram(waveform) for part in self.parts]  # type: ignore[union-attr,operator]

    def forward(self, spectrograms: list[Tensor]) -> list[tuple[Tensor, list[Tensor]]]:
        """Return logits and hidden layers of every part."""
        return [part(s) for part, s in zip(self.parts, spectrograms, strict=True)]
