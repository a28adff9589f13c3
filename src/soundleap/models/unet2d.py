"""The U-Net of ConsistencyTTA and TANGO: diffusers' own, with an optional guidance input.

A plain U-Net is the stock ``UNet2DConditionModel``. ConsistencyTTA's guided one adds a second
embedding to that of the time: stored random frequencies turn the guidance scale into Fourier
features, and a perceptron of two layers maps them. The stock class holds exactly that perceptron as
its "projection" class embedding, so the features go in as class labels and no code is changed.

Source: Rombach et al., High-Resolution Image Synthesis with Latent Diffusion Models (2022) for the
network; Ghosal et al., TANGO (2023); Bai et al., ConsistencyTTA (2024), section 3.3, for guidance.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from soundleap.diffusion.denoisers import Prediction
from soundleap.diffusion.guidance import fourier_features
from soundleap.errors import InputError
from soundleap.models.fast_cpu import fast_cpu, recompute
from soundleap.models.stock import stock_class

CROSS_DOWN, PLAIN_DOWN = "CrossAttnDownBlock2D", "DownBlock2D"
CROSS_UP, PLAIN_UP = "CrossAttnUpBlock2D", "UpBlock2D"


@dataclass(frozen=True)
class UNet2DConfig:
    """Sizes of a `UNet2D`.

    Attributes:
        kind: tells the file of this network from those of others.
        channels: channels C of the latents.
        text_dim: width D of the text states.
        block_out_channels: width of each level; multiples of `norm_num_groups`.
        attention_heads: heads of each level. Where they don't divide the width, a head is
            ``width // heads`` wide and the attention narrower than its level, as published.
        layers_per_block: residual blocks at each level on the way down (one more on the way up).
        norm_num_groups: groups of the group norms.
        down_block_types: diffusers' name of each level's block, the finest level first.
        up_block_types: the same on the way up, the coarsest level first.
        freq_bins: size of the latents' frequency axis.
        guided: whether the guidance scale is an input.
        prediction: what the output means.
    """

    kind: Literal["unet2d"] = "unet2d"
    channels: int = 8
    text_dim: int = 1024
    block_out_channels: tuple[int, ...] = (256, 512, 1024, 1024)
    attention_heads: tuple[int, ...] = (5, 10, 20, 20)
    layers_per_block: int = 2
    norm_num_groups: int = 32
    down_block_types: tuple[str, ...] = (CROSS_DOWN, CROSS_DOWN, CROSS_DOWN, PLAIN_DOWN)
    up_block_types: tuple[str, ...] = (PLAIN_UP, CROSS_UP, CROSS_UP, CROSS_UP)
    freq_bins: int = 16
    guided: bool = False
    prediction: Prediction = "v"

    def __post_init__(self) -> None:
        """Check the sizes; lists, as JSON holds them, become tuples.

        Raises:
            InputError: naming the first setting that is not allowed.
        """
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, list):
                object.__setattr__(self, field.name, tuple(value))
        for name in ("channels", "text_dim", "layers_per_block", "norm_num_groups", "freq_bins"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)}; it must be above 0")
        self._check_levels()

    def _check_levels(self) -> None:
        levels = len(self.block_out_channels)
        for name in ("attention_heads", "down_block_types", "up_block_types"):
            if len(getattr(self, name)) != levels or not levels:
                raise InputError(
                    f"{name} is {getattr(self, name)}; needed: one for each of the "
                    f"{levels} block_out_channels, at least one"
                )
        for width, heads in zip(self.block_out_channels, self.attention_heads, strict=True):
            if width < 1 or width % self.norm_num_groups:
                raise InputError(
                    f"block_out_channels is {self.block_out_channels}; allowed: multiples of "
                    f"norm_num_groups, {self.norm_num_groups}"
                )
            if not 1 <= heads <= width:
                raise InputError(f"attention_heads is {heads} at width {width}; allowed: 1 to it")
        for names, known in (
            (self.down_block_types, (CROSS_DOWN, PLAIN_DOWN)),
            (self.up_block_types, (CROSS_UP, PLAIN_UP)),
        ):
            if unknown := sorted(set(names) - set(known)):
                raise InputError(f"unknown block types {unknown}; known: {', '.join(known)}")

    @property
    def embedding_dim(self) -> int:
        """Width of the embeddings of time and guidance."""
        return 4 * self.block_out_channels[0]


LIGHT = UNet2DConfig()
"""ConsistencyTTA's lightweight TANGO, the teacher: 557 M parameters."""

LIGHT_STUDENT = replace(LIGHT, guided=True, prediction="x0")
"""ConsistencyTTA's published student: 559 M parameters, its output is the clean latent."""

FULL = replace(LIGHT, block_out_channels=(320, 640, 1280, 1280))
"""TANGO: 866 M parameters."""

XL = replace(FULL, text_dim=2048)
"""TANGO's unpublished size for FLAN-T5-XL."""


class UNet2D(nn.Module):
    """Denoising network on latents ``[B, C, L, H]`` (time, frequency).

    Attributes:
        mixed_lengths: False; all sounds of a batch have one length.
        guidance_input: how the names of the guidance input's parameters begin; it starts without
            effect.
        exact: names of tensors that are stored in float32 whatever the rest is stored in.
        unet: diffusers' network.
        frequencies: ``[embedding_dim / 2]`` of a guided network's Fourier features. A parameter, as
            published, so that averages of the weights take it along, but never trained. It stays in
            float32 whatever the rest is cast to: in half precision the features of a guidance scale
            of 6 would be noise.
    """

    mixed_lengths = False
    guidance_input: tuple[str, ...] = ("frequencies", "unet.class_embedding.")
    exact: tuple[str, ...] = ("frequencies",)

    def __init__(self, config: UNet2DConfig):
        super().__init__()
        self.config = config
        self.unet: Any = _make_unet(config)
        self.frequencies: nn.Parameter | None
        drawn = torch.randn(config.embedding_dim // 2)
        fixed = nn.Parameter(drawn, requires_grad=False) if config.guided else None
        self.register_parameter("frequencies", fixed)

    def forward(
        self,
        x_t: Tensor,
        t: Tensor,
        *,
        text_embeds: Tensor,
        text_mask: Tensor,
        latent_mask: Tensor | None = None,
        w: Tensor | None = None,
    ) -> Tensor:
        """Predict from noisy latents.

        Args:
            x_t: ``[B, C, L, H]``.
            t: ``[B]`` timesteps, 0 to 999, fractional allowed.
            text_embeds: ``[B, N, D]`` token states.
            text_mask: ``[B, N]`` bool, True where there is a token.
            latent_mask: must be None; this network has no notion of padding.
            w: ``[B]`` guidance scale (1 = none), for a guided network only.

        Returns:
            ``[B, C, L, H]`` in the type of `x_t`.

        Raises:
            ValueError: if `w` is given to an unguided network or missing for a guided one, or a
                `latent_mask` is given.
        """
        if (w is None) == self.config.guided:
            raise ValueError(f"w must {'' if self.config.guided else 'not '}be given here")
        if latent_mask is not None:
            raise ValueError("latent_mask must be None; this network takes sounds of one length")
        dtype = self.unet.conv_in.weight.dtype
        features = None
        if w is not None and self.frequencies is not None:
            features = fourier_features(w, self.frequencies).to(dtype)
        with fast_cpu(x_t):
            output = self.unet(
                x_t.to(dtype),
                t.float(),
                text_embeds.to(dtype),
                class_labels=features,
                encoder_attention_mask=text_mask,
                return_dict=False,
            )[0]
        return output.to(x_t.dtype)

    def checkpoint_gradients(self, on: bool = True) -> None:
        """Keep less in memory in training and compute it again on the way back, or not."""
        if on:
            self.unet.enable_gradient_checkpointing(recompute)
        else:
            self.unet.disable_gradient_checkpointing()

    def requires_grad_(self, requires_grad: bool = True) -> UNet2D:
        """Train all parameters, or none; the frequencies never."""
        super().requires_grad_(requires_grad)
        if self.frequencies is not None:
            self.frequencies.requires_grad_(False)
        return self

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> UNet2D:
        before = None if self.frequencies is None else self.frequencies.data
        super()._apply(fn, recurse)
        after = self.frequencies
        if before is not None and after is not None and after.dtype != torch.float32:
            after.data = before.to(after.device)
        return self


def _make_unet(config: UNet2DConfig) -> Any:
    guidance: dict[str, Any] = {}
    if config.guided:
        guidance = {
            "class_embed_type": "projection",
            "projection_class_embeddings_input_dim": config.embedding_dim,
        }
    make = stock_class("diffusers.models.unets.unet_2d_condition", "UNet2DConditionModel")
    unet = make(
        in_channels=config.channels,
        out_channels=config.channels,
        cross_attention_dim=config.text_dim,
        block_out_channels=config.block_out_channels,
        attention_head_dim=config.attention_heads,  # the library's name; it means heads here
        layers_per_block=config.layers_per_block,
        norm_num_groups=config.norm_num_groups,
        down_block_types=config.down_block_types,
        up_block_types=config.up_block_types,
        use_linear_projection=True,
        **guidance,
    )
    if config.guided:
        nn.init.zeros_(unet.class_embedding.linear_2.weight)
        nn.init.zeros_(unet.class_embedding.linear_2.bias)
    return unet
