from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from soundleap.errors import InputError, NotFiniteError, SoundleapError
from soundleap.evaluation.embedders import aisfx as module
from soundleap.evaluation.embedders.aisfx import (
    AisfxEmbedder,
    AisfxNetwork,
    aisfx_blocks,
    aisfx_mel,
    open_aisfx,
)
from soundleap.evaluation.embedders.base import Embedder

GOLDEN = Path(__file__).parents[1] / "golden" / "aisfx_mel.safetensors"


@pytest.fixture(scope="module")
def aisfx() -> AisfxEmbedder:
    try:
        return open_aisfx(None, "cpu")
    except SoundleapError as error:
        pytest.skip(str(error))


def noise(samples: int) -> np.ndarray:
    return (0.1 * np.random.default_rng(0).standard_normal(samples)).astype(np.float32)


def test_mel_has_the_numbers_of_the_library_it_was_trained_with():
    n = np.arange(5000)
    waveform = 0.4 * np.sin(2 * np.pi * (200 + 0.4 * n) * n / 44100)
    waveform += 0.1 * np.sin(2 * np.pi * 9000 * n / 44100)
    expected = load_file(GOLDEN)["mel"]
    found = aisfx_mel(waveform.astype(np.float32))
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() < 1e-4  # in float32 the quiet bands differ most


@pytest.mark.parametrize(("frames", "blocks"), [(2, 1), (100, 1), (149, 1), (150, 2), (442, 7)])
def test_blocks_overlap_by_half_and_only_full_ones_count(frames: int, blocks: int):
    made, notes = aisfx_blocks(noise((frames - 1) * 1024))
    assert made.shape == (blocks, 100, 96)
    assert made.dtype == np.float32
    assert notes == (("zero-padded to 2.32 s",) if frames < 100 else ())


def test_network_has_the_published_shape():
    network = AisfxNetwork()
    # eight tensors of 3x3 kernels from 1 to 512 channels, and their normalisations
    assert sum(p.numel() for p in network.parameters()) == 4_686_144
    assert network.eval()(torch.zeros(2, 100, 96)).shape == (2, 512)


def test_blocks_at_once_change_rounding_only():
    torch.manual_seed(0)
    network = AisfxNetwork(width=4)
    waveform = noise(44100 * 9)
    one, many = (AisfxEmbedder(network, "", blocks_at_once=n).analyse(waveform) for n in (1, 16))
    assert one.embeds.shape == (6, 32)
    assert one.embeds == pytest.approx(many.embeds, abs=1e-5)


def test_bad_waveforms_are_refused_and_a_missing_package_is_told(monkeypatch):
    with pytest.raises(InputError, match="S >= 1"):
        aisfx_blocks(np.zeros(0, np.float32))
    with pytest.raises(NotFiniteError):
        aisfx_blocks(np.full(9000, np.nan, np.float32))
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SoundleapError, match="pip install --no-deps aisfx"):
        open_aisfx(None, "cpu")


def test_published_weights_tell_sounds_apart(aisfx: AisfxEmbedder):
    assert isinstance(aisfx, Embedder)
    t = np.arange(44100 * 3) / 44100
    hum = (0.3 * np.sin(2 * np.pi * 100 * t)).astype(np.float32)
    click = np.zeros_like(hum)
    click[::4410] = 0.8

    def embed(waveform: np.ndarray) -> np.ndarray:
        row = aisfx.analyse(waveform).embeds.mean(axis=0)
        return row / np.linalg.norm(row)

    assert embed(hum) @ embed(0.9 * hum) > 0.95
    assert embed(hum) @ embed(click) < 0.8
    assert aisfx.analyse(noise(44100 * 3)).embeds.shape == (1, aisfx.info.dimensions)
