"""The closed-form codec: exact where it can be, noise of the right energy where it can't."""

from __future__ import annotations

import pytest
import torch

from soundleap.models.patch_pca import PatchPCAConfig, fit_patch_pca, from_patches, to_patches


def mels(count: int, frames: int, n_mels: int = 80) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [
        torch.randn(n_mels, frames, generator=generator)
        * (0.2 + torch.rand((), generator=generator))
        for _ in range(count)
    ]


def test_patches_and_back() -> None:
    mel = torch.randn(2, 80, 24)
    patches = to_patches(mel, 8)
    assert patches.shape == (2, 3, 640)
    torch.testing.assert_close(patches[1, 2].reshape(80, 8), mel[1, :, 16:], rtol=0, atol=0)
    torch.testing.assert_close(from_patches(patches, 80), mel, rtol=0, atol=0)


def test_as_many_channels_as_numbers_reconstruct_exactly() -> None:
    train = mels(60, 32)
    codec = fit_patch_pca(PatchPCAConfig(patch_frames=2, channels=160), train)
    mel = mels(1, 64)[0][None] * 2 + 1
    torch.testing.assert_close(codec.decode(codec.encode(mel)), mel, rtol=1e-4, atol=1e-4)


def test_latents_have_about_unit_variance_and_no_mean() -> None:
    train = mels(60, 32)
    codec = fit_patch_pca(PatchPCAConfig(patch_frames=2, channels=40), train)
    latents = torch.cat([codec.encode(m[None])[0] for m in train], dim=1)
    assert float(latents.mean(1).abs().max()) < 1e-4
    assert float(latents.var(1).mean()) == pytest.approx(1.0, rel=0.02)
    # components are in falling order of variance
    assert (latents.var(1).diff() < 1e-3).all()


def test_fewer_channels_leave_the_smallest_components_out() -> None:
    train = mels(60, 32)
    config = PatchPCAConfig(patch_frames=2, channels=40)
    codec = fit_patch_pca(config, train)
    every = torch.cat([to_patches(m[None], 2)[0] for m in train])
    values = torch.linalg.eigvalsh(torch.cov(every.T.double(), correction=0))
    residual = every - to_patches(
        torch.cat([codec.decode(codec.encode(m[None])) for m in train], dim=2), 2
    )[0]  # fmt: skip
    found = residual.square().sum(1).mean()
    assert float(found) == pytest.approx(float(values[:120].sum()), rel=1e-3)


def test_noise_fill_has_the_energy_of_what_was_left_out() -> None:
    train = mels(80, 64)
    codec = fit_patch_pca(PatchPCAConfig(patch_frames=4, channels=32, noise_fill=1.0), train)
    generator = torch.Generator().manual_seed(1)
    for mel in (train[0], train[5]):
        latents = codec.encode(mel[None])
        plain = codec.decode(latents)
        noise = torch.randn(plain.shape, generator=generator)
        filled = codec.decode(latents, noise)
        wanted = float((mel - plain[0]).square().mean())
        assert float((filled - plain).square().mean()) == pytest.approx(wanted, rel=0.25)


def test_noise_fill_can_be_turned_off() -> None:
    train = mels(20, 32)
    codec = fit_patch_pca(PatchPCAConfig(patch_frames=2, channels=8, noise_fill=0.0), train)
    latents = codec.encode(train[0][None])
    noise = torch.randn(1, 80, 32)
    torch.testing.assert_close(codec.decode(latents, noise), codec.decode(latents))
