"""The text-audio model: padding, gain, gradients, files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from soundleap.errors import BundleError, InputError, NotFiniteError
from soundleap.models.store import save_module
from soundleap.models.text_audio import WEIGHTS, TextAudioModel
from soundleap.models.text_audio_towers import TextAudioConfig

SMALL = TextAudioConfig(
    stem=(4, 4, 8), width=16, blocks=2, kernel=5, expansion=2, text_hidden=8, dim=12
)


def make_model(seed: int = 0) -> TextAudioModel:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = TextAudioModel(SMALL)
        for parameter in model.parameters():  # blocks begin as the identity
            parameter.data += 0.05 * torch.randn(parameter.shape)
    return model.eval().requires_grad_(False)


def make_mel(frames: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(1, 80, frames, generator=torch.Generator().manual_seed(seed)) - 2.0


def test_vectors_have_length_one_and_the_texts_own_direction() -> None:
    model = make_model()
    sound, texts = model.audio(make_mel(40)), model.text(["rain", "a dog barks"])
    assert sound.shape == (1, 12)
    assert texts.shape == (2, 12)
    torch.testing.assert_close(torch.cat([sound, texts]).norm(dim=1), torch.ones(3))
    assert not torch.allclose(texts[0], texts[1])


def test_a_padded_batch_gives_what_each_sound_gives_alone() -> None:
    model, lengths = make_model(), (1, 2, 7, 8, 9, 33, 64)
    mels = [make_mel(frames, seed=frames) for frames in lengths]
    alone = torch.cat([model.audio(mel) for mel in mels])
    batch = torch.full((len(mels), 80, 70), 3.0)  # loud padding, which must not matter
    mask = torch.zeros(len(mels), 70, dtype=torch.bool)
    for row, mel in enumerate(mels):
        batch[row, :, : mel.shape[2]], mask[row, : mel.shape[2]] = mel[0], True
    torch.testing.assert_close(model.audio(batch, mask), alone, rtol=1e-5, atol=1e-6)


def test_a_gain_changes_nothing() -> None:
    model, mel = make_model(), make_mel(50)
    torch.testing.assert_close(model.audio(mel + 0.7), model.audio(mel), rtol=1e-4, atol=1e-5)


def test_scores_pass_gradients_to_the_waveform() -> None:
    model = make_model()
    waveform = 0.1 * torch.randn(2, 4096, generator=torch.Generator().manual_seed(1))
    waveform.requires_grad_(True)
    scores = model.score(waveform, ["rain", "wind"])
    scores.sum().backward()
    assert waveform.grad is not None
    assert scores.shape == (2,)
    assert bool(torch.isfinite(waveform.grad).all())
    assert float(waveform.grad.abs().max()) > 0


def test_a_stored_model_is_the_model_in_half_precision(tmp_path: Path) -> None:
    model = make_model()
    model.save(tmp_path / WEIGHTS)
    stored = TextAudioModel.from_folder(tmp_path)
    assert stored.config == SMALL
    assert len(stored.weights_sha256) == 64
    for name, value in model.state_dict().items():
        torch.testing.assert_close(stored.state_dict()[name], value.half().float(), rtol=0, atol=0)
    assert (stored.audio(make_mel(30)) * model.audio(make_mel(30))).sum() > 0.999
    assert not any(parameter.requires_grad for parameter in stored.parameters())


def test_arrays_in_arrays_out_whatever_the_length() -> None:
    model, rng = make_model(), np.random.default_rng(0)
    noise = 0.1 * rng.standard_normal(25 * 16000).astype(np.float32)
    for samples in (100, 16000, len(noise)):
        vector = model.embed_audio(noise[:samples])
        assert vector.shape == (12,)
        assert np.linalg.norm(vector) == pytest.approx(1.0, abs=1e-5)
    windows = [model.embed_audio(noise[i : i + 160000]) for i in (0, 160000, 320000)]
    mean = windows[0] + windows[1] + 0.5 * windows[2]
    whole = model.embed_audio(noise)
    assert whole @ mean / np.linalg.norm(mean) > 0.999
    assert model.embed_text(["rain"]).shape == (1, 12)


def test_windows_count_by_their_lengths() -> None:
    model, rng = make_model(), np.random.default_rng(0)
    noise = 0.1 * rng.standard_normal(12 * 16000).astype(np.float32)
    noise[160000:] = 0.3 * np.sin(np.arange(32000) / 9.0)
    first, second = (model.embed_audio(part) for part in (noise[:160000], noise[160000:]))
    aims = [10 * first + 2 * second, first + second]
    near, far = (model.embed_audio(noise) @ aim / np.linalg.norm(aim) for aim in aims)
    assert near > 0.99999
    assert near - far > 1e-4


def test_silence_has_a_vector() -> None:
    assert np.isfinite(make_model().embed_audio(np.zeros(8000, dtype=np.float32))).all()


def test_wrong_input_is_refused_in_words(tmp_path: Path) -> None:
    model = make_model()
    with pytest.raises(InputError, match=r"needed: \[B, 80, F\]"):
        model.audio(torch.zeros(1, 64, 10))
    with pytest.raises(InputError, match="mask is"):
        model.audio(torch.zeros(1, 80, 10), torch.ones(1, 9, dtype=torch.bool))
    with pytest.raises(InputError, match="one prompt each"):
        model.score(torch.zeros(2, 4000), ["rain"])
    with pytest.raises(InputError, match="S from 1"):
        model.embed_audio(np.zeros((1, 100), dtype=np.float32))
    with pytest.raises(NotFiniteError, match="NaN"):
        model.embed_audio(np.full(100, np.nan, dtype=np.float32))
    with pytest.raises(InputError, match=r"width is 0.*three numbers.*odd"):
        TextAudioConfig(width=0, stem=(8, 8), kernel=4)
    with pytest.raises(BundleError, match=r"holds no model.safetensors"):
        TextAudioModel.from_folder(tmp_path)
    save_module(tmp_path / WEIGHTS, torch.nn.Linear(2, 2), {"kind": "dit"})
    with pytest.raises(BundleError, match="'dit'"):
        TextAudioModel.from_folder(tmp_path)
