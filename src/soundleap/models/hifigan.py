"""HiFi-GAN, the vocoder of ConsistencyTTA and TANGO, as transformers builds it.

Source: Kong et al., HiFi-GAN (2020), section 2 and appendix A; AudioLDM's sizes.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any, Literal

import torch
from torch import Tensor, nn

from soundleap.audio.mel import AUDIOLDM_MEL, MelConfig
from soundleap.errors import InputError
from soundleap.models.fast_cpu import fast_cpu
from soundleap.models.stock import stock_class

_EDGE_KERNEL = 7  # of the first and the last convolution


@dataclass(frozen=True)
class HifiGanConfig:
    """Sizes of a `HifiGan`; the defaults are AudioLDM's.

    Attributes:
        kind: tells the file of this vocoder from those of others.
        mel: settings of the front-end that it inverts.
        upsample_rates: their product is the hop.
        upsample_kernel_sizes: of the transposed convolutions.
        upsample_initial_channel: width at the frame rate, halved at each rate.
        resblock_kernel_sizes: of the parallel residual blocks at each rate; odd.
        resblock_dilation_sizes: of each of those blocks.
    """

    kind: Literal["hifigan"] = "hifigan"
    mel: MelConfig = field(default_factory=lambda: AUDIOLDM_MEL)
    upsample_rates: tuple[int, ...] = (5, 4, 2, 2, 2)
    upsample_kernel_sizes: tuple[int, ...] = (16, 16, 8, 4, 4)
    upsample_initial_channel: int = 1024
    resblock_kernel_sizes: tuple[int, ...] = (3, 7, 11)
    resblock_dilation_sizes: tuple[tuple[int, ...], ...] = ((1, 3, 5), (1, 3, 5), (1, 3, 5))

    def __post_init__(self) -> None:
        """Check the sizes; lists, as JSON holds them, become tuples.

        Raises:
            InputError: naming the first setting that is not allowed.
        """
        for item in fields(self):
            value = getattr(self, item.name)
            if isinstance(value, list | tuple):
                object.__setattr__(self, item.name, _as_tuples(value))
        self._check_rates()
        if len(self.resblock_dilation_sizes) != len(self.resblock_kernel_sizes):
            raise InputError(
                f"resblock_dilation_sizes is {self.resblock_dilation_sizes}; needed: dilations for "
                f"each of the resblock_kernel_sizes, {self.resblock_kernel_sizes}"
            )
        if any(kernel < 1 or kernel % 2 == 0 for kernel in self.resblock_kernel_sizes):
            raise InputError(
                f"resblock_kernel_sizes is {self.resblock_kernel_sizes}; allowed: odd numbers"
            )

    def _check_rates(self) -> None:
        rates, kernels = self.upsample_rates, self.upsample_kernel_sizes
        if len(rates) != len(kernels) or any(k < r for r, k in zip(rates, kernels, strict=False)):
            raise InputError(
                f"upsample_kernel_sizes is {kernels}; needed: one for each of the upsample_rates, "
                f"{rates}, and not smaller"
            )
        product = torch.Size(rates).numel()
        if product != self.mel.hop_length:
            raise InputError(
                f"upsample_rates is {rates}, {product} samples a frame; needed: the hop of the "
                f"mel settings, {self.mel.hop_length}"
            )
        if self.upsample_initial_channel % 2 ** len(rates):
            raise InputError(
                f"upsample_initial_channel is {self.upsample_initial_channel}; allowed: multiples "
                f"of {2 ** len(rates)}, since each rate halves it"
            )

    def samples(self, frames: int) -> int:
        """Count the samples made of `frames`: a few more than the hop says for odd kernels."""
        for rate, kernel in zip(self.upsample_rates, self.upsample_kernel_sizes, strict=True):
            frames = (frames - 1) * rate + kernel - 2 * ((kernel - rate) // 2)
        return frames

    def frames_behind(self, first: int, last: int) -> tuple[int, int]:
        """Tell which frames the samples from `first` to `last` (inclusive) depend on.

        Returns:
            First and last frame, inclusive; they may lie outside of the clip.
        """
        radius = max(
            sum((kernel - 1) // 2 * (dilation + 1) for dilation in dilations)
            for kernel, dilations in zip(
                self.resblock_kernel_sizes, self.resblock_dilation_sizes, strict=True
            )
        )
        first, last = first - _EDGE_KERNEL // 2, last + _EDGE_KERNEL // 2
        sizes = list(zip(self.upsample_rates, self.upsample_kernel_sizes, strict=True))
        for rate, kernel in reversed(sizes):
            padding = (kernel - rate) // 2
            # Sample o is made of the inputs i with 0 <= o + padding - i * rate < kernel.
            first = -(-(first - radius + padding - kernel + 1) // rate)
            last = (last + radius + padding) // rate
        return first - _EDGE_KERNEL // 2, last + _EDGE_KERNEL // 2


class HifiGan(nn.Module):
    """Natural-log mel ``[B, M, F]`` to waveform ``[B, S]`` in [-1, 1]; no weight norm.

    At AudioLDM's rates S is 160 F + 32.

    Attributes:
        draws_phase: False; nothing random goes in.
        chunk_frames: how many frames are made at a time, None for all. Each piece sees all the
            frames that it depends on, so the result is the same; it needs less memory and, with
            the overlap, a little more time.
        net: transformers' network.
    """

    draws_phase = False

    def __init__(self, config: HifiGanConfig):
        super().__init__()
        self.config = config
        self.chunk_frames: int | None = None
        self.net: Any = _make_net(config)

    def forward(self, mel: Tensor, initial_phase: Tensor | None = None) -> Tensor:
        """Return the waveform ``[B, S]`` in float32.

        Args:
            mel: ``[B, M, F]``.
            initial_phase: what other vocoders start from; this one ignores it.

        Raises:
            InputError: for another shape, or a `chunk_frames` below 1.
        """
        shape = tuple(mel.shape)
        if len(shape) != 3 or shape[1] != self.config.mel.n_mels or not shape[2]:
            raise InputError(f"mel is {shape}; needed: [B, {self.config.mel.n_mels}, F]")
        size = self.chunk_frames
        if size is not None and size < 1:
            raise InputError(f"chunk_frames is {size}; allowed: from 1, or None")
        frames = mel.transpose(1, 2).to(self.net.conv_pre.weight.dtype)
        with fast_cpu(mel):
            if size is None or size >= shape[2]:
                return self.net(frames).float()
            starts = range(0, shape[2], size)
            return torch.cat([self._chunk(frames, start, start + size) for start in starts], dim=1)

    def _chunk(self, frames: Tensor, start: int, stop: int) -> Tensor:
        total, hop = frames.shape[1], self.config.mel.hop_length
        first = start * hop
        last = (stop * hop if stop < total else self.config.samples(total)) - 1
        before, behind = self.config.frames_behind(first, last)
        begin = max(0, before)
        made = self.net(frames[:, begin : behind + 1])
        return made[:, first - begin * hop : last + 1 - begin * hop].float()


def _as_tuples(value: Any) -> Any:
    return tuple(map(_as_tuples, value)) if isinstance(value, list | tuple) else value


def _make_net(config: HifiGanConfig) -> Any:
    module = "transformers.models.speecht5"
    make_config = stock_class(f"{module}.configuration_speecht5", "SpeechT5HifiGanConfig")
    make = stock_class(f"{module}.modeling_speecht5", "SpeechT5HifiGan")
    return make(
        make_config(
            model_in_dim=config.mel.n_mels,
            sampling_rate=config.mel.sampling_rate,
            upsample_initial_channel=config.upsample_initial_channel,
            upsample_rates=list(config.upsample_rates),
            upsample_kernel_sizes=list(config.upsample_kernel_sizes),
            resblock_kernel_sizes=list(config.resblock_kernel_sizes),
            resblock_dilation_sizes=[list(row) for row in config.resblock_dilation_sizes],
            leaky_relu_slope=0.1,
            normalize_before=False,
        )
    )
