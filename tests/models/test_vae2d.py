"""AudioLDM's 2-D autoencoder: reference tensors, and what holds at any size."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from soundleap.errors import InputError, SoundleapError
from soundleap.importers.keys_2d import split_vae, vae2d_config, vae2d_state
from soundleap.models.store import load_state, read_config, save_module
from soundleap.models.vae2d import VAE2d, VAE2dConfig

pytest.importorskip("diffusers")

GOLDEN = Path(__file__).parents[2].parent / "shared" / "golden"
TINY = VAE2dConfig(
    channels=4, n_mels=16, block_out_channels=(8, 16), layers_per_block=1, norm_num_groups=4
)


def make(config: VAE2dConfig = TINY, seed: int = 0) -> VAE2d:
    torch.manual_seed(seed)
    return VAE2d(config).eval()


def noise(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def assert_close(found: Tensor, expected: Tensor, tolerance: float = 1e-5) -> None:
    assert found.shape == expected.shape
    assert float((found - expected).abs().max()) <= tolerance * float(expected.abs().max())


@pytest.mark.parametrize("encoder", [True, False])
@torch.no_grad()
def test_golden_autoencoder(encoder: bool) -> None:
    path = GOLDEN / "audioldm_vae_hifigan_a.safetensors"
    if not path.exists():
        pytest.skip("no reference tensors beside the repository")
    tensors = load_file(path)
    weights = {k.removeprefix("weights/"): v for k, v in tensors.items() if k.startswith("weights")}
    constructor = json.loads(path.with_suffix(".json").read_text())["constructor"]
    state, _ = split_vae(weights)
    config = vae2d_config(state, scale_factor=constructor["scale_factor"], encoder=encoder)
    codec = VAE2d(config).eval()
    codec.load_state_dict(vae2d_state(state, encoder=encoder))

    def picture(mel: Tensor) -> Tensor:
        return mel.transpose(1, 2).unsqueeze(1)

    assert_close(picture(codec.decode(tensors["in/z"])), tensors["out/mel"])
    assert_close(picture(codec.decode(tensors["out/latent"])), tensors["out/reconstruction"])
    if encoder:
        mel = tensors["in/mel"][:, 0].transpose(1, 2)
        mean, log_variance = codec.posterior(mel)
        assert_close(mean, tensors["out/mean"])
        assert_close(log_variance, tensors["out/logvar"])
        assert_close(codec.encode(mel, tensors["in/posterior_noise"]), tensors["out/latent"])
        assert_close(codec.encode(mel), config.scale_factor * tensors["out/mean"])


def test_published_size() -> None:
    with torch.device("meta"):
        codec = VAE2d(VAE2dConfig())
        small = VAE2d(VAE2dConfig(encoder=False))
    assert sum(p.numel() for p in codec.parameters()) == 55_376_873
    assert sum(p.numel() for p in small.parameters()) == 32_981_505 + 72
    assert codec.latent_shape(256) == (8, 256, 16)
    assert codec.config.patch_frames == 4
    assert codec.config.fixed_length == 256


@torch.no_grad()
def test_shapes_and_batches() -> None:
    codec = make()
    mel = noise(3, 16, 12)
    latents = codec.encode(mel)
    assert latents.shape == (3, *codec.latent_shape(6)) == (3, 4, 6, 8)
    back = codec.decode(latents)
    assert back.shape == mel.shape
    for i in range(3):
        torch.testing.assert_close(codec.encode(mel[i : i + 1])[0], latents[i])
        torch.testing.assert_close(codec.decode(latents[i : i + 1])[0], back[i])


@torch.no_grad()
def test_the_scale_only_scales() -> None:
    one, two = make(replace(TINY, scale_factor=1.0)), make(replace(TINY, scale_factor=2.0))
    mel = noise(1, 16, 8)
    torch.testing.assert_close(two.encode(mel), 2 * one.encode(mel))
    torch.testing.assert_close(two.decode(two.encode(mel)), one.decode(one.encode(mel)))


def test_doubling_in_one_step_is_doubling_in_two() -> None:
    codec = make()
    latents = noise(2, 4, 5, 8)
    with torch.enable_grad():
        expected = codec.decode(latents)
        expected.sum().backward()
    assert all(p.grad is not None for p in codec.vae.decoder.parameters())
    with torch.no_grad():
        assert_close(codec.decode(latents), expected.detach())


@torch.no_grad()
def test_half_precision_and_channels_last() -> None:
    codec = make()
    latents = noise(1, 4, 6, 8)
    expected = codec.decode(latents)
    codec.to(memory_format=torch.channels_last)
    assert_close(codec.decode(latents), expected)
    codec.to(torch.bfloat16)
    found = codec.decode(latents)
    assert found.dtype == torch.float32
    assert_close(found, expected, 0.1)


@torch.no_grad()
def test_a_decoder_alone_decodes_the_same_and_is_saved_alone(tmp_path: Path) -> None:
    codec = make()
    latents = noise(1, 4, 6, 8)
    expected = codec.decode(latents)
    before = sum(p.numel() for p in codec.parameters())
    codec.drop_encoder()
    assert sum(p.numel() for p in codec.parameters()) < before
    assert torch.equal(codec.decode(latents), expected)
    with pytest.raises(SoundleapError, match="decoder only"):
        codec.encode(noise(1, 16, 8))
    save_module(tmp_path / "x.safetensors", codec, asdict(codec.config))
    values = read_config(tmp_path / "x.safetensors")
    assert values["kind"] == "vae2d"
    other = make(VAE2dConfig(**values), seed=5)
    load_state(tmp_path / "x.safetensors", other)
    assert torch.equal(other.decode(latents), expected)


@pytest.mark.parametrize("shape", [(1, 16, 7), (1, 8, 8), (16, 8), (1, 16, 0)])
def test_wrong_mels_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=r"needed: \[B, 16, F\] with F a multiple of 2"):
        make().encode(torch.zeros(shape))


@pytest.mark.parametrize("shape", [(1, 4, 6), (1, 4, 6, 4), (1, 8, 6, 8)])
def test_wrong_latents_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=r"needed: \[B, 4, L, 8\]"):
        make().decode(torch.zeros(shape))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"channels": 0}, "channels is 0"),
        ({"scale_factor": float("nan")}, "scale_factor is nan"),
        ({"block_out_channels": (8, 10)}, "multiples of norm_num_groups, 4"),
        ({"n_mels": 15}, "multiples of 2"),
        ({"fixed_length": 0}, "fixed_length is 0"),
    ],
)
def test_wrong_sizes_are_refused(change: dict, words: str) -> None:
    with pytest.raises(InputError, match=words):
        replace(TINY, **change)
