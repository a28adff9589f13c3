"""Spectra and mel filters against closed facts."""

from __future__ import annotations

import math

import pytest
import torch

from soundleap.audio.mel import LogMel, MelConfig, mel_filterbank
from soundleap.audio.stft import istft, stft


@pytest.mark.parametrize(("n_fft", "hop"), [(1024, 256), (512, 128), (512, 256)])
def test_the_inverse_gives_the_waveform_back(n_fft: int, hop: int) -> None:
    waveform = torch.randn(3, 20 * hop, generator=torch.Generator().manual_seed(0))
    window = torch.hann_window(n_fft)
    spectrum = stft(waveform, window, hop)
    assert spectrum.shape == (3, n_fft // 2 + 1, 20)
    torch.testing.assert_close(istft(spectrum, window, hop), waveform, rtol=1e-4, atol=1e-5)


def test_a_tone_on_a_bin_has_half_the_window_s_sum() -> None:
    window = torch.hann_window(1024)
    tone = torch.cos(2 * math.pi * 64 / 1024 * torch.arange(16384))[None]
    magnitude = stft(tone, window, 256).abs()[0, :, 8:-8]
    assert (magnitude.argmax(0) == 64).all()
    torch.testing.assert_close(
        magnitude[64], torch.full_like(magnitude[64], 256.0), rtol=1e-4, atol=0
    )


def test_filters_are_triangles_of_unit_area() -> None:
    # over bins of 1 Hz, so that sums are areas
    config = MelConfig(n_fft=16000)
    bank = mel_filterbank(config)
    assert bank.shape == (80, 8001)
    assert (bank >= 0).all()
    torch.testing.assert_close(bank.sum(1), torch.ones(80), rtol=0.01, atol=0)
    inside = [row.nonzero()[:, 0] for row in bank]
    for row, place in zip(bank, inside, strict=True):
        width = int(place[-1] - place[0]) + 2  # its ends are zero
        assert float(row.max()) == pytest.approx(2 / width, rel=0.05)


def test_centres_follow_slaney_s_scale() -> None:
    bank = mel_filterbank(MelConfig(n_fft=16000))
    centres = bank.argmax(1).double()
    highest = 15 + 27 * math.log(8) / math.log(6.4)  # 8000 Hz in mel
    low = centres[centres < 900]
    torch.testing.assert_close(
        low.diff(), torch.full_like(low[1:], highest / 81 * 200 / 3), rtol=0, atol=1.01
    )  # linear below 1 kHz
    high = centres[centres > 1500]
    ratio = 6.4 ** (highest / 81 / 27)
    torch.testing.assert_close(
        high[1:] / high[:-1], torch.full_like(high[1:], ratio), rtol=2e-3, atol=0
    )


def test_filters_agree_with_librosa() -> None:
    librosa = pytest.importorskip("librosa")
    expected = torch.from_numpy(
        librosa.filters.mel(sr=16000, n_fft=1024, n_mels=80, fmin=0, fmax=8000)
    )
    torch.testing.assert_close(mel_filterbank(MelConfig()), expected, rtol=1e-4, atol=1e-6)


def test_the_front_end_is_the_log_of_filtered_magnitudes() -> None:
    config = MelConfig()
    waveform = torch.randn(1, 8192, generator=torch.Generator().manual_seed(0)) * 0.1
    mel = LogMel(config)(waveform)
    assert mel.shape == (1, 80, 32)
    torch.testing.assert_close(LogMel(config)(waveform * 10), mel + 1, rtol=0, atol=1e-4)
    silence = LogMel(config)(torch.zeros(1, 4096))
    torch.testing.assert_close(silence, torch.full_like(silence, -5.0))
