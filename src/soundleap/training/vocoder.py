"""Stage 2: adversarial training of the vocoder, on true mels and on decoded ones."""

from __future__ import annotations

import math
from dataclasses import asdict
from pathlib import Path

import torch
from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from soundleap.audio.mel import LogMel
from soundleap.audio.stft import istft
from soundleap.data.pool import AudioPool
from soundleap.models.istft_vocoder import ISTFTVocoder, ISTFTVocoderConfig
from soundleap.models.latent_codecs import load_latent_codec
from soundleap.models.spectrogram_discriminator import MultiResolutionDiscriminator
from soundleap.models.store import save_module
from soundleap.training.ema import make_ema, update_ema, warm_decay
from soundleap.training.losses import SpectralLoss, discriminator_loss, feature_distance
from soundleap.training.optimise import Step, adamw, descend
from soundleap.training.processes import make_accelerator
from soundleap.training.settings import STRICT, RunSettings
from soundleap.training.skips import Inspection

BETAS = (0.8, 0.99)


@dataclass(frozen=True, config=STRICT, kw_only=True)
class VocoderSettings(RunSettings):
    """Settings of `train vocoder`."""

    manifests: tuple[str, ...]
    codec: str
    width: int = 256
    blocks: int = 8
    crop_frames: int = 64
    true_mel_share: float = 0.3
    latent_noise: float = 0.1
    adversarial_start: int = 300
    adversarial_weight: float = 1.0
    feature_weight: float = 2.0
    spectral_weight: float = 5.0
    discriminator_lr_scale: float = 1.0
    ema: float = 0.998

    def faults(self) -> list[str]:
        """Also refuse sizes and shares that are none."""
        found = super().faults() + self.not_within(true_mel_share=1.0, ema=1.0)
        return found + self.not_above_0("width", "blocks", "crop_frames", "discriminator_lr_scale")


class VocoderStory:
    """Hinge GAN with feature matching and spectral losses."""

    def __init__(self, settings: VocoderSettings, *, progress: bool = True):
        self.settings = settings
        self.accelerator = make_accelerator(settings)
        self.device = self.accelerator.device
        self.config = ISTFTVocoderConfig(width=settings.width, blocks=settings.blocks)
        mel = self.config.mel
        self.pool = AudioPool(settings.manifests, split="train", progress=progress,
                              sampling_rate=mel.sampling_rate)  # fmt: skip
        self.heldout = AudioPool(settings.manifests, split="heldout", progress=progress,
                                 sampling_rate=mel.sampling_rate)  # fmt: skip
        self.codec = load_latent_codec(Path(settings.codec)).to(self.device)
        self.front_end = LogMel(mel).to(self.device)
        self.spectral = SpectralLoss(self.front_end)
        torch.manual_seed(settings.seed)
        self.vocoder = ISTFTVocoder(self.config).to(self.device)
        self.average = make_ema(self.vocoder)
        self.judge = MultiResolutionDiscriminator().to(self.device)
        self.modules: dict[str, nn.Module] = {
            "vocoder": self.vocoder, "average": self.average, "judge": self.judge
        }  # fmt: skip
        self.optimizers = {
            "vocoder": adamw(self.vocoder, settings, betas=BETAS),
            "judge": adamw(
                self.judge, settings, betas=BETAS, lr_scale=settings.discriminator_lr_scale
            ),
        }

    def step(self, iteration: int, generator: torch.Generator) -> dict[str, Tensor]:
        """One step of the discriminator (once it has begun) and one of the vocoder."""
        settings = self.settings
        real = self._crops(generator)
        mel = self._input_mel(self.front_end(real), generator)
        fake = self._synthesise(self.vocoder, mel, generator)
        stats: dict[str, Tensor] = {}
        adversarial = iteration >= settings.adversarial_start
        features_of_real: list[list[Tensor]] = []
        moved: Tensor | None = None
        if adversarial:
            judged, features_of_real = self._judge_step(real, fake.detach())
            stats["judge"], moved = judged.means["loss"], judged.applied
        loss = settings.spectral_weight * self.spectral(fake, real).mean()
        stats["spectral"] = loss.detach() / settings.spectral_weight
        if adversarial:
            deceit, features = self._judged(fake, features_of_real)
            loss = loss + settings.adversarial_weight * deceit + settings.feature_weight * features
            stats |= {"deceit": deceit.detach(), "features": features.detach()}
        step = self._update("vocoder", self.vocoder, loss)
        update_ema(self.average, self.vocoder, warm_decay(settings.ema, iteration), step.applied)
        stats |= step.report(len(real))
        return stats if moved is None else stats | {"skipped": 1 - step.applied * moved}

    def inspect(self, iteration: int, generator: torch.Generator) -> Inspection:
        """Return the sounds of an iteration."""
        return Inspection.of({}, waveforms=self._crops(generator))

    def _crops(self, generator: torch.Generator) -> Tensor:
        samples = self.settings.crop_frames * self.config.mel.hop_length
        return self.pool.crops(self.settings.batch_size, samples, generator).to(self.device)

    def _input_mel(self, mel: Tensor, generator: torch.Generator) -> Tensor:
        """Pass most items through the codec, with a little noise on the latents."""
        latents = self.codec.encode(mel)
        level = self.settings.latent_noise * torch.rand(len(mel), 1, 1, generator=generator)
        jitter = torch.randn(latents.shape, generator=generator) * level
        noise = torch.randn(mel.shape, generator=generator)
        decoded = self.codec.decode(latents + jitter.to(mel.device), noise.to(mel.device))
        keep = torch.rand(len(mel), 1, 1, generator=generator) < self.settings.true_mel_share
        return torch.where(keep.to(mel.device), mel, decoded)

    def _synthesise(self, vocoder: ISTFTVocoder, mel: Tensor, generator: torch.Generator) -> Tensor:
        bins = self.config.mel.n_fft // 2 + 1
        phase = torch.rand(len(mel), bins, mel.shape[2], generator=generator) * 2 * math.pi
        start = vocoder.estimate(mel, phase.to(mel.device))
        with self.accelerator.autocast():
            spectrum = vocoder.refine(mel, start)
        return istft(spectrum, vocoder.window, self.config.mel.hop_length)

    def _judge_step(self, real: Tensor, fake: Tensor) -> tuple[Step, list[list[Tensor]]]:
        """Train the judge; return its step and its hidden layers for the real sounds."""
        pictures = [self.judge.spectrograms(w) for w in (real, fake)]
        with self.accelerator.autocast():
            on_real, on_fake = (self.judge(p) for p in pictures)
        losses = [
            discriminator_loss(r[0].float(), f[0].float())
            for r, f in zip(on_real, on_fake, strict=True)
        ]
        loss = torch.stack(losses).mean()
        step = self._update("judge", self.judge, loss)
        return step, [[layer.detach() for layer in hidden] for _, hidden in on_real]

    def _judged(self, fake: Tensor, features_of_real: list[list[Tensor]]) -> tuple[Tensor, Tensor]:
        """Return the adversarial loss and the feature distance of the vocoder's sounds."""
        self.judge.requires_grad_(False)
        with self.accelerator.autocast():
            on_fake = self.judge(self.judge.spectrograms(fake))
        self.judge.requires_grad_(True)
        deceit = torch.stack([-logits.float().mean() for logits, _ in on_fake]).mean()
        matched = [
            feature_distance(real, hidden)
            for real, (_, hidden) in zip(features_of_real, on_fake, strict=True)
        ]
        return deceit, torch.stack(matched).mean()

    def _update(self, name: str, module: nn.Module, loss: Tensor) -> Step:
        optimizer = self.optimizers[name]
        return descend(self.accelerator, module, optimizer, loss, self.settings.gradient_clip)

    def snapshot(self, iteration: int, folder: Path) -> None:
        """Write held-out clips through codec and vocoder, as sounds and one picture."""
        from soundleap.training.snapshots import write_sounds

        generator = torch.Generator().manual_seed(0)
        frames = 8 * self.codec.config.patch_frames
        samples = frames * self.config.mel.hop_length * 2
        real = self.heldout.crops(8, samples, generator).to(self.device)
        with torch.no_grad():
            noise = torch.randn(8, self.config.mel.n_mels, 2 * frames, generator=generator)
            latents = self.codec.encode(self.front_end(real))
            mel = self.codec.decode(latents, noise.to(self.device))
            fake = self._synthesise(self.average, mel, generator)
        pairs = {
            f"{i}-{kind}": w[i].cpu()
            for i in range(8)
            for kind, w in (("real", real), ("codec", fake))
        }
        write_sounds(folder / f"snapshot-{iteration:06d}", pairs, self.config.mel.sampling_rate)

    def export(self, folder: Path) -> None:
        """Write the averaged vocoder."""
        save_module(folder / "vocoder.safetensors", self.average, asdict(self.config))
