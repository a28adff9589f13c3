"""Stage 5: distillation of a teacher into a student of one to four queries.

What is compared with what is an objective (`training.objectives`), chosen and shaped by settings;
here are its networks, its data, its optimiser and what it writes.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from soundleap.diffusion.denoisers import NetworkDenoiser
from soundleap.models.text import TextStates
from soundleap.training.batches import Batches, LatentBatch
from soundleap.training.distillation_checks import check_parts
from soundleap.training.distillation_data import decoder_of, open_data
from soundleap.training.distillation_settings import DistillationSettings
from soundleap.training.ema import make_ema, update_ema, warm_decay
from soundleap.training.lora import merged
from soundleap.training.objectives import (
    ConsistencyObjective,
    objective_from,
    solver_error,
)
from soundleap.training.optimise import adamw, descend_in_parts
from soundleap.training.previews import Preview, preview, preview_student
from soundleap.training.processes import make_accelerator
from soundleap.training.rewards.apply import mean_scores
from soundleap.training.rewards.hook import RewardedDraws, load_rewards, rewarded
from soundleap.training.rewards.record import joined, rewards_of, write_rewards
from soundleap.training.sharding import place, write_module
from soundleap.training.skips import Inspection
from soundleap.training.student_lora import kept_parts, light_copy, with_layers, write_layers
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
        cache = open_data(settings, self.parts, progress=progress)
        check_parts(settings, self.parts, cache)
        self.rewards = load_rewards(settings, self.parts, self.device)
        self.teacher = self.parts.load_network()
        self.batches = Batches(
            cache,
            tokens=settings.batch_size,
            seed=settings.seed,
            drop_text=settings.drop_text,
            equal_lengths=not self.teacher.mixed_lengths,
        )
        self.empty = cache.text([cache.empty])
        torch.manual_seed(settings.seed)
        student = first_student(
            self.teacher,
            guided=settings.guidance_embedding == "input",
            prediction=settings.student_gives,
            start=None if settings.start is None else student_file(settings.start),
        )
        self.config = student.config
        anew = self.config.guided and settings.start is None
        self.student = with_layers(student, settings, seed=settings.seed, told_anew=anew)
        copied = light_copy if settings.lora_rank else make_ema
        self.average = copied(self.student)
        self.target = copied(self.student) if settings.objective == "consistency" else None
        networks: dict[str, nn.Module] = {"student": self.student, "average": self.average}
        if self.target is not None:
            networks["target"] = self.target
        self._place(networks)
        self.modules = kept_parts(networks) if settings.lora_rank else networks
        self.objective = objective_from(
            settings,
            self.schedule,
            teacher=self.teacher,
            student=self.student,
            target=self.target,
            decode=decoder_of(settings, self.parts, self.device),
        )
        self.optimizers: dict[str, torch.optim.Optimizer] = {
            "student": adamw(self.modules["student"], settings)
        }

    def _place(self, networks: dict[str, nn.Module]) -> None:
        """Bring the networks to the device, in shards where they are to be, and set up the rest."""
        settings, teacher = self.settings, cast(nn.Module, self.teacher)
        teacher.to(getattr(torch, settings.teacher_dtype))
        place(teacher, self.accelerator, sharded=settings.shard != "none")
        for network in networks.values():
            place(network, self.accelerator, sharded=settings.shard == "all")
        self.student.checkpoint_gradients(settings.gradient_checkpointing)

    def step(self, iteration: int, generator: torch.Generator) -> dict[str, Tensor]:
        """One step down the objective."""
        settings = self.settings
        batch = self.batches(iteration, generator)
        draws = self.draw(batch, generator)
        step = descend_in_parts(
            self.accelerator,
            self.student,
            self.optimizers["student"],
            lambda items: self.losses(
                batch.part(items), draws.part(items), estimate=settings.estimates(iteration)
            ),
            count=len(batch),
            accumulation=settings.accumulation,
            gradient_clip=settings.gradient_clip,
        )
        if self.target is not None:
            update_ema(self.target, self.student, settings.target_ema, step.applied)
        decay = warm_decay(settings.ema, iteration)
        update_ema(self.average, self.student, decay, step.applied)
        queries, clips = settings.teacher_queries, self.batches.clips_before(iteration) + len(batch)
        asked = {"teacher_queries": queries, "teacher_queries_total": queries * clips}
        told = {name: torch.tensor(value) for name, value in asked.items()}
        return mean_scores(step.report(len(batch))) | told

    def draw(self, batch: LatentBatch, generator: torch.Generator) -> Any:
        """Draw what chance decides about a batch."""
        draws = self.objective.draw(batch.x_0, generator)
        if self.rewards is None:
            return draws
        return RewardedDraws.of(draws, len(batch), generator)

    def losses(
        self, batch: LatentBatch, draws: Any, *, estimate: bool = False
    ) -> dict[str, Tensor]:
        """Return what a batch, or a part of it, costs: ``loss [B]`` and what else is to be told.

        Args:
            batch: some of the items.
            draws: theirs, of `draw`.
            estimate: whether to tell the error of the teacher's solver too.
        """
        x_0, conditions = batch.x_0.to(self.device), self.conditions(batch)
        drawn = draws if self.rewards is None else draws.objective
        told: dict[str, Tensor] = {}
        with self.accelerator.autocast():
            terms: Any = self.objective(x_0, *conditions, drawn)
            if estimate and isinstance(self.objective, ConsistencyObjective):
                told["solver_error"] = solver_error(self.objective, terms, *conditions, drawn)
        if self.rewards is None:
            return {"loss": terms.loss, **told}
        return {**rewarded(self.rewards, terms, batch, draws.seeds), **told}

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

    def inspect(self, iteration: int, generator: torch.Generator) -> Inspection:
        """Return batch and draws of an iteration."""
        batch = self.batches(iteration, generator)
        draws = self.draw(batch, generator)
        facts = {"indices": batch.indices, "captions": batch.words}
        return Inspection.of(facts, x_0=batch.x_0, mask=batch.mask, text=batch.text, draws=draws)

    def snapshot(self, iteration: int, folder: Path) -> None:
        """Write sounds of the averaged student, at 1, 2 and 4 steps where it takes few."""
        settings, objective = self.settings, self.objective
        if not settings.preview_prompts:
            return
        name = f"snapshot-{iteration:06d}"
        asked = Preview(settings.preview_prompts, settings.preview_scale, self.parts)
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
        """Write the averaged student, and which networks rewarded it."""
        path, network = folder / "student.safetensors", self.average
        if self.settings.lora_rank:
            if self.accelerator.is_main_process:
                write_layers(folder, network, self.settings, self.settings.start)
            network = merged(network)
        write_module(path, network, asdict(self.config), self.accelerator)
        if self.accelerator.is_main_process:
            start = self.settings.start
            before = [] if start is None else rewards_of(student_file(start))
            now = [] if self.rewards is None else self.rewards.networks
            write_rewards(folder, joined(before, now))


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
