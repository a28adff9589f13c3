"""Stage 4: the diffusion teacher, a transformer that predicts v."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import torch
from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from soundleap.data.source import open_source
from soundleap.diffusion.denoisers import NetworkDenoiser, Prediction
from soundleap.diffusion.schedules import NoiseSchedule
from soundleap.errors import InputError
from soundleap.models.dit import DiT, DiTConfig
from soundleap.training.batches import Batches, LatentBatch
from soundleap.training.ema import make_ema, update_ema, warm_decay
from soundleap.training.objectives import DiffusionObjective, TimedDraws
from soundleap.training.objectives.terms import Weighting
from soundleap.training.optimise import adamw, descend_in_parts
from soundleap.training.previews import Preview, preview
from soundleap.training.processes import make_accelerator
from soundleap.training.settings import PREVIEW_PROMPTS, STRICT, ScaleSettings
from soundleap.training.sharding import place, write_module
from soundleap.training.skips import Inspection
from soundleap.training.sound_parts import SoundParts


@dataclass(frozen=True, config=STRICT, kw_only=True)
class TeacherSettings(ScaleSettings):
    """Settings of `train teacher`; `batch_size` counts latent vectors (128 ms each).

    `weighting` weighs an item's loss by its time, see `training.objectives.snr_weight`.
    """

    cache: str
    heldout_cache: str
    codec: str
    vocoder: str | None = None
    width: int = 256
    blocks: int = 6
    heads: int = 4
    prediction: Prediction = "v"
    weighting: Weighting = "none"
    weighting_gamma: float = 5.0
    drop_text: float = 0.1
    ema: float = 0.999
    preview_prompts: tuple[str, ...] = PREVIEW_PROMPTS
    preview_guidance: float = 3.0

    def faults(self) -> list[str]:
        """Also refuse sizes, shares and a weighting that are none."""
        found = super().faults() + self.not_within(drop_text=1.0, ema=1.0)
        found += self.not_above_0("width", "blocks", "heads", "weighting_gamma")
        if self.heads > 0 and self.width % (2 * self.heads):
            found.append(
                f"width is {self.width}; it must be a multiple of twice the heads ({self.heads})"
            )
        if self.shard == "teacher":
            found.append("shard is 'teacher', but no frozen teacher takes part; allowed: none, all")
        return found


class TeacherStory:
    """Denoising score matching on cached latents."""

    def __init__(self, settings: TeacherSettings, *, progress: bool = True):
        self.settings = settings
        self.accelerator = make_accelerator(settings, several=True)
        self.device = self.accelerator.device
        self.schedule = NoiseSchedule.scaled_linear()
        cache = open_source(settings.cache)
        self.batches = Batches(
            cache, tokens=settings.batch_size, seed=settings.seed, drop_text=settings.drop_text
        )
        self.heldout = open_source(settings.heldout_cache)
        shapes = cache.vector_shape, self.heldout.vector_shape
        if shapes[0] != shapes[1] or len(shapes[0]) != 1:
            raise InputError(
                f"cache and heldout_cache hold latent vectors of shapes {shapes[0]} and "
                f"{shapes[1]}; needed: (C,) in both, from one codec of the default family"
            )
        self.config = DiTConfig(
            channels=cache.vector_shape[0],
            text_dim=cache.text([cache.empty]).embeds.shape[2],
            width=settings.width,
            blocks=settings.blocks,
            heads=settings.heads,
            prediction=settings.prediction,
        )
        torch.manual_seed(settings.seed)
        self.network = DiT(self.config)
        self.network.checkpoint_gradients(settings.gradient_checkpointing)
        self.average = make_ema(self.network)
        self.modules: dict[str, nn.Module] = {"network": self.network, "average": self.average}
        for network in self.modules.values():
            place(network, self.accelerator, sharded=settings.shard == "all")
        self.optimizers: dict[str, torch.optim.Optimizer] = {
            "network": adamw(self.network, settings)
        }

    def step(self, iteration: int, generator: torch.Generator) -> dict[str, Tensor]:
        """One step of denoising."""
        settings = self.settings
        batch = self.batches(iteration, generator)
        draws = self._objective(self.network).draw(batch.x_0, generator)
        step = descend_in_parts(
            self.accelerator,
            self.network,
            self.optimizers["network"],
            lambda items: {"loss": self.loss(self.network, batch.part(items), draws.part(items))},
            count=len(batch),
            accumulation=settings.accumulation,
            gradient_clip=settings.gradient_clip,
        )
        update_ema(self.average, self.network, warm_decay(settings.ema, iteration), step.applied)
        return step.report(len(batch))

    def loss(self, network: nn.Module, batch: LatentBatch, draws: TimedDraws) -> Tensor:
        """Return each item's loss ``[B]``."""
        conditions = {
            "text_embeds": batch.text.embeds.to(self.device),
            "text_mask": batch.text.mask.to(self.device),
            "latent_mask": None if batch.mask is None else batch.mask.to(self.device),
        }
        with self.accelerator.autocast():
            return self._objective(network)(batch.x_0.to(self.device), conditions, draws).loss

    def _objective(self, network: nn.Module) -> DiffusionObjective:
        settings = self.settings
        return DiffusionObjective(
            self.schedule,
            network,
            settings.prediction,
            settings.weighting,
            settings.weighting_gamma,
        )

    def inspect(self, iteration: int, generator: torch.Generator) -> Inspection:
        """Return batch and draws of an iteration."""
        batch = self.batches(iteration, generator)
        draws = self._objective(self.network).draw(batch.x_0, generator)
        facts = {"indices": batch.indices, "captions": batch.words}
        return Inspection.of(facts, x_0=batch.x_0, mask=batch.mask, text=batch.text, draws=draws)

    def snapshot(self, iteration: int, folder: Path) -> None:
        """Write the held-out loss, and sounds for the preview prompts."""
        value = self.heldout_loss()
        with (folder / "heldout.tsv").open("a", encoding="utf-8") as file:
            file.write(f"{iteration}\t{value:.5f}\n")
        if not self.settings.preview_prompts:
            return
        settings = self.settings
        vocoder = None if settings.vocoder is None else Path(settings.vocoder)
        parts = SoundParts(codec=Path(settings.codec), vocoder=vocoder)
        preview(
            folder / f"snapshot-{iteration:06d}",
            NetworkDenoiser(self.average, self.schedule, settings.prediction),
            Preview(settings.preview_prompts, settings.preview_guidance, parts),
        )

    @torch.no_grad()
    def heldout_loss(self) -> float:
        """Return the averaged network's loss on the held-out split, with fixed draws."""
        batches = Batches(self.heldout, tokens=1280, seed=0, drop_text=0.0)
        generator = torch.Generator().manual_seed(0)
        losses: list[Tensor] = []
        for i in range(8):
            batch = batches(i, generator)
            draws = self._objective(self.average).draw(batch.x_0, generator)
            losses.append(self.loss(self.average, batch, draws))
        return float(torch.cat(losses).mean())

    def export(self, folder: Path) -> None:
        """Write the averaged network."""
        path = folder / "teacher.safetensors"
        write_module(path, self.average, asdict(self.config), self.accelerator)
