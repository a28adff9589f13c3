"""Spectra and mel filters against closed facts."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from soundleap.audio.mel import (
    AUDIOLDM_MEL,
    NAT_MEL,
    LogMel,
    MelConfig,
    mel_filterbank,
    normalise_waveform,
    pad_mel,
)
from soundleap.audio.stft import fourier_basis, istft, stft
from soundleap.errors import InputError

EXTRACT = Path(__file__).parents[1] / "golden" / "n2_mel.safetensors"
GOLDEN = Path(__file__).parents[2].parent / "shared" / "golden"


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


def assert_same_mel(found: torch.Tensor, expected: torch.Tensor, base: float) -> None:
    """Compare before the logarithm: it magnifies rounding near the floor."""
    assert found.shape == expected.shape
    linear, wanted = base**found, base**expected
    assert float((linear - wanted).abs().max()) < 1e-6 * float(wanted.max())
    torch.testing.assert_close(found, expected, rtol=0, atol=5e-3)


def test_golden_front_end_of_audioldm() -> None:
    tensors = load_file(EXTRACT)
    front_end = LogMel(AUDIOLDM_MEL)
    mel = front_end(tensors["in/wav"])
    assert_same_mel(mel, tensors["audioldm/mel"], math.e)
    energy = front_end.magnitude(tensors["in/wav"]).norm(dim=1)
    torch.testing.assert_close(energy, tensors["audioldm/energy"], rtol=1e-5, atol=1e-5)
    rows = fourier_basis(front_end.window)[[0, 1, 100, 512, 513, 600, 1025], :128]
    torch.testing.assert_close(rows, tensors["audioldm/rows"], rtol=0, atol=1e-6)


def test_golden_front_end_of_audioldm_in_full() -> None:
    path = GOLDEN / "audioldm_mel_frontend_a.safetensors"
    if not path.exists():
        pytest.skip("no reference tensors beside the repository")
    tensors = load_file(path)
    front_end = LogMel(AUDIOLDM_MEL)
    magnitude = front_end.magnitude(tensors["in/wav"])
    expected = tensors["out/log_magnitude"].exp()
    raised = front_end.log(magnitude).exp()
    assert float((raised - expected).abs().max()) < 1e-6 * float(expected.max())
    torch.testing.assert_close(front_end.filterbank, tensors["out/mel_basis"], rtol=0, atol=1e-7)
    found = pad_mel(front_end(tensors["in/wav"]), 128).transpose(1, 2)
    torch.testing.assert_close(found, tensors["out/fbank"], rtol=0, atol=5e-3)
    read = normalise_waveform(tensors["in/raw_wav"][None], 16000)
    torch.testing.assert_close(read, tensors["out/read_wav_file"], rtol=0, atol=1e-6)


def test_golden_front_end_of_audiolcm() -> None:
    tensors = load_file(EXTRACT)
    front_end = LogMel(NAT_MEL)
    assert_same_mel(front_end(tensors["in/wav"]), tensors["nat/mel"], 10.0)
    assert_same_mel(front_end(tensors["in/wav_loud"]), tensors["nat/mel_loud"], 10.0)


def test_golden_reading() -> None:
    tensors = load_file(EXTRACT)
    read = normalise_waveform(tensors["in/raw_wav"], 16000)
    assert read.shape == (16000,)
    expected = tensors["audioldm/every_16th_sample"][0]
    torch.testing.assert_close(read[::16], expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("config", "samples", "frames"),
    [
        (AUDIOLDM_MEL, 163_840, 1025),
        (NAT_MEL, 160_000, 625),
        (NAT_MEL, 5000, 19),
        (MelConfig(), 16_384, 64),
    ],
)
def test_frames_of_each_front_end(config: MelConfig, samples: int, frames: int) -> None:
    assert LogMel(config)(torch.zeros(1, samples)).shape == (1, config.n_mels, frames)


def test_floors_and_clipping() -> None:
    silence = torch.zeros(1, 4096)
    assert float(LogMel(AUDIOLDM_MEL)(silence).max()) == pytest.approx(math.log(1e-5))
    # The root of the added power lies above the floor where the filters are wide.
    assert -5.0 <= float(LogMel(NAT_MEL)(silence).min()) <= float(LogMel(NAT_MEL)(silence).max())
    loud = 3 * torch.randn(1, 4096, generator=torch.Generator().manual_seed(0))
    for config in (AUDIOLDM_MEL, NAT_MEL):
        assert torch.equal(LogMel(config)(loud), LogMel(config)(loud.clamp(-1, 1)))
    assert not torch.equal(LogMel(MelConfig())(loud), LogMel(MelConfig())(loud.clamp(-1, 1)))


def test_centred_frames_lie_on_multiples_of_the_hop() -> None:
    click = torch.zeros(1, 4096)
    click[0, 1600] = 1.0
    energy = stft(click, torch.hann_window(1024), 160, centred=True).abs().sum(1)[0]
    assert energy.shape == (26,)
    assert int(energy.argmax()) == 10


def test_mels_are_cut_or_filled_up() -> None:
    mel = torch.ones(2, 3, 5)
    assert torch.equal(pad_mel(mel, 4), mel[:, :, :4])
    longer = pad_mel(mel, 7)
    assert longer.shape == (2, 3, 7)
    assert float(longer[:, :, 5:].abs().max()) == 0
    with pytest.raises(InputError, match="frames is 0"):
        pad_mel(mel, 0)


def test_normalised_waveforms_have_half_a_peak() -> None:
    waveform = 3 + torch.randn(2, 100, generator=torch.Generator().manual_seed(0))
    for samples in (50, 100, 200):
        found = normalise_waveform(waveform, samples)
        assert found.shape == (2, samples)
        torch.testing.assert_close(found.abs().amax(1), torch.full((2,), 0.5))
        assert torch.equal(normalise_waveform(waveform[1], samples), found[1])
    assert torch.equal(normalise_waveform(torch.zeros(10)), torch.zeros(10))
    with pytest.raises(InputError, match="needed"):
        normalise_waveform(torch.zeros(0))
