"""The teacher's work: all intervals at once, how many queries, and how far off its solver is."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from gaussian_networks import draws, flow, gaussian, make, noise, text
from torch import Tensor

from soundleap.diffusion import NetworkDenoiser, guided_denoise, solve, walk_path
from soundleap.training.distillation_settings import DistillationSettings
from soundleap.training.objectives import DistillationAxes, solver_error
from soundleap.training.objectives.terms import Recorder

INTERVALS = torch.tensor([0, 7, 30, 49])


@pytest.mark.parametrize(
    ("solver", "order"), [("ddim", 1), ("heun", 2), ("dpmpp_2m", 2)]
)  # fmt: skip
def test_the_estimate_finds_the_true_error(solver: Any, order: int) -> None:
    """With many steps the true error is 2^p / (2^p - 1) times the estimate."""
    axes = DistillationAxes(
        solver=solver, solver_steps=32, guidance_range=(1, 1), grid_points=4, skip_points=1
    )
    intervals = torch.tensor([1, 2, 3])
    objective, drawn = make(axes), draws(intervals)
    mean = noise(3, seed=2)
    positive = text(*mean.tolist())
    terms = objective(noise(3, 3, 5), positive, {}, drawn)
    found = solver_error(objective, terms, positive, {}, drawn)
    exact = flow(terms.x_t, mean, terms.t, terms.s)

    def rms(x: Tensor) -> Tensor:
        return x.square().mean((1, 2)).sqrt()

    true = rms(terms.x_s - exact) / rms(exact - terms.x_t)
    factor = 2**order / (2**order - 1)
    torch.testing.assert_close(true, factor * found.double(), rtol=0.15, atol=1e-7)


@pytest.mark.parametrize(
    ("axes", "queries"),
    [
        ({"solver_steps": 1}, 2),
        ({"solver_steps": 4}, 8),
        ({"solver_steps": 4, "guidance_range": (1, 1)}, 4),
        ({"solver": "heun", "solver_steps": 2}, 8),
        ({"solver": "dpmpp_2m", "solver_steps": 3}, 6),
    ],
)
def test_queries_of_an_item(axes: dict[str, Any], queries: int) -> None:
    objective, drawn = make(DistillationAxes(**axes)), draws(INTERVALS, 3.0)
    positive, negative = text(0.3, 0.2, 0.1, 0.0), text(0.0)
    terms = objective(noise(4, 3, 5), positive, negative, drawn)
    assert objective.axes.teacher_queries == queries
    assert sum(len(query.x_t) for query in terms.teacher_queries) == 4 * queries
    counting = Recorder(objective.teacher)
    again = make(objective.axes, teacher=counting)
    solver_error(again, terms, positive, negative, drawn)
    assert sum(len(query.x_t) for query in counting.queries) == 4 * 2 * queries


def test_no_estimate_from_padding() -> None:
    objective, drawn = make(DistillationAxes()), draws(INTERVALS, 3.0)
    mask = torch.arange(5) < torch.tensor([[5], [3], [5], [2]])
    positive = {**text(0.3, 0.2, 0.1, 0.0), "latent_mask": mask}
    negative = {**text(0.0, 0.0, 0.0, 0.0), "latent_mask": mask}
    x_0 = noise(4, 3, 5)
    terms = objective(x_0, positive, negative, drawn)
    found = solver_error(objective, terms, positive, negative, drawn)
    for i, length in enumerate(mask.sum(1).tolist()):
        one = slice(i, i + 1)
        halves = [{k: v[one] for k, v in part.items() if k != "latent_mask"}
                  for part in (positive, negative)]  # fmt: skip
        whole = drawn.part(one)
        own = type(whole)(whole.interval, whole.w, whole.eps[..., :length])
        part = objective(x_0[one, :, :length], *halves, own)
        alone = solver_error(objective, part, *halves, own)
        torch.testing.assert_close(alone, found[one])


def test_items_of_a_batch_walk_their_own_intervals_at_once() -> None:
    """m calls in all, both halves in each; every item ends where it would have walked alone."""
    axes = DistillationAxes(solver_steps=5)
    w = torch.tensor([1.0, 2.0, 4.0, 6.0], dtype=torch.float64)
    positive, negative = text(0.3, 0.2, 0.1, 0.0), text(0.5)
    teacher = Recorder(gaussian("v"))
    objective, drawn = make(axes, teacher=teacher), draws(INTERVALS, w)
    terms = objective(noise(4, 3, 5), positive, negative, drawn)
    assert [len(query.x_t) for query in teacher.queries] == [8] * 5
    first = teacher.queries[0]
    assert first.t.tolist() == [*terms.t.tolist(), *terms.t.tolist()]
    torch.testing.assert_close(first.x_t[:4], first.x_t[4:], rtol=0, atol=0)
    assert len(set(terms.t.tolist())) == len(INTERVALS)
    denoiser = NetworkDenoiser(gaussian("v"), objective.schedule, "v")
    for i in range(4):
        one = slice(i, i + 1)
        denoise = guided_denoise(
            denoiser.bind(**text(positive["text_embeds"][i].item())),
            denoiser.bind(**negative),
            w[one],
        )
        path = walk_path(terms.t[one], terms.s[one], 5)
        alone = solve(denoise, terms.x_t[one], path, objective.schedule, "ddim")
        torch.testing.assert_close(alone, terms.x_s[one])


@pytest.mark.parametrize(
    ("every", "lines", "told"),
    [(4, 2, [4, 8, 12]), (3, 2, [4, 6, 10, 12]), (1, 5, [5, 10]), (0, 2, [])],
)
def test_it_is_estimated_in_iterations_that_are_reported(
    every: int, lines: int, told: list[int]
) -> None:
    settings = DistillationSettings(
        run_dir="x", cache="x", teacher="x.safetensors", solver_error_iterations=every,
        log_iterations=lines,
    )  # fmt: skip
    assert [n + 1 for n in range(12) if settings.estimates(n)] == told
    guided = dataclasses.replace(settings, objective="guided")
    assert not any(guided.estimates(n) for n in range(12))
