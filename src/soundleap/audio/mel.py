"""Log-mel spectrograms of all families, and what the published ones do before and after."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from soundleap.audio.stft import stft
from soundleap.errors import InputError


@dataclass(frozen=True)
class MelConfig:
    """Settings of the mel front-end; a mel frame covers ``hop_length / sampling_rate`` seconds.

    Attributes:
        sampling_rate: in Hz.
        n_fft: samples in a transform.
        hop_length: samples between frames.
        n_mels: mel bins M.
        f_min_in_hz: where the lowest filter begins.
        f_max_in_hz: where the highest filter ends.
        floor: smallest value before the logarithm.
        log: decimal or natural logarithm.
        centred: whether frame k is centred on sample k · hop, which gives one frame more, or on
            the middle of hop k.
        power_offset: added to the power before its root is taken.
        clip: whether the waveform is clipped to [-1, 1].
        win_length: samples in a window, amid zeros where it is shorter; None: as many as n_fft.
    """

    sampling_rate: int = 16000
    n_fft: int = 1024
    hop_length: int = 256
    n_mels: int = 80
    f_min_in_hz: float = 0.0
    f_max_in_hz: float = 8000.0
    floor: float = 1e-5
    log: Literal["log10", "ln"] = "log10"
    centred: bool = False
    power_offset: float = 0.0
    clip: bool = False
    win_length: int | None = None


AUDIOLDM_MEL = MelConfig(hop_length=160, n_mels=64, log="ln", centred=True, clip=True)
"""Of AudioLDM, and so of TANGO and ConsistencyTTA: 1025 frames for 163,840 samples."""

NAT_MEL = MelConfig(power_offset=1e-9, clip=True)
"""Of AudioLCM and Make-An-Audio 2: 625 frames for 160,000 samples."""


def mel_filterbank(config: MelConfig) -> Tensor:
    """Return triangular filters of unit area on Slaney's mel scale, ``[M, n_fft // 2 + 1]``.

    Source: Slaney, Auditory Toolbox (1998); the same numbers as ``librosa.filters.mel`` with its
    default arguments.
    """
    with torch.device("cpu"):  # also where a module is built without its values
        return _triangles(config)


def _triangles(config: MelConfig) -> Tensor:
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


def _window(config: MelConfig) -> Tensor:
    length = config.n_fft if config.win_length is None else config.win_length
    if not 1 <= length <= config.n_fft:
        raise InputError(f"win_length is {length}; allowed: 1 to n_fft, {config.n_fft}")
    before = (config.n_fft - length) // 2
    after = config.n_fft - length - before
    return nn.functional.pad(torch.hann_window(length), (before, after))


def _hz_to_mel(hz: float) -> float:
    if hz < 1000.0:
        return hz * 3.0 / 200.0
    return float(15.0 + 27.0 * torch.log(torch.tensor(hz / 1000.0)) / torch.log(torch.tensor(6.4)))


def _mel_to_hz(mel: Tensor) -> Tensor:
    linear = mel * 200.0 / 3.0
    curved = 1000.0 * torch.exp((mel - 15.0) / 27.0 * torch.log(torch.tensor(6.4)))
    return torch.where(mel < 15.0, linear, curved)


class LogMel(nn.Module):
    """Waveform to log-mel spectrogram.

    `forward` maps ``waveform [B, S]`` to ``mel [B, M, F]`` with values ``log(max(mel, floor))`` and
    F = S // hop_length, one more if the config says ``centred``.
    """

    window: Tensor
    filterbank: Tensor

    def __init__(self, config: MelConfig):
        super().__init__()
        self.config = config
        self.register_buffer("window", _window(config), persistent=False)
        self.register_buffer("filterbank", mel_filterbank(config), persistent=False)

    def forward(self, waveform: Tensor) -> Tensor:
        """Return ``log(max(filterbank · |STFT|, floor))``, ``[B, M, F]``."""
        return self.log(self.filterbank @ self.magnitude(waveform))

    def magnitude(self, waveform: Tensor) -> Tensor:
        """Return the magnitudes ``[B, n_fft // 2 + 1, F]`` of ``[B, S]``, before the filters."""
        config = self.config
        if config.clip:
            waveform = waveform.clamp(-1.0, 1.0)
        spectrum = stft(waveform, self.window, config.hop_length, centred=config.centred)
        if not config.power_offset:
            return spectrum.abs()
        return torch.sqrt(spectrum.real**2 + spectrum.imag**2 + config.power_offset)

    def log(self, magnitude: Tensor) -> Tensor:
        """Return ``log(max(magnitude, floor))`` to the base that the config names."""
        raised = magnitude.clamp_min(self.config.floor)
        return torch.log10(raised) if self.config.log == "log10" else torch.log(raised)


def pad_mel(mel: Tensor, frames: int) -> Tensor:
    """Cut ``[B, M, F]`` to a number of frames, or fill up with zeros, as AudioLDM does.

    Zero is not silence: in natural-log mel it is loud. The published codec has seen such padding
    only where a clip is a frame short.

    Args:
        mel: ``[B, M, F]``.
        frames: wanted, at least 1.

    Raises:
        InputError: for fewer frames than 1.
    """
    if frames < 1:
        raise InputError(f"frames is {frames}; allowed: from 1")
    return nn.functional.pad(mel[..., :frames], (0, max(0, frames - mel.shape[-1])))


def normalise_waveform(waveform: Tensor, samples: int | None = None) -> Tensor:
    """Remove the mean and bring the peak to 0.5, as ConsistencyTTA reads a file.

    The peak is set twice: before the clip is cut or filled up with silence, and after.

    Args:
        waveform: ``[..., S]``; each row is treated by itself.
        samples: wanted length; None keeps S.

    Raises:
        InputError: for no samples, or fewer wanted than 1.
    """
    if waveform.shape[-1] < 1 or (samples is not None and samples < 1):
        raise InputError(f"waveform is {tuple(waveform.shape)}, samples {samples}; needed: from 1")
    centred = _half_peak(waveform - waveform.mean(-1, keepdim=True))
    wanted = waveform.shape[-1] if samples is None else samples
    fill = max(0, wanted - waveform.shape[-1])
    return _half_peak(nn.functional.pad(centred[..., :wanted], (0, fill)))


def _half_peak(waveform: Tensor) -> Tensor:
    return waveform / (waveform.abs().amax(-1, keepdim=True) + 1e-8) * 0.5
