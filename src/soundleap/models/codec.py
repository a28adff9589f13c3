"""The codec: waveform to latents and back through mel spectrograms."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from soundleap.audio.mel import LogMel
from soundleap.errors import InputError
from soundleap.models.istft_vocoder import ISTFTVocoder


class LatentConfig(Protocol):
    """What every latent codec's configuration tells."""

    @property
    def channels(self) -> int:
        """Numbers C in a latent vector."""
        ...

    @property
    def patch_frames(self) -> int:
        """Mel frames that one latent vector covers."""
        ...


class LatentCodec(Protocol):
    """A codec between mel ``[B, M, F]`` and latents ``[B, C, F / patch_frames]``."""

    @property
    def config(self) -> LatentConfig:
        """Sizes."""
        ...

    def encode(self, mel: Tensor) -> Tensor:
        """Map ``[B, M, F]`` to ``[B, C, F / patch_frames]``."""
        ...

    def decode(self, latents: Tensor, noise: Tensor | None = None) -> Tensor:
        """Map back; `noise` (white, shaped like the result) feeds what the latents left out."""
        ...


class Codec(nn.Module):
    """Mel front-end, latent codec and vocoder as one; in float32 whatever the networks run in."""

    def __init__(self, front_end: LogMel, latent: LatentCodec, vocoder: ISTFTVocoder) -> None:
        """Join parts that were made for one mel setting.

        Raises:
            InputError: if the vocoder inverts another mel spectrogram than the front-end makes.
        """
        super().__init__()
        if front_end.config != vocoder.config.mel:
            raise InputError(
                f"the vocoder's mel settings are {vocoder.config.mel} but the front-end's "
                f"{front_end.config}; use parts that were made together"
            )
        self.front_end = front_end
        self.latent = latent
        self.vocoder = vocoder

    @property
    def sampling_rate(self) -> int:
        """Samples a second of every waveform here."""
        return self.front_end.config.sampling_rate

    @property
    def channels(self) -> int:
        """Numbers C in a latent vector."""
        return self.latent.config.channels

    @property
    def samples_per_latent(self) -> int:
        """Samples that one latent vector covers."""
        return self.latent.config.patch_frames * self.front_end.config.hop_length

    def samples_length(self, duration_in_s: float) -> int:
        """Give the number of samples in a duration, rounded."""
        return round(duration_in_s * self.sampling_rate)

    def latents_length(self, duration_in_s: float) -> int:
        """Give the number L of latent vectors that cover a duration, rounded up."""
        return math.ceil(self.samples_length(duration_in_s) / self.samples_per_latent)

    def pad(self, waveform: Tensor) -> Tensor:
        """Add silence to ``[B, 1, S]`` up to the next whole number of latent vectors."""
        missing = -waveform.shape[-1] % self.samples_per_latent
        return nn.functional.pad(waveform, (0, missing))

    def encode(self, waveform: Tensor) -> Tensor:
        """Encode a waveform.

        Args:
            waveform: ``[B, 1, S] float32`` at `sampling_rate`; S a multiple of
                `samples_per_latent` (see `pad`).

        Returns:
            Latents ``[B, C, L]``.

        Raises:
            InputError: for another shape.
        """
        unit = self.samples_per_latent
        shape = tuple(waveform.shape)
        if len(shape) != 3 or shape[1] != 1 or shape[2] % unit or not shape[2]:
            raise InputError(
                f"waveform is {shape}; needed: [B, 1, S] with S a multiple of {unit} (Codec.pad)"
            )
        return self.latent.encode(self.front_end(waveform[:, 0]))

    def decode(
        self,
        latents: Tensor,
        generators: Sequence[torch.Generator],
        lengths: Sequence[int] | None = None,
    ) -> Tensor:
        """Decode latents; peaks may pass 1, nothing is clipped.

        Each sample draws its fill noise and then the vocoder's initial phase from its own
        generator. Samples of different lengths are decoded apart, so padding never leaks in.

        Args:
            latents: ``[B, C, L]``.
            generators: one CPU generator per sample.
            lengths: latent vectors of each sample, 1 to L; None where nothing is padded.

        Returns:
            ``[B, 1, S] float32`` with S = max(lengths) · `samples_per_latent`; a shorter sample is
            followed by zeros.

        Raises:
            InputError: if generators or lengths do not fit the latents.
        """
        batch, _, longest = latents.shape
        sizes = [longest] * batch if lengths is None else list(lengths)
        if len(generators) != batch or len(sizes) != batch:
            raise InputError(
                f"got {len(generators)} generators and {len(sizes)} lengths for {batch} samples"
            )
        if not all(0 < size <= longest for size in sizes):
            raise InputError(f"lengths are {sizes}; allowed: 1 to {longest}")
        waveform = latents.new_zeros(batch, 1, max(sizes) * self.samples_per_latent)
        for size in sorted(set(sizes)):
            rows = [i for i in range(batch) if sizes[i] == size]
            decoded = self._decode_equal(latents[rows, :, :size], [generators[i] for i in rows])
            waveform[rows, 0, : decoded.shape[1]] = decoded
        return waveform

    def _decode_equal(self, latents: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
        mel_config = self.front_end.config
        frames = latents.shape[2] * self.latent.config.patch_frames
        bins = mel_config.n_fft // 2 + 1
        noises: list[Tensor] = []
        phases: list[Tensor] = []
        for generator in generators:
            noises.append(torch.randn(mel_config.n_mels, frames, generator=generator))
            phases.append(2 * math.pi * torch.rand(bins, frames, generator=generator))
        mel = self.latent.decode(latents, torch.stack(noises).to(latents.device))
        return self.vocoder(mel, torch.stack(phases).to(latents.device))
