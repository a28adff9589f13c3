"""AudioLDM's autoencoder and vocoder, which ConsistencyTTA and TANGO use."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from typing import TypeVar

import torch
from torch import Tensor

from soundleap.audio.dc import remove_dc, to_int16
from soundleap.audio.mel import AUDIOLDM_MEL
from soundleap.importers.keys_2d import hifigan_state, split_vae, vae2d_state
from soundleap.models.hifigan import HifiGan, HifiGanConfig
from soundleap.models.vae2d import VAE2d, VAE2dConfig

from .compare import Kind
from .family import Family, output
from .items import supported
from .networks import filled

Result = TypeVar("Result")


class Codec(Family):
    """``audioldm_vae_hifigan``; pictures ``[B, 1, F, M]`` are mel ``[B, M, F]`` here."""

    @cached_property
    def codec(self) -> VAE2d:
        """The autoencoder."""
        values, dims = self.item.constructor, self.item.constructor["ddconfig"]
        supported(
            dims,
            double_z=True,
            in_channels=1,
            out_ch=1,
            attn_resolutions=[],
            downsample_time=False,
            z_channels=values["embed_dim"],
        )
        supported(values, subband=1, time_shuffle=1)
        config = VAE2dConfig(
            channels=values["embed_dim"],
            n_mels=self.item.input("mel").shape[3],
            block_out_channels=tuple(dims["ch"] * factor for factor in dims["ch_mult"]),
            layers_per_block=dims["num_res_blocks"],
            scale_factor=values["scale_factor"],
            fixed_length=None,
        )
        return filled(VAE2d(config), vae2d_state(split_vae(self.item.weights)[0]))

    @cached_property
    def vocoder(self) -> HifiGan:
        """The vocoder."""
        values = self.item.constructor["vocoder"]
        supported(values, resblock="1")
        rates = values["upsample_rates"]
        config = HifiGanConfig(
            mel=replace(AUDIOLDM_MEL, hop_length=math.prod(rates), n_mels=values["num_mels"]),
            upsample_rates=tuple(rates),
            upsample_kernel_sizes=tuple(values["upsample_kernel_sizes"]),
            upsample_initial_channel=values["upsample_initial_channel"],
            resblock_kernel_sizes=tuple(values["resblock_kernel_sizes"]),
            resblock_dilation_sizes=values["resblock_dilation_sizes"],
        )
        return filled(HifiGan(config), hifigan_state(split_vae(self.item.weights)[1]))

    @cached_property
    def mel_in(self) -> Tensor:
        """The spectrogram to encode."""
        return self.item.input("mel")[:, 0].transpose(1, 2)

    @cached_property
    def posterior(self) -> tuple[Tensor, Tensor]:
        """Mean and log-variance."""
        return _quiet(self.codec.posterior, self.mel_in)

    @cached_property
    def latents(self) -> Tensor:
        """Scaled latents, drawn with the stored noise."""
        return _quiet(self.codec.encode, self.mel_in, self.item.input("posterior_noise"))

    @cached_property
    def mel_out(self) -> Tensor:
        """What the stored latents are decoded to."""
        return _quiet(self.codec.decode, self.item.input("z"))

    @cached_property
    def waveform(self) -> Tensor:
        """Its sound, with the batch's offset removed."""
        return remove_dc(_quiet(self.vocoder, self.mel_out), per="batch")

    @output("mean", Kind.NETWORK)
    def mean(self) -> Tensor:
        """Give the posterior's mean."""
        return self.posterior[0]

    @output("logvar", Kind.NETWORK)
    def logvar(self) -> Tensor:
        """Give the posterior's log-variance."""
        return self.posterior[1]

    @output("latent", Kind.NETWORK)
    def latent(self) -> Tensor:
        """Give latents."""
        return self.latents

    @output("mel", Kind.NETWORK)
    def mel(self) -> Tensor:
        """Give the decoded spectrogram."""
        return _picture(self.mel_out)

    @output("reconstruction", Kind.SAMPLE)
    def reconstruction(self) -> Tensor:
        """Give what our own latents are decoded to."""
        return _picture(_quiet(self.codec.decode, self.latents))

    @output("vocoder", Kind.NETWORK)
    def vocoded(self) -> Tensor:
        """Give the stored spectrogram's sound."""
        return _quiet(self.vocoder, self.item.input("vocoder_mel"))[:, None]

    @output("waveform_float", Kind.SAMPLE)
    def waveform_float(self) -> Tensor:
        """Give the decoded spectrogram's sound."""
        return self.waveform

    @output("waveform_int16", Kind.COUNT)
    def waveform_int16(self) -> Tensor:
        """Give it in 16-bit numbers."""
        return to_int16(self.waveform)


def _picture(mel: Tensor) -> Tensor:
    return mel.transpose(1, 2)[:, None]


def _quiet(function: Callable[..., Result], *values: Tensor) -> Result:
    with torch.no_grad():
        return function(*values)
