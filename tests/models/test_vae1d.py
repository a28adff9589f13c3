"""The learnt latent codec by itself."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from soundleap.errors import InputError
from soundleap.models.vae1d import LatentDistribution, VAE1d, VAE1dConfig

CONFIG = VAE1dConfig(n_mels=12, patch_frames=4, channels=6, width=16, blocks=1)


def make_vae(config: VAE1dConfig = CONFIG) -> VAE1d:
    """A codec whose residual blocks do something."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        vae = VAE1d(config)
        for parameter in vae.parameters():
            torch.nn.init.normal_(parameter, std=0.1)
    return vae.eval().requires_grad_(False)


def mels(batch: int, frames: int, n_mels: int = 12) -> Tensor:
    generator = torch.Generator().manual_seed(frames)
    return torch.randn(batch, n_mels, frames, generator=generator) - 2.5


@pytest.mark.parametrize("patch_frames", [1, 2, 4, 8])
@pytest.mark.parametrize("patches", [1, 2, 7])
def test_lengths_follow_the_patch(patch_frames: int, patches: int) -> None:
    vae = make_vae(VAE1dConfig(n_mels=12, patch_frames=patch_frames, channels=5, width=8, blocks=1))
    mel = mels(2, patches * patch_frames)
    latents = vae.encode(mel)
    assert latents.shape == (2, 5, patches)
    assert vae.decode(latents).shape == mel.shape


def test_batch_equals_single() -> None:
    vae, mel = make_vae(), mels(3, 16)
    together = vae.decode(vae.encode(mel))
    apart = torch.cat([vae.decode(vae.encode(item[None])) for item in mel])
    torch.testing.assert_close(together, apart)


def test_latents_depend_on_frames_near_and_not_on_length() -> None:
    vae, mel = make_vae(), mels(1, 256)
    whole, crop = vae.encode(mel), vae.encode(mel[:, :, :128])
    inside = slice(0, 24)  # the last vectors of the crop see its end
    torch.testing.assert_close(whole[:, :, inside], crop[:, :, inside])


def test_encode_is_the_scaled_mean_and_decode_undoes_the_scale() -> None:
    vae, mel = make_vae(), mels(2, 16)
    mean, decoded = vae.encode_distribution(mel).mean, vae.decode(vae.encode(mel))
    vae.scale.fill_(3.0)
    torch.testing.assert_close(vae.encode(mel), mean / 3.0)
    torch.testing.assert_close(vae.decode(vae.encode(mel)), decoded)


def test_fitted_scale_gives_unit_variance() -> None:
    vae, mel = make_vae(), mels(8, 64)
    vae.fit_scale(mel)
    variance = vae.encode(mel).var(dim=(0, 2))
    assert float(variance.mean()) == pytest.approx(1.0, rel=1e-4)


def test_fitted_input_normalises_every_bin() -> None:
    vae = VAE1d(CONFIG)
    mel = mels(4, 64) * torch.linspace(0.5, 2, 12)[:, None]
    vae.fit_input(mel)
    normal = (mel - vae.mel_mean) / vae.mel_std
    torch.testing.assert_close(normal.mean(dim=(0, 2)), torch.zeros(12), atol=1e-5, rtol=0)
    torch.testing.assert_close(normal.std(dim=(0, 2)), torch.ones(12), atol=1e-4, rtol=0)


def test_constant_bins_and_empty_latents_stay_finite() -> None:
    vae = make_vae()
    mel = torch.full((2, 12, 8), -5.0)
    vae.fit_input(mel)
    for parameter in vae.encoder.parameters():
        parameter.zero_()
    vae.fit_scale(mel)
    assert torch.isfinite(vae.encode(mel)).all()


def test_noise_changes_nothing() -> None:
    vae, mel = make_vae(), mels(1, 8)
    latents = vae.encode(mel)
    assert torch.equal(vae.decode(latents, torch.randn(mel.shape)), vae.decode(latents))


def test_new_residual_blocks_are_the_identity() -> None:
    from soundleap.models.vae1d import ResidualBlock

    block = ResidualBlock(8)
    torch.nn.init.zeros_(block.conv_2.bias)
    x = torch.randn(2, 8, 5)
    assert torch.equal(block(x), x)


def test_divergence_closed_forms() -> None:
    zeros = torch.zeros(2, 3, 4)
    assert torch.equal(LatentDistribution(zeros, zeros).divergence(), torch.zeros(2))
    mean, variance = torch.full((2, 3, 4), 2.0), 0.25
    wide = LatentDistribution(mean, torch.full((2, 3, 4), variance).log())
    normal = torch.distributions.Normal
    expected = torch.distributions.kl_divergence(
        normal(mean, variance**0.5), normal(zeros, zeros + 1)
    )
    torch.testing.assert_close(wide.divergence(), expected.sum(dim=(1, 2)))


def test_samples_have_the_stated_moments() -> None:
    mean, spread = torch.full((1, 1, 50_000), 3.0), 0.5
    distribution = LatentDistribution(mean, torch.full_like(mean, spread).log() * 2)
    noise = torch.randn(mean.shape, generator=torch.Generator().manual_seed(1))
    drawn = distribution.sample(noise)
    assert float(drawn.mean()) == pytest.approx(3.0, abs=0.02)
    assert float(drawn.std()) == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize("shape", [(1, 12, 9), (1, 12, 0), (1, 11, 8), (12, 8)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=r"needed: \[B, 12, F\] with F a multiple of 4"):
        make_vae().encode(torch.zeros(shape))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"patch_frames": 6}, "patch_frames is 6; allowed: powers of two"),
        ({"patch_frames": 0}, "patch_frames is 0"),
        ({"blocks": 0}, "blocks is 0"),
        ({"channels": -1}, "channels is -1"),
    ],
)
def test_bad_sizes_are_refused(values: dict[str, int], message: str) -> None:
    with pytest.raises(InputError, match=message):
        VAE1dConfig(**values)
