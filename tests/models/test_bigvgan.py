"""BigVGAN: reference tensors, the polyphase activation, pieces that are equal to the whole."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn.functional import conv1d, conv_transpose1d, pad

from soundleap.audio.mel import NAT_MEL
from soundleap.errors import InputError
from soundleap.importers.keys_1d import bigvgan_config, bigvgan_state
from soundleap.models.alias_free import AliasFreeSnake, downsample, half_band_filter, upsample
from soundleap.models.bigvgan import BigVGAN, BigVGANConfig, in_pieces
from soundleap.models.registry import load_vocoder
from soundleap.models.store import save_module

EXTRACT = Path(__file__).parents[1] / "golden" / "n1_alias_free.safetensors"
GOLDEN = Path(__file__).parents[2].parent / "shared" / "golden" / "audiolcm_bigvgan_a"
TINY = BigVGANConfig(
    mel=replace(NAT_MEL, n_mels=8, hop_length=16), width=32, upsample_rates=(4, 2, 2),
    upsample_kernels=(8, 4, 6), block_kernels=(3, 7), block_dilations=((1, 3), (1, 5)),
)  # fmt: skip


def make(config: BigVGANConfig = TINY) -> BigVGAN:
    torch.manual_seed(0)
    vocoder = BigVGAN(config).eval().requires_grad_(False)
    for name, value in vocoder.named_parameters():
        spread = 0.3 if name.endswith(("alpha", "beta")) else 0.7 / value[0].numel() ** 0.5
        value.copy_(torch.randn(value.shape) * spread)
    return vocoder


def mels(batch: int, frames: int, n_mels: int = 8) -> Tensor:
    generator = torch.Generator().manual_seed(frames)
    return torch.randn(batch, n_mels, frames, generator=generator) - 2.0


def sounds(channels: int, length: int, batch: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(length)
    x = torch.randn(batch, channels, 1, length, generator=generator)
    return x.contiguous(memory_format=torch.channels_last)


def assert_near(found: Tensor, expected: Tensor, tolerance: float = 1e-5) -> None:
    scale = float(expected.detach().abs().max())
    torch.testing.assert_close(found, expected, rtol=0, atol=tolerance * scale)


def by_definition(x: Tensor, alpha: Tensor, beta: Tensor) -> Tensor:
    """The activation as its paper's words have it: stuff zeros, filter, activate, filter, drop."""
    channels, taps = x.shape[1], half_band_filter().expand(x.shape[1], 1, -1)
    wide = conv_transpose1d(pad(x, (5, 5), mode="replicate"), taps, stride=2, groups=channels)
    up = 2 * wide[..., 15:-15]
    active = up + torch.sin(up * alpha.exp()) ** 2 / (beta.exp() + 1e-9)
    return conv1d(pad(active, (5, 6), mode="replicate"), taps, stride=2, groups=channels)


@torch.no_grad()
def test_activation_of_the_reference() -> None:
    tensors = load_file(EXTRACT)
    for name in ("upsample", "downsample.lowpass"):
        stored = tensors[f"weights/{name}.filter"].flatten()
        torch.testing.assert_close(half_band_filter(), stored, rtol=0, atol=1e-7)
    activation = AliasFreeSnake(32)
    activation.alpha.copy_(tensors["weights/act.alpha"])
    activation.beta.copy_(tensors["weights/act.beta"])
    x = tensors["in/activation"][:, :, None]
    assert_near(activation(x)[:, :, 0], tensors["out/activation"])
    even, odd = upsample(x, activation.even_taps, activation.odd_taps)
    up = torch.stack([even[..., 2:-3], odd[..., 3:-2]], dim=4).flatten(3)[:, :, 0]
    assert_near(up, tensors["out/activation_up"])
    down = downsample(even, odd, activation.even_taps, activation.odd_taps)
    assert_near(down[:, :, 0], tensors["out/activation_down"])


@pytest.mark.parametrize("length", [1, 2, 3, 50])
def test_activation_by_definition_with_gradients_and_without(length: int) -> None:
    activation, x = AliasFreeSnake(4), sounds(4, length)
    with torch.no_grad():
        activation.alpha.copy_(torch.linspace(-3, 2, 4))
        activation.beta.copy_(torch.linspace(2, -3, 4))
    parameters = [activation.alpha, activation.beta]
    x.requires_grad_()
    found = activation(x)
    expected = by_definition(x[:, :, 0], *(p[:, None] for p in parameters))
    assert_near(found[:, :, 0], expected)
    weight = torch.randn(expected.shape, generator=torch.Generator().manual_seed(0))
    ours = torch.autograd.grad((found[:, :, 0] * weight).sum(), [x, *parameters])
    theirs = torch.autograd.grad((expected * weight).sum(), [x, *parameters])
    for a, b in zip(ours, theirs, strict=True):
        assert_near(a, b, 1e-4)
    with torch.no_grad():
        before = x.clone()
        assert_near(activation(x)[:, :, 0], expected)
        assert torch.equal(x, before)


def test_filter_is_half_band() -> None:
    taps = half_band_filter().double()
    assert torch.equal(taps, taps.flip(0))
    assert float(taps.sum()) == pytest.approx(1.0, abs=1e-7)
    response = torch.fft.rfft(taps, 1024).abs()
    assert float(response[:128].min()) > 0.75  # half of the band that is kept
    assert float(response[-128:].max()) < 0.02  # the quarter that is farthest away


@torch.no_grad()
def test_golden() -> None:
    path = GOLDEN.with_suffix(".safetensors")
    if not path.exists():
        pytest.skip(f"no reference tensors at {path}")
    tensors = load_file(path)
    published = {k.removeprefix("weights/"): v for k, v in tensors.items() if "weights/" in k}
    args = json.loads(GOLDEN.with_suffix(".json").read_text())["constructor"]
    vocoder = BigVGAN(bigvgan_config(args))
    vocoder.load_state_dict(bigvgan_state(published))
    assert_near(vocoder(tensors["in/mel"]), tensors["out/wav"][:, 0])


@torch.no_grad()
@pytest.mark.parametrize("chunk_frames", [1, 7, 40])
@pytest.mark.parametrize("frames", [73, 80])
def test_pieces_equal_the_whole(chunk_frames: int, frames: int) -> None:
    vocoder, mel = make(), mels(2, frames)
    vocoder.chunk_frames = None
    whole = vocoder(mel)
    assert whole.shape == (2, frames * 16)
    vocoder.chunk_frames = chunk_frames
    assert_near(vocoder(mel), whole)


@torch.no_grad()
@pytest.mark.parametrize("size", [1, 5, 40, 119, 120, None])
def test_every_residual_block_in_pieces(size: int | None) -> None:
    vocoder = make()
    for block in vocoder.resblocks[:2]:
        x = sounds(16, 120)
        assert_near(block(x, size), block(x))


def test_pieces_see_no_more_than_the_radius() -> None:
    seen: list[int] = []

    def mark(x: Tensor) -> Tensor:
        seen.append(x.shape[3])
        return x * 2

    x = sounds(3, 10)
    assert torch.equal(in_pieces(mark, x, 4, 3), x * 2)
    assert seen == [7, 9, 5]


def test_batch_equals_single() -> None:
    vocoder, mel = make(), mels(3, 12)
    apart = torch.cat([vocoder(item[None]) for item in mel])
    assert_near(vocoder(mel), apart)


def test_training_and_making_sound_agree() -> None:
    vocoder, mel = make(), mels(2, 6)
    with torch.no_grad():
        made = vocoder(mel)
    vocoder.requires_grad_(True)
    trained = vocoder(mel)
    assert_near(trained.detach(), made)
    trained.square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in vocoder.parameters())


def test_file_and_back(tmp_path: Path) -> None:
    vocoder, path = make(), tmp_path / "vocoder.safetensors"
    save_module(path, vocoder, asdict(vocoder.config))
    loaded = load_vocoder(path)
    assert loaded.config == TINY
    assert not loaded.draws_phase
    assert torch.equal(loaded(mels(1, 5)), vocoder(mels(1, 5)))
    for name, value in loaded.named_parameters():  # the layout that is fast
        assert value.ndim != 3 or value.transpose(1, 2).is_contiguous(), name


@torch.no_grad()
def test_bfloat16_stays_near() -> None:
    vocoder, mel = make(), mels(2, 20)
    exact = vocoder(mel)
    vocoder.use_bfloat16()
    types = {n.rpartition(".")[0]: p.dtype for n, p in vocoder.named_parameters()}
    assert types["resblocks.0.convs1.0"] == torch.bfloat16
    kept = [kind for name, kind in types.items() if "convs" not in name]
    assert set(kept) == {torch.float32}
    found = vocoder(mel)
    assert found.dtype == torch.float32
    assert 0 < float((found - exact).norm() / exact.norm()) < 0.01  # -40 dB


@pytest.mark.parametrize("shape", [(1, 9, 5), (1, 8, 0), (8, 5)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=r"needed: \[B, 8, F\] with F above 0"):
        make()(torch.zeros(shape))


def test_bad_pieces_are_refused() -> None:
    vocoder = make()
    vocoder.chunk_frames = 0
    with pytest.raises(InputError, match="chunk_frames is 0"):
        vocoder(mels(1, 4))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"upsample_rates": (4, 2)}, "their product must be the hop, 16"),
        ({"upsample_kernels": (8, 4)}, "upsample_kernels is"),
        ({"upsample_kernels": (8, 4, 5)}, "upsample_kernels is"),
        ({"width": 20}, "width is 20; allowed: multiples of 8"),
        ({"block_kernels": (3, 4)}, "block_kernels is"),
        ({"block_dilations": ((1, 3),)}, "block_dilations is"),
    ],
)
def test_bad_sizes_are_refused(change: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        replace(TINY, **change)
