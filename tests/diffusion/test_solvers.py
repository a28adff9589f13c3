import math
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from diffusion_gaussian import SCHEDULE, denoise, flow
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import Tensor

from soundleap.diffusion import (
    NetworkDenoiser,
    ddim_step,
    ddim_update,
    dpmpp_2m_step,
    heun_step,
    linspace_grid,
    per_sample,
    sampling_timesteps,
    solve,
    training_target,
    uniform_grid,
    walk_path,
)
from soundleap.errors import InputError

GOLDEN = Path(__file__).parents[2].parent / "shared" / "golden"
SOLVERS = ("ddim", "heun", "dpmpp_2m")


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def golden(item: str) -> dict[str, Tensor]:
    path = GOLDEN / f"{item}_a.safetensors"
    if not path.exists():
        pytest.skip(f"reference tensors are not at {path}")
    return load_file(path)


def error(solver, steps: int) -> float:
    x_t = noise(64, 2)
    end = solve(denoise, x_t, walk_path(700.0, 100.0, steps), SCHEDULE, solver)
    return float((end - flow(x_t, 700.0, 100.0)).abs().max())


@pytest.mark.parametrize(("solver", "order"), [("ddim", 1), ("heun", 2), ("dpmpp_2m", 2)])
def test_order_of_convergence(solver, order: int):
    errors = [error(solver, steps) for steps in (80, 160, 320)]
    for coarse, fine in pairwise(errors):
        assert math.log2(coarse / fine) == pytest.approx(order, abs=0.2)


def test_walking_beats_jumping():
    """Each interval of an 18-point grid: m DDIM steps approach the exact flow as m grows."""
    grid = linspace_grid(SCHEDULE, 18)
    s, t = grid[:-1], grid[1:]
    x_t = noise(17, 5)
    errors = [
        (solve(denoise, x_t, walk_path(t, s, m), SCHEDULE) - flow(x_t, t, s)).abs().max()
        for m in (1, 4, 16, 64, 256)
    ]
    assert all(fine < 0.35 * coarse for coarse, fine in pairwise(errors))
    assert errors[-1] < 0.01 * errors[0]


@settings(deadline=None)
@given(st.floats(1, 999), st.floats(0, 1), st.floats(-3, 3))
def test_ddim_is_euler_in_ve_coordinates(t: float, share: float, value: float):
    s = t * share
    x_t = torch.tensor([[value]], dtype=torch.float64)
    sigma_t, sigma_s = SCHEDULE.sigma_ve(t), SCHEDULE.sigma_ve(s)
    z = x_t / SCHEDULE.alpha(t)
    slope = (z - denoise(x_t, torch.tensor([t]))) / sigma_t
    euler = (z + (sigma_s - sigma_t) * slope) * SCHEDULE.alpha(s)
    torch.testing.assert_close(ddim_step(denoise, x_t, t, s, SCHEDULE), euler)


def test_ddim_is_the_formula_of_the_paper():
    x_t, t, s = noise(3, 4), torch.tensor([999.0, 500, 19]), torch.tensor([979.0, 3, 0])
    x_0 = denoise(x_t, t)
    a, b = SCHEDULE.alpha(t)[:, None], SCHEDULE.sigma(t)[:, None]
    eps = (x_t - a * x_0) / b
    expected = SCHEDULE.alpha(s)[:, None] * x_0 + SCHEDULE.sigma(s)[:, None] * eps
    torch.testing.assert_close(ddim_step(denoise, x_t, t, s, SCHEDULE), expected)


def test_heun_is_the_formula_of_the_paper():
    """Both slopes written out in variance-exploding coordinates."""
    x_t, t, s = noise(2, 4), torch.tensor([940.2, 60]), torch.tensor([881.5, 0])
    sigma_t, sigma_s = SCHEDULE.sigma_ve(t)[:, None], SCHEDULE.sigma_ve(s)[:, None]
    alpha_s = SCHEDULE.alpha(s)[:, None]
    z = x_t / SCHEDULE.alpha(t)[:, None]
    slope = (z - denoise(x_t, t)) / sigma_t
    e = z + (sigma_s - sigma_t) * slope
    slope_at_s = (e - denoise(alpha_s * e, s)) / sigma_s
    expected = alpha_s * (z + (sigma_s - sigma_t) * (slope + slope_at_s) / 2)
    torch.testing.assert_close(heun_step(denoise, x_t, t, s, SCHEDULE), expected)


def test_dpmpp_2m_is_the_formula_of_the_paper():
    x_t, (r, t, s) = noise(2, 4), (900.0, 700.0, 600.0)
    x_s, history = dpmpp_2m_step(denoise, x_t, r, t, SCHEDULE)
    torch.testing.assert_close(x_s, ddim_step(denoise, x_t, r, t, SCHEDULE))
    lam = {u: -SCHEDULE.sigma_ve(u).log() for u in (r, t, s)}
    h = lam[s] - lam[t]
    ratio = (lam[t] - lam[r]) / h
    now = denoise(x_s, torch.full((2,), t))
    d = (1 + 1 / (2 * ratio)) * now - 1 / (2 * ratio) * history.x_0
    scale = SCHEDULE.sigma(s) / SCHEDULE.sigma(t)
    expected = scale * x_s - SCHEDULE.alpha(s) * torch.expm1(-h) * d
    torch.testing.assert_close(dpmpp_2m_step(denoise, x_s, t, s, SCHEDULE, history)[0], expected)


def test_golden_ddim_step_of_audiolcm():
    item = golden("audiolcm_solver")
    x_0, eps = item["in/pred_x0"], item["in/pred_noise"]
    t = uniform_grid(SCHEDULE, 50)[item["in/index"]]
    x_s = ddim_update(SCHEDULE.add_noise(x_0, eps, t), x_0, t, (t - 20).clamp(min=0), SCHEDULE)
    torch.testing.assert_close(x_s, item["out/x_prev"], atol=2e-6, rtol=1e-5)


def test_golden_heun_step_of_consistencytta():
    item = golden("ctta_heun_schedule")
    first = (item["in/step/index"] + 1) // 2
    grid = linspace_grid(SCHEDULE, 18).flip(0)
    t, s = grid[first], grid[first + 1]
    outputs = iter([item["in/step/v_first"], item["in/step/v_second"]])
    teacher = NetworkDenoiser(lambda x_t, t: next(outputs), SCHEDULE, "v")
    x_t = item["in/step/x"] * per_sample(SCHEDULE.alpha(t), item["in/step/x"])
    torch.testing.assert_close(x_t, item["out/step/scaled"])
    x_s = heun_step(teacher, x_t, t, s, SCHEDULE)
    torch.testing.assert_close(x_s, item["out/step/scaled_after_heun"], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("solver", SOLVERS)
def test_each_item_walks_its_own_path(solver):
    x_t = noise(5, 3)
    t, s = torch.tensor([999.0, 500, 80, 19, 300]), torch.tensor([940.0, -1, 80, 0, 299.5])
    path = walk_path(t, s, 3)
    together = solve(denoise, x_t, path, SCHEDULE, solver)
    for i in range(5):
        alone = solve(denoise, x_t[i : i + 1], path[:, i], SCHEDULE, solver)
        assert torch.equal(alone[0], together[i])
    assert torch.equal(together[2], x_t[2])  # a way of length 0
    assert bool(together.isfinite().all())


@pytest.mark.parametrize("solver", SOLVERS)
def test_the_last_step_gives_the_clean_sample(solver):
    x_t = noise(4, 2)
    path = sampling_timesteps(SCHEDULE, 200)
    seen: list[tuple[int, float, Tensor]] = []
    end = solve(
        denoise, x_t, path, SCHEDULE, solver, lambda i, t, x_0: seen.append((i, t[0].item(), x_0))
    )
    torch.testing.assert_close(end, flow(x_t, 999.0, -1.0), atol=0.03, rtol=0)
    assert [t for _, t, _ in seen] == path[:-1].tolist()
    assert [i for i, _, _ in seen] == list(range(200))
    assert torch.equal(seen[-1][2], end)


def test_paths_may_lead_up():
    x_t = noise(4, 2)
    up = solve(denoise, x_t, walk_path(50.0, 900.0, 400), SCHEDULE, "heun")
    torch.testing.assert_close(up, flow(x_t, 50.0, 900.0), atol=1e-3, rtol=0)


def test_no_network_is_asked_at_the_clean_end():
    asked: list[Tensor] = []

    def spy(x_t: Tensor, t: Tensor) -> Tensor:
        asked.append(t)
        return denoise(x_t, t)

    path = walk_path(torch.tensor([300.0, 400]), torch.tensor([-1.0, 100]), 2)
    for solver in SOLVERS:
        solve(spy, noise(2, 2), path, SCHEDULE, solver)
    assert min(t.min().item() for t in asked) > 0


@pytest.mark.parametrize("prediction", ["eps", "v", "x0"])
def test_the_teachers_prediction_does_not_matter(prediction):
    def network(x_t: Tensor, t: Tensor) -> Tensor:
        alpha, sigma = (c(t.double()) for c in (SCHEDULE.alpha, SCHEDULE.sigma))
        x_0 = denoise(x_t, t)
        eps = (x_t - alpha[:, None] * x_0) / sigma[:, None]
        return training_target(x_0, eps, alpha, sigma, prediction)

    x_t, path = noise(3, 2), walk_path(800.0, 200.0, 4)
    teacher = NetworkDenoiser(network, SCHEDULE, prediction)
    torch.testing.assert_close(
        solve(teacher, x_t, path, SCHEDULE, "heun"), solve(denoise, x_t, path, SCHEDULE, "heun")
    )


def test_walk_path():
    path = walk_path(torch.tensor([999.0, 20]), torch.tensor([-1.0, 0]), 4)
    assert path.T.tolist() == [[999, 749, 499, 249, -1], [20, 15, 10, 5, 0]]
    assert walk_path(10, 0, 1).tolist() == [[10], [0]]
    grid = linspace_grid(SCHEDULE, 18)
    ends = walk_path(grid[1:], grid[:-1], 7)[[0, -1]]
    assert torch.equal(ends, torch.stack([grid[1:], grid[:-1]]))


@pytest.mark.parametrize(
    ("path", "says"),
    [
        (torch.tensor([5.0]), "path is \\(1,\\)"),
        (torch.zeros(3, 4), "\\[m \\+ 1, 2\\]"),
        (torch.tensor([5.0, 3, 4]), "turns around"),
        (torch.tensor([5.0, -2]), "t is -2 to 5"),
        (torch.tensor([-1.0, 5]), "starts at t = -1"),
    ],
)
def test_wrong_paths_are_refused(path: Tensor, says: str):
    with pytest.raises(InputError, match=says):
        solve(denoise, noise(2, 2), path, SCHEDULE)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda x: solve(denoise, x, torch.tensor([5.0, 1]), SCHEDULE, "hein"), "'heun'"),
        (lambda x: walk_path(5, 1, 0), "solver_steps is 0"),
        (lambda x: walk_path([5, 4], [1, 2, 3], 1), "2 entries but s 3"),
        (lambda x: ddim_step(denoise, x, [5, 4, 3], 1, SCHEDULE), "or \\[2\\]"),
        (lambda x: ddim_update(x, x, -1, 3, SCHEDULE), "starts at t = -1"),
        (lambda x: heun_step(denoise, x, 1000, 3, SCHEDULE), "t is 1000"),
    ],
)
def test_wrong_input_is_refused(call, says: str):
    with pytest.raises(InputError, match=says):
        call(noise(2, 2))
