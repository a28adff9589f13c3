"""Consistency distillation in closed form: identities, rules and what belongs to an item."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import pytest
import torch
from gaussian_networks import PUBLISHED, SCHEDULE, draws, flow, gaussian, make, noise, student, text
from torch import Tensor

from soundleap.diffusion import NetworkDenoiser, boundary_scalings, ddim_step, guided_denoise
from soundleap.errors import InputError
from soundleap.training.objectives import (
    DistillationAxes,
    item_distance,
    item_mean,
    objective_from,
    snr_weight,
    validate,
)

UNGUIDED: dict[str, Any] = {"guidance_range": (1, 1), "skip_points": 1}


def test_more_solver_steps_end_on_the_exact_flow() -> None:
    """In every interval of the grid at once, m DDIM steps come as close as one likes."""
    intervals = torch.arange(50)
    x_0, mean = noise(50, 3, 5), noise(50, seed=2)
    errors: list[float] = []
    for m in (1, 4, 16, 64):
        objective = make(DistillationAxes(solver_steps=m, **UNGUIDED))
        terms = objective(x_0, text(*mean.tolist()), {}, draws(intervals))
        assert len(terms.teacher_queries) == m
        errors.append(float((terms.x_s - flow(terms.x_t, mean, terms.t, terms.s)).abs().max()))
    assert all(fine < 0.3 * coarse for coarse, fine in pairwise(errors))
    heun = make(DistillationAxes(solver="heun", solver_steps=16, **UNGUIDED))
    terms = heun(x_0, text(*mean.tolist()), {}, draws(intervals))
    torch.testing.assert_close(
        terms.x_s, flow(terms.x_t, mean, terms.t, terms.s), rtol=0, atol=1e-4
    )
    assert len(terms.teacher_queries) == 32


def test_a_jump_is_one_ddim_step_and_euler_in_ve_coordinates() -> None:
    objective = make(DistillationAxes(**PUBLISHED["lcm"]))
    w = torch.tensor([5.0, 9.0, 13.0])
    positive, negative = text(1.0, -0.5, 0.2), text(0.1)
    terms = objective(noise(3, 3, 5), positive, negative, draws(torch.tensor([0, 20, 49]), w))
    denoiser = NetworkDenoiser(gaussian("eps"), SCHEDULE, "eps")
    denoise = guided_denoise(denoiser.bind(**positive), denoiser.bind(**negative), w)
    step = ddim_step(denoise, terms.x_t, terms.t, terms.s, SCHEDULE)
    torch.testing.assert_close(terms.x_s, step)
    sigma_t, sigma_s = (SCHEDULE.sigma_ve(x)[:, None, None] for x in (terms.t, terms.s))
    z = terms.x_t * (1 + sigma_t**2).sqrt()
    euler = z + (sigma_s - sigma_t) * (z - denoise(terms.x_t, terms.t)) / sigma_t
    torch.testing.assert_close(terms.x_s, euler / (1 + sigma_s**2).sqrt())


def test_lcm_is_a_choice_of_axes() -> None:
    """Its loss written out: guided x_0 and eps, one DDIM step, scaled skip connections, Huber."""
    objective = make(DistillationAxes(**PUBLISHED["lcm"]))
    x_0, interval = noise(3, 3, 5), torch.tensor([0, 7, 49])
    w = torch.tensor([4.0, 7.5, 12.0], dtype=torch.float64)
    drawn = draws(interval, w + 1)
    positive, negative = text(1.0, -0.5, 0.2), text(0.1, 0.1, 0.1)
    t = 20 * interval + 19
    s = (t - 20).clamp(min=0)
    bar = SCHEDULE.alphas_cumprod
    a, b, a_s, b_s = (
        x[:, None, None]
        for x in (bar[t].sqrt(), (1 - bar[t]).sqrt(), bar[s].sqrt(), (1 - bar[s]).sqrt())
    )
    x_t = a * x_0 + b * drawn.eps
    eps_c, eps_u = (gaussian("eps")(x_t, t.float(), **c) for c in (positive, negative))
    eps = eps_c + w[:, None, None] * (eps_c - eps_u)
    x_s = a_s * (x_t - b * eps) / a + b_s * eps

    def f(x: Tensor, time: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        output = student(x, time.float(), w=w + 1, **positive)
        c_skip, c_out = (c[:, None, None] for c in boundary_scalings(time))
        return c_skip * x + c_out * (x - sigma * output) / alpha

    d = f(x_t, t, a, b) - f(x_s, s, a_s, b_s)
    expected = ((d**2 + 1e-6).sqrt() - 1e-3).mean((1, 2))
    terms = objective(x_0, positive, negative, drawn)
    torch.testing.assert_close(terms.loss, expected)
    torch.testing.assert_close(terms.target[0], terms.x_s[0])  # f is the identity at t = 0


def test_consistencytta_is_a_choice_of_axes() -> None:
    """Its loss written out in variance-exploding coordinates: Heun, both end rules, weights."""
    objective = make(DistillationAxes(**PUBLISHED["consistencytta"]))
    level = torch.tensor([0, 9, 16])  # from the top of 18
    x_0, w = noise(3, 3, 5), torch.tensor([0.0, 3.0, 6.0], dtype=torch.float64)
    drawn = draws(16 - level, w)
    positive, negative = text(1.0, -0.5, 0.2), text(0.1, 0.1, 0.1)
    t, t_next = 999 * (17 - level) / 17, 999 * (16 - level) / 17
    t, t_next = t.double(), t_next.double()
    sigma, sigma_next = (SCHEDULE.sigma_ve(x)[:, None, None] for x in (t, t_next))

    def scaled(z: Tensor, level: Tensor) -> Tensor:
        return z / (level**2 + 1).sqrt()

    def clean(z: Tensor, level: Tensor, time: Tensor) -> Tensor:
        v_c, v_u = (
            gaussian("v")(scaled(z, level), time.float(), **c) for c in (positive, negative)
        )
        v = (1 - w[:, None, None]) * v_u + w[:, None, None] * v_c
        return z / (level**2 + 1) - v * level / (level**2 + 1).sqrt()

    z = x_0 + sigma * drawn.eps
    z[0] = sigma[0] * drawn.eps[0]
    slope = (z - clean(z, sigma, t)) / sigma
    euler = z + (sigma_next - sigma) * slope
    slope_next = (euler - clean(euler, sigma_next, t_next)) / sigma_next
    z_next = z + (sigma_next - sigma) * (slope + slope_next) / 2
    target = student(scaled(z_next, sigma_next), t_next.float(), w=w, **positive)
    target[2] = x_0[2]
    ours = student(scaled(z, sigma), t.float(), w=w, **positive)
    weight = (sigma**-2).clamp(max=5)[:, 0, 0]
    terms = objective(x_0, positive, negative, drawn)
    torch.testing.assert_close(terms.loss, weight * ((ours - target) ** 2).mean((1, 2)))


@pytest.mark.parametrize("solver", ["ddim", "heun", "dpmpp_2m"])
def test_the_kind_of_prediction_changes_nothing(solver: str) -> None:
    found: list[Tensor] = []
    for prediction in ("eps", "v", "x0"):
        axes = DistillationAxes(
            prediction=prediction, student_prediction="x0", solver=solver, solver_steps=3
        )
        positive, negative = text(1.0, -0.5, 0.2, 0.7), text(0.0)
        drawn = draws(torch.tensor([0, 5, 30, 49]), 3.0)
        found.append(make(axes)(noise(4, 3, 5), positive, negative, drawn).loss)
    torch.testing.assert_close(found[1], found[0])
    torch.testing.assert_close(found[2], found[0])


@pytest.mark.parametrize("name", PUBLISHED)
def test_an_item_does_not_depend_on_its_batch(name: str) -> None:
    objective = make(DistillationAxes(**PUBLISHED[name]))
    means, x_0 = [1.0, -0.5, 0.2, 0.7], noise(4, 3, 5)
    drawn = draws(torch.tensor([0, 5, 11, 16]), torch.tensor([1.0, 2.0, 3.0, 4.0]))
    together = objective(x_0, text(*means), text(0.1), drawn)
    for i in range(4):
        one = slice(i, i + 1)
        own = type(drawn)(drawn.interval[one], drawn.w[one], drawn.eps[one])
        alone = objective(x_0[one], text(means[i]), text(0.1), own)
        torch.testing.assert_close(alone.loss, together.loss[one])


def test_rules_at_the_ends_of_the_trajectory() -> None:
    x_0, bottom_and_top = noise(2, 3, 5), torch.tensor([0, 49])
    for rule, level in (("noise", float(SCHEDULE.sigma(999.0))), ("unit_noise", 1.0)):
        axes = DistillationAxes(top_rule=rule, bottom_rule="data", **UNGUIDED)
        terms = make(axes)(x_0, text(0.1, 0.2), {}, draws(bottom_and_top))
        torch.testing.assert_close(terms.x_t[1], level * draws(bottom_and_top).eps[1])
        eps = draws(bottom_and_top).eps
        torch.testing.assert_close(terms.x_t[0], SCHEDULE.add_noise(x_0, eps, terms.t)[0])
        torch.testing.assert_close(terms.target[0], x_0[0], rtol=0, atol=0)
        assert not torch.equal(terms.target[1], x_0[1])


@pytest.mark.parametrize("spacing", ["uniform", "linspace", "karras", "explicit"])
def test_intervals_of_every_spacing(spacing: str) -> None:
    listed = (0.0, 10.0, 100.5, 400.0, 999.0) if spacing == "explicit" else ()
    axes = DistillationAxes(
        grid_points=5, grid_spacing=spacing, grid_timesteps=listed, skip_points=2
    )
    objective = make(axes)
    starts = objective.starts
    assert len(starts) == (5 if spacing == "uniform" else 4)
    assert float(starts[0]) > 0
    assert float(starts[-1]) == 999
    t, s = objective.interval_times(torch.arange(len(starts)))
    assert torch.equal(t, starts)
    assert s[:2].tolist() == [0.0, 0.0]
    assert torch.equal(s[2:], starts[:-2])
    seen = objective.draw(torch.zeros(500, 1, 1), torch.Generator().manual_seed(0)).interval
    assert set(seen.tolist()) == set(range(len(starts)))
    with pytest.raises(InputError, match=r"interval is \[9\]; allowed: 0 to"):
        objective.interval_times(torch.tensor([9]))


def test_guidance_that_is_no_input_and_guidance_of_1() -> None:
    told: list[dict[str, Any]] = []

    def plain(x_t: Tensor, t: Tensor, **conditions: Any) -> Tensor:
        told.append(conditions)
        return x_t

    axes = DistillationAxes(guidance_range=(3, 3), guidance_embedding="none")
    objective = make(axes, student=plain, target=plain)
    assert objective.draw(torch.zeros(4, 1), torch.Generator()).w.tolist() == [3.0] * 4
    terms = objective(noise(2, 3, 5), text(0.1, 0.2), text(0.0), draws(torch.tensor([3, 9]), 3.0))
    assert all("w" not in conditions for conditions in told)
    assert [len(query.x_t) for query in terms.teacher_queries] == [4] * axes.solver_steps
    one = make(DistillationAxes(guidance_range=(0, 0), guidance_form="lcm"))
    asked = one(noise(2, 3, 5), text(0.1, 0.2), text(9.0), draws(torch.tensor([3, 9])))
    assert [len(query.x_t) for query in asked.teacher_queries] == [2] * axes.solver_steps


def test_only_the_student_learns() -> None:
    networks = {name: torch.nn.Linear(5, 5).double() for name in ("teacher", "student", "target")}
    asked = {name: lambda x, t, n=n, **_: n(x) for name, n in networks.items()}
    objective = make(DistillationAxes(), **asked)
    terms = objective(noise(3, 3, 5), text(0, 0, 0), text(0), draws(torch.tensor([0, 9, 49]), 3.0))
    terms.loss.mean().backward()
    assert networks["student"].weight.grad is not None
    assert networks["teacher"].weight.grad is networks["target"].weight.grad is None
    assert not terms.target.requires_grad
    assert not terms.student_query.output.requires_grad


def test_padding_does_not_count() -> None:
    objective = make(DistillationAxes())
    mask = torch.tensor([[True] * 5, [True, True, False, False, False]])
    x_0, drawn = noise(2, 3, 5), draws(torch.tensor([9, 40]), 3.0)
    positive, negative = text(0.3, 0.2), text(0.0, 0.0)
    plain = objective(x_0, positive, negative, drawn).loss
    masked = objective(
        x_0, {**positive, "latent_mask": mask}, {**negative, "latent_mask": mask}, drawn
    )
    torch.testing.assert_close(masked.loss[0], plain[0])
    d = (masked.ours - masked.target)[1, :, :2]
    torch.testing.assert_close(masked.loss[1], ((d**2 + 1e-6).sqrt() - 1e-3).mean())


def test_means_and_distances_of_items() -> None:
    values = torch.arange(12.0).reshape(1, 2, 6).repeat(2, 1, 1)
    mask = torch.tensor([[True] * 6, [True, True, False, False, False, False]])
    torch.testing.assert_close(item_mean(values, mask), torch.tensor([5.5, 3.5]))
    torch.testing.assert_close(item_mean(values, None), torch.tensor([5.5, 5.5]))
    wide = values[..., None].expand(-1, -1, -1, 3)  # latents [B, C, L, H]
    torch.testing.assert_close(item_mean(wide, mask), item_mean(values, mask))
    zero = torch.zeros(1, 2, 4)
    assert float(item_distance(zero + 3, zero)) == 9
    huber = item_distance(zero + 3, zero, "huber", 4.0)
    assert float(huber) == pytest.approx(1)
    assert item_distance((zero + 300).bfloat16(), zero.bfloat16()).dtype == torch.float32


def test_weights_are_one_weighting_for_three_losses() -> None:
    t = torch.tensor([1.0, 200.0, 999.0])
    snr = SCHEDULE.sigma_ve(t) ** -2
    clipped = snr.clamp(max=5)
    assert snr_weight(SCHEDULE, t, "none").tolist() == [1, 1, 1]
    torch.testing.assert_close(snr_weight(SCHEDULE, t, "min_snr_x0"), clipped)
    torch.testing.assert_close(snr_weight(SCHEDULE, t, "min_snr_eps"), clipped / snr)
    torch.testing.assert_close(snr_weight(SCHEDULE, t, "min_snr_v"), clipped / (snr + 1))
    free = snr_weight(SCHEDULE, t, "min_snr_v", math.inf)
    torch.testing.assert_close(free, SCHEDULE.alpha(t) ** 2)  # SNR / (SNR + 1)


def test_validation_finds_the_teachers_flow() -> None:
    """The exact end of the flow as a student: nothing left but the solver's error."""
    axes = DistillationAxes(
        solver="heun", solver_steps=1, student_prediction="x0", grid_points=100, **UNGUIDED
    )

    def perfect(x_t: Tensor, t: Tensor, *, text_embeds: Tensor, **_: Any) -> Tensor:
        return flow(x_t, text_embeds[:, 0, 0], t, torch.full_like(t, -1.0))

    objective = make(axes, target=perfect)
    x_0, drawn = noise(4, 3, 5), draws(torch.tensor([0, 20, 60, 99]))
    found = validate(objective, perfect, x_0, text(0.1, 0.2, 0.3, 0.4), {}, drawn)
    assert float(found.teacher.max()) < 3e-3  # the last step, to the clean end, is of order 1
    assert float(found.consistency[1:].max()) < 1e-4
    torch.testing.assert_close(found.truth, found.teacher_truth, rtol=0.05, atol=0)
    worse = validate(objective, student, x_0, text(0.1, 0.2, 0.3, 0.4), {}, drawn)
    assert bool((worse.teacher > found.teacher).all())


def test_consistency_needs_a_target_and_a_grid_that_fits() -> None:
    networks = {"teacher": student, "student": student}
    with pytest.raises(InputError, match="needs a target network"):
        objective_from(DistillationAxes(), SCHEDULE, **networks)
    late = DistillationAxes(
        grid_spacing="explicit", grid_timesteps=(10.0, 2000.0), grid_points=2, skip_points=1
    )
    with pytest.raises(InputError, match="allowed: -1"):
        objective_from(late, SCHEDULE, target=student, **networks)
