"""The vocoder starts as Griffin-Lim, and Griffin-Lim keeps what it is given."""

from __future__ import annotations

import math

import pytest
import torch

from soundleap.audio.mel import LogMel, MelConfig, mel_filterbank
from soundleap.audio.stft import istft, stft
from soundleap.models.griffin_lim import griffin_lim, magnitude_from_mel
from soundleap.models.istft_vocoder import ISTFTVocoder, ISTFTVocoderConfig, spectrum_features

CONFIG = MelConfig()


def sound(seconds: float = 0.5) -> torch.Tensor:
    time = torch.arange(round(seconds * 16000) // 256 * 256) / 16000
    noise = torch.randn(len(time), generator=torch.Generator().manual_seed(0))
    return (0.3 * torch.sin(2 * math.pi * 440 * time) + 0.05 * noise)[None]


def phase(frames: int) -> torch.Tensor:
    return 2 * math.pi * torch.rand(1, 513, frames, generator=torch.Generator().manual_seed(1))


def test_the_magnitude_found_reproduces_the_mel() -> None:
    mel = LogMel(CONFIG)(sound())
    bank = mel_filterbank(CONFIG)
    magnitude = magnitude_from_mel(mel, bank, iterations=100)
    assert (magnitude >= 0).all()
    again = torch.log10((bank @ magnitude).clamp_min(CONFIG.floor))
    assert float((again - mel).abs().mean()) < 0.01


def test_griffin_lim_keeps_the_magnitude_and_comes_closer_to_a_real_sound() -> None:
    window = torch.hann_window(1024)
    magnitude = stft(sound(), window, 256).abs()
    start = phase(magnitude.shape[2])
    errors: list[float] = []
    for iterations in (0, 4, 32):
        found = griffin_lim(magnitude, window, 256, initial_phase=start, iterations=iterations)
        torch.testing.assert_close(found.abs(), magnitude, rtol=1e-4, atol=1e-4)
        real = stft(istft(found, window, 256), window, 256)
        errors.append(float((real - found).abs().mean()))
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.4 * errors[0]


def test_a_new_vocoder_is_griffin_lim() -> None:
    vocoder = ISTFTVocoder(ISTFTVocoderConfig(width=16, blocks=2))
    mel = LogMel(CONFIG)(sound())
    start = phase(mel.shape[2])
    spectrum = griffin_lim(
        magnitude_from_mel(mel, vocoder.filterbank), vocoder.window, 256, initial_phase=start,
        iterations=8, momentum=0.99,
    )  # fmt: skip
    expected = istft(spectrum, vocoder.window, 256)
    with torch.no_grad():
        found = vocoder(mel, start)
    assert found.shape == sound().shape
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_features_know_no_absolute_phase() -> None:
    window = torch.hann_window(1024)
    spectrum = stft(sound(), window, 256)
    turned = spectrum * torch.polar(torch.ones(()), torch.tensor(1.3))
    a, b = (spectrum_features(s, 256, 1024) for s in (spectrum, turned))
    assert a.shape == (1, 3 * 513, spectrum.shape[2])
    torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-3)


def test_a_steady_tone_on_a_bin_does_not_advance() -> None:
    time = torch.arange(16384) / 16000
    tone = torch.cos(2 * math.pi * 1000 * time)[None]  # bin 64
    features = spectrum_features(stft(tone, torch.hann_window(1024), 256), 256, 1024)
    cosine = features[0, 513 + 64, 4:-4]
    assert float(cosine.min()) == pytest.approx(1.0, abs=1e-3)
