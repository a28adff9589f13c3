"""HiFi-GAN: reference tensors, sizes, and pieces that are equal to the whole."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from soundleap.audio.dc import remove_dc, to_int16
from soundleap.audio.mel import AUDIOLDM_MEL, MelConfig
from soundleap.errors import InputError
from soundleap.importers.keys_2d import hifigan_config, hifigan_state, split_vae
from soundleap.models.hifigan import HifiGan, HifiGanConfig
from soundleap.models.store import load_state, read_config, save_module

pytest.importorskip("transformers")

EXTRACT = Path(__file__).parents[1] / "golden" / "n2_hifigan.safetensors"
TINY = replace(HifiGanConfig(), upsample_initial_channel=32)


@pytest.fixture(scope="module")
def tensors() -> dict[str, Tensor]:
    return load_file(EXTRACT)


@pytest.fixture(scope="module")
def published(tensors: dict[str, Tensor]) -> HifiGan:
    stored = {k.removeprefix("weights/"): v for k, v in tensors.items()}
    _, state = split_vae(stored)
    vocoder = HifiGan(hifigan_config(state)).eval().requires_grad_(False)
    vocoder.load_state_dict(hifigan_state(state))
    return vocoder


def make(config: HifiGanConfig = TINY, seed: int = 0) -> HifiGan:
    torch.manual_seed(seed)
    vocoder = HifiGan(config).eval().requires_grad_(False)
    for value in vocoder.parameters():  # as fresh from the library it is all but silent
        value.copy_(torch.randn(value.shape) / value[0].numel() ** 0.5)
    return vocoder


def test_golden_vocoder(published: HifiGan, tensors: dict[str, Tensor]) -> None:
    assert published.config == TINY
    found = published(tensors["in/vocoder_mel"])
    torch.testing.assert_close(found, tensors["out/vocoder"][:, 0], rtol=0, atol=1e-5)


def test_golden_numbers_of_the_file(published: HifiGan, tensors: dict[str, Tensor]) -> None:
    mel = tensors["out/mel"][:, 0].transpose(1, 2)
    found = to_int16(remove_dc(published(mel), per="batch"))
    difference = (found.int() - tensors["out/waveform_int16"].int()).abs()
    assert int(difference.max()) <= 1  # rounding may fall over the edge of a step


@pytest.mark.parametrize("size", [7, 16, 23, 40])
def test_pieces_are_equal_to_the_whole(published: HifiGan, size: int) -> None:
    mel = torch.randn(2, 64, 23, generator=torch.Generator().manual_seed(2))
    published.chunk_frames = None
    whole = published(mel)
    published.chunk_frames = size
    pieces = published(mel)
    published.chunk_frames = None
    assert whole.shape == pieces.shape == (2, 23 * 160 + 32)
    torch.testing.assert_close(pieces, whole, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("first", "last"), [(8000, 8000), (7999, 8160), (8131, 8140)])
def test_samples_depend_on_just_the_frames_behind_them(first: int, last: int) -> None:
    vocoder = make().double()
    mel = torch.randn(1, 100, 64, generator=torch.Generator().manual_seed(2)).double()
    mel.requires_grad_()
    vocoder.net(mel)[0, first : last + 1].sum().backward()
    assert mel.grad is not None
    frames = mel.grad.abs().amax((0, 2)).nonzero()
    assert vocoder.config.frames_behind(first, last) == (int(frames[0]), int(frames[-1]))


def test_published_size() -> None:
    with torch.device("meta"):
        vocoder = HifiGan(HifiGanConfig())
    assert sum(p.numel() for p in vocoder.parameters()) == 55_264_897
    assert vocoder.config.samples(1024) == 163_872
    assert vocoder.config.mel == AUDIOLDM_MEL


def test_batches_half_precision_and_silence_of_arguments() -> None:
    vocoder = make()
    mel = torch.randn(2, 64, 6, generator=torch.Generator().manual_seed(2))
    expected = vocoder(mel, torch.zeros(1))
    torch.testing.assert_close(vocoder(mel[1:])[0], expected[1])
    vocoder.to(torch.bfloat16)
    found = vocoder(mel)
    assert found.dtype == torch.float32
    assert float((found - expected).abs().max()) < 0.1 * float(expected.abs().max())


def test_a_file_holds_it_all(tmp_path: Path) -> None:
    vocoder = make()
    save_module(tmp_path / "x.safetensors", vocoder, asdict(vocoder.config))
    values = read_config(tmp_path / "x.safetensors")
    assert values["kind"] == "hifigan"
    values["mel"] = MelConfig(**values["mel"])
    config = HifiGanConfig(**values)
    assert config == vocoder.config
    other = make(config, seed=5)
    load_state(tmp_path / "x.safetensors", other)
    mel = torch.randn(1, 64, 3, generator=torch.Generator().manual_seed(2))
    assert torch.equal(other(mel), vocoder(mel))


def test_wrong_calls_are_refused() -> None:
    vocoder = make()
    for shape in [(1, 80, 4), (64, 4), (1, 64, 0)]:
        with pytest.raises(InputError, match=r"needed: \[B, 64, F\]"):
            vocoder(torch.zeros(shape))
    vocoder.chunk_frames = 0
    with pytest.raises(InputError, match="chunk_frames is 0"):
        vocoder(torch.zeros(1, 64, 4))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"upsample_rates": (5, 4, 2, 2)}, "upsample_kernel_sizes is"),
        ({"upsample_kernel_sizes": (16, 16, 8, 4, 1)}, "and not smaller"),
        ({"upsample_rates": (5, 4, 2, 2, 1)}, "80 samples a frame"),
        ({"upsample_initial_channel": 24}, "multiples of 32"),
        ({"resblock_kernel_sizes": (3, 7, 10)}, "odd numbers"),
        ({"resblock_dilation_sizes": ((1, 3, 5),)}, "dilations for each"),
    ],
)
def test_wrong_sizes_are_refused(change: dict, words: str) -> None:
    with pytest.raises(InputError, match=words):
        replace(TINY, **change)
