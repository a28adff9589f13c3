"""The 1-D autoencoder of AudioLCM and Make-An-Audio 2: reference tensors, sizes, limits."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from soundleap.errors import InputError
from soundleap.importers.keys_1d import autoencoder1d_config, autoencoder1d_state
from soundleap.models.autoencoder1d import Autoencoder1d, Autoencoder1dConfig
from soundleap.models.registry import load_latent_codec
from soundleap.models.store import save_module

GOLDEN = Path(__file__).parents[2].parent / "shared" / "golden" / "audiolcm_autoencoder1d_a"
TINY = Autoencoder1dConfig(
    n_mels=12, channels=3, inner_channels=5, width=32, multipliers=(1, 1, 2), blocks=1,
    down_levels=(0, 1), scale_factor=0.5,
)  # fmt: skip


def make(config: Autoencoder1dConfig = TINY) -> Autoencoder1d:
    torch.manual_seed(0)
    return Autoencoder1d(config).eval().requires_grad_(False)


def mels(batch: int, frames: int) -> Tensor:
    return torch.randn(batch, 12, frames, generator=torch.Generator().manual_seed(frames)) - 2.5


def assert_near(found: Tensor, expected: Tensor) -> None:
    scale = float(expected.abs().max())
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5 * scale)


@torch.no_grad()
def test_golden() -> None:
    path = GOLDEN.with_suffix(".safetensors")
    if not path.exists():
        pytest.skip(f"no reference tensors at {path}")
    tensors = load_file(path)
    published = {k.removeprefix("weights/"): v for k, v in tensors.items() if "weights/" in k}
    config = autoencoder1d_config(published, scale_factor=1.0)
    assert config == Autoencoder1dConfig(width=32, multipliers=(1, 2, 2), blocks=1)
    codec = Autoencoder1d(config)
    codec.load_state_dict(autoencoder1d_state(published))
    mean, log_variance = codec.posterior(tensors["in/mel"])
    assert_near(mean, tensors["out/mean"])
    assert_near(log_variance, tensors["out/logvar"])
    assert_near(codec.encode(tensors["in/mel"]), tensors["out/mean"])
    assert_near(codec.encode(tensors["in/mel"], tensors["in/posterior_noise"]),
                tensors["out/sample"])  # fmt: skip
    assert_near(codec.decode(tensors["in/z"]), tensors["out/mel"])


@pytest.mark.parametrize("length", [1, 2, 7])
def test_lengths_follow_the_patch(length: int) -> None:
    codec, mel = make(), mels(2, 4 * length)
    latents = codec.encode(mel)
    assert codec.config.patch_frames == 4
    assert latents.shape == (2, *codec.latent_shape(length)) == (2, 3, length)
    assert codec.decode(latents).shape == mel.shape


def test_batch_equals_single() -> None:
    codec, mel = make(), mels(3, 16)
    together = codec.decode(codec.encode(mel))
    apart = torch.cat([codec.decode(codec.encode(item[None])) for item in mel])
    torch.testing.assert_close(together, apart, rtol=1e-5, atol=1e-5)


def test_latents_are_scaled_and_scaled_back() -> None:
    codec, mel = make(), mels(2, 16)
    unscaled = make(replace(TINY, scale_factor=1.0))
    unscaled.load_state_dict(codec.state_dict())
    torch.testing.assert_close(codec.encode(mel), 0.5 * codec.posterior(mel)[0])
    latents = unscaled.encode(mel)
    torch.testing.assert_close(codec.decode(0.5 * latents), unscaled.decode(latents))


def test_noise_samples_the_posterior_and_does_not_touch_decoding() -> None:
    codec, mel = make(), mels(2, 16)
    mean, log_variance = codec.posterior(mel)
    noise = torch.randn(mean.shape, generator=torch.Generator().manual_seed(1))
    expected = 0.5 * (mean + log_variance.mul(0.5).exp() * noise)
    torch.testing.assert_close(codec.encode(mel, noise), expected)
    assert torch.equal(codec.decode(mean, noise), codec.decode(mean))


def test_file_and_back(tmp_path: Path) -> None:
    codec, path = make(), tmp_path / "codec.safetensors"
    save_module(path, codec, asdict(codec.config))
    loaded = load_latent_codec(path)
    assert loaded.config == TINY
    assert torch.equal(loaded.encode(mels(1, 8)), codec.encode(mels(1, 8)))


@pytest.mark.parametrize("shape", [(1, 12, 9), (1, 12, 0), (1, 11, 8), (12, 8)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=r"needed: \[B, 12, F\] with F a multiple of 4"):
        make().encode(torch.zeros(shape))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"channels": 0}, "channels is 0"),
        ({"width": 40}, "width is 40; allowed: multiples of 32"),
        ({"multipliers": ()}, "multipliers is"),
        ({"kernel_size": 4}, "kernel_size is 4; allowed: odd numbers"),
        ({"down_levels": (2,)}, "allowed: levels 0 to 1"),
        ({"scale_factor": 0.0}, "scale_factor is 0.0"),
        ({"scale_factor": float("nan")}, "scale_factor is nan"),
    ],
)
def test_bad_sizes_are_refused(change: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        replace(TINY, **change)
