"""Denoising and guided distillation in closed form."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from gaussian_networks import SCHEDULE, gaussian, noise, text
from torch import Tensor

from soundleap.diffusion import Prediction, cfg, to_x_0, training_target
from soundleap.errors import InputError
from soundleap.training.objectives import (
    DiffusionObjective,
    DistillationAxes,
    GuidedDiffusionObjective,
    TimedDraws,
    objective_from,
    snr_weight,
)


@pytest.mark.parametrize("prediction", ["eps", "v", "x0"])
def test_denoising_is_the_error_of_the_prediction(prediction: Prediction) -> None:
    x_0, conditions = noise(3, 3, 5), text(0.1, 0.2, 0.3)
    t = torch.tensor([0, 400, 999])
    draws = TimedDraws(t, noise(3, 3, 5, seed=1))
    objective = DiffusionObjective(SCHEDULE, gaussian(prediction), prediction, "min_snr_eps", 2.0)
    terms = objective(x_0, conditions, draws)
    alpha, sigma = SCHEDULE.alpha(t), SCHEDULE.sigma(t)
    target = training_target(x_0, draws.eps, alpha, sigma, prediction)
    output = gaussian(prediction)(terms.x_t, t.float(), **conditions)
    error = ((output - target) ** 2).mean((1, 2))
    torch.testing.assert_close(terms.distance, error)
    weight = snr_weight(SCHEDULE, t, "min_snr_eps", 2.0)
    torch.testing.assert_close(terms.loss, weight * error)


def test_timesteps_of_a_batch_are_spread_evenly() -> None:
    objective = DiffusionObjective(SCHEDULE, gaussian("v"))
    draws = objective.draw(torch.zeros(10, 3, 5), torch.Generator().manual_seed(0))
    assert sorted((draws.t // 100).tolist()) == list(range(10))
    assert draws.eps.shape == (10, 3, 5)


@pytest.mark.parametrize("student_prediction", ["eps", "v", "x0"])
@pytest.mark.parametrize("prediction", ["eps", "v"])
def test_a_guided_student_learns_the_guided_output(
    prediction: Prediction, student_prediction: Prediction
) -> None:
    """One whose output is the guidance formula has nothing left to learn."""
    negative = text(0.5, 0.5, 0.5)

    def perfect(x_t: Tensor, t: Tensor, *, w: Tensor, **conditions: Any) -> Tensor:
        teacher = gaussian(student_prediction)
        return cfg(teacher(x_t, t, **conditions), teacher(x_t, t, **negative), w)

    axes = DistillationAxes(
        objective="guided",
        prediction=prediction,
        student_prediction=student_prediction,
        guidance_range=(0, 6),
    )
    objective = objective_from(axes, SCHEDULE, teacher=gaussian(prediction), student=perfect)
    assert isinstance(objective, GuidedDiffusionObjective)
    w = torch.tensor([0.0, 3.0, 6.0], dtype=torch.float64)
    draws = TimedDraws(torch.tensor([3, 500, 999]), noise(3, 3, 5, seed=1), w)
    terms = objective(noise(3, 3, 5), text(0.1, 0.2, 0.3), negative, draws)
    torch.testing.assert_close(terms.ours, terms.target)
    assert float(terms.loss.max()) < 1e-12
    uncond, cond = terms.teacher_queries[0].output.chunk(2)
    levels = SCHEDULE.alpha(terms.t), SCHEDULE.sigma(terms.t)
    guided = to_x_0(cfg(cond, uncond, w), terms.x_t, *levels, prediction)
    torch.testing.assert_close(to_x_0(terms.target, terms.x_t, *levels, student_prediction), guided)


def test_rules_and_draws_of_guided_distillation() -> None:
    axes = DistillationAxes(objective="guided", top_rule="unit_noise", guidance_range=(2, 4))
    objective = GuidedDiffusionObjective(axes, SCHEDULE, gaussian("v"), lambda x, t, **_: x)
    drawn = objective.draw(torch.zeros(500, 3, 5), torch.Generator().manual_seed(0))
    assert drawn.w is not None
    assert 2 <= float(drawn.w.min()) < 2.1
    assert 3.9 < float(drawn.w.max()) <= 4
    assert 0 <= int(drawn.t.min()) < 20
    assert 980 < int(drawn.t.max()) <= 999
    x_0, eps = noise(2, 3, 5), noise(2, 3, 5, seed=1)
    draws = TimedDraws(torch.tensor([998, 999]), eps, torch.ones(2))
    x_t = objective(x_0, text(0.0, 0.0), text(0.0), draws).x_t
    assert torch.equal(x_t[1], eps[1])
    assert torch.equal(x_t[0], SCHEDULE.add_noise(x_0, eps, draws.t)[0])
    with pytest.raises(InputError, match="the draws hold no w"):
        objective(x_0, text(0.0, 0.0), text(0.0), TimedDraws(draws.t, eps))
