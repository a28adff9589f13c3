"""The blocks of `Autoencoder1d`: residual convolutions, attention, changes of resolution."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import interpolate, pad, scaled_dot_product_attention, silu

NORM_GROUPS = 32


class ResidualBlock(nn.Module):
    """Two convolutions over time, added to the input."""

    def __init__(self, inward: int, outward: int, kernel_size: int):
        super().__init__()
        side = kernel_size // 2
        self.norm1 = nn.GroupNorm(NORM_GROUPS, inward, eps=1e-6)
        self.conv1 = nn.Conv1d(inward, outward, kernel_size, padding=side)
        self.norm2 = nn.GroupNorm(NORM_GROUPS, outward, eps=1e-6)
        self.conv2 = nn.Conv1d(outward, outward, kernel_size, padding=side)
        self.nin_shortcut = nn.Conv1d(inward, outward, 1) if inward != outward else None

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[B, W, F]`` to ``[B, W', F]``."""
        y = self.conv1(silu(self.norm1(x)))
        y = self.conv2(silu(self.norm2(y)))
        return y + (x if self.nin_shortcut is None else self.nin_shortcut(x))


class AttentionBlock(nn.Module):
    """Single-head attention over time, added to the input."""

    def __init__(self, width: int):
        super().__init__()
        self.norm = nn.GroupNorm(NORM_GROUPS, width, eps=1e-6)
        self.q = nn.Conv1d(width, width, 1)
        self.k = nn.Conv1d(width, width, 1)
        self.v = nn.Conv1d(width, width, 1)
        self.proj_out = nn.Conv1d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[B, W, F]`` to the same shape."""
        y = self.norm(x)
        q, k, v = (layer(y).transpose(1, 2)[:, None] for layer in (self.q, self.k, self.v))
        return x + self.proj_out(scaled_dot_product_attention(q, k, v)[:, 0].transpose(1, 2))


class Middle(nn.Module):
    """The lowest level: block, attention, block."""

    def __init__(self, width: int, kernel_size: int):
        super().__init__()
        self.block_1 = ResidualBlock(width, width, kernel_size)
        self.attn_1 = AttentionBlock(width)
        self.block_2 = ResidualBlock(width, width, kernel_size)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[B, W, F]`` to the same shape."""
        return self.block_2(self.attn_1(self.block_1(x)))


class Downsample(nn.Module):
    """Halve time; the convolution sees one zero after the end."""

    def __init__(self, width: int):
        super().__init__()
        self.conv = nn.Conv1d(width, width, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[B, W, F]`` to ``[B, W, F / 2]``."""
        return self.conv(pad(x, (0, 1)))


class Upsample(nn.Module):
    """Double time."""

    def __init__(self, width: int):
        super().__init__()
        self.conv = nn.Conv1d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[B, W, F]`` to ``[B, W, 2F]``."""
        return self.conv(interpolate(x, scale_factor=2.0, mode="nearest"))


class Level(nn.Module):
    """Residual blocks at one resolution, maybe each with attention, then maybe a change of it."""

    def __init__(
        self,
        widths: tuple[int, int],
        blocks: int,
        kernel_size: int,
        *,
        attend: bool = False,
        downsample: bool = False,
        upsample: bool = False,
    ):
        super().__init__()
        inward, outward = widths
        self.block = nn.ModuleList(
            ResidualBlock(inward if i == 0 else outward, outward, kernel_size)
            for i in range(blocks)
        )
        self.attn = nn.ModuleList(AttentionBlock(outward) for _ in range(blocks * attend))
        self.downsample = Downsample(outward) if downsample else None
        self.upsample = Upsample(outward) if upsample else None

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[B, W, F]`` to the next level's shape."""
        for i, block in enumerate(self.block):
            x = block(x)
            x = self.attn[i](x) if len(self.attn) else x
        for change in (self.downsample, self.upsample):
            if change is not None:
                x = change(x)
        return x
