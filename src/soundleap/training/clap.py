"""Training of the text-audio model: captions and sounds find each other within a batch."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path

import torch
from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from soundleap.audio.mel import LogMel
from soundleap.data.manifest import write_text_atomically
from soundleap.data.mels import MelSet, open_mels, pooled_texts
from soundleap.errors import InputError
from soundleap.models.latent_codecs import load_latent_codec
from soundleap.models.text_audio import WEIGHTS, TextAudioModel
from soundleap.models.text_audio_towers import TextAudioConfig
from soundleap.training.clap_data import ClapBatch, ClapData, draw_mixtures
from soundleap.training.ema import make_ema, update_ema, warm_decay
from soundleap.training.optimise import adamw, descend
from soundleap.training.processes import make_accelerator
from soundleap.training.retrieval import Heldout
from soundleap.training.settings import STRICT, RunSettings
from soundleap.training.skips import Inspection

MEASURED_CLIPS = 512
"""Clips that mean and deviation of the input are measured on."""
MAX_SCALE_LOG = 4.6052
"""Logarithm of 100, the largest factor before the softmax."""


@dataclass(frozen=True, config=STRICT, kw_only=True)
class ClapSettings(RunSettings):
    """Settings of `train clap`; an item is a sound with its caption.

    Attributes:
        manifests: clips; rows of split "train" are learnt, "heldout" measured.
        cache: folder of mels and text states, filled at the first start.
        codec: a latent codec, whose round trips are learnt as well; None: real sounds only.
        codec_share: of the items that go through it.
        mixtures: pairs of clips with a joined caption, drawn once.
        mixture_share: of the items of a batch that are mixtures.
        min_frames: shortest crop of a batch, in mel frames of 16 ms.
        max_frames: longest.
        likeness: texts whose cosine is this far below 1 count as e-fold less alike.
        stem, width, blocks, kernel, expansion, text_hidden, dim: see `TextAudioConfig`.
        ema: decay of the average that is exported.
    """

    manifests: tuple[str, ...]
    cache: str
    codec: str | None = None
    codec_share: float = 0.5
    mixtures: int = 6000
    mixture_share: float = 0.25
    min_frames: int = 128
    max_frames: int = 624
    likeness: float = 0.05
    stem: tuple[int, ...] = (24, 48, 64)
    width: int = 192
    blocks: int = 3
    kernel: int = 7
    expansion: int = 3
    text_hidden: int = 384
    dim: int = 256
    ema: float = 0.99

    def faults(self) -> list[str]:
        """Return what is wrong with the values."""
        found = super().faults()
        try:
            self.model_config()
        except InputError as error:
            found.append(str(error))
        found += self.not_within(codec_share=1.0, mixture_share=1.0, ema=0.99999)
        if self.mixtures < 0:
            found.append(f"mixtures is {self.mixtures}; it must be at least 0")
        if not 8 <= self.min_frames <= self.max_frames:
            bounds = f"min_frames {self.min_frames}, max_frames {self.max_frames}"
            found.append(f"{bounds}; needed: 8 <= min_frames <= max_frames")
        if not self.likeness > 0:
            found.append(f"likeness is {self.likeness}; it must be above 0")
        return found

    def model_config(self) -> TextAudioConfig:
        """Give the model's sizes."""
        names = {field.name for field in fields(TextAudioConfig)} - {"mel", "text_dim"}
        return TextAudioConfig(**{name: getattr(self, name) for name in names})


def contrastive_loss(
    sounds: Tensor, texts: Tensor, scale: Tensor, targets: Tensor
) -> dict[str, Tensor]:
    """Return the loss of each item and whether its own text is the nearest, each ``[B]``.

    Args:
        sounds: unit vectors ``[B, D]``.
        texts: unit vectors ``[B, D]`` of the same items.
        scale: factor before the softmax.
        targets: ``[B, B]``, how alike items are, 1 for an item and itself; rows are scaled to sum
            to 1.

    Source: Radford et al. 2021, "CLIP", figure 3, with soft targets.
    """
    logits = scale * sounds @ texts.T
    wanted = targets / targets.sum(1, keepdim=True)
    by_sound = -(wanted * logits.log_softmax(1)).sum(1)
    by_text = -(wanted * logits.T.log_softmax(1)).sum(1)
    best = targets.gather(1, logits.argmax(1, keepdim=True))[:, 0] > 0.5
    return {"loss": 0.5 * (by_sound + by_text), "found": best.float()}


def alike(pooled: Tensor, groups: Tensor, likeness: float) -> Tensor:
    """Say how alike items are, 0 to 1: equal groups fully, others by their texts' cosine.

    Args:
        pooled: text states ``[B, E]`` of length 1.
        groups: ``[B]``, equal where the captions are the same.
        likeness: scale of 1 - cosine.
    """
    near = torch.exp((pooled @ pooled.T - 1.0).clamp_max(0.0) / likeness)
    return torch.where(groups[:, None] == groups[None], 1.0, near)


class ClapStory:
    """Symmetric contrastive training in which equal and nearly equal captions are positives."""

    def __init__(self, settings: ClapSettings, *, progress: bool = True):
        self.settings = settings
        self.accelerator = make_accelerator(settings)
        self.device = self.accelerator.device
        config, cache = settings.model_config(), Path(settings.cache)
        front_end = LogMel(config.mel)
        mels, heldout = (
            open_mels(cache, settings.manifests, split, front_end, progress=progress)
            for split in ("train", "heldout")
        )
        self.heldout = Heldout(heldout, cache, progress=progress)
        mixtures = draw_mixtures(mels, settings.mixtures, settings.seed)
        self.data = ClapData(mels, mixtures)
        self.pooled = pooled_texts(cache, self.data.texts, progress=progress)
        self.codec = None if settings.codec is None else load_latent_codec(Path(settings.codec))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            self.model = TextAudioModel(config)
        self.model.audio_tower.fit_input(_sampled(mels))
        self.model.to(self.device)
        self.average = make_ema(self.model)
        self.modules: dict[str, nn.Module] = {"model": self.model, "average": self.average}
        self.optimizers = {"model": adamw(self.model, settings, betas=(0.9, 0.98))}

    def step(self, iteration: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Take one step on a batch of clips and mixtures."""
        settings, batch = self.settings, self._draw(generator)
        losses = self._losses(batch)
        loss = losses["loss"].mean()
        step = descend(
            self.accelerator, self.model, self.optimizers["model"], loss, settings.gradient_clip
        )
        with torch.no_grad():
            self.model.scale_log.clamp_(max=MAX_SCALE_LOG)
        update_ema(self.average, self.model, warm_decay(settings.ema, iteration), step.applied)
        scale = self.model.scale_log.detach().exp()
        found = losses["found"].mean()
        return {**step.report(len(batch.mask)), "found": found, "scale": scale}

    def inspect(self, iteration: int, generator: torch.Generator) -> Inspection:
        """Return an iteration's sounds and captions."""
        batch = self._draw(generator)
        captions = [self.data.texts[int(i)] for i in batch.texts]
        return Inspection.of({"captions": captions}, batch=batch)

    def _draw(self, generator: torch.Generator) -> ClapBatch:
        settings = self.settings
        codec = None if self.codec is None else (self.codec, settings.codec_share)
        frames = (settings.min_frames, settings.max_frames)
        return self.data.draw(settings.batch_size, settings.mixture_share, frames, codec, generator)

    def _losses(self, batch: ClapBatch) -> dict[str, Tensor]:
        pooled = self.pooled[batch.texts].to(self.device)
        targets = alike(pooled, batch.groups.to(self.device), self.settings.likeness)
        with self.accelerator.autocast():
            sounds = self.model.audio(batch.mel.to(self.device), batch.mask.to(self.device))
            texts = self.model.text_projection(pooled)
        return contrastive_loss(sounds.float(), texts.float(), self.model.scale_log.exp(), targets)

    def snapshot(self, iteration: int, folder: Path) -> None:
        """Add a line on held-out retrieval to ``retrieval.jsonl``."""
        line = {"iteration": iteration, **self.heldout.judge(self.average)}
        with (folder / "retrieval.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def export(self, folder: Path) -> None:
        """Write the averaged model and what it finds among held-out clips (``report.json``)."""
        self.average.save(folder / WEIGHTS)
        report = self.heldout.judge(self.average)
        write_text_atomically(folder / "report.json", json.dumps(report, indent=1) + "\n")


def _sampled(mels: MelSet) -> list[Tensor]:
    step = max(1, len(mels) // MEASURED_CLIPS)
    return [mels.mel(i) for i in range(0, len(mels), step)]
