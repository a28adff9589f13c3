"""Stage 5: distillation of a teacher into a student of one to four queries.

What is compared with what is an objective (`training.objectives`), chosen and shaped by settings;
here are its networks, its data, its optimiser and what it writes.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from soundleap.data.source import open_source
from soundleap.diffusion.denoisers import NetworkDenoiser
from soundleap.models.store import save_module
from soundleap.models.text import TextStates
from soundleap.training.batches import Batches, LatentBatch
from soundleap.training.distillation_checks import check_parts
from soundleap.training.distillation_settings import DistillationSettings
from soundleap.training.ema import make_ema, update_ema, warm_decay
from soundleap.training.objectives import (
    ConsistencyObjective,
    objective_from,
)
from soundleap.training.optimise import adamw, descend_in_parts
from soundleap.training.previews import Preview, preview, preview_student
from soundleap.training.processes import make_accelerator
from soundleap.training.students import first_student, student_from
from soundleap.training.teacher_parts import find_teacher, student_file

__all__ = ["DistillationSettings", "DistillationStory", "student_from"]


class DistillationStory:
    """The engine: every axis is a setting."""

    def __init__(self, settings: DistillationSettings, *, progress: bool = True):
        self.settings = settings
        self.accelerator = make_accelerator(settings, several=True)
        self.device = self.accelerator.device
        self.parts = find_teacher(
            settings.teacher, codec=settings.codec, vocoder=settings.vocoder, text=settings.text
        )
        self.schedule = self.parts.schedule
        cache = open_source(settings.cache)
        check_parts(settings, self.parts, cache)
        self.teacher = self.parts.load_network().to(self.device)
        self.batches = Batches(
            cache,
            tokens=settings.batch_size,
            seed=settings.seed,
            drop_text=settings.drop_text,
            equal_lengths=not self.teacher.mixed_lengths,
        )
        self.empty = cache.text([cache.empty])
        torch.manual_seed(settings.seed)
        self.student = first_student(
            self.teacher,
            guided=settings.guidance_embedding == "input",
            prediction=settings.student_gives,
            start=None if settings.start is None else student_file(settings.start),
        ).to(self.device)
        self.config = self.student.config
        self.average = make_ema(self.student)
        self.target = make_ema(self.student) if settings.objective == "consistency" else None
        self.modules: dict[str, nn.Module] = {"student": self.student, "average": self.average}
        if self.target is not None:
            self.modules["target"] = self.target
        self.objective = objective_from(
            settings,
            self.schedule,
            teacher=self.teacher,
            student=self.student,
            target=self.target,
        )
        self.optimizers: dict[str, torch.optim.Optimizer] = {
            "student": adamw(self.student, settings)
        }

    def step(self, iteration: int, generator: torch.Generator) -> dict[str, Tensor]:
        """One step down the objective."""
        settings = self.settings
        batch = self.batches(iteration, generator)
        draws = self.objective.draw(batch.x_0, generator)
        step = descend_in_parts(
            self.accelerator,
            self.student,
            self.optimizers["student"],
            lambda items: self.losses(batch.part(items), draws.part(items)),
            count=len(batch),
            accumulation=settings.accumulation,
            gradient_clip=settings.gradient_clip,
        )
        if self.target is not None:
            update_ema(self.target, self.student, settings.target_ema, step.applied)
        decay = warm_decay(settings.ema, iteration)
        update_ema(self.average, self.student, decay, step.applied)
        return step.report(len(batch))

    def losses(self, batch: LatentBatch, draws: Any) -> dict[str, Tensor]:
        """Return what a batch, or a part of it, costs: ``loss [B]`` and what else is to be told.

        Args:
            batch: some of the items.
            draws: theirs, of what the objective drew.
        """
        x_0 = batch.x_0.to(self.device)
        with self.accelerator.autocast():
            return {"loss": self.objective(x_0, *self.conditions(batch), draws).loss}

    def conditions(self, batch: LatentBatch) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the networks' conditions for a batch, and those for the empty prompt."""
        texts = pad_together(batch.text, self.empty)
        mask, count = batch.mask, len(batch)
        positive, negative = (
            {
                "text_embeds": text.embeds.to(self.device).expand(count, -1, -1),
                "text_mask": text.mask.to(self.device).expand(count, -1),
                "latent_mask": None if mask is None else mask.to(self.device),
            }
            for text in texts
        )
        return positive, negative

    def snapshot(self, iteration: int, folder: Path) -> None:
        """Write sounds of the averaged student, at 1, 2 and 4 steps where it takes few."""
        settings, objective = self.settings, self.objective
        if not settings.preview_prompts:
            return
        name = f"snapshot-{iteration:06d}"
        asked = Preview(settings.preview_prompts, settings.preview_guidance, self.parts)
        if not isinstance(objective, ConsistencyObjective):
            denoiser = NetworkDenoiser(self.average, self.schedule, settings.student_gives)
            preview(folder / name, denoiser, asked, guided=self.config.guided)
            return
        most = len(objective.starts)
        preview_student(
            lambda conditions, w: objective.function(self.average, conditions, w),
            objective.grid,
            self.schedule,
            asked,
            {n: folder / f"{name}-{n}-steps" for n in (1, 2, 4) if n <= most},
            device=self.device,
            scaled_noise=settings.top_rule == "noise",
        )

    def export(self, folder: Path) -> None:
        """Write the averaged student."""
        save_module(folder / "student.safetensors", self.average, asdict(self.config))


def pad_together(*texts: TextStates) -> list[TextStates]:
    """Pad text states to the length of the longest."""
    longest = max(text.embeds.shape[1] for text in texts)
    pad = nn.functional.pad
    padded: list[TextStates] = []
    for text in texts:
        missing = longest - text.embeds.shape[1]
        embeds = pad(text.embeds, (0, 0, 0, missing))
        padded.append(TextStates(embeds, pad(text.mask, (0, missing))))
    return padded
