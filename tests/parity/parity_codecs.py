"""Variants of the items of codecs and vocoders: our classes under published names."""

from __future__ import annotations

import math
import re
from dataclasses import replace

import torch
from parity_writer import Draws, Reference
from torch import Tensor
from torch.nn.functional import conv1d, conv_transpose1d, pad

from soundleap.audio.mel import AUDIOLDM_MEL, NAT_MEL
from soundleap.models.alias_free import half_band_filter
from soundleap.models.autoencoder1d import Autoencoder1d, Autoencoder1dConfig
from soundleap.models.bigvgan import BigVGAN, BigVGANConfig
from soundleap.models.hifigan import HifiGan, HifiGanConfig
from soundleap.models.vae2d import VAE2d, VAE2dConfig


@torch.no_grad()
def autoencoder() -> Reference:
    """Four levels, two of them halving time, one attending."""
    draws = Draws(41)
    made = Autoencoder1d(
        Autoencoder1dConfig(
            n_mels=10,
            channels=3,
            inner_channels=4,
            width=32,
            multipliers=(1, 1, 2, 1),
            blocks=2,
            kernel_size=3,
            down_levels=(0, 2),
            encoder_attention=(1,),
            decoder_attention=(1,),
        )
    ).eval()
    draws.fill(made)
    mel, noise, z = draws.normal(1, 10, 24), draws.normal(1, 3, 6), draws.normal(2, 3, 5)
    mean, logvar = made.posterior(mel)
    dims = {
        "double_z": True,
        "in_channels": 10,
        "out_ch": 10,
        "z_channels": 4,
        "kernel_size": 3,
        "ch": 32,
        "ch_mult": [1, 1, 2, 1],
        "num_res_blocks": 2,
        "attn_layers": [1],
        "down_layers": [0, 2],
        "dropout": 0.0,
    }
    outputs = {
        "mean": mean,
        "logvar": logvar,
        "sample": mean + torch.exp(logvar / 2) * noise,
        "mel": made.decoder(made.post_quant_conv(z)),
    }
    return Reference(
        "audiolcm_autoencoder1d",
        {"embed_dim": 3, "ddconfig": dims},
        {"mel": mel, "posterior_noise": noise, "z": z},
        outputs,
        made.state_dict(),
    )


@torch.no_grad()
def bigvgan() -> Reference:
    """Three stages, two kernels, weight norm taken apart."""
    draws, rates = Draws(42), (3, 2, 2)
    made = BigVGAN(
        BigVGANConfig(
            mel=replace(NAT_MEL, hop_length=math.prod(rates), n_mels=6),
            width=16,
            upsample_rates=rates,
            upsample_kernels=(7, 4, 4),
            block_kernels=(3, 5),
            block_dilations=((1, 2), (1, 3)),
        )
    ).eval()
    draws.fill(made)
    mel = draws.normal(2, 6, 7)
    constructor = {
        "resblock": "1",
        "upsample_rates": list(rates),
        "upsample_kernel_sizes": [7, 4, 4],
        "upsample_initial_channel": 16,
        "resblock_kernel_sizes": [3, 5],
        "resblock_dilation_sizes": [[1, 2], [1, 3]],
        "activation": "snakebeta",
        "snake_logscale": True,
        "num_mels": 6,
    }
    weights: dict[str, Tensor] = {}
    for name, value in made.state_dict().items():
        weights |= _bigvgan_published(name, value)
    x = draws.normal(2, 8, 9)
    first = made.get_submodule("resblocks.0.activations.0")
    alpha, beta = (first.get_parameter(name)[:, None].exp() for name in ("alpha", "beta"))
    taps = half_band_filter().expand(8, 1, 12)
    up = 2 * conv_transpose1d(pad(x, (5, 5), mode="replicate"), taps, stride=2, groups=8)
    up = up[..., 15:-15]
    snake = up + (up * alpha).sin() ** 2 / (beta + 1e-9)
    down, activated = (
        conv1d(pad(value, (5, 6), mode="replicate"), taps, stride=2, groups=8)
        for value in (up, snake)
    )
    outputs = {"wav": made(mel)[:, None], "activation": activated}
    outputs |= {"activation_up": up, "activation_down": down}
    inputs = {"mel": mel, "activation": x}
    return Reference("audiolcm_bigvgan", constructor, inputs, outputs, weights)


def _bigvgan_published(name: str, value: Tensor) -> dict[str, Tensor]:
    head, _, last = name.rpartition(".")
    if last in ("alpha", "beta"):
        filters = {
            f"{head}.upsample.filter": half_band_filter()[None, None],
            f"{head}.downsample.lowpass.filter": half_band_filter()[None, None],
        }
        return {f"{head}.act.{last}": value, **(filters if last == "alpha" else {})}
    head = f"{head}.0" if head.startswith("ups.") else head
    if last == "bias":
        return {f"{head}.bias": value}
    norm = value.flatten(1).norm(dim=1).reshape(-1, *[1] * (value.ndim - 1))
    return {f"{head}.weight_g": norm, f"{head}.weight_v": 1.7 * value}


@torch.no_grad()
def vae_and_hifigan() -> Reference:
    """Three levels of two blocks; other rates, one of them odd."""
    draws = Draws(43)
    vae = VAE2d(
        VAE2dConfig(
            channels=4,
            n_mels=12,
            block_out_channels=(32, 32, 64),
            layers_per_block=2,
            scale_factor=0.75,
            fixed_length=None,
        )
    ).eval()
    vocoder = HifiGan(
        HifiGanConfig(
            mel=replace(AUDIOLDM_MEL, hop_length=15, n_mels=12),
            upsample_rates=(5, 3),
            upsample_kernel_sizes=(16, 7),
            upsample_initial_channel=8,
            resblock_kernel_sizes=(3, 5),
            resblock_dilation_sizes=((1, 2), (1, 3)),
        )
    ).eval()
    draws.fill(vae)
    draws.fill(vocoder)
    vocoder.net.mean.zero_()
    vocoder.net.scale.fill_(1)
    mel, noise, z = (draws.normal(2, *shape) for shape in ((1, 16, 12), (4, 4, 3), (4, 4, 3)))
    distribution = vae.vae.encode(mel).latent_dist
    latent = 0.75 * (distribution.mean + distribution.std * noise)
    decoded, again = (vae.vae.decode(value / 0.75).sample for value in (z, latent))
    vocoder_mel = draws.normal(1, 12, 9)
    sound = vocoder.net(decoded[:, 0])
    sound = sound - (sound.max() + sound.min()) / 2
    constructor = {
        "embed_dim": 4,
        "scale_factor": 0.75,
        "ddconfig": {
            "double_z": True,
            "z_channels": 4,
            "in_channels": 1,
            "out_ch": 1,
            "ch": 32,
            "ch_mult": [1, 1, 2],
            "num_res_blocks": 2,
            "attn_resolutions": [],
            "downsample_time": False,
        },
        "vocoder": {
            "upsample_rates": [5, 3],
            "upsample_kernel_sizes": [16, 7],
            "upsample_initial_channel": 8,
            "resblock_kernel_sizes": [3, 5],
            "resblock_dilation_sizes": [[1, 2], [1, 3]],
            "num_mels": 12,
        },
    }
    outputs = {
        "mean": distribution.mean,
        "logvar": distribution.logvar,
        "latent": latent,
        "mel": decoded,
        "reconstruction": again,
        "vocoder": vocoder.net(vocoder_mel.transpose(1, 2))[:, None],
        "waveform_float": sound,
        "waveform_int16": (sound * 32768).long(),
    }
    inputs = {"mel": mel, "posterior_noise": noise, "z": z, "vocoder_mel": vocoder_mel}
    weights = {name: value for key, tensor in vae.state_dict().items()
               for name, value in [_vae_published(key, tensor)]}  # fmt: skip
    for key, tensor in vocoder.state_dict().items():
        if key not in ("net.mean", "net.scale"):
            weights[f"vocoder.{key.removeprefix('net.').replace('upsampler', 'ups')}"] = tensor
    return Reference("audioldm_vae_hifigan", constructor, inputs, outputs, weights)


def _vae_published(name: str, value: Tensor) -> tuple[str, Tensor]:
    name = re.sub(r"^vae\.", "", name)
    name = re.sub(r"down_blocks\.(\d)\.resnets", r"down.\1.block", name)
    name = re.sub(r"down_blocks\.(\d)\.downsamplers\.0", r"down.\1.downsample", name)
    name = re.sub(r"up_blocks\.(\d)\.", lambda found: f"up.{2 - int(found[1])}.", name)
    name = re.sub(r"(up\.\d)\.resnets", r"\1.block", name)
    name = re.sub(r"(up\.\d)\.upsamplers\.0", r"\1.upsample", name)
    name = re.sub(r"mid_block\.resnets\.(\d)", lambda found: f"mid.block_{int(found[1]) + 1}", name)
    name = name.replace("conv_shortcut", "nin_shortcut").replace("conv_norm_out", "norm_out")
    attention = "mid_block.attentions.0."
    if attention in name:
        name = name.replace(attention, "mid.attn_1.").replace("group_norm", "norm")
        name = name.replace("to_out.0", "proj_out").replace("to_", "")
        value = value[:, :, None, None] if value.ndim == 2 else value
    return name, value
