"""From the published names of ConsistencyTTA, TANGO and AudioLDM to those of our modules.

All functions are pure and take names without a prefix. Tensors are passed on or viewed, not copied,
so they may be mapped from a file. `store.load_state` and the modules themselves tell missing and
unexpected names; only what can't be named at all is an error here.

Source: the state dicts of the published classes, listed at full size.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from soundleap.audio.mel import AUDIOLDM_MEL, MelConfig
from soundleap.diffusion.denoisers import Prediction
from soundleap.errors import BundleError
from soundleap.models.hifigan import HifiGanConfig
from soundleap.models.text_t5 import T5Config
from soundleap.models.unet2d import (
    CROSS_DOWN,
    CROSS_UP,
    FULL,
    LIGHT,
    PLAIN_DOWN,
    PLAIN_UP,
    UNet2DConfig,
)
from soundleap.models.vae2d import VAE2dConfig

State = Mapping[str, Tensor]
_HEADS = {config.block_out_channels: config.attention_heads for config in (LIGHT, FULL)}
_RATES = {(16, 16, 8, 4, 4): (5, 4, 2, 2, 2)}
_DILATIONS = (1, 3, 5)


def unet2d_name(name: str) -> str:
    """Give the name in `UNet2D` of a tensor of the published U-Net."""
    if name == "guidance_proj.weight":
        return "frequencies"
    return "unet." + re.sub(r"^guidance_embedding\.", "class_embedding.", name)


def unet2d_state(published: State) -> dict[str, Tensor]:
    """Turn the state of ConsistencyTTA's or TANGO's U-Net into that of `UNet2D`."""
    return {unet2d_name(name): tensor for name, tensor in published.items()}


def unet2d_config(
    published: State,
    *,
    attention_heads: tuple[int, ...] | None = None,
    norm_num_groups: int = 32,
    freq_bins: int = 16,
    prediction: Prediction | None = None,
) -> UNet2DConfig:
    """Derive the sizes of `UNet2D` from the shapes of the published U-Net.

    Args:
        published: its state.
        attention_heads: of each level; None for the published widths, whose heads are known.
        norm_num_groups: no shape tells it; 32 as published.
        freq_bins: no shape tells it; 16 as published.
        prediction: what the output means; None takes "x0" for a guided network (a consistency
            student) and "v" for another. A guided network of the first stage predicts "v".

    Raises:
        BundleError: if the names are not of such a U-Net, or the heads are neither known nor given.
    """
    down = _count(published, r"down_blocks\.(\d+)\.")
    widths = tuple(
        _shape(published, f"down_blocks.{i}.resnets.0.conv1.weight")[0] for i in range(down)
    )
    heads = _HEADS.get(widths) if attention_heads is None else attention_heads
    if heads is None:
        raise BundleError(f"the attention heads of a U-Net of widths {widths} are not known")
    guided = "guidance_proj.weight" in published
    return UNet2DConfig(
        channels=_shape(published, "conv_in.weight")[1],
        text_dim=_text_dim(published),
        block_out_channels=widths,
        attention_heads=heads,
        layers_per_block=_count(published, r"down_blocks\.0\.resnets\.(\d+)\."),
        norm_num_groups=norm_num_groups,
        down_block_types=_block_types(published, "down", (PLAIN_DOWN, CROSS_DOWN)),
        up_block_types=_block_types(published, "up", (PLAIN_UP, CROSS_UP)),
        freq_bins=freq_bins,
        guided=guided,
        prediction=prediction or ("x0" if guided else "v"),
    )


def vae2d_name(name: str, levels: int = 3) -> str:
    """Give the name in `VAE2d` of a tensor of AudioLDM's autoencoder of so many levels."""
    if match := re.match(
        r"(encoder\.down|decoder\.up)\.(\d+)\.(block|downsample|upsample)\.", name
    ):
        way, level, part = match[1], int(match[2]), match[3]
        level = levels - 1 - level if way == "decoder.up" else level
        part = "resnets" if part == "block" else f"{part}rs.0"
        name = f"{way}_blocks.{level}.{part}.{name[match.end() :]}"
    for old, new in _VAE_PARTS:
        name = name.replace(old, new)
    return "vae." + name


_VAE_PARTS = [
    (".mid.block_1.", ".mid_block.resnets.0."),
    (".mid.block_2.", ".mid_block.resnets.1."),
    (".mid.attn_1.norm.", ".mid_block.attentions.0.group_norm."),
    (".mid.attn_1.q.", ".mid_block.attentions.0.to_q."),
    (".mid.attn_1.k.", ".mid_block.attentions.0.to_k."),
    (".mid.attn_1.v.", ".mid_block.attentions.0.to_v."),
    (".mid.attn_1.proj_out.", ".mid_block.attentions.0.to_out.0."),
    (".nin_shortcut.", ".conv_shortcut."),
    (".norm_out.", ".conv_norm_out."),
]


def split_vae(published: State) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Part AudioLDM's first stage into the autoencoder and the vocoder that is stored with it."""
    vae = {name: value for name, value in published.items() if not name.startswith("vocoder.")}
    vocoder = published.keys() - vae.keys()
    return vae, {name.removeprefix("vocoder."): published[name] for name in sorted(vocoder)}


def vae2d_state(published: State, *, encoder: bool = True) -> dict[str, Tensor]:
    """Turn the state of AudioLDM's autoencoder into that of `VAE2d`.

    The attention's 1 x 1 convolutions become matrices.

    Args:
        published: its state, without the vocoder.
        encoder: whether to take the encoder; a decoder alone makes sounds.
    """
    levels = _count(published, r"decoder\.up\.(\d+)\.")
    state: dict[str, Tensor] = {}
    for name, tensor in published.items():
        if not encoder and name.startswith(("encoder.", "quant_conv.")):
            continue
        if ".attn_1." in name and tensor.ndim == 4:
            tensor = tensor.flatten(1)
        state[vae2d_name(name, levels)] = tensor
    return state


def vae2d_config(
    published: State,
    *,
    scale_factor: float,
    n_mels: int = 64,
    fixed_length: int | None = 256,
    norm_num_groups: int = 32,
    encoder: bool = True,
) -> VAE2dConfig:
    """Derive the sizes of `VAE2d` from the shapes of AudioLDM's autoencoder.

    Args:
        published: its state, without the vocoder.
        scale_factor: stored beside it; each checkpoint has its own.
        n_mels: no shape tells it.
        fixed_length: latent steps of every clip.
        norm_num_groups: no shape tells it; 32 as published.
        encoder: whether the encoder is wanted.

    Raises:
        BundleError: if the names are not of such an autoencoder.
    """
    levels = _count(published, r"decoder\.up\.(\d+)\.")
    widths = tuple(
        _shape(published, f"decoder.up.{i}.block.0.conv1.weight")[0] for i in range(levels)
    )
    return VAE2dConfig(
        channels=_shape(published, "decoder.conv_in.weight")[1],
        n_mels=n_mels,
        block_out_channels=widths,
        layers_per_block=_count(published, r"decoder\.up\.0\.block\.(\d+)\.") - 1,
        norm_num_groups=norm_num_groups,
        scale_factor=scale_factor,
        fixed_length=fixed_length,
        encoder=encoder,
    )


def hifigan_state(published: State) -> dict[str, Tensor]:
    """Turn the state of AudioLDM's vocoder, weight norm folded, into that of `HifiGan`.

    The stock class also keeps a mean and a scale of its input, which do nothing here.
    """
    state = {f"net.{re.sub(r'^ups.', 'upsampler.', name)}": v for name, v in published.items()}
    n_mels = _shape(published, "conv_pre.weight")[1]
    return {"net.mean": torch.zeros(n_mels), "net.scale": torch.ones(n_mels), **state}


def hifigan_config(
    published: State,
    *,
    mel: MelConfig = AUDIOLDM_MEL,
    upsample_rates: tuple[int, ...] | None = None,
    dilations: tuple[int, ...] = _DILATIONS,
) -> HifiGanConfig:
    """Derive the sizes of `HifiGan` from the shapes of AudioLDM's vocoder.

    Args:
        published: its state.
        mel: settings of the front-end.
        upsample_rates: no shape tells them; None for the published kernels, whose rates are known.
        dilations: of every residual block; no shape tells them.

    Raises:
        BundleError: if the names are not of such a vocoder, or the rates are neither known nor
            given.
    """
    count = _count(published, r"ups\.(\d+)\.")
    kernels = tuple(_shape(published, f"ups.{i}.weight")[2] for i in range(count))
    rates = _RATES.get(kernels) if upsample_rates is None else upsample_rates
    if rates is None:
        raise BundleError(f"the rates of a HiFi-GAN of kernels {kernels} are not known")
    blocks = _count(published, r"resblocks\.(\d+)\.") // count
    sizes = [_shape(published, f"resblocks.{i}.convs1.0.weight")[2] for i in range(blocks)]
    return HifiGanConfig(
        mel=mel,
        upsample_rates=rates,
        upsample_kernel_sizes=kernels,
        upsample_initial_channel=_shape(published, "conv_pre.weight")[0],
        resblock_kernel_sizes=tuple(sizes),
        resblock_dilation_sizes=(dilations,) * blocks,
    )


def t5_state(published: State) -> dict[str, Tensor]:
    """Turn the state of a T5 encoder into that of `T5TextEncoder`.

    The word table comes under one or both of two names and is kept once; a decoder and a head are
    left out.

    Raises:
        BundleError: if there is no word table.
    """
    table = published.get("shared.weight", published.get("encoder.embed_tokens.weight"))
    if table is None:
        raise BundleError("the text encoder has neither shared.weight nor encoder.embed_tokens")
    others = ("shared.weight", "encoder.embed_tokens.weight", "decoder.", "lm_head.")
    kept = {name: v for name, v in published.items() if not name.startswith(others)}
    return {"shared.weight": table, **kept}


def t5_config(published: State, *, max_length: int = 512) -> T5Config:
    """Derive the sizes of `T5TextEncoder` from the shapes of a T5 encoder.

    Args:
        published: its state.
        max_length: longest prompt in tokens, the end token included; no shape tells it.

    Raises:
        BundleError: if the names are not of such an encoder.
    """
    first = "encoder.block.0.layer"
    vocab_size, dim = _shape(t5_state(published), "shared.weight")
    bias = f"{first}.0.SelfAttention.relative_attention_bias.weight"
    buckets, heads = _shape(published, bias)
    return T5Config(
        vocab_size=vocab_size,
        dim=dim,
        num_layers=_count(published, r"encoder\.block\.(\d+)\."),
        num_heads=heads,
        head_dim=_shape(published, f"{first}.0.SelfAttention.q.weight")[0] // heads,
        hidden_dim=_shape(published, f"{first}.1.DenseReluDense.wo.weight")[1],
        num_buckets=buckets,
        max_length=max_length,
    )


def _text_dim(published: State) -> int:
    ending = ".attn2.to_k.weight"
    names = [name for name in published if name.endswith(ending)]
    return _shape(published, names[0] if names else f"...{ending}")[1]


def _block_types(published: State, way: str, kinds: tuple[str, str]) -> tuple[str, ...]:
    count = _count(published, rf"{way}_blocks\.(\d+)\.")
    prefixes = [f"{way}_blocks.{i}.attentions." for i in range(count)]
    return tuple(kinds[any(name.startswith(prefix) for name in published)] for prefix in prefixes)


def _count(published: State, pattern: str) -> int:
    numbers = [int(match[1]) for name in published if (match := re.match(pattern, name))]
    if not numbers:
        raise BundleError(f"no tensor is named like {pattern}; this is another network")
    return max(numbers) + 1


def _shape(published: State, name: str) -> Any:
    if name not in published:
        raise BundleError(f"tensor {name} is missing; this is another network, or a part of one")
    return tuple(published[name].shape)
