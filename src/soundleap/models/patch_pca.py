"""Closed-form latent codec: principal components of mel patches, with noise fill at decoding.

A patch of P mel frames (P·M numbers) becomes one latent vector of C numbers. What the components
leave out is mostly noise whose energy can be predicted from what they hold, so decoding adds noise
of that energy and of the residual's measured correlation.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

NOISE_BANDS = 16


@dataclass(frozen=True)
class PatchPCAConfig:
    """Sizes of the codec: M mel bins, P frames a patch, C components a latent vector."""

    n_mels: int = 80
    patch_frames: int = 8
    channels: int = 128
    noise_fill: float = 0.8


class PatchPCA(nn.Module):
    """Mel ``[B, M, F]`` to latents ``[B, C, F / P]`` and back; fitted by `fit_patch_pca`."""

    draws_noise = True

    mean: Tensor
    components: Tensor
    scale: Tensor
    residual_weights: Tensor
    residual_filter: Tensor

    def __init__(self, config: PatchPCAConfig):
        super().__init__()
        self.config = config
        size, channels = config.n_mels * config.patch_frames, config.channels
        features = 3 * channels + 1
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("components", torch.zeros(channels, size))
        self.register_buffer("scale", torch.ones(channels))
        self.register_buffer("residual_weights", torch.zeros(features, NOISE_BANDS))
        self.register_buffer("residual_filter", torch.zeros(5, 7))

    def encode(self, mel: Tensor) -> Tensor:
        """Return latents ``[B, C, F / P]`` of about unit variance; F must be a multiple of P."""
        patches = to_patches(mel, self.config.patch_frames)
        return ((patches - self.mean) @ self.components.T / self.scale).transpose(1, 2)

    def latent_shape(self, length: int) -> tuple[int, ...]:
        """Give the shape ``(C, L)`` of one sample's latents."""
        return (self.config.channels, length)

    def decode(self, latents: Tensor, noise: Tensor | None = None) -> Tensor:
        """Return mel ``[B, M, F]``; `noise` (white, same shape as the result) adds the fill."""
        z = latents.transpose(1, 2)
        patches = (z * self.scale) @ self.components + self.mean
        mel = from_patches(patches, self.config.n_mels)
        if noise is None or self.config.noise_fill == 0:
            return mel
        return mel + self.config.noise_fill * self._fill_level(z) * self._colour(noise)

    def _fill_level(self, z: Tensor) -> Tensor:
        """Standard deviation of the residual for every mel bin and frame, ``[B, M, F]``."""
        log_energy = residual_features(z) @ self.residual_weights  # [B, L, bands]
        level = torch.exp(0.5 * log_energy).transpose(1, 2)
        mels_in_a_band = self.config.n_mels // NOISE_BANDS
        level = level.repeat_interleave(mels_in_a_band, dim=1)
        return level.repeat_interleave(self.config.patch_frames, dim=2)

    def _colour(self, noise: Tensor) -> Tensor:
        kernel = self.residual_filter[None, None]
        return nn.functional.conv2d(noise[:, None], kernel, padding="same")[:, 0]


def to_patches(mel: Tensor, patch_frames: int) -> Tensor:
    """Cut ``[B, M, F]`` into ``[B, F / P, M·P]``."""
    batch, n_mels, frames = mel.shape
    cut = mel.reshape(batch, n_mels, frames // patch_frames, patch_frames)
    return cut.permute(0, 2, 1, 3).flatten(2)


def from_patches(patches: Tensor, n_mels: int) -> Tensor:
    """Undo `to_patches`."""
    batch, count, size = patches.shape
    cut = patches.reshape(batch, count, n_mels, size // n_mels)
    return cut.permute(0, 2, 1, 3).flatten(2)


def residual_features(z: Tensor) -> Tensor:
    """Return ``(z, |z|, z², 1)`` along the last dimension."""
    return torch.cat([z, z.abs(), z**2, torch.ones_like(z[..., :1])], dim=-1)


def fit_patch_pca(config: PatchPCAConfig, mels: list[Tensor], ridge: float = 1.0) -> PatchPCA:
    """Fit every number of a `PatchPCA` in closed form.

    Args:
        config: sizes.
        mels: mel spectrograms ``[M, F]`` of any lengths.
        ridge: strength of the ridge in the regression of the residual's energy.

    Returns:
        The fitted codec. Component i is divided by std_i^½ and then all by one number that makes
        the average variance 1, so that large components keep more of their weight.
    """
    codec = PatchPCA(config)
    frames = config.patch_frames
    cut = [m[:, : m.shape[1] // frames * frames] for m in mels]
    patches = torch.cat([to_patches(m[None], frames)[0] for m in cut if m.shape[1]])
    codec.mean.copy_(patches.mean(0))
    centred = (patches - codec.mean).double()
    values, vectors = torch.linalg.eigh(centred.T @ centred / len(centred))
    order = values.argsort(descending=True)[: config.channels]
    std = values[order].clamp_min(1e-12).sqrt()
    codec.components.copy_(vectors[:, order].T)
    codec.scale.copy_(std.sqrt() * std.mean().sqrt())
    _fit_noise_fill(codec, cut, ridge)
    return codec


def _fit_noise_fill(codec: PatchPCA, mels: list[Tensor], ridge: float) -> None:
    config = codec.config
    features, energies, pictures = [], [], []
    for mel in mels:
        if not mel.shape[1]:
            continue
        z = codec.encode(mel[None])
        residual = mel - codec.decode(z)[0]
        bands = residual.reshape(NOISE_BANDS, -1, residual.shape[1] // config.patch_frames,
                                 config.patch_frames)  # fmt: skip
        energies.append(torch.log((bands**2).mean((1, 3)).T + 1e-6))
        features.append(residual_features(z.transpose(1, 2))[0])
        pictures.append(residual / (residual.std() + 1e-3))
    x, y = torch.cat(features).double(), torch.cat(energies).double()
    gram = x.T @ x + ridge * torch.eye(x.shape[1], dtype=x.dtype)
    codec.residual_weights.copy_(torch.linalg.solve(gram, x.T @ y))
    codec.residual_filter.copy_(_correlation_filter(pictures, codec.residual_filter.shape))


def _correlation_filter(pictures: list[Tensor], shape: torch.Size) -> Tensor:
    """Zero-phase filter of unit energy whose output has the pictures' mean power spectrum."""
    size = 32
    power = torch.zeros(size, size, dtype=torch.float64)
    for picture in pictures:
        for left in range(0, picture.shape[1] - size + 1, size):
            for top in range(0, picture.shape[0] - size + 1, 24):
                tile = picture[top : top + size, left : left + size].double()
                power += torch.fft.fft2(tile).abs() ** 2
    kernel = torch.fft.fftshift(torch.fft.ifft2(power.clamp_min(1e-12).sqrt()).real)
    middle, (rows, columns) = size // 2, shape
    kernel = kernel[middle - rows // 2 : middle + rows // 2 + 1,
                    middle - columns // 2 : middle + columns // 2 + 1]  # fmt: skip
    return (kernel / kernel.square().sum().sqrt()).float()
