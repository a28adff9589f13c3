"""Latent codec of AudioLCM and Make-An-Audio 2: a 1-D KL autoencoder on log10-mel spectrograms.

Mel bins are channels and only time is downsampled. Its group norms and its attention run over the
whole sound, so it works on whole sounds and can't be cut in chunks. Parameters have the published
names.

Source: Huang et al., Make-An-Audio 2 (2023), section 3.4; Rombach et al., High-Resolution Image
Synthesis with Latent Diffusion Models (2022), appendix G.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

from soundleap.errors import InputError
from soundleap.models.autoencoder1d_blocks import NORM_GROUPS, Level, Middle

LOWEST_LOG_VARIANCE, HIGHEST_LOG_VARIANCE = -30.0, 20.0


@dataclass(frozen=True)
class Autoencoder1dConfig:
    """Sizes; the defaults are the published ones.

    Attributes:
        kind: tells the file of this codec from those of others.
        n_mels: mel bins M.
        channels: channels C of the latents.
        inner_channels: channels between the networks and the latents' projections.
        width: channels of the convolutions at the first level.
        multipliers: factor on `width` at each level.
        blocks: residual blocks at each level of the encoder; the decoder has one more.
        kernel_size: of the encoder's convolutions and of both networks' outermost ones, odd.
        down_levels: levels after which time is halved, counted from 0, not the last.
        encoder_attention: levels of the encoder that attend after each block; none as published.
        decoder_attention: the same for the decoder.
        scale_factor: what latents are multiplied by, so that they have about unit variance.
        fixed_length: None, sounds of any length.
    """

    kind: Literal["autoencoder1d"] = "autoencoder1d"
    n_mels: int = 80
    channels: int = 20
    inner_channels: int = 20
    width: int = 384
    multipliers: tuple[int, ...] = (1, 2, 4)
    blocks: int = 2
    kernel_size: int = 5
    down_levels: tuple[int, ...] = (0,)
    encoder_attention: tuple[int, ...] = ()
    decoder_attention: tuple[int, ...] = ()
    scale_factor: float = 1.0
    fixed_length: None = None

    def __post_init__(self) -> None:
        """Check the sizes.

        Raises:
            InputError: naming the first that is not allowed.
        """
        for name in ("n_mels", "channels", "inner_channels", "width", "blocks", "kernel_size"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)}; it must be above 0")
        if self.width % NORM_GROUPS:
            raise InputError(f"width is {self.width}; allowed: multiples of {NORM_GROUPS}")
        if not self.multipliers or min(self.multipliers) < 1:
            raise InputError(f"multipliers is {self.multipliers}; needed: whole numbers from 1")
        if not self.kernel_size % 2:
            raise InputError(f"kernel_size is {self.kernel_size}; allowed: odd numbers")
        if not set(self.down_levels) <= set(range(len(self.multipliers) - 1)):
            last = len(self.multipliers) - 2
            raise InputError(f"down_levels is {self.down_levels}; allowed: levels 0 to {last}")
        for name in ("encoder_attention", "decoder_attention"):
            if not set(getattr(self, name)) <= set(range(len(self.multipliers))):
                last = len(self.multipliers) - 1
                raise InputError(f"{name} is {getattr(self, name)}; allowed: levels 0 to {last}")
        if not 0 < self.scale_factor < float("inf"):
            raise InputError(f"scale_factor is {self.scale_factor}; it must be above 0")

    @property
    def patch_frames(self) -> int:
        """Mel frames that one latent vector covers."""
        return int(2 ** len(set(self.down_levels)))

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of the convolutions at each level."""
        return tuple(self.width * factor for factor in self.multipliers)


class Encoder(nn.Module):
    """Mel to the parameters of the posterior, before their projection."""

    def __init__(self, config: Autoencoder1dConfig):
        super().__init__()
        widths, kernel_size = config.widths, config.kernel_size
        side = kernel_size // 2
        self.conv_in = nn.Conv1d(config.n_mels, config.width, kernel_size, padding=side)
        self.down = nn.ModuleList(
            Level(
                (inward, outward),
                config.blocks,
                kernel_size,
                attend=i in config.encoder_attention,
                downsample=i in config.down_levels,
            )
            for i, (inward, outward) in enumerate(
                zip((config.width, *widths), widths, strict=False)
            )
        )
        self.mid = Middle(widths[-1], kernel_size)
        self.norm_out = nn.GroupNorm(NORM_GROUPS, widths[-1], eps=1e-6)
        self.conv_out = nn.Conv1d(widths[-1], 2 * config.inner_channels, kernel_size, padding=side)

    def forward(self, mel: Tensor) -> Tensor:
        """Map ``[B, M, F]`` to ``[B, 2C, L]``."""
        x = self.conv_in(mel)
        for level in self.down:
            x = level(x)
        return self.conv_out(silu(self.norm_out(self.mid(x))))


class Decoder(nn.Module):
    """Projected latents to mel; its inner convolutions always have a kernel of 3."""

    def __init__(self, config: Autoencoder1dConfig):
        super().__init__()
        widths, kernel_size = config.widths, config.kernel_size
        side = kernel_size // 2
        self.conv_in = nn.Conv1d(config.inner_channels, widths[-1], kernel_size, padding=side)
        self.mid = Middle(widths[-1], 3)
        self.up = nn.ModuleList(
            Level(
                (inward, outward),
                config.blocks + 1,
                3,
                attend=i in config.decoder_attention,
                upsample=i - 1 in config.down_levels,
            )
            for i, (inward, outward) in enumerate(
                zip((*widths[1:], widths[-1]), widths, strict=True)
            )
        )
        self.norm_out = nn.GroupNorm(NORM_GROUPS, config.width * config.multipliers[0], eps=1e-6)
        self.conv_out = nn.Conv1d(widths[0], config.n_mels, kernel_size, padding=side)

    def forward(self, z: Tensor) -> Tensor:
        """Map ``[B, C, L]`` to ``[B, M, F]``."""
        x = self.mid(self.conv_in(z))
        for level in reversed(self.up):
            x = level(x)
        return self.conv_out(silu(self.norm_out(x)))


class Autoencoder1d(nn.Module):
    """Mel ``[B, M, F]`` to latents ``[B, C, F / P]`` and back.

    Attributes:
        draws_noise: False, decoding has no gaps to fill.
    """

    draws_noise: bool = False

    def __init__(self, config: Autoencoder1dConfig):
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)
        self.quant_conv = nn.Conv1d(2 * config.inner_channels, 2 * config.channels, 1)
        self.post_quant_conv = nn.Conv1d(config.channels, config.inner_channels, 1)

    def latent_shape(self, length: int) -> tuple[int, ...]:
        """Give the shape ``(C, L)`` of one sample's latents."""
        return (self.config.channels, length)

    def posterior(self, mel: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log-variance ``[B, C, F / P]`` of the latents, not scaled.

        Args:
            mel: ``[B, M, F]``, F a multiple of P above 0.

        Raises:
            InputError: for another shape.
        """
        self._check(mel)
        mean, log_variance = self.quant_conv(self.encoder(mel)).chunk(2, dim=1)
        return mean, log_variance.clamp(LOWEST_LOG_VARIANCE, HIGHEST_LOG_VARIANCE)

    def encode(self, mel: Tensor, noise: Tensor | None = None) -> Tensor:
        """Return scaled latents ``[B, C, F / P]``.

        Args:
            mel: ``[B, M, F]``, F a multiple of P above 0.
            noise: white, shaped like the result, to sample the posterior; its mean if None.

        Raises:
            InputError: for another shape.
        """
        mean, log_variance = self.posterior(mel)
        if noise is not None:
            mean = mean + torch.exp(0.5 * log_variance) * noise
        return mean * self.config.scale_factor

    def decode(self, latents: Tensor, noise: Tensor | None = None) -> Tensor:
        """Return mel ``[B, M, L · P]``.

        Args:
            latents: ``[B, C, L]``, scaled.
            noise: what other latent codecs fill gaps with; this one has none to fill.
        """
        return self.decoder(self.post_quant_conv(latents / self.config.scale_factor))

    def _check(self, mel: Tensor) -> None:
        shape, frames = tuple(mel.shape), self.config.patch_frames
        if len(shape) != 3 or shape[1] != self.config.n_mels or not shape[2] or shape[2] % frames:
            raise InputError(
                f"mel is {shape}; needed: [B, {self.config.n_mels}, F] with F a multiple of "
                f"{frames}; repeat or cut the last frame"
            )
