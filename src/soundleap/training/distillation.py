"""Stage 5: distillation of a teacher into a student of one to four queries.

What is compared with what is an objective (`training.objectives`), chosen and shaped by settings;
here are its networks, its data, its optimiser and what it writes.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from soundleap.data.source import open_source
from soundleap.diffusion.schedules import NoiseSchedule
from soundleap.errors import InputError
from soundleap.models.dit import DiT, DiTConfig
from soundleap.models.store import save_module
from soundleap.models.text import TextStates
from soundleap.training.batches import Batches, LatentBatch
from soundleap.training.distillation_settings import DistillationSettings
from soundleap.training.ema import make_ema, update_ema, warm_decay
from soundleap.training.objectives import ConsistencyObjective, objective_from
from soundleap.training.optimise import adamw, descend_in_parts
from soundleap.training.parts import load_dit
from soundleap.training.previews import preview, preview_student
from soundleap.training.processes import make_accelerator

__all__ = ["DistillationSettings", "DistillationStory", "student_from"]


class DistillationStory:
    """The engine: every axis is a setting."""

    def __init__(self, settings: DistillationSettings, *, progress: bool = True):
        self.settings = settings
        self.accelerator = make_accelerator(settings, several=True)
        self.device = self.accelerator.device
        self.schedule = NoiseSchedule.scaled_linear()
        cache = open_source(settings.cache)
        self.batches = Batches(
            cache, tokens=settings.batch_size, seed=settings.seed, drop_text=settings.drop_text
        )
        self.empty = cache.text([cache.empty])
        self.teacher = load_dit(Path(settings.teacher)).to(self.device).requires_grad_(False)
        _check_teacher(self.teacher, settings)
        self.config = replace(
            self.teacher.config,
            guided=settings.guidance_embedding == "input",
            prediction=settings.student_gives,
        )
        self.student = first_student(self.teacher, self.config, settings.start).to(self.device)
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

    def conditions(self, batch: LatentBatch) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Return the networks' conditions for a batch, and those for the empty prompt."""
        texts = pad_together(batch.text, self.empty)
        mask = batch.mask.to(self.device)
        positive, negative = (
            {
                "text_embeds": text.embeds.to(self.device).expand(len(mask), -1, -1),
                "text_mask": text.mask.to(self.device).expand(len(mask), -1),
                "latent_mask": mask,
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
        common: dict[str, Any] = {
            "prompts": settings.preview_prompts,
            "guidance_scale": settings.preview_guidance,
            "codec": Path(settings.codec),
            "vocoder": None if settings.vocoder is None else Path(settings.vocoder),
        }
        if not isinstance(objective, ConsistencyObjective):
            preview(
                folder / name,
                self.average,
                self.schedule,
                settings.student_gives,
                guided=self.config.guided,
                **common,
            )
            return
        for steps in (1, 2, 4):
            preview_student(
                folder / f"{name}-{steps}-steps",
                lambda conditions, w: objective.function(self.average, conditions, w),
                self.schedule,
                objective.grid,
                steps=steps,
                device=self.device,
                **common,
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


def _check_teacher(teacher: DiT, settings: DistillationSettings) -> None:
    config = teacher.config
    if config.prediction != settings.prediction:
        raise InputError(
            f"prediction is {settings.prediction!r} but {settings.teacher} predicts "
            f"{config.prediction!r}; set prediction={config.prediction}"
        )
    if config.guided:
        raise InputError(f"{settings.teacher} is a student already; give its teacher")


def first_student(teacher: DiT, config: DiTConfig, start: str | None) -> DiT:
    """Return the student that training begins with: the teacher's copy, or the one in a file.

    A student that predicted something else may be gone on from: ConsistencyTTA's second stage
    makes a predictor of x_0 from one of v.

    Raises:
        InputError: if the file holds another network than this teacher's student.
    """
    if start is None:
        return student_from(teacher, config)
    before = load_dit(Path(start))
    if replace(before.config, prediction=config.prediction) != config:
        raise InputError(
            f"start {start} holds {before.config}, but a student of this teacher is {config}"
        )
    return student_from(before, config)


def student_from(network: DiT, config: DiTConfig) -> DiT:
    """Copy a teacher or a student; a guidance input that it lacks starts without effect.

    Raises:
        RuntimeError: if the state does not fit, which would be a mistake of ours.
    """
    student = DiT(config)
    missing = student.load_state_dict(network.state_dict(), strict=False)
    if missing.unexpected_keys or any(not k.startswith("guidance.") for k in missing.missing_keys):
        raise RuntimeError(f"a student does not fit its teacher: {missing}")
    return student
