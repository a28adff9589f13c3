"""Stage 5: consistency distillation of a teacher into a student of one to four queries.

    loss = d( f_online(x_t, t, w),  sg f_target( Φ^m(x_t; t -> s, w), s, w ) )

with t a point of a coarse grid, s the point `skip_points` below it (t = 0 below the lowest), and
Φ^m the teacher's guided solver applied `solver_steps` times: m = 1 jumps the interval, m > 1 walks
it.

Source: Song et al., Consistency Models (2023), algorithm 2; Luo et al., Latent Consistency Models
(2023), algorithm 1; the walk after the AudioLCM paper (Liu et al., 2024).
"""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Literal

import torch
from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from soundleap.data.latents import LatentCache
from soundleap.diffusion.denoisers import Boundary, ConsistencyFunction, NetworkDenoiser, Prediction
from soundleap.diffusion.guidance import batched_guidance, lcm_to_cfg
from soundleap.diffusion.schedules import NoiseSchedule, Spacing, coarse_grid
from soundleap.diffusion.solvers import Solver, solve, walk_path
from soundleap.errors import InputError
from soundleap.models.dit import DiT, DiTConfig
from soundleap.models.store import save_module
from soundleap.training.batches import Batches, LatentBatch, masked_mean
from soundleap.training.ema import make_ema, update_ema, warm_decay
from soundleap.training.loop import make_accelerator
from soundleap.training.optimise import adamw, descend
from soundleap.training.parts import load_dit
from soundleap.training.previews import preview_student
from soundleap.training.settings import STRICT, RunSettings

Distance = Literal["huber", "mse"]
GuidanceForm = Literal["cfg", "lcm"]


@dataclass(frozen=True, config=STRICT, kw_only=True)
class DistillationSettings(RunSettings):
    """Settings of `distill`.

    `batch_size` counts latent vectors; `start` is a student to go on from, None the teacher itself.
    """

    cache: str
    teacher: str
    codec: str
    vocoder: str | None = None
    start: str | None = None
    prediction: Prediction = "v"
    grid_points: int = 50
    grid_spacing: Spacing = "uniform"
    skip_points: int = 5
    solver: Solver = "ddim"
    solver_steps: int = 4
    guidance_range: tuple[float, float] = (1.0, 6.0)
    guidance_form: GuidanceForm = "cfg"
    boundary: Boundary = "lcm"
    sigma_data: float = 0.5
    timestep_scaling: float = 10.0
    distance: Distance = "huber"
    huber_c: float = 1e-3
    drop_text: float = 0.05
    target_ema: float = 0.95
    ema: float = 0.995
    preview_prompts: tuple[str, ...] = (
        "a dog barks",
        "rain",
        "slow piano waltz in c minor",
        "a man speaks",
    )
    preview_guidance: float = 3.0

    def faults(self) -> list[str]:
        """Also refuse settings that contradict each other."""
        found = super().faults()
        low, high = self.guidance_range
        if not low <= high:
            found.append(f"guidance_range is {low:g} to {high:g}; the first must not be larger")
        if not 1 <= self.skip_points <= self.grid_points:
            found.append(
                f"skip_points is {self.skip_points}; allowed: 1 to grid_points ({self.grid_points})"
            )
        if self.solver_steps < 1:
            found.append(f"solver_steps is {self.solver_steps}; it must be at least 1")
        return found


class DistillationStory:
    """The engine: every axis is a setting."""

    def __init__(self, settings: DistillationSettings, *, progress: bool = True):
        self.settings = settings
        self.accelerator = make_accelerator(settings)
        self.device = self.accelerator.device
        self.schedule = NoiseSchedule.scaled_linear()
        self.grid = coarse_grid(self.schedule, settings.grid_points, settings.grid_spacing)
        cache = LatentCache(settings.cache)
        self.batches = Batches(
            cache, tokens=settings.batch_size, seed=settings.seed, drop_text=settings.drop_text
        )
        self.empty = cache.text([cache.empty])
        self.teacher = load_dit(Path(settings.teacher)).to(self.device).requires_grad_(False)
        _check_teacher(self.teacher, settings)
        self.config = replace(self.teacher.config, guided=True)
        self.student = first_student(self.teacher, self.config, settings.start).to(self.device)
        self.target = make_ema(self.student)
        self.average = make_ema(self.student)
        self.modules: dict[str, nn.Module] = {
            "student": self.student, "target": self.target, "average": self.average
        }  # fmt: skip
        self.optimizers: dict[str, torch.optim.Optimizer] = {
            "student": adamw(self.student, settings)
        }

    def step(self, iteration: int, generator: torch.Generator) -> dict[str, Tensor]:
        """One step: walk the teacher, match the target at the end of the walk."""
        batch = self.batches(iteration, generator)
        with self.accelerator.autocast():
            loss = self._loss(batch, generator).mean()
        optimizer = self.optimizers["student"]
        norm = descend(self.accelerator, self.student, optimizer, loss, self.settings.gradient_clip)
        update_ema(self.target, self.student, self.settings.target_ema)
        update_ema(self.average, self.student, warm_decay(self.settings.ema, iteration))
        return {"loss": loss.detach(), "gradient": norm}

    def _loss(self, batch: LatentBatch, generator: torch.Generator) -> Tensor:
        """Return each item's loss ``[B]``."""
        x_0, mask = batch.x_0.to(self.device), batch.mask.to(self.device)
        t, s = self.interval(len(x_0), generator)
        w = self.guidance_scale(len(x_0), generator).to(self.device)
        eps = torch.randn(x_0.shape, generator=generator).to(self.device)
        x_t = self.schedule.add_noise(x_0, eps, t)
        conditions = {
            "text_embeds": batch.text.embeds.to(self.device),
            "text_mask": batch.text.mask.to(self.device),
            "latent_mask": mask,
        }
        with torch.no_grad():
            x_s = self.walk(x_t, t, s, w, conditions)
            aim = self.consistency(self.target, conditions, w)(x_s, s)
        ours = self.consistency(self.student, conditions, w)(x_t, t)
        return masked_mean(self._distance(ours.float() - aim.float()), mask)

    def interval(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw grid points t and the points s `skip_points` below them, ``[B]`` float64 each."""
        index = torch.randint(len(self.grid), (count,), generator=generator)
        below = index - self.settings.skip_points
        s = torch.where(below >= 0, self.grid[below.clamp_min(0)], torch.zeros(()).double())
        return self.grid[index], s

    def guidance_scale(self, count: int, generator: torch.Generator) -> Tensor:
        """Draw guidance scales ``[B]``, returned in the classifier-free convention."""
        low, high = self.settings.guidance_range
        w = low + (high - low) * torch.rand(count, generator=generator)
        return lcm_to_cfg(w) if self.settings.guidance_form == "lcm" else w

    def walk(
        self, x_t: Tensor, t: Tensor, s: Tensor, w: Tensor, conditions: dict[str, Tensor]
    ) -> Tensor:
        """Apply the teacher's guided solver `solver_steps` times from t to s."""
        count, length = conditions["text_embeds"].shape[:2]
        width = self.empty.embeds.shape[1]
        spare = max(length, width)
        pad = nn.functional.pad
        positive = {
            **conditions,
            "text_embeds": pad(conditions["text_embeds"], (0, 0, 0, spare - length)),
            "text_mask": pad(conditions["text_mask"], (0, spare - length)),
        }
        negative = {
            **conditions,
            "text_embeds": pad(self.empty.embeds, (0, 0, 0, spare - width))
            .to(x_t.device)
            .expand(count, -1, -1),
            "text_mask": pad(self.empty.mask, (0, spare - width)).to(x_t.device).expand(count, -1),
        }
        denoiser = NetworkDenoiser(self.teacher, self.schedule, self.settings.prediction)
        denoise = batched_guidance(denoiser, positive, negative, w)
        path = walk_path(t, s, self.settings.solver_steps)
        return solve(denoise, x_t, path, self.schedule, self.settings.solver)

    def consistency(
        self, network: nn.Module, conditions: dict[str, Tensor], w: Tensor
    ) -> ConsistencyFunction:
        """Return f for a student network."""
        denoiser = NetworkDenoiser(network, self.schedule, self.settings.prediction)
        return ConsistencyFunction(
            denoiser.bind(**conditions, w=w),
            self.settings.boundary,
            self.settings.sigma_data,
            self.settings.timestep_scaling,
        )

    def _distance(self, difference: Tensor) -> Tensor:
        if self.settings.distance == "mse":
            return difference**2
        c = self.settings.huber_c
        return torch.sqrt(difference**2 + c**2) - c

    def snapshot(self, iteration: int, folder: Path) -> None:
        """Write sounds of the averaged student at 1, 2 and 4 steps."""
        for steps in (1, 2, 4) if self.settings.preview_prompts else ():
            preview_student(
                folder / f"snapshot-{iteration:06d}-{steps}-steps",
                lambda conditions, w: self.consistency(self.average, conditions, w),
                self.schedule,
                self.grid,
                prompts=self.settings.preview_prompts,
                guidance_scale=self.settings.preview_guidance,
                steps=steps,
                codec=Path(self.settings.codec),
                vocoder=None if self.settings.vocoder is None else Path(self.settings.vocoder),
                device=self.device,
            )

    def export(self, folder: Path) -> None:
        """Write the averaged student."""
        save_module(folder / "student.safetensors", self.average, asdict(self.config))


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

    Raises:
        InputError: if the file holds another network than this teacher's student.
    """
    if start is None:
        return student_from(teacher)
    student = load_dit(Path(start))
    if student.config != config:
        raise InputError(
            f"start {start} holds {student.config}, but a student of this teacher is {config}"
        )
    return student


def student_from(teacher: DiT) -> DiT:
    """Copy a teacher and give it a guidance input, which starts without effect.

    Raises:
        RuntimeError: if the state does not fit, which would be a mistake of ours.
    """
    student = DiT(replace(teacher.config, guided=True))
    missing = student.load_state_dict(teacher.state_dict(), strict=False)
    if missing.unexpected_keys or any(not k.startswith("guidance.") for k in missing.missing_keys):
        raise RuntimeError(f"a student does not fit its teacher: {missing}")
    return student
