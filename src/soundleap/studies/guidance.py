"""Guidance as an input of the student against guidance of its answers, which takes two queries.

As an input the scale is what the student was trained with, and only in that range; the other way
(`guidance_scale_post`) asks the student at scale 1 with the caption and without it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from soundleap.errors import InputError, check_range
from soundleap.requests import Request
from soundleap.studies.cells import Cells
from soundleap.studies.ground import Ground, circumstances, rms
from soundleap.studies.judging import Judges, check_names
from soundleap.studies.steps import student_latents, teacher_latents


@dataclass(frozen=True)
class GuidancePlan:
    """What is compared.

    Attributes:
        scales: of guidance, 1 is none.
        steps: queries of the student for the sounds.
        teacher_steps: solver steps of the teacher that one-step answers are compared with.
    """

    scales: tuple[float, ...] = (1, 2, 3, 4, 5, 6, 7, 8)
    steps: int = 2
    teacher_steps: int = 25

    def __post_init__(self) -> None:
        check_names("scales", self.scales)
        for scale in self.scales:
            check_range("scales", scale, 1, 20)
        check_range("steps", self.steps, 1, 1000)
        check_range("teacher_steps", self.teacher_steps, 1, 1000)

    def systems(self) -> dict[str, tuple[float, Request]]:
        """Give the scale and a request for every way and scale, by name."""
        common = Request("", num_inference_steps=self.steps, network="student")
        made: dict[str, tuple[float, Request]] = {}
        for scale in self.scales:
            made[f"input-{scale:g}"] = scale, replace(common, guidance_scale=scale)
        for scale in self.scales:
            if scale > 1:  # at 1 both are the same
                asked = replace(common, guidance_scale=1.0, guidance_scale_post=scale)
                made[f"two-query-{scale:g}"] = scale, asked
        return made


def study_guidance(
    ground: Ground,
    plan: GuidancePlan,
    judges: Judges,
    folder: str | Path,
    *,
    on_cell: Callable[[], None] | None = None,
) -> dict[str, Any]:
    """Make, judge and compare with the teacher; the same call resumes.

    Args:
        ground: the model, and the prompts and seeds of the latents that are compared.
        plan: what is compared.
        judges: captions of the sounds and their judges; its sounds should lie in the folder.
        folder: of the study.
        on_cell: called after each of the `len(plan.systems())` systems (progress).

    Returns:
        The result, as JSON values: `rows` with way, scale, queries, `distance` (RMS of one-step
        answers to the teacher's flow at that scale) and the judges' numbers, or `refused`: what
        the model says to a scale that it does not take.

    Raises:
        InputError: for steps that the model does not allow, or a folder of another study.
    """
    facts = {**ground.facts(), **_plain(plan), **judges.facts()}
    ground.pipeline.check([Request("a sound", num_inference_steps=plan.steps, network="student")])
    cells = Cells(folder, {"study": "guidance", **facts})
    rows: list[dict[str, Any]] = []
    teacher = _Teacher(ground, plan.teacher_steps)
    for name, (scale, request) in plan.systems().items():

        def measured(
            name: str = name, scale: float = scale, request: Request = request
        ) -> dict[str, Any]:
            return _measure(teacher, judges, name, scale, request)

        way, _, _ = name.rpartition("-")
        queries = plan.steps * (2 if way == "two-query" else 1)
        rows.append({"way": way, "scale": scale, "queries": queries} | cells(name, measured))
        if on_cell is not None:
            on_cell()
    return {"study": "guidance", **facts, **circumstances(), "rows": rows}


class _Teacher:
    """The teacher's latents by guidance scale, each computed once."""

    def __init__(self, ground: Ground, steps: int) -> None:
        self.ground = ground
        self.steps = steps
        self._made: dict[float, Tensor] = {}

    def __call__(self, scale: float) -> Tensor:
        if scale not in self._made:
            self._made[scale] = teacher_latents(self.ground, self.steps, scale)
        return self._made[scale]


def _measure(
    teacher: _Teacher, judges: Judges, name: str, scale: float, request: Request
) -> dict[str, Any]:
    ground = teacher.ground
    try:
        ground.pipeline.check([replace(request, prompt="a sound", seed=0)])
    except InputError as error:
        return {"refused": str(error)}
    numbers = judges(name, request, ground.seed)
    return {"distance": _distance(teacher, scale, request)} | numbers


@torch.no_grad()
def _distance(teacher: _Teacher, scale: float, request: Request) -> float:
    post = request.guidance_scale_post
    told = None if post == 1 else post
    ours = student_latents(teacher.ground, 1, request.guidance_scale, told)
    return rms(ours - teacher(scale))


def _plain(plan: GuidancePlan) -> dict[str, Any]:
    return {**asdict(plan), "scales": list(plan.scales)}
