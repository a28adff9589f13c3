"""The blocks of `ConcatDiT`: attention and convolutions over one sequence of tokens."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import gelu, scaled_dot_product_attention

NORM_GROUPS = 32


class SelfAttention(nn.Module):
    """Multi-head attention over all positions; nothing is masked."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.to_q = nn.Linear(width, width, bias=False)
        self.to_k = nn.Linear(width, width, bias=False)
        self.to_v = nn.Linear(width, width, bias=False)
        self.to_out = nn.Sequential(nn.Linear(width, width))

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[B, L, W]`` to the same shape."""
        q, k, v = (
            layer(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for layer in (self.to_q, self.to_k, self.to_v)
        )
        return self.to_out(scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class GatedConvolution(nn.Module):
    """Convolution to values and gates; the values times the gates' GELU."""

    def __init__(self, width: int, hidden: int):
        super().__init__()
        self.proj = nn.Conv1d(width, 2 * hidden, 9, padding=4)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[B, W, L]`` to ``[B, H, L]``."""
        value, gate = self.proj(x).chunk(2, dim=1)
        return value * gelu(gate)


class FeedForward(nn.Module):
    """Two convolutions over the whole sequence, text included."""

    def __init__(self, width: int):
        super().__init__()
        hidden = 4 * width
        self.net = nn.Sequential(
            GatedConvolution(width, hidden), nn.Identity(), nn.Conv1d(hidden, width, 9, padding=4)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[B, L, W]`` to the same shape."""
        return self.net(x.transpose(1, 2)).transpose(1, 2)


class TransformerLayer(nn.Module):
    """Two self-attentions and the feed-forward part, each added to its input."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.attn1 = SelfAttention(width, heads)
        self.ff = FeedForward(width)
        self.attn2 = SelfAttention(width, heads)
        self.norm1 = nn.LayerNorm(width)
        self.norm2 = nn.LayerNorm(width)
        self.norm3 = nn.LayerNorm(width)

    def forward(self, y: Tensor) -> Tensor:
        """Map ``[B, L, W]`` to the same shape."""
        y = y + self.attn1(self.norm1(y))
        y = y + self.attn2(self.norm2(y))
        return y + self.ff(self.norm3(y))


class Block(nn.Module):
    """A transformer layer between two projections, added to its input; a new one changes nothing.

    The group norm takes its statistics over the whole sequence.
    """

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.norm = nn.GroupNorm(NORM_GROUPS, width, eps=1e-6)
        self.proj_in = nn.Conv1d(width, width, 1)
        self.transformer_blocks = nn.ModuleList([TransformerLayer(width, heads)])
        self.proj_out = nn.Conv1d(width, width, 1)
        nn.init.zeros_(self.proj_out.weight)
        if self.proj_out.bias is not None:
            nn.init.zeros_(self.proj_out.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[B, W, L]`` to the same shape."""
        y = self.proj_in(self.norm(x)).transpose(1, 2)
        for layer in self.transformer_blocks:
            y = layer(y)
        return x + self.proj_out(y.transpose(1, 2))
