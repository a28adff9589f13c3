"""From latents to what a reward hears: as a listener would, with fill noise and all."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from soundleap.audio.dc import remove_dc
from soundleap.audio.mel import MelConfig
from soundleap.training.decoding import SoundDecoder
from soundleap.training.rewards.base import Needs


class Sounds:
    """Decodes latents, differentiably.

    Unlike a distance, which compares two decoded latents, a reward hears what the model's users
    will: fill noise and first phases are drawn, from a seed for each item.

    Args:
        decoder: of the model; frozen.
        level_offset: whether each waveform's offset is removed, as the model does (`audio.dc`).
    """

    def __init__(self, decoder: SoundDecoder, *, level_offset: bool = False) -> None:
        self.decoder, self.level_offset = decoder, level_offset

    @property
    def mel(self) -> MelConfig:
        """Settings of the mel spectrograms; those of the default family without a vocoder."""
        vocoder = self.decoder.vocoder
        return MelConfig() if vocoder is None else vocoder.config.mel

    def hear(self, latents: Tensor, seeds: Sequence[int], needs: set[Needs]) -> dict[Needs, Tensor]:
        """Decode sounds of one length.

        Args:
            latents: ``[B, C, L(, H)]``.
            seeds: of each sound's fill noise and first phase.
            needs: what is wanted; "waveform" only where there is a vocoder.

        Returns:
            The latents, and mel ``[B, M, F]`` and waveform ``[B, S]`` where they are wanted.
        """
        heard: dict[Needs, Tensor] = {"latents": latents}
        if not needs & {"mel", "waveform"}:
            return heard
        latent, vocoder = self.decoder.latent, self.decoder.vocoder
        noise, phase = self._draws(latents, seeds)
        mel = self.decoder.run(lambda z: latent.decode(z, noise), latents)
        heard["mel"] = mel
        if "waveform" in needs:
            assert vocoder is not None
            waveform = self.decoder.run(lambda x: vocoder(x, phase), mel)
            heard["waveform"] = remove_dc(waveform) if self.level_offset else waveform
        return heard

    def _draws(self, latents: Tensor, seeds: Sequence[int]) -> tuple[Tensor | None, Tensor | None]:
        latent, vocoder = self.decoder.latent, self.decoder.vocoder
        frames = latents.shape[2] * latent.config.patch_frames
        bins = self.mel.n_fft // 2 + 1
        noises: list[Tensor] = []
        phases: list[Tensor] = []
        for seed in seeds:
            generator = torch.Generator().manual_seed(seed)
            if latent.draws_noise:
                noises.append(torch.randn(self.mel.n_mels, frames, generator=generator))
            if vocoder is not None and vocoder.draws_phase:
                phases.append(2 * math.pi * torch.rand(bins, frames, generator=generator))
        return _stack(noises, latents), _stack(phases, latents)


def _stack(draws: list[Tensor], like: Tensor) -> Tensor | None:
    return torch.stack(draws).to(like) if draws else None
