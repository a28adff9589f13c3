"""Latents to mel and waveform with gradients: what distances and rewards on sound look at.

Decoding here is a function of the latents alone: no fill noise, and vocoders that start from a
phase start from the same one each time. Sounds of different lengths are decoded apart, as `Codec`
does, so padding never leaks in; what lies beyond a sound's end is zero.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from soundleap.models.patch_pca import PatchPCA
from soundleap.models.seams import LatentCodec, Vocoder


class SoundDecoder:
    """A latent codec and a vocoder as differentiable, deterministic functions of latents.

    Their weights are frozen. With gradients on, activations of the decoder are not kept but made
    again on the way back (activation checkpointing): the peak is one pass through one part.

    Attributes:
        latent: the latent codec.
        vocoder: the vocoder; None where only mels are asked for.
        recompute: whether to checkpoint.
    """

    def __init__(
        self, latent: LatentCodec, vocoder: Vocoder | None = None, *, recompute: bool = True
    ) -> None:
        self.latent, self.vocoder, self.recompute = latent, vocoder, recompute
        for part in (latent, vocoder):
            if isinstance(part, nn.Module):
                part.eval().requires_grad_(False)

    def mel(self, latents: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return mel ``[B, M, L · patch_frames]``.

        Args:
            latents: ``[B, C, L]`` or ``[B, C, L, H]``.
            mask: ``[B, L]``, True where a latent vector counts: from the first on, as many as the
                sound has. None: all.
        """
        if mask is not None and isinstance(self.latent, PatchPCA):  # each vector by itself
            frames = mask.repeat_interleave(self.latent.config.patch_frames, dim=1)
            return self.run(self._mel, latents) * frames[:, None]
        return apart(lambda z: self.run(self._mel, z), latents, mask)

    def waveform(self, latents: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return waveforms ``[B, L · patch_frames · hop_length]``; arguments as of `mel`.

        Raises:
            ValueError: if there is no vocoder, which would be a mistake of ours.
        """
        if self.vocoder is None:
            raise ValueError("this decoder has no vocoder")
        return apart(lambda z: self._vocode(self.run(self._mel, z)), latents, mask)

    def run(self, stage: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        """Do one stage of the way from latents to what looks at the sound, in float32 or better."""
        x = x.to(torch.promote_types(x.dtype, torch.float32))  # as `Codec`
        with torch.autocast(x.device.type, enabled=False):
            if self.recompute and torch.is_grad_enabled() and x.requires_grad:
                return cast(
                    "Tensor",
                    checkpoint(stage, x, use_reentrant=False, preserve_rng_state=False),
                )
            return stage(x)

    def _mel(self, latents: Tensor) -> Tensor:
        return self.latent.decode(latents)

    def _vocode(self, mel: Tensor) -> Tensor:
        vocoder = self.vocoder
        assert vocoder is not None
        config = vocoder.config.mel
        phase: Tensor | None = None
        if vocoder.draws_phase:
            shape = (config.n_fft // 2 + 1, mel.shape[2])
            uniform = torch.rand(shape, generator=torch.Generator().manual_seed(0))
            phase = (2 * math.pi * uniform).to(mel.device).expand(len(mel), -1, -1)
        samples = mel.shape[2] * config.hop_length
        return self.run(lambda x: vocoder(x, phase), mel)[:, :samples]


def apart(decode: Callable[[Tensor], Tensor], latents: Tensor, mask: Tensor | None) -> Tensor:
    """Decode sounds of different lengths apart and put them side by side, zero beyond their ends.

    Args:
        decode: ``[b, C, l(, H)] -> [b, ..., n · l]``.
        latents: ``[B, C, L(, H)]``.
        mask: ``[B, L]``, True for as many vectors as a sound has, at least one; None: all.
    """
    if mask is None:
        return decode(latents)
    sizes: list[int] = mask.sum(1).tolist()
    longest = latents.shape[2]
    parts: dict[int, Tensor] = {}
    for size in sorted(set(sizes)):
        rows = [i for i, own in enumerate(sizes) if own == size]
        sound = decode(latents[rows, :, :size])
        whole = sound.shape[-1] // size * longest
        padded = nn.functional.pad(sound, (0, whole - sound.shape[-1]))
        parts |= dict(zip(rows, padded, strict=True))
    return torch.stack([parts[i] for i in range(len(sizes))])
