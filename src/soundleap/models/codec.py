"""The codec: waveform to latents and back through mel spectrograms."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from soundleap.audio.mel import LogMel
from soundleap.errors import InputError
from soundleap.models.seams import LatentCodec, Vocoder

Stage = Callable[[str], AbstractContextManager[None]]
"""Gives a context that measures a named stage."""


class Codec(nn.Module):
    """Mel front-end, latent codec and vocoder as one; in float32 whatever the networks run in."""

    def __init__(self, front_end: LogMel, latent: LatentCodec, vocoder: Vocoder) -> None:
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
        """Channels C of the latents."""
        return self.latent.config.channels

    @property
    def fixed_length(self) -> int | None:
        """The one number of latent vectors that this codec takes; None where any will do."""
        return getattr(self.latent.config, "fixed_length", None)

    @property
    def samples_per_latent(self) -> int:
        """Samples that one latent vector covers."""
        return self.latent.config.patch_frames * self.front_end.config.hop_length

    def samples_length(self, duration_in_s: float) -> int:
        """Give the number of samples in a duration, rounded."""
        return round(duration_in_s * self.sampling_rate)

    def latents_length(self, duration_in_s: float) -> int:
        """Give the number L of latent vectors that cover a duration, rounded up."""
        needed = math.ceil(self.samples_length(duration_in_s) / self.samples_per_latent)
        return needed if self.fixed_length is None else self.fixed_length

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
        frames = shape[2] // self.front_end.config.hop_length  # centred windows make one more
        return self.latent.encode(self.front_end(waveform[:, 0])[..., :frames])

    def decode(
        self,
        latents: Tensor,
        generators: Sequence[torch.Generator],
        lengths: Sequence[int] | None = None,
        stage: Stage = lambda _: nullcontext(),
    ) -> Tensor:
        """Decode latents; peaks may pass 1, nothing is clipped.

        Each sample draws its fill noise and then the vocoder's initial phase from its own
        generator, where the parts use them. Samples of different lengths are decoded apart, so
        padding never leaks in.

        Args:
            latents: ``[B, C, L]`` or ``[B, C, L, ...]``.
            generators: one CPU generator per sample.
            lengths: latent vectors of each sample, 1 to L; None where nothing is padded.
            stage: gives a context for the time of "codec" (latents to mel) and "vocoder".

        Returns:
            ``[B, 1, S] float32`` with S at least max(lengths) · `samples_per_latent` (a vocoder may
            give some samples more); a shorter sample is followed by zeros.

        Raises:
            InputError: if generators or lengths do not fit the latents.
        """
        batch, longest = latents.shape[0], latents.shape[2]
        sizes = [longest] * batch if lengths is None else list(lengths)
        if len(generators) != batch or len(sizes) != batch:
            raise InputError(
                f"got {len(generators)} generators and {len(sizes)} lengths for {batch} samples"
            )
        if not all(0 < size <= longest for size in sizes):
            raise InputError(f"lengths are {sizes}; allowed: 1 to {longest}")
        parts: dict[int, Tensor] = {}
        for size in sorted(set(sizes)):
            rows = [i for i in range(batch) if sizes[i] == size]
            own = [generators[i] for i in rows]
            decoded = self._decode_equal(latents[rows, :, :size], own, stage)
            parts |= dict(zip(rows, decoded, strict=True))
        waveform = latents.new_zeros(batch, 1, max(len(part) for part in parts.values()))
        for row, part in parts.items():
            waveform[row, 0, : len(part)] = part
        return waveform

    def _decode_equal(
        self, latents: Tensor, generators: Sequence[torch.Generator], stage: Stage
    ) -> Tensor:
        mel_config = self.front_end.config
        frames = latents.shape[2] * self.latent.config.patch_frames
        bins = mel_config.n_fft // 2 + 1
        noises: list[Tensor] = []
        phases: list[Tensor] = []
        for generator in generators:
            if self.latent.draws_noise:
                noises.append(torch.randn(mel_config.n_mels, frames, generator=generator))
            if self.vocoder.draws_phase:
                phases.append(2 * math.pi * torch.rand(bins, frames, generator=generator))
        with stage("codec"):
            mel = self.latent.decode(latents, _stack(noises, latents.device))
        with stage("vocoder"):
            return self.vocoder(mel, _stack(phases, latents.device))


def _stack(draws: list[Tensor], device: torch.device) -> Tensor | None:
    return torch.stack(draws).to(device) if draws else None
