"""Diffusion transformer on a 1-D latent, with cross-attention to the text's token states.

Source: Peebles and Xie, Scalable Diffusion Models with Transformers (2023) for the adaptive norms;
one modulation shared by all blocks with an offset per block after Chen et al., PixArt-α (2023),
section 2.3; rotary positions after Su et al., RoFormer (2021); guidance as an input after Meng et
al., On Distillation of Guided Diffusion Models (2023).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from torch.utils.checkpoint import checkpoint

from soundleap.diffusion.denoisers import Prediction
from soundleap.diffusion.guidance import sinusoidal_embedding


@dataclass(frozen=True)
class DiTConfig:
    """Sizes: C latent channels, D numbers a text state; `guided` adds the guidance input.

    `prediction` is what the output means, so that a file tells it.
    """

    channels: int = 128
    text_dim: int = 384
    width: int = 256
    blocks: int = 6
    heads: int = 4
    guided: bool = False
    prediction: Prediction = "v"


class Attention(nn.Module):
    """Multi-head attention from x to a context (itself by default), keys normalised."""

    def __init__(self, width: int, heads: int, context_dim: int | None = None):
        super().__init__()
        self.heads = heads
        context = width if context_dim is None else context_dim
        self.query = nn.Linear(width, width, bias=False)
        self.key_value = nn.Linear(context, 2 * width, bias=False)
        self.query_norm = nn.RMSNorm(width // heads)
        self.key_norm = nn.RMSNorm(width // heads)
        self.output = nn.Linear(width, width)

    def forward(
        self, x: Tensor, context: Tensor, mask: Tensor | None, turn: tuple[Tensor, Tensor] | None
    ) -> Tensor:
        """Map ``x [B, L, W]``, ``context [B, N, D]``; mask ``[B, 1, 1, N]`` is True to attend."""
        q = normalise(self.query_norm, self._split(self.query(x)))
        k, v = self.key_value(context).chunk(2, dim=-1)
        k, v = normalise(self.key_norm, self._split(k)), self._split(v)
        if turn is not None:
            q, k = rotate(q, *turn), rotate(k, *turn)
        y = scaled_dot_product_attention(q.to(v.dtype), k.to(v.dtype), v, attn_mask=mask)
        return self.output(y.transpose(1, 2).flatten(2))

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)  # [B, H, L, W / H]


class Block(nn.Module):
    """Self-attention, cross-attention, perceptron; the first and last are modulated."""

    def __init__(self, config: DiTConfig):
        super().__init__()
        width = config.width
        self.norms = nn.ModuleList(nn.LayerNorm(width, elementwise_affine=False) for _ in range(2))
        self.cross_norm = nn.LayerNorm(width)
        self.self_attention = Attention(width, config.heads)
        self.cross_attention = Attention(width, config.heads, config.text_dim)
        self.expand = nn.Linear(width, 4 * width)
        self.contract = nn.Linear(4 * width, width)
        self.offset = nn.Parameter(torch.randn(6, width) / width**0.5)
        nn.init.zeros_(self.cross_attention.output.weight)
        nn.init.zeros_(self.cross_attention.output.bias)

    def forward(
        self,
        x: Tensor,
        modulation: Tensor,
        text: tuple[Tensor, Tensor],
        mask: Tensor | None,
        turn: tuple[Tensor, Tensor],
    ) -> Tensor:
        """Map ``[B, L, W]``; `modulation` is ``[B, 6, W]``."""
        shift_a, scale_a, gate_a, shift_m, scale_m, gate_m = (
            (modulation + self.offset).unsqueeze(2).unbind(1)
        )
        y = self.norms[0](x) * (1 + scale_a) + shift_a
        x = x + gate_a * self.self_attention(y, y, mask, turn)
        x = x + self.cross_attention(self.cross_norm(x), text[0], text[1], None)
        y = self.norms[1](x) * (1 + scale_m) + shift_m
        return x + gate_m * self.contract(nn.functional.gelu(self.expand(y), approximate="tanh"))


class DiT(nn.Module):
    """The denoising network of the default family; it predicts what `prediction` says.

    Attributes:
        mixed_lengths: True; sounds of different lengths can share a batch.
        guidance_input: how the names of the guidance input's parameters begin; it starts without
            effect.
        checkpointing: recompute the blocks in the backward pass instead of keeping their
            activations; the numbers are the same.
    """

    mixed_lengths = True
    guidance_input: tuple[str, ...] = ("guidance.",)
    checkpointing: bool = False

    def __init__(self, config: DiTConfig):
        super().__init__()
        self.config = config
        width = config.width
        self.inward = nn.Linear(config.channels, width)
        self.time = nn.Sequential(nn.Linear(256, width), nn.SiLU(), nn.Linear(width, width))
        self.text = nn.Linear(config.text_dim, width)
        self.guidance = nn.Linear(256, width) if config.guided else None
        self.modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 6 * width))
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.blocks))
        self.final_norm = nn.LayerNorm(width, elementwise_affine=False)
        self.final_modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 2 * width))
        self.outward = nn.Linear(width, config.channels)
        zeros: list[nn.Linear] = [self.outward]
        if self.guidance is not None:
            zeros.append(self.guidance)
        for layer in zeros:
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

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
            x_t: ``[B, C, L]``.
            t: ``[B]`` timesteps, 0 to 999, fractional allowed.
            text_embeds: ``[B, N, D]`` token states.
            text_mask: ``[B, N]``, True where there is a token.
            latent_mask: ``[B, L]``, True where there is sound; None where all is.
            w: ``[B]`` guidance scale (1 = none), for a guided network only.

        Returns:
            ``[B, C, L]`` in the type of `x_t`; padded positions are zero.

        Raises:
            ValueError: if `w` is given to an unguided network or missing for a guided one.
        """
        if (w is None) != (self.guidance is None):
            raise ValueError(f"w must {'not ' if self.guidance is None else ''}be given here")
        asked, dtype = x_t.dtype, self.inward.weight.dtype
        x_t, text_embeds = x_t.to(dtype), text_embeds.to(dtype)
        weights = text_mask.unsqueeze(2).to(text_embeds.dtype)
        pooled = (text_embeds * weights).sum(1) / weights.sum(1).clamp_min(1.0)
        c = self.time(sinusoidal_embedding(t.float(), 256).to(x_t.dtype)) + self.text(pooled)
        if self.guidance is not None and w is not None:
            c = c + self.guidance(sinusoidal_embedding(w.float() * 100.0, 256).to(x_t.dtype))
        modulation = self.modulation(c).unflatten(1, (6, -1))
        mask = None if latent_mask is None else latent_mask[:, None, None]
        turn = rotary_angles(x_t.shape[2], self.config.width // self.config.heads, x_t.device)
        x = self.inward(x_t.transpose(1, 2))
        for block in self.blocks:
            given = (x, modulation, (text_embeds, text_mask[:, None, None]), mask, turn)
            if self.checkpointing and torch.is_grad_enabled():
                x = checkpoint(block, *given, use_reentrant=False)
            else:
                x = block(*given)
        shift, scale = self.final_modulation(c).unsqueeze(1).chunk(2, dim=2)
        y = self.outward(self.final_norm(x) * (1 + scale) + shift).transpose(1, 2).to(asked)
        return y if latent_mask is None else y * latent_mask[:, None].to(y.dtype)

    def checkpoint_gradients(self, on: bool = True) -> None:
        """Keep less in memory in training and compute it again on the way back, or not."""
        self.checkpointing = on


def normalise(norm: nn.RMSNorm, x: Tensor) -> Tensor:
    """Apply a norm in float32, whatever its weights are stored in."""
    return nn.functional.rms_norm(x.float(), norm.normalized_shape, norm.weight.float(), norm.eps)


def rotary_angles(length: int, size: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return cosine and sine ``[L, size / 2]`` of the rotary positions."""
    steps = torch.arange(size // 2, device=device, dtype=torch.float32)
    frequencies = 1000.0 ** (-2.0 * steps / size)
    angles = torch.arange(length, device=device, dtype=torch.float32)[:, None] * frequencies
    return angles.cos(), angles.sin()


def rotate(x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """Turn the two halves of ``[B, H, L, size]`` by their position's angles."""
    a, b = x.float().chunk(2, dim=-1)
    return torch.cat([a * cosine - b * sine, a * sine + b * cosine], dim=-1)
