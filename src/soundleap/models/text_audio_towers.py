"""The two trained parts of the text-audio model: a small tower for sounds, a projection of texts.

Source: Radford et al. 2021, "CLIP" (two towers, one space); Liu et al. 2022, "A ConvNet for the
2020s" (the blocks, here along time).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, normalize

from soundleap.audio.mel import MelConfig
from soundleap.errors import BundleError, InputError

KIND = "text-audio"
STRIDE = 8
"""Mel frames, and mel bins, that one cell of the stem's output covers."""
QUIETEST = -4.0
"""Decades below the loudest frame at which a bin counts as silent."""


@dataclass(frozen=True)
class TextAudioConfig:
    """Sizes of a `TextAudioModel`.

    Attributes:
        stem: channels of the three strided convolutions over time and frequency.
        width: W, channels along time.
        blocks: residual blocks along time.
        kernel: cells that a block's convolution covers, odd.
        expansion: hidden channels of a block in multiples of W.
        text_dim: numbers of a pooled text state.
        text_hidden: hidden numbers of the text's projection.
        dim: D, numbers of a vector in the common space.
        mel: front-end; its bins are a multiple of 8.
    """

    stem: tuple[int, ...] = (24, 48, 64)
    width: int = 192
    blocks: int = 3
    kernel: int = 7
    expansion: int = 3
    text_dim: int = 384
    text_hidden: int = 384
    dim: int = 256
    mel: MelConfig = field(default_factory=MelConfig)

    def __post_init__(self) -> None:
        """Refuse sizes that do not make a model, all at once."""
        sizes = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in _OTHERS}
        sizes |= {f"stem[{i}]": size for i, size in enumerate(self.stem)}
        faults = [
            f"{name} is {value!r}; allowed: whole numbers from 1"
            for name, value in sizes.items()
            if type(value) is not int or value < 1
        ]
        if len(self.stem) != 3:
            faults.append(f"stem is {self.stem}; needed: three numbers of channels")
        if type(self.kernel) is int and self.kernel % 2 == 0:
            faults.append(f"kernel is {self.kernel}; allowed: odd numbers")
        if self.mel.n_mels % STRIDE:
            faults.append(f"mel.n_mels is {self.mel.n_mels}; allowed: multiples of {STRIDE}")
        if faults:
            raise InputError("; ".join(faults))

    def header(self) -> dict[str, Any]:
        """Give the plain values that a file's header carries."""
        return {"kind": KIND, **asdict(self)}

    @classmethod
    def from_header(cls, values: dict[str, Any]) -> TextAudioConfig:
        """Read what `header` gave.

        Raises:
            BundleError: if it is of another kind or does not fit.
        """
        if values.get("kind") != KIND:
            raise BundleError(f"the file holds {values.get('kind')!r}, not {KIND!r}")
        own: dict[str, Any] = {name: value for name, value in values.items() if name != "kind"}
        try:
            own |= {"stem": tuple(own["stem"]), "mel": MelConfig(**own["mel"])}
            return cls(**own)
        except (TypeError, KeyError, InputError) as error:
            raise BundleError(f"the configuration of the text-audio model: {error}") from None


_OTHERS = ("stem", "mel")


class TimeBlock(nn.Module):
    """A depthwise convolution along time and a two-layer network, as residual."""

    def __init__(self, config: TextAudioConfig) -> None:
        super().__init__()
        width, hidden = config.width, config.expansion * config.width
        padding = config.kernel // 2
        self.mix = nn.Conv1d(width, width, config.kernel, padding=padding, groups=width)
        self.norm = nn.LayerNorm(width)
        self.up = nn.Linear(width, hidden)
        self.down = nn.Linear(hidden, width)
        nn.init.zeros_(self.down.weight)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Map ``x [B, L, W]`` to the same; ``mask [B, L, 1]`` is 1 at cells, 0 at padding."""
        mixed = self.mix((x * mask).transpose(1, 2)).transpose(1, 2)
        return x + self.down(gelu(self.up(self.norm(mixed))))


class AudioTower(nn.Module):
    """Log-mels to vectors; a sound's vector does not depend on the padding beside it."""

    mel_mean: Tensor
    mel_std: Tensor

    def __init__(self, config: TextAudioConfig) -> None:
        super().__init__()
        channels = (1, *config.stem)
        self.stem = nn.ModuleList(
            nn.Conv2d(a, b, 3, stride=2, padding=1)
            for a, b in zip(channels, config.stem, strict=False)
        )
        rows = config.mel.n_mels // STRIDE
        self.norm_in = nn.LayerNorm(rows * config.stem[-1])
        self.enter = nn.Linear(rows * config.stem[-1], config.width)
        self.blocks = nn.ModuleList(TimeBlock(config) for _ in range(config.blocks))
        self.norm = nn.LayerNorm(config.width)
        self.weigh = nn.Linear(config.width, config.width)
        self.project = nn.Linear(2 * config.width, config.dim)
        self.register_buffer("mel_mean", torch.full((config.mel.n_mels,), -2.0))
        self.register_buffer("mel_std", torch.ones(config.mel.n_mels))

    def forward(self, mel: Tensor, mask: Tensor) -> Tensor:
        """Map ``mel [B, M, F]`` and ``mask [B, F]`` (True at frames) to unit vectors ``[B, D]``.

        Every sound has at least one frame; what stands at padded frames does not matter.
        """
        x = self._normalised(mel, mask)[:, None]
        for convolution in self.stem:
            mask = mask[:, ::2]  # cell k is centred on frame 2k
            x = gelu(convolution(x)) * mask[:, None, None].to(x.dtype)
        cells = mask[..., None].to(x.dtype)
        y = self.enter(self.norm_in(x.flatten(1, 2).transpose(1, 2)))
        for block in self.blocks:
            y = block(y, cells)
        return normalize(self.project(self._pooled(self.norm(y), mask)).float(), dim=-1)

    def _normalised(self, mel: Tensor, mask: Tensor) -> Tensor:
        """Take off the level of the loudest frame, then mean and deviation of each bin."""
        mel = torch.where(mask[:, None], mel, -30.0)
        loudness = 0.5 * torch.log10((10.0 ** (2.0 * mel)).sum(1)).amax(1)
        relative = (mel - loudness[:, None, None]).clamp_min(QUIETEST)
        scaled = (relative - self.mel_mean[:, None]) / self.mel_std[:, None]
        return scaled * mask[:, None].to(scaled.dtype)

    def _pooled(self, y: Tensor, mask: Tensor) -> Tensor:
        """Mean over time, and a mean whose weights each channel finds itself: ``[B, 2W]``."""
        cells = mask[..., None].to(y.dtype)
        mean = (y * cells).sum(1) / cells.sum(1)
        logits = self.weigh(y).float().masked_fill(~mask[..., None], float("-inf"))
        return torch.cat([mean, (y * logits.softmax(1).to(y.dtype)).sum(1)], dim=-1)

    @torch.no_grad()
    def fit_input(self, mels: list[Tensor]) -> None:
        """Set mean and deviation of each bin from mels ``[M, F]``."""
        relative = [
            (mel - 0.5 * torch.log10((10.0 ** (2.0 * mel)).sum(0)).amax()).clamp_min(QUIETEST)
            for mel in mels
        ]
        joined = torch.cat(relative, dim=1)
        self.mel_mean.copy_(joined.mean(1))
        self.mel_std.copy_(joined.std(1).clamp_min(0.1))


class TextProjection(nn.Module):
    """Pooled text states ``[B, E]`` to unit vectors ``[B, D]``: a linear map and a correction."""

    def __init__(self, config: TextAudioConfig) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(config.text_dim)
        self.straight = nn.Linear(config.text_dim, config.dim, bias=False)
        self.up = nn.Linear(config.text_dim, config.text_hidden)
        self.down = nn.Linear(config.text_hidden, config.dim)

    def forward(self, pooled: Tensor) -> Tensor:
        """Map pooled states to vectors of length 1."""
        x = self.norm(pooled)
        return normalize((self.straight(x) + self.down(gelu(self.up(x)))).float(), dim=-1)
