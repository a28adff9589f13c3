"""ConsistencyTTA's two stages of distillation."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cached_property

import torch
from torch import Tensor

from soundleap.diffusion import NoiseSchedule, Prediction
from soundleap.importers.keys_2d import unet2d_state
from soundleap.models.unet2d import UNet2D
from soundleap.training.ema import make_ema, update_ema
from soundleap.training.objectives import (
    ConsistencyDraws,
    ConsistencyObjective,
    ConsistencyTerms,
    DenoisingTerms,
    DistillationAxes,
    GuidedDiffusionObjective,
    TimedDraws,
    validate,
)

from .compare import Kind
from .conditions import halves
from .family import Family, output
from .items import Item, ParityError, supported, whole_number
from .networks import published_gradient, published_value, unet2d
from .schedules import stock_prediction, stock_schedule

TEACHER, STUDENT, TARGET, AVERAGE = (
    f"{name}_unet." for name in ("teacher", "student", "student_target", "student_ema")
)  # as in the checkpoint
GUIDANCE_RANGE = (0.0, 6.0)


class Stage(Family):
    """What both stages have in common."""

    def __init__(self, item: Item) -> None:
        """Take an item."""
        super().__init__(item)
        self._differentiated: list[object] = []

    @cached_property
    def schedule(self) -> NoiseSchedule:
        """The noise schedule."""
        return stock_schedule(self.item.constructor["scheduler"])

    @cached_property
    def prediction(self) -> Prediction:
        """What the teacher gives."""
        return stock_prediction(self.item.constructor["scheduler"])

    def network(self, prefix: str) -> UNet2D:
        """Build the network under a prefix of the weights."""
        supported(self.item.constructor, teacher_guidance_scale=-1)
        prediction = self.prediction if prefix == TEACHER else self.student_prediction
        published = self.item.weights_of(prefix)
        return unet2d(self.item.constructor["unet"], published, prediction)

    @property
    def student_prediction(self) -> Prediction:
        """What the student gives."""
        return self.prediction

    @cached_property
    def student(self) -> UNet2D:
        """The student."""
        return self.network(STUDENT)

    @cached_property
    def teacher(self) -> UNet2D:
        """The teacher."""
        return self.network(TEACHER)

    def student_gradient(self, name: str, key: object, loss: Callable[[], Tensor]) -> Tensor:
        """Give a loss's gradient by a weight's published name; one key is one loss."""
        if not name.startswith(STUDENT):
            raise ParityError(f"only {STUDENT}… has gradients")
        if key not in self._differentiated:
            self.student.zero_grad()
            loss().backward(retain_graph=True)
            self._differentiated = [key]
        published = self.item.weights_of(STUDENT)
        return published_gradient(name.removeprefix(STUDENT), published, unet2d_state, self.student)


class Guided(Stage):
    """``ctta_distill_stage1``: the student learns the teacher's guided output."""

    def __init__(self, item: Item) -> None:
        """Take an item."""
        super().__init__(item)
        self._terms: dict[float | None, DenoisingTerms] = {}

    def terms(self, gamma: float | None = None) -> DenoisingTerms:
        """Compute the loss, weighted where gamma is given, and its parts."""
        if gamma not in self._terms:
            weighting = "min_snr_v" if self.prediction == "v" else "min_snr_eps"
            axes = DistillationAxes(
                objective="guided",
                prediction=self.prediction,
                guidance_range=GUIDANCE_RANGE,
                top_rule="unit_noise",
                distance="mse",
                weighting="none" if gamma is None else weighting,
                weighting_gamma=gamma or 1.0,
            )
            objective = GuidedDiffusionObjective(axes, self.schedule, self.teacher, self.student)
            x_0 = self.item.input("z_0")
            t = self.schedule.t_max - self.item.input("index")
            draws = TimedDraws(t, self.item.input("noise"), self.item.input("w"))
            self._terms[gamma] = objective(x_0, *halves(self.item, len(x_0)), draws)
        return self._terms[gamma]

    @output("loss_none", Kind.LOSS)
    @output("loss_snr{gamma:number}", Kind.LOSS)
    def loss(self, gamma: float | None = None) -> Tensor:
        """Give the loss."""
        return self.terms(gamma).loss.mean()

    @output("grad_none/{name:rest}", Kind.GRADIENT)
    @output("grad_snr{gamma:number}/{name:rest}", Kind.GRADIENT)
    def gradient(self, name: str, gamma: float | None = None) -> Tensor:
        """Give its gradient by a weight's published name."""
        return self.student_gradient(name, gamma, lambda: self.loss(gamma))

    @output("z_n", Kind.STEP)
    def z_n(self) -> Tensor:
        """Give the noisy latents."""
        return self.terms().x_t

    @output("teacher_v", Kind.NETWORK)
    def teacher_v(self) -> Tensor:
        """Give the teacher's outputs, those for the empty prompt first."""
        return self.terms().teacher_queries[0].output

    @output("student_v", Kind.NETWORK)
    def student_v(self) -> Tensor:
        """Give the student's output."""
        return self.terms().ours


class Consistency(Stage):
    """``ctta_distill_stage2``: consistency distillation, validation, and moving averages."""

    def __init__(self, item: Item) -> None:
        """Take an item."""
        super().__init__(item)
        self._terms: dict[tuple[int, float | None], ConsistencyTerms] = {}

    @property
    def student_prediction(self) -> Prediction:
        """What the student gives."""
        return "x0"

    @cached_property
    def target(self) -> UNet2D:
        """The target network."""
        return self.network(TARGET)

    @cached_property
    def points(self) -> int:
        """Points of the coarse grid, t = 0 among them."""
        return whole_number("num_diffusion_steps", self.item.constructor["num_diffusion_steps"])

    def objective(self, gamma: float | None) -> ConsistencyObjective:
        """Make the loss, weighted where gamma is given."""
        values = self.item.constructor
        supported(values, use_edm=True, use_karras=False, loss_type="mse")
        axes = DistillationAxes(
            prediction=self.prediction,
            student_prediction="x0",
            grid_points=self.points,
            grid_spacing="linspace",
            skip_points=1,
            solver="heun",
            solver_steps=1,
            guidance_range=GUIDANCE_RANGE,
            boundary="identity",
            bottom_rule="data",
            top_rule="noise",
            distance="mse",
            weighting="none" if gamma is None else "min_snr_x0",
            weighting_gamma=gamma or 1.0,
        )
        networks = self.teacher, self.student, self.target
        return ConsistencyObjective(axes, self.schedule, *networks)

    def draws(self, case: str, index: Tensor) -> ConsistencyDraws:
        """Give what chance decided; `index` counts grid points from the noisiest."""
        interval = self.points - 2 - index  # ours count from the lowest above t = 0
        w, noise = (self.item.input(f"{case}/{name}") for name in ("w", "noise"))
        return ConsistencyDraws(interval, w, noise)

    def terms(self, case: int, gamma: float | None = None) -> ConsistencyTerms:
        """Compute a case's loss and parts."""
        if (case, gamma) not in self._terms:
            x_0 = self.item.input("z_0")
            draws = self.draws(f"case{case}", self.item.input(f"case{case}/index_half"))
            conditions = halves(self.item, len(x_0))
            self._terms[case, gamma] = self.objective(gamma)(x_0, *conditions, draws)
        return self._terms[case, gamma]

    @output("case{case:int}/loss_none", Kind.LOSS)
    @output("case{case:int}/loss_snr{gamma:number}", Kind.LOSS)
    def loss(self, case: int, gamma: float | None = None) -> Tensor:
        """Give the loss."""
        return self.terms(case, gamma).loss.mean()

    @output("case{case:int}/grad_none/{name:rest}", Kind.GRADIENT)
    @output("case{case:int}/grad_snr{gamma:number}/{name:rest}", Kind.GRADIENT)
    def gradient(self, case: int, name: str, gamma: float | None = None) -> Tensor:
        """Give its gradient by a weight's published name."""
        return self.student_gradient(name, (case, gamma), lambda: self.loss(case, gamma))

    @output("case{case:int}/t_nplus1", Kind.TIMES)
    def t_nplus1(self, case: int) -> Tensor:
        """Give where the interval starts."""
        return self.terms(case).t

    @output("case{case:int}/t_n", Kind.TIMES)
    def t_n(self, case: int) -> Tensor:
        """Give where it ends."""
        return self.terms(case).s

    @output("case{case:int}/z_nplus1_scaled", Kind.STEP)
    def z_nplus1_scaled(self, case: int) -> Tensor:
        """Give the noisy latents as networks see them."""
        return self.terms(case).x_t

    @output("case{case:int}/teacher_v_nplus1", Kind.NETWORK)
    def teacher_v_nplus1(self, case: int) -> Tensor:
        """Give the teacher's first outputs."""
        return self.terms(case).teacher_queries[0].output

    @output("case{case:int}/zhat_n_euler_scaled", Kind.NETWORK)
    def zhat_n_euler_scaled(self, case: int) -> Tensor:
        """Give what it is asked next."""
        return self.terms(case).teacher_queries[1].x_t.chunk(2)[0]

    @output("case{case:int}/teacher_v_n", Kind.NETWORK)
    def teacher_v_n(self, case: int) -> Tensor:
        """Give its second outputs."""
        return self.terms(case).teacher_queries[1].output

    @output("case{case:int}/zhat_n_heun_scaled", Kind.NETWORK)
    def zhat_n_heun_scaled(self, case: int) -> Tensor:
        """Give where the solver takes the latents."""
        return self.terms(case).x_s

    @output("case{case:int}/target_raw", Kind.NETWORK)
    def target_raw(self, case: int) -> Tensor:
        """Give the target network's output."""
        return self.terms(case).target_query.output

    @output("case{case:int}/student", Kind.NETWORK)
    def student_output(self, case: int) -> Tensor:
        """Give the student's output."""
        return self.terms(case).student_query.output

    @output("validation/losses", Kind.LOSS)
    def validation(self) -> Tensor:
        """Give the figures of a validation; its mode m judges level floor(points * (m - 1) / 4)."""
        words = self.item.meaning("out/validation/losses")
        mode, gamma = (re.search(rf"{name}\D*(\d+)", words) for name in ("_mode", "snr_gamma"))
        if mode is None or gamma is None:
            raise ParityError("the description of out/validation/losses does not name its settings")
        x_0 = self.item.input("z_0")
        level = self.points * (int(mode[1]) - 1) // 4
        draws = self.draws("validation", torch.full((len(x_0),), level))
        objective = self.objective(float(gamma[1]))
        found = validate(objective, self.target, x_0, *halves(self.item, len(x_0)), draws)
        figures = (found.truth, found.teacher, found.consistency, found.teacher_truth)
        return torch.stack([figure.mean() for figure in figures])

    @output("ema/{name:rest}", Kind.STEP)
    def ema(self, name: str) -> Tensor:
        """Give a weight of the target or of the average after one update."""
        decays = {TARGET: "target_ema_decay", AVERAGE: "ema_decay"}
        for prefix, decay in decays.items():
            if name.startswith(prefix):
                average = make_ema(self.network(prefix))
                update_ema(average, self.student, self.item.constructor[decay])
                published = self.item.weights_of(prefix)
                short = name.removeprefix(prefix)
                return published_value(short, published, unet2d_state, average)
        raise ParityError(f"only {TARGET}… and {AVERAGE}… are moving averages")
