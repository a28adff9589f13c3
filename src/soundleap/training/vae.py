"""Stage 1, learnt: a convolutional autoencoder in place of the closed-form codec.

For people with a GPU and a large corpus. At the budget of a CPU the closed form (`training.codec`)
wins by far: 8 frames in 128 numbers reach a held-out mean absolute mel error of 0.083 within
minutes. There is no adversary, so detail beyond what the latents hold comes out smooth.
"""

from __future__ import annotations

import copy
import json
import math
from dataclasses import asdict
from pathlib import Path

import torch
from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from soundleap.audio.mel import LogMel, MelConfig
from soundleap.data.manifest import write_text_atomically
from soundleap.data.pool import AudioPool
from soundleap.errors import InputError
from soundleap.models.istft_vocoder import ISTFTVocoder, ISTFTVocoderConfig
from soundleap.models.store import save_module
from soundleap.models.vae1d import VAE1d, VAE1dConfig
from soundleap.training.codec import mel_error
from soundleap.training.ema import make_ema, update_ema, warm_decay
from soundleap.training.optimise import adamw, descend_in_parts
from soundleap.training.processes import make_accelerator
from soundleap.training.settings import STRICT, RunSettings
from soundleap.training.skips import Inspection

MEASURED_CROPS = 64
"""Crops that normalisation, scale and held-out error are measured on."""


@dataclass(frozen=True, config=STRICT, kw_only=True)
class VAESettings(RunSettings):
    """Settings of `train codec` for the learnt codec.

    Attributes:
        manifests: clips; rows of split "train" are learnt, "heldout" measured.
        channels: numbers in a latent vector.
        patch_frames: mel frames that a latent vector covers, a power of two.
        width: channels of the convolutions.
        blocks: residual blocks at each resolution.
        crop_frames: mel frames of a training crop, a multiple of `patch_frames`.
        kl_weight: of the divergence in nats for each number of the mel spectrogram.
        ema: decay of the average that is exported.
    """

    manifests: tuple[str, ...]
    channels: int = 128
    patch_frames: int = 8
    width: int = 256
    blocks: int = 2
    crop_frames: int = 128
    kl_weight: float = 1e-5
    ema: float = 0.999

    def faults(self) -> list[str]:
        """Return what is wrong with the values."""
        found = super().faults()
        try:
            self.codec_config()
        except InputError as error:
            found.append(str(error))
        if self.crop_frames < 1 or self.crop_frames % max(1, self.patch_frames):
            found.append(
                f"crop_frames is {self.crop_frames}; it must be a multiple of patch_frames "
                f"({self.patch_frames})"
            )
        if not 0 <= self.kl_weight < math.inf:
            found.append(f"kl_weight is {self.kl_weight}; it must be at least 0")
        if not 0 <= self.ema < 1:
            found.append(f"ema is {self.ema}; allowed: 0 to below 1")
        return found

    def codec_config(self) -> VAE1dConfig:
        """Give the codec's sizes."""
        return VAE1dConfig(
            n_mels=MelConfig().n_mels,
            patch_frames=self.patch_frames,
            channels=self.channels,
            width=self.width,
            blocks=self.blocks,
        )


def vae_loss(vae: VAE1d, mel: Tensor, noise: Tensor, kl_weight: float) -> dict[str, Tensor]:
    """Return mel error, divergence and their sum, each ``[B]``.

    Both terms are for each number of the mel spectrogram, so that `kl_weight` means the same for
    all sizes of crop and latents.

    Args:
        vae: the codec; its decoder sees sampled latents.
        mel: ``[B, M, F]``.
        noise: white, ``[B, C, L]``.
        kl_weight: weight of the divergence.

    Source: Rombach et al. (2022), appendix G, with the L1 distance.
    """
    distribution = vae.encode_distribution(mel)
    decoded = vae.decode(distribution.sample(noise) / vae.scale)
    mel_l1 = (decoded - mel).abs().mean(dim=(1, 2))
    divergence = distribution.divergence() / mel[0].numel()
    return {"mel_l1": mel_l1, "divergence": divergence, "loss": mel_l1 + kl_weight * divergence}


class VAEStory:
    """L1 on mel crops plus a small divergence from the standard normal."""

    def __init__(self, settings: VAESettings, *, progress: bool = True):
        self.settings = settings
        self.accelerator = make_accelerator(settings, several=True)
        self.device = self.accelerator.device
        self.mel_config = MelConfig()
        self.pool, self.heldout = (
            AudioPool(
                settings.manifests,
                split=split,
                sampling_rate=self.mel_config.sampling_rate,
                progress=progress,
            )
            for split in ("train", "heldout")
        )
        self.front_end = LogMel(self.mel_config).to(self.device)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            self.vae = VAE1d(settings.codec_config()).to(self.device)
        self.vae.fit_input(self._mels(self.pool, MEASURED_CROPS, _fixed_generator()))
        self.average = make_ema(self.vae)
        self.modules: dict[str, nn.Module] = {"vae": self.vae, "average": self.average}
        self.optimizers: dict[str, torch.optim.Optimizer] = {
            "vae": adamw(self.vae, settings, betas=(0.9, 0.999))
        }

    def step(self, iteration: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Take one step on a batch of random crops."""
        settings = self.settings
        mel, noise = self._draw(generator)

        def losses(items: slice) -> dict[str, Tensor]:
            with self.accelerator.autocast():
                part = noise[items].to(self.device)
                return vae_loss(self.vae, mel[items], part, settings.kl_weight)

        step = descend_in_parts(
            self.accelerator,
            self.vae,
            self.optimizers["vae"],
            losses,
            count=len(mel),
            gradient_clip=settings.gradient_clip,
        )
        update_ema(self.average, self.vae, warm_decay(settings.ema, iteration), step.applied)
        return step.report(len(mel))

    def inspect(self, iteration: int, generator: torch.Generator) -> Inspection:
        """Return crops and noise of an iteration."""
        mel, noise = self._draw(generator)
        return Inspection.of({}, mel=mel, noise=noise)

    def _draw(self, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        settings = self.settings
        mel = self._mels(self.pool, settings.batch_size, generator)
        latents = settings.crop_frames // settings.patch_frames
        return mel, torch.randn(len(mel), settings.channels, latents, generator=generator)

    @torch.no_grad()
    def snapshot(self, iteration: int, folder: Path) -> None:
        """Write held-out clips and what the codec makes of them; phases are Griffin-Lim's."""
        from soundleap.training.snapshots import write_sounds

        generator = _fixed_generator()
        mel = self._mels(self.heldout, 8, generator).cpu()
        vae = copy.deepcopy(self.average).cpu()
        vocoder = ISTFTVocoder(ISTFTVocoderConfig(mel=self.mel_config))  # new: changes no phase
        bins = self.mel_config.n_fft // 2 + 1
        phase = 2 * math.pi * torch.rand(len(mel), bins, mel.shape[2], generator=generator)
        sounds = {
            f"{i}-{kind}": waveform
            for kind, picture in (("real", mel), ("codec", vae.decode(vae.encode(mel))))
            for i, waveform in enumerate(vocoder(picture, phase))
        }
        rate = self.mel_config.sampling_rate
        write_sounds(folder / f"snapshot-{iteration:06d}", dict(sorted(sounds.items())), rate)

    @torch.no_grad()
    def export(self, folder: Path) -> None:
        """Write the averaged codec, scaled, and its error on held-out crops (``report.json``)."""
        vae = copy.deepcopy(self.average)
        vae.fit_scale(self._mels(self.pool, MEASURED_CROPS, _fixed_generator()))
        heldout = self._mels(self.heldout, MEASURED_CROPS, _fixed_generator())
        save_module(folder / "codec.safetensors", vae, asdict(vae.config))
        report = {"heldout_mel_l1": mel_error(vae, list(heldout))}
        write_text_atomically(folder / "report.json", json.dumps(report, indent=1) + "\n")

    @torch.no_grad()
    def _mels(self, pool: AudioPool, count: int, generator: torch.Generator) -> Tensor:
        samples = self.settings.crop_frames * self.mel_config.hop_length
        return self.front_end(pool.crops(count, samples, generator).to(self.device))


def _fixed_generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)
