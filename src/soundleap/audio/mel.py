"""Log-mel spectrogram of the default family."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from soundleap.audio.stft import stft


@dataclass(frozen=True)
class MelConfig:
    """Settings of the mel front-end; a mel frame covers ``hop_length / sampling_rate`` seconds."""

    sampling_rate: int = 16000
    n_fft: int = 1024
    hop_length: int = 256
    n_mels: int = 80
    f_min_in_hz: float = 0.0
    f_max_in_hz: float = 8000.0
    floor: float = 1e-5


def mel_filterbank(config: MelConfig) -> Tensor:
    """Return triangular filters of unit area on Slaney's mel scale, ``[M, n_fft // 2 + 1]``.

    Source: Slaney, Auditory Toolbox (1998); the same numbers as ``librosa.filters.mel`` with its
    default arguments.
    """
    low, high = _hz_to_mel(config.f_min_in_hz), _hz_to_mel(config.f_max_in_hz)
    points = torch.linspace(low, high, config.n_mels + 2, dtype=torch.float64)
    edges = _mel_to_hz(points)
    bins = torch.linspace(0, config.sampling_rate / 2, config.n_fft // 2 + 1, dtype=torch.float64)
    width = edges.diff()
    rising = (bins[None] - edges[:-2, None]) / width[:-1, None]
    falling = (edges[2:, None] - bins[None]) / width[1:, None]
    triangles = torch.minimum(rising, falling).clamp_min(0)
    area = 2.0 / (edges[2:] - edges[:-2])
    return (triangles * area[:, None]).float()


def _hz_to_mel(hz: float) -> float:
    if hz < 1000.0:
        return hz * 3.0 / 200.0
    return float(15.0 + 27.0 * torch.log(torch.tensor(hz / 1000.0)) / torch.log(torch.tensor(6.4)))


def _mel_to_hz(mel: Tensor) -> Tensor:
    linear = mel * 200.0 / 3.0
    curved = 1000.0 * torch.exp((mel - 15.0) / 27.0 * torch.log(torch.tensor(6.4)))
    return torch.where(mel < 15.0, linear, curved)


class LogMel(nn.Module):
    """Waveform to log10-mel spectrogram.

    `forward` maps ``waveform [B, S]`` (S a multiple of the hop) to ``mel [B, M, F]`` with
    F = S / hop_length and values ``log10(max(mel, floor))``.
    """

    window: Tensor
    filterbank: Tensor

    def __init__(self, config: MelConfig):
        super().__init__()
        self.config = config
        self.register_buffer("window", torch.hann_window(config.n_fft), persistent=False)
        self.register_buffer("filterbank", mel_filterbank(config), persistent=False)

    def forward(self, waveform: Tensor) -> Tensor:
        """Return ``log10(max(filterbank · |STFT|, floor))``."""
        magnitude = stft(waveform, self.window, self.config.hop_length).abs()
        return torch.log10((self.filterbank @ magnitude).clamp_min(self.config.floor))
