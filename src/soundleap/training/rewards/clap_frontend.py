"""Waveform to CLAP's log-mel, as transformers' extractor makes it, with gradients."""

from __future__ import annotations

import importlib
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from soundleap.errors import InputError
from soundleap.evaluation.embedders.clap import HIGH_HZ, LOW_HZ, WINDOW_SAMPLES

FLOOR = 1e-10
REPEATS = 4  # of a short clip's picture, for checkpoints with feature fusion


class ClapFrontEnd(nn.Module):
    """What HTSAT sees of a sound.

    The first 10 s count; a shorter sound is repeated as often as it fits and filled up with
    silence. Source: LAION's released preparation, as in transformers' `ClapFeatureExtractor`, whose
    filters these are.

    Args:
        fusion: whether the checkpoint has feature fusion; it takes the same picture four times, and
            filters of another kind.
    """

    window: Tensor
    filterbank: Tensor

    def __init__(self, *, fusion: bool) -> None:
        super().__init__()
        make: Any = importlib.import_module("transformers").ClapFeatureExtractor
        extractor = make(frequency_min=LOW_HZ, frequency_max=HIGH_HZ)
        filters = extractor.mel_filters if fusion else extractor.mel_filters_slaney
        self.fusion, self.hop_length = fusion, int(extractor.hop_length)
        window = torch.hann_window(extractor.fft_window_size, dtype=torch.float64)
        self.register_buffer("window", window, persistent=False)
        self.register_buffer("filterbank", torch.from_numpy(filters).T.double(), persistent=False)

    def forward(self, waveform: Tensor) -> Tensor:
        """Return decibels ``[B, 1, F, 64]``, with fusion ``[B, 4, F, 64]``.

        Args:
            waveform: ``[B, S]`` at 48 kHz.

        Raises:
            InputError: for another shape.
        """
        if waveform.ndim != 2 or not waveform.shape[1]:
            raise InputError(f"waveform is {tuple(waveform.shape)}; needed: [B, S] with S >= 1")
        samples = waveform[:, :WINDOW_SAMPLES]
        samples = samples.repeat(1, WINDOW_SAMPLES // samples.shape[1])
        samples = functional.pad(samples, (0, WINDOW_SAMPLES - samples.shape[1]))
        n_fft = len(self.window)
        spectrum = torch.stft(
            samples, n_fft, self.hop_length, window=self.window.to(samples), return_complex=True
        )  # centred, reflected at the ends
        power = spectrum.real**2 + spectrum.imag**2
        mel = (self.filterbank.to(samples) @ power).clamp_min(FLOOR)
        picture = (10.0 * torch.log10(mel)).transpose(1, 2)[:, None]
        # In memory as in shape: torch's batch norm gives wrong gradients for a transposed input.
        return picture.repeat(1, REPEATS if self.fusion else 1, 1, 1).contiguous()
