"""Vocoder of AudioLCM and Make-An-Audio 2: BigVGAN, with alias-free periodic activations.

Weight norm is folded when a published file is imported. Inside, sounds are ``[B, C, 1, T]`` with
channels last in memory: on a CPU that makes the convolutions a half faster and the filters of the
activations several times.

Source: Lee et al., BigVGAN: A Universal Neural Vocoder with Large-Scale Training (2023).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, conv_transpose2d

from soundleap.audio.mel import NAT_MEL, MelConfig
from soundleap.errors import InputError
from soundleap.models.alias_free import RADIUS, AliasFreeSnake

OUTER_KERNEL = 7
LEAST_SAMPLES_A_CHANNEL = 16
"""No piece is shorter than so many samples for each channel that it has."""


@dataclass(frozen=True)
class BigVGANConfig:
    """Sizes; the defaults are those of the published 16 kHz vocoder.

    Attributes:
        kind: tells the file of this vocoder from those of others.
        mel: the front-end that it inverts.
        width: channels before the first stage; every stage halves them.
        upsample_rates: how many samples a stage makes of one; their product is the hop.
        upsample_kernels: kernel of each stage's transposed convolution.
        block_kernels: kernels of the residual blocks of a stage, odd.
        block_dilations: dilations of each of these blocks.
    """

    kind: Literal["bigvgan"] = "bigvgan"
    mel: MelConfig = field(default_factory=lambda: NAT_MEL)
    width: int = 1536
    upsample_rates: tuple[int, ...] = (4, 4, 2, 2, 2, 2)
    upsample_kernels: tuple[int, ...] = (8, 8, 4, 4, 4, 4)
    block_kernels: tuple[int, ...] = (3, 7, 11)
    block_dilations: tuple[tuple[int, ...], ...] = ((1, 3, 5), (1, 3, 5), (1, 3, 5))

    def __post_init__(self) -> None:
        """Check the sizes.

        Raises:
            InputError: naming the first that is not allowed.
        """
        stages, rates = len(self.upsample_rates), self.upsample_rates
        if not stages or math.prod(rates) != self.mel.hop_length:
            raise InputError(
                f"upsample_rates is {rates}; their product must be the hop, {self.mel.hop_length}"
            )
        if len(self.upsample_kernels) != stages or any(
            kernel < rate or (kernel - rate) % 2
            for kernel, rate in zip(self.upsample_kernels, rates, strict=False)
        ):
            raise InputError(
                f"upsample_kernels is {self.upsample_kernels}; needed: one a stage, longer than "
                f"its rate {rates} by an even number"
            )
        if self.width < 1 or self.width % 2**stages:
            raise InputError(f"width is {self.width}; allowed: multiples of {2**stages}")
        if not self.block_kernels or any(kernel % 2 == 0 for kernel in self.block_kernels):
            raise InputError(f"block_kernels is {self.block_kernels}; allowed: odd numbers")
        if len(self.block_dilations) != len(self.block_kernels):
            raise InputError(f"block_dilations is {self.block_dilations}; needed: one list a block")


class Convolution(nn.Conv1d):
    """Convolution over time that keeps the length; its weights have channels last in memory."""

    def __init__(self, inward: int, outward: int, kernel_size: int, dilation: int = 1):
        side = (kernel_size - 1) * dilation // 2
        super().__init__(inward, outward, kernel_size, padding=side, dilation=dilation)
        self.register_load_state_dict_post_hook(_lay_out)
        _lay_out(self)

    def forward(self, input: Tensor) -> Tensor:
        """Map ``[B, C, 1, T]`` to ``[B, C', 1, T]``."""
        padding, dilation = (0, int(self.padding[0])), (1, self.dilation[0])
        weight = self.weight.unsqueeze(2)
        x = input.to(weight.dtype)
        return conv2d(x, weight, self.bias, padding=padding, dilation=dilation)


class Upsampling(nn.ConvTranspose1d):
    """Transposed convolution over time; its weights have channels last in memory."""

    def __init__(self, inward: int, outward: int, kernel_size: int, rate: int):
        side = (kernel_size - rate) // 2
        super().__init__(inward, outward, kernel_size, stride=rate, padding=side)
        self.register_load_state_dict_post_hook(_lay_out)
        _lay_out(self)

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        """Map ``[B, C, 1, T]`` to ``[B, C', 1, rate · T]``."""
        stride, padding = (1, self.stride[0]), (0, int(self.padding[0]))
        weight = self.weight.unsqueeze(2)
        return conv_transpose2d(input, weight, self.bias, stride=stride, padding=padding)


class ResidualBlock(nn.Module):
    """Pairs of activation and convolution, dilated and not, each pair added to its input."""

    def __init__(self, channels: int, kernel_size: int, dilations: tuple[int, ...]):
        super().__init__()
        self.kernel_size, self.dilations = kernel_size, dilations
        self.convs1 = nn.ModuleList(
            Convolution(channels, channels, kernel_size, dilation) for dilation in dilations
        )
        self.convs2 = nn.ModuleList(Convolution(channels, channels, kernel_size) for _ in dilations)
        self.activations = nn.ModuleList(AliasFreeSnake(channels) for _ in 2 * dilations)

    def forward(self, x: Tensor, size: int | None = None) -> Tensor:
        """Map ``[B, C, 1, T]`` to the same shape, each pair in pieces of `size` samples."""
        for i, (dilated, plain) in enumerate(zip(self.convs1, self.convs2, strict=True)):
            before, between = self.activations[2 * i : 2 * i + 2]
            pair = nn.Sequential(before, dilated, between, plain)
            side = self.kernel_size // 2 * (self.dilations[i] + 1)
            x = in_pieces(partial(_add_pair, pair), x, size, 2 * RADIUS + side)
        return x


def _add_pair(pair: nn.Module, x: Tensor) -> Tensor:
    y = pair(x)
    return y.add_(x) if y.dtype == x.dtype else x + y


def in_pieces(
    function: Callable[[Tensor], Tensor], x: Tensor, size: int | None, radius: int
) -> Tensor:
    """Apply a function to ``[B, C, 1, T]`` in pieces of `size` samples, or at once if None.

    Args:
        function: keeps the length; an output depends on inputs at most `radius` samples away.
        x: what it is applied to.
        size: samples in a piece; activations of a small one stay in the processor's cache.
        radius: what a piece sees of its neighbours.
    """
    length = x.shape[3]
    if size is None or size >= length:
        return function(x)
    pieces: list[Tensor] = []
    for start in range(0, length, size):
        low, stop = max(0, start - radius), min(length, start + size)
        made = function(x[..., low : stop + radius])
        pieces.append(made[..., start - low : stop - low])
    return torch.cat(pieces, dim=3)


class BigVGAN(nn.Module):
    """Log10-mel ``[B, M, F]`` to waveform ``[B, F · hop_length]`` within [-1, 1].

    Attributes:
        draws_phase: False, it starts from the mel spectrogram alone.
        chunk_frames: on a CPU, apply the layers in pieces of at least so many frames, with the
            overlap that makes them equal to the whole but for rounding: activations of a piece stay
            in the processor's cache. None: all at once, as in training and on an accelerator.
    """

    draws_phase: bool = False
    chunk_frames: int | None = 96

    def __init__(self, config: BigVGANConfig):
        super().__init__()
        self.config = config
        self.conv_pre = Convolution(config.mel.n_mels, config.width, OUTER_KERNEL)
        widths = [config.width // 2**i for i in range(len(config.upsample_rates) + 1)]
        self.ups = nn.ModuleList(
            Upsampling(widths[i], widths[i + 1], config.upsample_kernels[i], rate)
            for i, rate in enumerate(config.upsample_rates)
        )
        self.resblocks = nn.ModuleList(
            ResidualBlock(width, kernel, dilations)
            for width in widths[1:]
            for kernel, dilations in zip(config.block_kernels, config.block_dilations, strict=True)
        )
        self.activation_post = AliasFreeSnake(widths[-1])
        self.conv_post = Convolution(widths[-1], 1, OUTER_KERNEL)

    def forward(self, mel: Tensor, initial_phase: Tensor | None = None) -> Tensor:
        """Return the waveform.

        Args:
            mel: ``[B, M, F]``.
            initial_phase: what other vocoders start from; this one needs none.

        Raises:
            InputError: for another shape, or a `chunk_frames` below 1.
        """
        self._check(mel)
        pieces = not torch.is_grad_enabled() and mel.device.type == "cpu"
        frames = self.chunk_frames if pieces else None
        x = self.conv_pre(mel[:, :, None].contiguous(memory_format=torch.channels_last))
        rate = 1
        for i, factor in enumerate(self.config.upsample_rates):
            rate *= factor
            x = self._stage(i, x, None if frames is None else frames * rate)
        size = None if frames is None else frames * rate
        return in_pieces(self._post, x, size, RADIUS + OUTER_KERNEL // 2)[:, 0, 0].float()

    def use_bfloat16(self) -> None:
        """Let the convolutions of the residual blocks run in bfloat16, and only those.

        Nearly all of the work is there. Sums, activations and the outer layers stay in float32:
        that keeps the difference about 44 dB below the signal; all in bfloat16 it would be 32 dB.
        """
        for module in self.resblocks.modules():
            if isinstance(module, Convolution):
                module.to(torch.bfloat16)

    def _stage(self, index: int, x: Tensor, size: int | None) -> Tensor:
        x = self.ups[index](x)
        if size is not None:  # a convolution lays out its weights anew for every piece
            size = max(size, LEAST_SAMPLES_A_CHANNEL * x.shape[1])
        count = len(self.config.block_kernels)
        blocks = self.resblocks[index * count : (index + 1) * count]
        total = blocks[0](x, size)
        for block in blocks[1:]:
            total.add_(block(x, size))
        return total.div_(count)

    def _post(self, x: Tensor) -> Tensor:
        return self.conv_post(self.activation_post(x)).tanh()

    def _check(self, mel: Tensor) -> None:
        bins = self.config.mel.n_mels
        if mel.ndim != 3 or mel.shape[1] != bins or not mel.shape[2]:
            raise InputError(f"mel is {tuple(mel.shape)}; needed: [B, {bins}, F] with F above 0")
        if self.chunk_frames is not None and self.chunk_frames < 1:
            raise InputError(f"chunk_frames is {self.chunk_frames}; it must be above 0, or None")


def _lay_out(module: nn.Module, _keys: object = None) -> None:
    """Put the weights ``[A, B, K]`` with B innermost in memory, as a convolution reads them."""
    if isinstance(module, Convolution | Upsampling):
        module.weight.data = module.weight.detach().transpose(1, 2).contiguous().transpose(1, 2)
