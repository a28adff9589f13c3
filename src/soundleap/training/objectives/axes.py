"""The axes of distillation: every published recipe is a choice of these settings.

| axis | LCM | AudioLCM | ConsistencyTTA |
|---|---|---|---|
| `prediction`, `student_prediction` | eps, eps | eps, eps | v, x0 |
| `grid_points`, `grid_spacing` | 50, uniform | 50, uniform | 18, linspace |
| `solver`, `solver_steps` | ddim, 1 | ddim, 1 | heun, 1 |
| `guidance_range`, `guidance_form` | 5 to 15, lcm | 4 to 12, lcm | 0 to 6, cfg |
| `data` | latents | latents | latents |
| `boundary`, `bottom_rule`, `top_rule` | lcm, teacher, data | the same | identity, data, noise |
| `distance`, `weighting` | huber, none | huber, none | mse, min_snr_x0 |
"""

from __future__ import annotations

import dataclasses
import math
from itertools import pairwise
from typing import Literal

import torch
from pydantic.dataclasses import dataclass
from torch import Tensor

from soundleap.diffusion.denoisers import Boundary, Prediction
from soundleap.diffusion.guidance import lcm_to_cfg
from soundleap.diffusion.schedules import NoiseSchedule, Spacing, coarse_grid
from soundleap.diffusion.solvers import Solver
from soundleap.training.objectives.terms import Distance, TopRule, Weighting
from soundleap.training.settings import STRICT

ObjectiveName = Literal["consistency", "guided"]
GuidanceForm = Literal["cfg", "lcm"]
GuidanceEmbedding = Literal["input", "none"]
BottomRule = Literal["teacher", "data"]
Data = Literal["latents", "captions"]


@dataclass(frozen=True, config=STRICT, kw_only=True)
class DistillationAxes:
    """What distillation does, apart from networks, data and optimiser.

    Attributes:
        objective: "consistency", or "guided": a student with guidance as an input learns the
            teacher's guided output, at all timesteps (ConsistencyTTA's first stage).
        data: what is learnt from: "latents" of recordings, or "captions" alone: the noisiest point
            is noise then, and below it stand the target network's own answers to noise, made noisy
            anew.
        prediction: what the teacher gives.
        student_prediction: what student and target give; None: as the teacher.
        grid_points: of the coarse grid, t = 0 counted where the spacing has it.
        grid_spacing: "uniform" (LCM), "linspace" (ConsistencyTTA), "karras", or "explicit".
        grid_timesteps: the grid, rising, for "explicit" alone.
        skip_points: grid points from one end of an interval to the other; below the lowest point
            the interval ends at t = 0.
        solver: of the teacher's probability flow.
        solver_steps: solver steps m in an interval: 1 jumps it, more walk it.
        guidance_range: guidance is drawn evenly from here; twice the same number fixes it.
        guidance_form: convention of that range: "cfg" (1 = none) or "lcm" (0 = none).
        guidance_embedding: whether the student is given the guidance ("input") or not ("none").
        boundary: "lcm" makes f the identity at t = 0; "identity" takes the network's x_0 as it is.
        sigma_data: for "lcm".
        timestep_scaling: for "lcm".
        bottom_rule: what an interval that ends at t = 0 is compared with: f_target there
            ("teacher") or the true x_0 ("data").
        top_rule: what stands at the noisiest point: "data" (alpha x_0 + sigma eps), "noise"
            (sigma eps) or "unit_noise" (eps).
        distance: "huber" or "mse" of latents, averaged over an item; "mel" or "stft" of the sounds
            they decode to as well: see `distances`.
        huber_c: of sqrt(d^2 + c^2) - c.
        sound_share: share of the decoded sounds in "mel" and "stft"; the rest is mse of latents.
        weighting: of an item by its time: see `terms.snr_weight`.
        weighting_gamma: where the signal-to-noise ratio is clipped; .inf: nowhere.
    """

    objective: ObjectiveName = "consistency"
    data: Data = "latents"
    prediction: Prediction = "v"
    student_prediction: Prediction | None = None
    grid_points: int = 50
    grid_spacing: Spacing = "uniform"
    grid_timesteps: tuple[float, ...] = ()
    skip_points: int = 5
    solver: Solver = "ddim"
    solver_steps: int = 4
    guidance_range: tuple[float, float] = (1.0, 6.0)
    guidance_form: GuidanceForm = "cfg"
    guidance_embedding: GuidanceEmbedding = "input"
    boundary: Boundary = "lcm"
    sigma_data: float = 0.5
    timestep_scaling: float = 10.0
    bottom_rule: BottomRule = "teacher"
    top_rule: TopRule = "data"
    distance: Distance = "huber"
    huber_c: float = 1e-3
    sound_share: float = 0.3
    weighting: Weighting = "none"
    weighting_gamma: float = 5.0

    def __post_init__(self) -> None:
        """Refuse values that types alone allow; every fault is named."""
        faults = self.faults()
        if faults:
            raise ValueError("; ".join(faults))

    def faults(self) -> list[str]:
        """Return what is wrong with the values, and which of them contradict each other."""
        found = [*_above_0(self), *self._guidance_faults(), *self._distance_faults()]
        found += self._data_faults()
        if self.objective == "guided":
            return [*found, *_without_meaning(self)]
        return [*found, *self._grid_faults(), *self._rule_faults()]

    @property
    def student_gives(self) -> Prediction:
        """What the student predicts, spelled out."""
        return self.student_prediction or self.prediction

    @property
    def cfg_range(self) -> tuple[float, float]:
        """The range of guidance scales in the classifier-free convention (1 = none)."""
        low, high = self.guidance_range
        return (lcm_to_cfg(low), lcm_to_cfg(high)) if self.guidance_form == "lcm" else (low, high)

    @property
    def decoded(self) -> bool:
        """Whether the distance decodes latents."""
        return self.distance in ("mel", "stft")

    @property
    def teacher_queries(self) -> int:
        """How often the teacher is evaluated for one item; with guidance a query counts twice."""
        calls = 1
        if self.objective == "consistency":
            calls = self.solver_steps * (2 if self.solver == "heun" else 1)
        return calls if self.unguided else 2 * calls

    @property
    def unguided(self) -> bool:
        """Whether the guidance scale is always 1, so that the teacher needs no negative half."""
        return self.cfg_range == (1.0, 1.0)

    def grid(self, schedule: NoiseSchedule) -> Tensor:
        """Return the coarse grid, rising, float64.

        Raises:
            InputError: if it does not fit the schedule.
        """
        return coarse_grid(schedule, self.grid_points, self.grid_spacing, self.grid_timesteps)

    def draw_guidance(self, count: int, generator: torch.Generator) -> Tensor:
        """Draw guidance scales ``[B]``, returned in the classifier-free convention."""
        low, high = self.guidance_range
        w = low + (high - low) * torch.rand(count, generator=generator)
        return lcm_to_cfg(w) if self.guidance_form == "lcm" else w

    def _guidance_faults(self) -> list[str]:
        low, high = self.guidance_range
        found: list[str] = []
        if not -math.inf < low <= high < math.inf:
            found.append(
                f"guidance_range is {low:g} to {high:g}; needed: two finite numbers, "
                "the first not larger"
            )
        elif self.guidance_embedding == "none" and low != high:
            found.append(
                f"guidance_range is {low:g} to {high:g} but guidance_embedding is none: a student "
                "that is not told the guidance can learn only one; give the same number twice"
            )
        return found

    def _grid_faults(self) -> list[str]:
        found: list[str] = []
        listed, times = self.grid_spacing == "explicit", self.grid_timesteps
        if listed and len(times) != self.grid_points:
            found.append(
                f"grid_timesteps holds {len(times)} numbers but grid_points is {self.grid_points}"
            )
        if times and not listed:
            found.append(
                f"grid_timesteps is given but grid_spacing is {self.grid_spacing}; "
                "set grid_spacing=explicit or leave the list out"
            )
        if not all(a < b for a, b in pairwise((-1.0, *times))) or (times and times[0] < 0):
            found.append("grid_timesteps must rise, from 0 or above")
        starts = self.grid_points - self._holds_0()
        if not 1 <= self.skip_points <= starts:
            found.append(
                f"skip_points is {self.skip_points}; allowed: 1 to {starts}, "
                "the grid points above t = 0"
            )
        return found

    def _distance_faults(self) -> list[str]:
        found: list[str] = []
        if not 0 < self.sound_share <= 1:
            found.append(f"sound_share is {self.sound_share:g}; allowed: above 0, to 1")
        if self.objective == "guided" and self.decoded:
            found.append(
                f"objective is guided, which compares outputs of networks, and distance is "
                f"{self.distance}, which compares sounds; set distance=mse or distance=huber"
            )
        return found

    def _holds_0(self) -> bool:
        if self.grid_spacing == "explicit":
            return 0.0 in self.grid_timesteps
        return self.grid_spacing in ("linspace", "karras")

    def _rule_faults(self) -> list[str]:
        found: list[str] = []
        if self.boundary == "identity" and self.bottom_rule == "teacher":
            found.append(
                "boundary is identity and bottom_rule is teacher: then nothing ties the student to "
                "the data; set boundary=lcm or bottom_rule=data"
            )
        if self.solver == "dpmpp_2m" and self.solver_steps == 1:
            found.append(
                "solver is dpmpp_2m and solver_steps is 1: its first step is ddim's; "
                "set solver=ddim or more steps"
            )
        return found

    def _data_faults(self) -> list[str]:
        if self.data == "latents":
            return []
        if self.objective == "guided":
            return [
                "objective is guided and data is captions: it needs recordings at all levels of "
                "noise; set data=latents"
            ]
        found: list[str] = []
        if self.bottom_rule == "data":
            found.append(
                "data is captions and bottom_rule is data: there is no true x_0; "
                "set bottom_rule=teacher (and boundary=lcm)"
            )
        if self.top_rule == "data":
            found.append(
                "data is captions and top_rule is data: the noisiest point holds no data; "
                "set top_rule=unit_noise or top_rule=noise"
            )
        return found


_FOR_CONSISTENCY = (
    "grid_points", "grid_spacing", "grid_timesteps", "skip_points", "solver", "solver_steps",
    "boundary", "sigma_data", "timestep_scaling", "bottom_rule",
)  # fmt: skip


def _without_meaning(axes: DistillationAxes) -> list[str]:
    """Name the settings of consistency distillation that the guided objective would ignore."""
    names = [
        field.name
        for field in dataclasses.fields(DistillationAxes)
        if field.name in _FOR_CONSISTENCY and getattr(axes, field.name) != field.default
    ]
    return [
        f"objective is guided, which has no use for {name}={getattr(axes, name)}; leave it out"
        for name in names
    ]


def _above_0(axes: DistillationAxes) -> list[str]:
    names = ("sigma_data", "timestep_scaling", "huber_c", "weighting_gamma")
    found = [
        f"{name} is {getattr(axes, name):g}; it must be above 0"
        for name in names
        if not getattr(axes, name) > 0
    ]
    if axes.solver_steps < 1:
        found.append(f"solver_steps is {axes.solver_steps}; it must be at least 1")
    return found
