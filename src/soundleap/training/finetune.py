"""Fine-tuning on own sounds: low-rank layers, taught by the model's teacher where it has one.

1. The teacher's layers learn the sounds by denoising.
2. The student's layers begin as a copy of these, which already carries over most of it, and are
   distilled from the teacher's guided flow.

A model without a teacher begins at 2, with the true sounds in the teacher's place (consistency
training); one without a student ends after 1. In both, answers to other prompts are held where they
were (`training.keeping`).

Source: Hu et al., LoRA (2021); Luo et al., LCM-LoRA (2023), section 3.2, for layers that carry over
from teacher to student; Song et al., Consistency Models (2023), algorithms 2 and 3.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from soundleap.bundle_schema import NetworkName
from soundleap.data.own_examples import ExampleShape, OwnExamples
from soundleap.data.own_sounds import OwnClip
from soundleap.diffusion.denoisers import NetworkDenoiser
from soundleap.diffusion.schedules import NoiseSchedule
from soundleap.models.seams import Network
from soundleap.resolve import open_model
from soundleap.training.batches import TEXT_COST, Batches, LatentBatch
from soundleap.training.ema import update_ema
from soundleap.training.finetune_output import export_adapter, snapshot_adapter
from soundleap.training.finetune_settings import MEANWHILE, FinetuneSettings, TrueSounds, axes_of
from soundleap.training.keeping import Answer, Keeping, KeepingDraws
from soundleap.training.loop import learning_rate
from soundleap.training.lora import add_lora, lora_layers, lora_parameters
from soundleap.training.objectives import ConsistencyObjective, DiffusionObjective
from soundleap.training.optimise import adamw, descend_in_parts
from soundleap.training.processes import make_accelerator
from soundleap.training.skips import Inspection
from soundleap.training.student_lora import Trained, light_copy


@dataclass(frozen=True)
class FinetuneDraws:
    """What chance decides in one step: about own sounds, and about the other prompts."""

    own: Any
    kept: KeepingDraws | None


class FinetuneStory:
    """Low-rank layers on a model's networks, and what they learn from."""

    def __init__(
        self, settings: FinetuneSettings, clips: list[OwnClip], *, progress: bool = True
    ) -> None:
        """Open the model and encode the sounds.

        Args:
            settings: of the run.
            clips: the sounds, at the model's sampling rate.
            progress: whether to show a bar.
        """
        self.settings, self.clips = settings, clips
        self.accelerator = make_accelerator(settings)
        self.device = self.accelerator.device
        self.bundle = open_model(settings.model)
        self.sampling = self.bundle.manifest.sampling
        captions = dict.fromkeys(caption for clip in clips for caption in clip.captions)
        self.captions = list(captions)
        self.schedule = NoiseSchedule.scaled_linear(**dict(self.sampling.schedule))
        self.names = self.bundle.manifest.networks
        frozen = {name: self.bundle.load_network(name) for name in self.names}
        self.examples = self._encode(clips, frozen[self.names[0]], progress=progress)
        self.batches = Batches(
            self.examples,
            tokens=settings.batch_size * (int(self.examples.lengths.max()) + TEXT_COST),
            seed=settings.seed,
            drop_text=0.0,
            equal_lengths=not frozen[self.names[0]].mixed_lengths,
        )
        self.frozen = {
            name: cast(nn.Module, network).to(self.device) for name, network in frozen.items()
        }
        self.networks = {name: self._with_layers(part) for name, part in self.frozen.items()}
        self._set_up()

    def _encode(self, clips: list[OwnClip], network: Network, *, progress: bool) -> OwnExamples:
        settings = self.settings
        return OwnExamples(
            clips,
            self.bundle.load_codec(),
            self.bundle.load_text(),
            ExampleShape(self.sampling.max_duration_in_s, not network.mixed_lengths),
            variants=settings.variants,
            seed=settings.seed,
            others=MEANWHILE if settings.keep else (),
            progress=progress,
        )

    def _with_layers(self, network: nn.Module) -> nn.Module:
        settings = self.settings
        copied = light_copy(network)
        return add_lora(copied, settings.rank, settings.alpha, settings.targets, seed=settings.seed)

    def _set_up(self) -> None:
        """Make targets, objectives and optimisers."""
        settings, networks = self.settings, self.networks
        parts: dict[str, nn.Module] = dict(networks)
        self.student: ConsistencyObjective | None = None
        if "student" in networks:
            parts["target"] = light_copy(networks["student"])
            teacher = networks.get("teacher", TrueSounds(torch.zeros(1)))
            axes = axes_of(self.sampling, settings, taught="teacher" in networks)
            self.student = ConsistencyObjective(
                axes, self.schedule, teacher, networks["student"], parts["target"]
            )
        trained = {name: list(lora_parameters(part)) for name, part in networks.items()}
        trained["target"] = trained.get("student", [])
        self.modules: dict[str, nn.Module] = {
            name: Trained(part, trained[name]) for name, part in parts.items()
        }
        self.optimizers: dict[str, torch.optim.Optimizer] = {
            name: adamw(self.modules[name], settings) for name in networks
        }
        self.keeping = {name: self._keeping(name) for name in self.names}
        self._merged = False

    def _keeping(self, name: NetworkName) -> Keeping:
        sampling, schedule = self.sampling, self.schedule
        scale = 1.0
        if sampling.initial_noise == "schedule":
            scale = float(schedule.sigma(schedule.t_max))
        if name == "student" and self.student is not None:
            times, guidance = self.student.starts, sampling.guidance_range
        else:
            times, guidance = torch.arange(schedule.num_train_steps).double(), (1.0, 1.0)
        return Keeping(schedule, times, guidance, len(MEANWHILE), scale)

    @property
    def seconds(self) -> float:
        """Length of all sounds."""
        return sum(len(clip.samples) for clip in self.clips) / self.bundle.manifest.sampling_rate

    def phase(self, iteration: int) -> NetworkName:
        """Say which network an iteration trains."""
        return "teacher" if iteration < self.settings.teacher_iterations else "student"

    def step(self, iteration: int, generator: torch.Generator) -> dict[str, Tensor]:
        """One step of the phase."""
        settings, name = self.settings, self.phase(iteration)
        if name == "student":
            self._begin_student(iteration)
        self._set_rate(name, iteration)
        batch, draws = self.drawn(iteration, generator)
        kept = 0 if draws.kept is None else settings.keep_items
        step = descend_in_parts(
            self.accelerator,
            self.networks[name],
            self.optimizers[name],
            lambda items: self.losses(name, batch, draws, items),
            count=len(batch) + kept,
            accumulation=settings.accumulation,
            gradient_clip=settings.gradient_clip,
        )
        if name == "student" and self.student is not None:
            update_ema(
                cast(nn.Module, self.student.target),
                self.networks[name], settings.target_ema, step.applied,
            )  # fmt: skip
        return step.report(len(batch))

    def drawn(
        self, iteration: int, generator: torch.Generator
    ) -> tuple[LatentBatch, FinetuneDraws]:
        """Return the batch of an iteration, and what chance decides about it."""
        batch, name = self.batches(iteration, generator), self.phase(iteration)
        objective = self.student if name == "student" else self._denoising()
        assert objective is not None
        own = objective.draw(batch.x_0, generator)
        if not self.settings.keep:
            return batch, FinetuneDraws(own, None)
        shape = tuple(batch.x_0.shape[1:])
        kept = self.keeping[name].draw(self.settings.keep_items, shape, generator)
        return batch, FinetuneDraws(own, kept)

    def losses(
        self, name: NetworkName, batch: LatentBatch, draws: FinetuneDraws, items: slice
    ) -> dict[str, Tensor]:
        """Return the losses of some items: the batch's come first, then those of other prompts.

        They are weighted so that their mean over all is the batch's mean loss plus `keep` times
        that of the others.
        """
        own, others = len(batch), 0 if draws.kept is None else len(draws.kept.t)
        found: list[Tensor] = []
        first = slice(min(items.start, own), min(items.stop, own))
        with self.accelerator.autocast():
            if first.stop > first.start:
                loss = self._own_losses(name, batch.part(first), draws.own.part(first))
                found.append(loss * ((own + others) / own))
            last = slice(max(items.start - own, 0), max(items.stop - own, 0))
            if draws.kept is not None and last.stop > last.start:
                loss = self._kept_losses(name, draws.kept.part(last))
                found.append(self.settings.keep * loss * ((own + others) / others))
        return {"loss": torch.cat([part.float() for part in found])}

    def _own_losses(self, name: NetworkName, batch: LatentBatch, draws: Any) -> Tensor:
        x_0, positive = batch.x_0.to(self.device), self._conditions(batch)
        if name == "teacher" or self.student is None:
            return self._denoising()(x_0, positive, draws).loss
        objective = self.student
        if "teacher" not in self.networks:
            objective = replace(objective, teacher=TrueSounds(x_0))
        width = batch.text.embeds.shape[1]
        empty = self.examples.text([self.examples.empty] * len(batch), width)
        negative = {
            **positive,
            "text_embeds": empty.embeds.to(self.device),
            "text_mask": empty.mask.to(self.device),
        }
        return objective(x_0, positive, negative, draws).loss

    def _kept_losses(self, name: NetworkName, draws: KeepingDraws) -> Tensor:
        text = self.examples.text([self.examples.others[i] for i in draws.prompt.tolist()])
        conditions = {
            "text_embeds": text.embeds.to(self.device), "text_mask": text.mask.to(self.device)
        }  # fmt: skip
        return self.keeping[name].losses(
            self._answer(name), self.networks[name], self.frozen[name], conditions, draws,
            self.device,
        )  # fmt: skip

    def _answer(self, name: NetworkName) -> Answer:
        def answer(network: Any, conditions: Any, w: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
            if name == "student" and self.student is not None:
                return self.student.function(network, conditions, w)(x_t, t)
            denoiser = NetworkDenoiser(network, self.schedule, self.sampling.prediction)
            return denoiser.bind(**conditions)(x_t, t)

        return answer

    def _denoising(self) -> DiffusionObjective:
        return DiffusionObjective(self.schedule, self.networks["teacher"], self.sampling.prediction)

    def _conditions(self, batch: LatentBatch) -> dict[str, Any]:
        return {
            "text_embeds": batch.text.embeds.to(self.device),
            "text_mask": batch.text.mask.to(self.device),
            "latent_mask": None if batch.mask is None else batch.mask.to(self.device),
        }

    @torch.no_grad()
    def _begin_student(self, iteration: int) -> None:
        """Start from what the teacher has learned, once; from then on the teacher is fixed."""
        if "teacher" not in self.networks:
            return
        if iteration == self.settings.teacher_iterations:
            learned = dict(self.networks["teacher"].named_parameters())
            for name in ("student", "target"):
                for key, own in self.modules[name].named_parameters():
                    source = learned.get(key.replace("/", "."))
                    if source is not None:
                        own.copy_(source)
        if not self._merged:
            for layer in lora_layers(self.networks["teacher"]).values():
                layer.merge()
            self.networks["teacher"].requires_grad_(False)
            self._merged = True

    def _set_rate(self, name: NetworkName, iteration: int) -> None:
        """Let each phase have a rise and a fall of the learning rate of its own."""
        settings, before = self.settings, self.settings.teacher_iterations
        first, last = (0, before) if name == "teacher" else (before, settings.iterations)
        phase = replace(settings, iterations=max(1, last - first), teacher_iterations=0)
        for group in self.optimizers[name].param_groups:
            group["lr"] = learning_rate(phase, iteration - first)

    def inspect(self, iteration: int, generator: torch.Generator) -> Inspection:
        """Return batch and draws of an iteration."""
        batch, draws = self.drawn(iteration, generator)
        facts = {"indices": batch.indices, "captions": batch.words}
        return Inspection.of(facts, x_0=batch.x_0, mask=batch.mask, text=batch.text, draws=draws)

    def snapshot(self, iteration: int, folder: Path) -> None:
        """Write sounds for some captions."""
        snapshot_adapter(self, iteration, folder)

    def export(self, folder: Path) -> None:
        """Write the adapter, to where the settings say."""
        export_adapter(self)
