"""Latent codec of ConsistencyTTA and TANGO: AudioLDM's 2-D autoencoder, as diffusers builds it.

A log-mel spectrogram is an image of one channel; both its axes are halved once a level but the
last. The decoder attends over the whole clip in its middle and normalises over groups of the whole
clip, so there is no cut of it in time that gives the same numbers: it decodes whole clips. What it
needs is kept low by fused attention, by bfloat16 where it is asked for, and by `drop_encoder`.

Source: Liu et al., AudioLDM (2023), section 4.2; Rombach et al., High-Resolution Image Synthesis
with Latent Diffusion Models (2022), appendix G.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from soundleap.errors import InputError, SoundleapError
from soundleap.models.fast_cpu import fast_cpu
from soundleap.models.stock import stock_class


@dataclass(frozen=True)
class VAE2dConfig:
    """Sizes of a `VAE2d`; the defaults are AudioLDM's.

    Attributes:
        kind: tells the file of this codec from those of others.
        channels: channels C of the latents.
        n_mels: mel bins M, a multiple of `patch_frames`.
        block_out_channels: width of each level; multiples of `norm_num_groups`.
        layers_per_block: residual blocks at each level of the encoder (the decoder has one more).
        norm_num_groups: groups of the group norms.
        scale_factor: what brings the latents to about unit variance; each checkpoint has its own.
        fixed_length: latent steps of every clip, or None for any length.
        encoder: whether the encoder is there; a decoder alone makes sounds.
    """

    kind: Literal["vae2d"] = "vae2d"
    channels: int = 8
    n_mels: int = 64
    block_out_channels: tuple[int, ...] = (128, 256, 512)
    layers_per_block: int = 2
    norm_num_groups: int = 32
    scale_factor: float = 0.9227914214134216
    fixed_length: int | None = 256
    encoder: bool = True

    def __post_init__(self) -> None:
        """Check the sizes; lists, as JSON holds them, become tuples.

        Raises:
            InputError: naming the first setting that is not allowed.
        """
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, list):
                object.__setattr__(self, field.name, tuple(value))
        for name in ("channels", "n_mels", "layers_per_block", "norm_num_groups", "scale_factor"):
            if not getattr(self, name) > 0:
                raise InputError(f"{name} is {getattr(self, name)}; it must be above 0")
        widths = self.block_out_channels
        if not widths or any(width < 1 or width % self.norm_num_groups for width in widths):
            raise InputError(
                f"block_out_channels is {widths}; allowed: multiples of norm_num_groups, "
                f"{self.norm_num_groups}, at least one"
            )
        if self.n_mels % self.patch_frames:
            raise InputError(f"n_mels is {self.n_mels}; allowed: multiples of {self.patch_frames}")
        if self.fixed_length is not None and self.fixed_length < 1:
            raise InputError(f"fixed_length is {self.fixed_length}; allowed: from 1, or None")

    @property
    def patch_frames(self) -> int:
        """Mel frames (and mel bins) that one step of the latents covers."""
        return 2 ** (len(self.block_out_channels) - 1)

    @property
    def freq_bins(self) -> int:
        """Size H of the latents' frequency axis."""
        return self.n_mels // self.patch_frames


class VAE2d(nn.Module):
    """Mel ``[B, M, F]`` to latents ``[B, C, L, H]`` (time, frequency) and back.

    Attributes:
        draws_noise: False; decoding needs no noise.
        vae: diffusers' network.
    """

    draws_noise = False

    def __init__(self, config: VAE2dConfig):
        super().__init__()
        self.config = config
        self.vae: Any = _make_vae(config)
        if not config.encoder:
            self.drop_encoder()

    def latent_shape(self, length: int) -> tuple[int, ...]:
        """Give the shape of one sample's latents: channels, `length`, frequencies."""
        return (self.config.channels, length, self.config.freq_bins)

    def encode(self, mel: Tensor, noise: Tensor | None = None) -> Tensor:
        """Return scaled latents ``[B, C, L, H]``.

        Args:
            mel: ``[B, M, F]`` natural-log mel, F a multiple of `config.patch_frames`.
            noise: white, shaped like the result, to sample; None gives the mean.

        Raises:
            InputError: for another shape.
            SoundleapError: if the encoder was left out.
        """
        mean, log_variance = self.posterior(mel)
        if noise is not None:
            mean = mean + torch.exp(0.5 * log_variance) * noise
        return self.config.scale_factor * mean

    def posterior(self, mel: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log-variance ``[B, C, L, H]`` in float32, not scaled.

        The log-variance lies between -30 and 20. `mel` and errors are as of `encode`.
        """
        self._check_mel(mel)
        dtype = self.vae.quant_conv.weight.dtype
        picture = mel.transpose(1, 2).unsqueeze(1).to(dtype)
        with fast_cpu(mel):
            distribution = self.vae.encode(_channels_last(picture), return_dict=False)[0]
        return distribution.mean.float(), distribution.logvar.float()

    def decode(self, latents: Tensor, noise: Tensor | None = None) -> Tensor:
        """Return natural-log mel ``[B, M, F]`` in float32 for latents ``[B, C, L, H]``.

        Args:
            latents: as from `encode`.
            noise: what other latent codecs fill gaps with; this one has none to fill.

        Raises:
            InputError: for another shape.
        """
        shape, config = tuple(latents.shape), self.config
        if len(shape) != 4 or (shape[1], shape[3]) != (config.channels, config.freq_bins):
            raise InputError(
                f"latents are {shape}; needed: [B, {config.channels}, L, {config.freq_bins}]"
            )
        unscaled = (latents / config.scale_factor).to(self.vae.post_quant_conv.weight.dtype)
        with fast_cpu(latents):
            picture = self.vae.decode(_channels_last(unscaled), return_dict=False)[0]
        return picture[:, 0].transpose(1, 2).float()

    def drop_encoder(self) -> None:
        """Free the encoder; from now on this only decodes, and is saved as a decoder."""
        self.vae.encoder = None
        self.vae.quant_conv = None
        self.config = replace(self.config, encoder=False)

    def _check_mel(self, mel: Tensor) -> None:
        shape, config = tuple(mel.shape), self.config
        if self.vae.encoder is None:
            raise SoundleapError("this codec holds its decoder only; load one with the encoder")
        fits = len(shape) == 3 and shape[1] == config.n_mels and shape[2] > 0
        if not fits or shape[2] % config.patch_frames:
            raise InputError(
                f"mel is {shape}; needed: [B, {config.n_mels}, F] with F a multiple of "
                f"{config.patch_frames}"
            )


class DoublingConv(nn.Module):
    """The stock upsampler, nearest neighbour and then a 3 x 3 convolution, in one step.

    On a processor and without gradients the two are one transposed convolution by 4 x 4 with half
    of the work, equal but for rounding.
    """

    def __init__(self, stock: Any):
        super().__init__()
        self.conv = stock.conv

    def forward(self, x: Tensor, *_: Any) -> Tensor:
        """Map ``[B, C, L, H]`` to ``[B, C, 2 L, 2 H]``."""
        if x.device.type != "cpu" or torch.is_grad_enabled():
            return self.conv(functional.interpolate(x, scale_factor=2.0, mode="nearest"))
        weight = functional.pad(self.conv.weight.float(), (1, 1, 1, 1))
        rows = weight[:, :, 1:] + weight[:, :, :-1]  # each input row is two rows of its double
        folded = (rows[..., 1:] + rows[..., :-1]).flip(2, 3).transpose(0, 1).to(x.dtype)
        return functional.conv_transpose2d(
            x, _channels_last(folded), self.conv.bias, stride=2, padding=1
        )


def _channels_last(x: Tensor) -> Tensor:
    """Lay out so that all convolutions to come work with the channels side by side: faster."""
    return x.contiguous(memory_format=torch.channels_last)


def _make_vae(config: VAE2dConfig) -> Any:
    make = stock_class("diffusers.models.autoencoders.autoencoder_kl", "AutoencoderKL")
    levels = len(config.block_out_channels)
    vae = make(
        in_channels=1,
        out_channels=1,
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        block_out_channels=config.block_out_channels,
        layers_per_block=config.layers_per_block,
        latent_channels=config.channels,
        norm_num_groups=config.norm_num_groups,
        scaling_factor=config.scale_factor,
    )
    for block in vae.decoder.up_blocks[:-1]:
        block.upsamplers[0] = DoublingConv(block.upsamplers[0])
    return vae
