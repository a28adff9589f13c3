"""Transformer of AudioLCM and Make-An-Audio 2: time, text and latents as one sequence of tokens.

The sequence is one token for the timestep, the text states of two encoders, and one token a latent
frame. Its group norms and convolutions run over all of it: a latent frame depends on the length of
the sound, so sounds of different lengths can't share a batch. Parameters have the published names.

Source: Huang et al., Make-An-Audio 2 (2023), section 3.3; Liu et al., AudioLCM (2024); guidance as
an input after Luo et al., Latent Consistency Models (2023), section 4.2.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal

import torch
from torch import Tensor, nn

from soundleap.diffusion.denoisers import Prediction
from soundleap.diffusion.guidance import cfg_to_lcm, guidance_embedding, sinusoidal_embedding
from soundleap.errors import InputError
from soundleap.models.concat_dit_blocks import NORM_GROUPS, Block
from soundleap.models.fast_cpu import fast_cpu, recompute

SINUSOID_DIM = 256
FINAL_GROUPS = 16


@dataclass(frozen=True)
class ConcatDiTConfig:
    """Sizes; the defaults are the published ones.

    Attributes:
        kind: tells the file of this network from those of others.
        channels: channels C of the latents.
        text_dim: width D of the text states.
        width: channels of the tokens, a multiple of 32 and of `heads`.
        blocks: transformer blocks.
        heads: attention heads.
        max_positions: longest sequence: timestep, text and latents together.
        guided: whether the guidance scale is an input.
        prediction: what the output means.
    """

    kind: Literal["concat_dit"] = "concat_dit"
    channels: int = 20
    text_dim: int = 1024
    width: int = 576
    blocks: int = 4
    heads: int = 8
    max_positions: int = 1000
    guided: bool = False
    prediction: Prediction = "eps"

    def __post_init__(self) -> None:
        """Check the sizes.

        Raises:
            InputError: naming the first that is not allowed.
        """
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name not in ("kind", "guided", "prediction") and value < 1:
                raise InputError(f"{field.name} is {value}; it must be above 0")
        if self.width % NORM_GROUPS or self.width % self.heads:
            raise InputError(
                f"width is {self.width}; needed: a multiple of {NORM_GROUPS} and of heads "
                f"({self.heads})"
            )


class TimeEmbedder(nn.Module):
    """Timesteps, and guidance where it is an input, to one token."""

    def __init__(self, config: ConcatDiTConfig):
        super().__init__()
        width = config.width
        self.mlp = nn.Sequential(nn.Linear(SINUSOID_DIM, width), nn.SiLU(), nn.Linear(width, width))
        self.proj_w = nn.Linear(SINUSOID_DIM, SINUSOID_DIM, bias=False) if config.guided else None

    def forward(self, t: Tensor, guidance: Tensor | None = None) -> Tensor:
        """Map ``t [B]`` and ``guidance [B, 256]``, already embedded, to ``[B, W]``."""
        s = sinusoidal_embedding(t, SINUSOID_DIM).to(next(self.parameters()).dtype)
        if self.proj_w is not None and guidance is not None:
            s = s + self.proj_w(guidance.to(s.dtype))
        return self.mlp(s)


class TextEmbedder(nn.Module):
    """Text states of one encoder to tokens."""

    def __init__(self, config: ConcatDiTConfig):
        super().__init__()
        width = config.width
        self.mlp = nn.Sequential(
            nn.Linear(config.text_dim, width),
            nn.GELU(approximate="tanh"),
            nn.Linear(width, width),
            nn.LayerNorm(width),
        )

    def forward(self, states: Tensor) -> Tensor:
        """Map ``[B, N, D]`` to ``[B, N, W]``."""
        return self.mlp(states)


class FinalLayer(nn.Module):
    """Tokens of the latents to the prediction."""

    def __init__(self, config: ConcatDiTConfig):
        super().__init__()
        self.norm_final = nn.GroupNorm(FINAL_GROUPS, config.width)
        self.conv1d = nn.Conv1d(config.width, config.channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[B, W, L]`` to ``[B, C, L]``."""
        return self.conv1d(self.norm_final(x))


class ConcatDiT(nn.Module):
    """The denoising network of AudioLCM (guided) and Make-An-Audio 2 (not guided).

    Attributes:
        mixed_lengths: False, a batch has one length.
        guidance_input: how the names of the guidance input's parameters begin; it starts without
            effect.
        checkpointing: recompute the blocks in the backward pass instead of keeping their
            activations; the numbers are the same.
    """

    mixed_lengths: bool = False
    guidance_input: tuple[str, ...] = ("t_embedder.proj_w.",)
    checkpointing: bool = False

    def __init__(self, config: ConcatDiTConfig):
        super().__init__()
        self.config = config
        self.t_embedder = TimeEmbedder(config)
        self.c1_embedder = TextEmbedder(config)
        self.c2_embedder = TextEmbedder(config)
        self.proj_in = nn.Conv1d(config.channels, config.width, 5, padding=2)
        self.pos_emb = nn.Embedding(config.max_positions, config.width)
        self.blocks = nn.ModuleList(Block(config.width, config.heads) for _ in range(config.blocks))
        self.final_layer = FinalLayer(config)
        self._draw_weights()

    def forward(
        self,
        x_t: Tensor,
        t: Tensor,
        *,
        text_embeds: Tensor,
        text_mask: Tensor | None = None,
        latent_mask: Tensor | None = None,
        w: Tensor | None = None,
    ) -> Tensor:
        """Predict from noisy latents.

        Args:
            x_t: ``[B, C, L]``.
            t: ``[B]`` timesteps, 0 to 999, fractional allowed.
            text_embeds: ``[B, 2N, D]``, the states of both encoders one after the other.
            text_mask: accepted and not used: the published systems attend to padding.
            latent_mask: must be None.
            w: ``[B]`` guidance scale (1 = none), for a guided network only. The network was
                trained on LCM's scale, one less; give float64 where w - 1 has to be exact.

        Returns:
            ``[B, C, L]`` in the type of `x_t`.

        Raises:
            ValueError: if `w` is given to an unguided network or missing for a guided one, or a
                `latent_mask` is given.
            InputError: if the sequence has more positions than the network knows.
        """
        if (w is None) == self.config.guided:
            raise ValueError(f"w must {'' if self.config.guided else 'not '}be given here")
        if latent_mask is not None:
            raise ValueError("latent_mask must not be given here: a batch has one length")
        guidance = None if w is None else guidance_embedding(cfg_to_lcm(w))
        return self.predict(x_t, t, text_embeds, guidance)

    def predict(
        self, x_t: Tensor, t: Tensor, text_embeds: Tensor, guidance: Tensor | None
    ) -> Tensor:
        """Predict as `forward` does, with the guidance already embedded, ``[B, 256]``.

        Raises:
            InputError: if the sequence has more positions than the network knows.
        """
        self._check(x_t, text_embeds)
        dtype = self.pos_emb.weight.dtype
        with fast_cpu(x_t):
            output = self._predict(x_t.to(dtype), t, text_embeds.to(dtype), guidance)
        return output.to(x_t.dtype)

    def _predict(
        self, x_t: Tensor, t: Tensor, text_embeds: Tensor, guidance: Tensor | None
    ) -> Tensor:
        length = x_t.shape[2]
        first, second = text_embeds.chunk(2, dim=1)
        tokens = [
            self.t_embedder(t, guidance).to(x_t.dtype)[:, None],
            self.c1_embedder(first),
            self.c2_embedder(second),
            self.proj_in(x_t).transpose(1, 2),
        ]
        x = torch.cat(tokens, dim=1)
        x = (x + self.pos_emb.weight[: x.shape[1]]).transpose(1, 2).contiguous()
        for block in self.blocks:
            if self.checkpointing and torch.is_grad_enabled():
                x = recompute(block, x)
            else:
                x = block(x)
        return self.final_layer(x[:, :, -length:])

    def checkpoint_gradients(self, on: bool = True) -> None:
        """Keep less in memory in training and compute it again on the way back, or not."""
        self.checkpointing = on

    def _check(self, x_t: Tensor, text_embeds: Tensor) -> None:
        texts, length = text_embeds.shape[1], x_t.shape[2]
        if texts % 2:
            raise InputError(
                f"text_embeds has {texts} tokens; needed: an even number, half of each encoder"
            )
        longest = self.config.max_positions - 1 - texts
        if not 1 <= length <= longest:
            raise InputError(
                f"the latents are {length} long; allowed with {texts} text tokens: 1 to {longest}"
            )

    @torch.no_grad()
    def _draw_weights(self) -> None:
        """Draw new weights as the originals do; guidance starts without effect."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:  # pyright: ignore[reportUnnecessaryComparison]
                    nn.init.zeros_(module.bias)
        for layer in self.t_embedder.mlp:
            if isinstance(layer, nn.Linear):
                nn.init.normal_(layer.weight, std=0.02)
        nn.init.xavier_normal_(self.pos_emb.weight)
        if self.t_embedder.proj_w is not None:
            nn.init.zeros_(self.t_embedder.proj_w.weight)
