"""The parts of a model as modules whose inputs and outputs are plain real tensors."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from soundleap.models.dit import DiT
from soundleap.models.griffin_lim import magnitude_from_mel
from soundleap.models.istft_vocoder import MAX_LOG_GAIN, ISTFTVocoder
from soundleap.models.text import BertEncoder


class TextGraph(nn.Module):
    """Token ids to states; padding is zero."""

    def __init__(self, network: BertEncoder) -> None:
        super().__init__()
        self.network = network

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Map ids ``[B, N] int64`` and mask ``[B, N] bool`` to states ``[B, N, D]``."""
        return self.network(ids, mask).masked_fill(~mask[:, :, None], 0.0)


class NetworkGraph(nn.Module):
    """One query of a network without a guidance input."""

    def __init__(self, network: DiT) -> None:
        super().__init__()
        self.network = network

    def forward(self, x_t: Tensor, t: Tensor, text_embeds: Tensor, text_mask: Tensor) -> Tensor:
        """Predict from noisy latents ``[B, C, L]``; see `DiT.forward`."""
        return self.network(x_t, t, text_embeds=text_embeds, text_mask=text_mask)


class GuidedNetworkGraph(NetworkGraph):
    """One query of a network that knows guidance as an input."""

    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, x_t: Tensor, t: Tensor, text_embeds: Tensor, text_mask: Tensor, w: Tensor
    ) -> Tensor:
        """Predict from noisy latents ``[B, C, L]`` with guidance ``w [B]``."""
        return self.network(x_t, t, text_embeds=text_embeds, text_mask=text_mask, w=w)


class LatentGraph(nn.Module):
    """Latents to mel, without or with noise for the fill."""

    def __init__(self, codec: nn.Module) -> None:
        super().__init__()
        self.codec = codec

    def forward(self, latents: Tensor, noise: Tensor | None = None) -> Tensor:
        """Map ``[B, C, L]`` (and noise ``[B, M, F]``) to mel ``[B, M, F]``."""
        return self.codec.decode(latents, noise)  # pyright: ignore[reportCallIssue]


class MagnitudeGraph(nn.Module):
    """Mel to magnitudes, where the search for a phase begins."""

    filterbank: Tensor

    def __init__(self, vocoder: ISTFTVocoder) -> None:
        super().__init__()
        self.register_buffer("filterbank", vocoder.filterbank)

    def forward(self, mel: Tensor) -> Tensor:
        """Map ``[B, M, F]`` to ``[B, K, F]``."""
        return magnitude_from_mel(mel, self.filterbank)


class RefineGraph(nn.Module):
    """The vocoder's correction of a spectrum, in real numbers: `ISTFTVocoder.refine`."""

    def __init__(self, vocoder: ISTFTVocoder) -> None:
        super().__init__()
        self.vocoder = vocoder
        mel = vocoder.config.mel
        angles = -2 * math.pi * mel.hop_length / mel.n_fft * torch.arange(mel.n_fft // 2 + 1)
        self.register_buffer("turn", torch.stack([angles.cos(), angles.sin()])[:, None, :, None])

    turn: Tensor

    def forward(self, mel: Tensor, real: Tensor, imaginary: Tensor) -> tuple[Tensor, Tensor]:
        """Map mel ``[B, M, F]`` and a spectrum ``[B, K, F]`` to the corrected spectrum."""
        features = self._features(real, imaginary)
        x = self.vocoder.embed(torch.cat([mel, *features], dim=1).transpose(1, 2))
        x = self.vocoder.norm(x)
        for block in self.vocoder.blocks:
            x = block(x)
        y = self.vocoder.head(self.vocoder.final_norm(x)).transpose(1, 2)
        log_gain, rotation = y.chunk(2, dim=1)
        gain = torch.exp(MAX_LOG_GAIN * torch.tanh(log_gain / MAX_LOG_GAIN))
        return _times(real, imaginary, gain * rotation.cos(), gain * rotation.sin())

    def _features(self, real: Tensor, imaginary: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Do what `spectrum_features` does."""
        log_magnitude = torch.log10((real**2 + imaginary**2).sqrt().clamp_min(1e-5))
        before = [nn.functional.pad(x[:, :, :-1], (1, 0)) for x in (real, imaginary)]
        advance = _times(real, imaginary, before[0], -before[1])
        a, b = _times(*advance, self.turn[0], self.turn[1])
        size = (a**2 + b**2).sqrt().clamp_min(1e-8)
        return log_magnitude, a / size, b / size


def _times(a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> tuple[Tensor, Tensor]:
    """Multiply complex numbers: (a + ib)(c + id)."""
    return a * c - b * d, a * d + b * c
