"""One query or more: quality, agreement between step counts, and time.

All systems start from the same noise for a caption, so what they make can be compared clip by clip.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from soundleap.diffusion import consistency_timesteps, sample_generators, sampling_timesteps
from soundleap.errors import check_range
from soundleap.requests import Request
from soundleap.studies.cells import Cells
from soundleap.studies.ground import Ground, circumstances, rms
from soundleap.studies.judging import Judges, agreement, check_names, clip_vectors

OTHER_SEEDS = 1_000_000
"""How far the seeds lie away that show what the caption alone makes agree."""


@dataclass(frozen=True)
class StepsPlan:
    """What is compared.

    Attributes:
        steps: queries of the student.
        teacher_steps: solver steps of the teacher; None leaves the teacher out.
    """

    steps: tuple[int, ...] = (1, 2, 4, 8)
    teacher_steps: int | None = 25

    def __post_init__(self) -> None:
        check_names("steps", self.steps)
        for steps in self.steps:
            check_range("steps", steps, 1, 1000)
        if self.teacher_steps is not None:
            check_range("teacher_steps", self.teacher_steps, 1, 1000)

    def systems(self, guidance_scale: float) -> dict[str, Request]:
        """Give a request for every system, by name."""
        made = {
            f"student-{n}": Request(
                "", num_inference_steps=n, guidance_scale=guidance_scale, network="student"
            )
            for n in self.steps
        }
        if self.teacher_steps is not None:
            made[f"teacher-{self.teacher_steps}"] = Request(
                "",
                num_inference_steps=self.teacher_steps,
                guidance_scale=guidance_scale,
                network="teacher",
            )
        return made


def study_steps(
    ground: Ground,
    plan: StepsPlan,
    judges: Judges,
    folder: str | Path,
    *,
    on_cell: Callable[[], None] | None = None,
) -> dict[str, Any]:
    """Make, judge and compare; the same call resumes.

    Args:
        ground: the model, and the prompts and seeds of the latents that are compared.
        plan: what is compared.
        judges: captions of the sounds and their judges; its sounds should lie in the folder.
        folder: of the study.
        on_cell: called after each of `len(plan.systems) + 3` parts (progress).

    Returns:
        The result, as JSON values: `rows` of systems, `pairs` with the cosines of embeddings, and
        `latents`: RMS distances between the systems' latents.

    Raises:
        InputError: for steps that the model does not allow, or a folder of another study.
    """
    systems = plan.systems(ground.guidance_scale)
    pipeline = ground.pipeline
    named = [_with_prompt(request) for request in systems.values()]
    pipeline.check(named)  # before any work
    facts = {**ground.facts(), **_plain(plan), **judges.facts()}
    cells = Cells(folder, {"study": "steps", **facts})
    rows: list[dict[str, Any]] = []

    def done() -> None:
        if on_cell is not None:
            on_cell()

    for name, request in systems.items():

        def judged(name: str = name, request: Request = request) -> dict[str, Any]:
            return judges(name, request, ground.seed)

        rows.append({"system": name} | cells(name, judged))
        done()
    first = next(iter(systems))
    other = f"{first}-other-seeds"
    cells(other, lambda: judges(other, systems[first], ground.seed + OTHER_SEEDS))
    done()
    compared = [*systems, other]
    pairs = cells("pairs", lambda: _pairs(judges, compared))
    done()
    latents = cells("latents", lambda: compare_latents(ground, plan))
    done()
    return {"study": "steps", **facts, **circumstances(), "rows": rows, **pairs, "latents": latents}


def _pairs(judges: Judges, names: list[str]) -> dict[str, Any]:
    vectors = {name: clip_vectors(judges.sounds / name, judges.protocol) for name in names}
    return {"pairs": agreement(vectors)}


@torch.no_grad()
def compare_latents(ground: Ground, plan: StepsPlan) -> dict[str, Any]:
    """Sample the ground's prompts with every system from the same noise; RMS of all pairs."""
    made = {f"student-{n}": student_latents(ground, n) for n in plan.steps}
    if plan.teacher_steps is not None:
        made[f"teacher-{plan.teacher_steps}"] = teacher_latents(ground, plan.teacher_steps)
    names = list(made)
    distances = [[rms(made[a] - made[b]) for b in names] for a in names]
    return {"systems": names, "distances": distances, "rms": [rms(made[a]) for a in names]}


def student_latents(
    ground: Ground, steps: int, guidance: float | None = None, post: float | None = None
) -> Tensor:
    """Sample every prompt of the ground with the student: ``[prompts, ...]``."""
    sampler, _ = ground.sampler("student")
    grid = torch.tensor(ground.pipeline.manifest.sampling.grid, dtype=torch.float64)
    times = consistency_timesteps(grid, steps)
    return torch.cat([
        sampler.student(ground.conditions(i, 1, guidance, post), times, sample_generators([seed]))
        for i, seed in enumerate(ground.seeds())
    ])  # fmt: skip


def teacher_latents(ground: Ground, steps: int, guidance: float | None = None) -> Tensor:
    """Follow the teacher for every prompt of the ground with DPM-Solver++: ``[prompts, ...]``."""
    sampler, _ = ground.sampler("teacher")
    times = sampling_timesteps(sampler.schedule, steps)
    return torch.cat([
        sampler.teacher(
            ground.conditions(i, 1, guidance), times, "dpmpp_2m", sample_generators([seed])
        )
        for i, seed in enumerate(ground.seeds())
    ])  # fmt: skip


def _with_prompt(request: Request) -> Request:
    from dataclasses import replace

    return replace(request, prompt="a sound", seed=0)


def _plain(plan: StepsPlan) -> dict[str, Any]:
    return {**asdict(plan), "steps": list(plan.steps)}
