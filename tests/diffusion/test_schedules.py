import math
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from soundleap.diffusion import (
    NoiseSchedule,
    batch_times,
    coarse_grid,
    karras_grid,
    karras_sigmas,
    linspace_grid,
    per_sample,
    sampling_timesteps,
    uniform_grid,
)
from soundleap.errors import InputError

SCHEDULE = NoiseSchedule.scaled_linear()
GOLDEN = Path(__file__).parents[2].parent / "shared" / "golden"
times = st.floats(-1, 999)


def golden(item: str) -> dict[str, torch.Tensor]:
    path = GOLDEN / f"{item}_a.safetensors"
    if not path.exists():
        pytest.skip(f"reference tensors are not at {path}")
    return load_file(path)


def test_published_values():
    table = SCHEDULE.alphas_cumprod
    expected = {0: 0.99915, 19: 0.98224399, 259: 0.65897553, 499: 0.27766965, 999: 0.00466010}
    for t, value in expected.items():
        assert table[t].item() == pytest.approx(value, abs=6e-8)
    assert SCHEDULE.alpha(999).item() == pytest.approx(0.06826491, rel=1e-6)
    assert SCHEDULE.sigma(499).item() == pytest.approx(0.84990020, rel=1e-6)
    assert SCHEDULE.sigma_ve(999).item() == pytest.approx(14.6146, abs=1e-4)
    assert SCHEDULE.sigma_ve(940.2352941).item() == pytest.approx(10.3807, abs=1e-4)


def test_golden_schedule_of_audiolcm():
    out = golden("audiolcm_solver")
    t = torch.arange(1000)
    torch.testing.assert_close(SCHEDULE.alpha(t).float(), out["out/sqrt_alphas_cumprod"])
    torch.testing.assert_close(SCHEDULE.sigma(t).float(), out["out/sqrt_one_minus_alphas_cumprod"])
    torch.testing.assert_close(SCHEDULE.sigma_ve(t).float(), out["out/sqrt_recipm1_alphas_cumprod"])
    assert torch.equal(uniform_grid(SCHEDULE, 50).long(), out["out/ddim_timesteps"])


@pytest.mark.parametrize("points", [2, 4, 18])
def test_golden_grids_of_consistencytta(points: int):
    out = golden("ctta_heun_schedule")
    once = [0, *range(1, 2 * points - 1, 2)]  # the reference lists every inner point twice
    for name, grid in (("linspace", linspace_grid), ("karras", karras_grid)):
        t = grid(SCHEDULE, points).flip(0)
        # The reference interpolates log sigma when it looks up Karras' times: up to 0.01 in t.
        torch.testing.assert_close(
            t.float(), out[f"out/{name}/n{points}/timesteps"][once], atol=0.01, rtol=1e-6
        )
        sigmas = out[f"out/{name}/n{points}/sigmas"][once]
        # Its 1 - alphas_cumprod is in float32, which costs 1.3e-5 of the lowest sigma.
        torch.testing.assert_close(SCHEDULE.sigma_ve(t).float(), sigmas, rtol=1.4e-5, atol=0)


def test_clean_end():
    assert SCHEDULE.alpha(-1).item() == 1
    assert SCHEDULE.sigma(-1).item() == 0
    assert SCHEDULE.sigma_ve(-1).item() == 0
    assert SCHEDULE.log_snr(-1).item() == math.inf
    assert SCHEDULE.sigma_ve(-0.5).item() == pytest.approx(SCHEDULE.sigma_ve(0).item() / 2)


def test_integer_times_hit_the_table():
    t = torch.arange(1000)
    torch.testing.assert_close(SCHEDULE.alpha(t) ** 2, SCHEDULE.alphas_cumprod, rtol=1e-14, atol=0)
    table = SCHEDULE.alphas_cumprod
    torch.testing.assert_close(SCHEDULE.log_snr(t), torch.log(table / (1 - table)))


@settings(deadline=None)
@given(times)
def test_variance_is_preserved_and_sigma_ve_inverts(t: float):
    alpha, sigma = SCHEDULE.alpha(t), SCHEDULE.sigma(t)
    assert (alpha**2 + sigma**2).item() == pytest.approx(1, abs=1e-14)
    assert (sigma / alpha).item() == pytest.approx(SCHEDULE.sigma_ve(t).item(), rel=1e-13)
    assert SCHEDULE.t_from_sigma_ve(SCHEDULE.sigma_ve(t)).item() == pytest.approx(t, abs=1e-9)


def test_sigma_rises_everywhere():
    assert bool((SCHEDULE.sigma_ve(torch.linspace(-1, 999, 4321)).diff() > 0).all())


def test_add_noise_uses_each_samples_own_time():
    x_0, eps = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    t = torch.tensor([-1.0, 12.5, 999.0])
    x_t = SCHEDULE.add_noise(x_0, eps, t)
    assert torch.equal(x_t[0], x_0[0])
    for item, time in enumerate(t):
        expected = (
            SCHEDULE.alpha(time).float() * x_0[item] + SCHEDULE.sigma(time).float() * eps[item]
        )
        assert torch.equal(x_t[item], expected)
    torch.testing.assert_close(SCHEDULE.add_noise(x_0, eps, 12.5)[1], x_t[1])


def test_from_alphas_cumprod_round_trip():
    same = NoiseSchedule.from_alphas_cumprod(SCHEDULE.alphas_cumprod.tolist())
    assert torch.equal(same.alphas_cumprod, SCHEDULE.alphas_cumprod)
    assert same.t_max == 999


def test_grids():
    lcm = uniform_grid(SCHEDULE, 50)
    assert lcm[:2].tolist() == [19, 39]
    assert lcm[-1].item() == 999
    ctta = linspace_grid(SCHEDULE, 18)
    assert (ctta[0].item(), ctta[-1].item()) == (0, 999)
    assert ctta[-2].item() == pytest.approx(940.2353, abs=1e-4)
    karras = karras_grid(SCHEDULE, 18)
    assert (karras[0].item(), karras[-1].item()) == (0, 999)
    assert karras.flip(0)[1:4].tolist() == pytest.approx([957.13, 910.91, 859.43], abs=0.01)
    for spacing, grid in (("uniform", lcm[:0]), ("linspace", ctta), ("karras", karras)):
        named = coarse_grid(SCHEDULE, 18, spacing)
        assert bool((named.diff() > 0).all())
        assert grid.numel() == 0 or torch.equal(named, grid)


@pytest.mark.parametrize("steps", [1, 3, 50, 1000])
def test_sampling_timesteps(steps: int):
    path = sampling_timesteps(SCHEDULE, steps)
    assert len(path) == steps + 1
    assert (path[0].item(), path[-1].item()) == (999, -1)
    assert bool((path.diff() < 0).all())


def test_karras_sigmas_follow_the_formula():
    sigmas = karras_sigmas(5, 0.1, 10, rho=3)
    assert sigmas[[0, -1]].tolist() == [10, 0.1]
    torch.testing.assert_close((sigmas ** (1 / 3)).diff().diff(), torch.zeros(3).double())


def test_coefficients_take_the_samples_type():
    x = torch.zeros(2, 3, 4, dtype=torch.float32)
    assert per_sample(SCHEDULE.alpha([1.0, 2.0]), x).shape == (2, 1, 1)
    assert per_sample(SCHEDULE.alpha(1.0), x).dtype == torch.float32
    assert batch_times(3, x).tolist() == [3, 3]


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: SCHEDULE.alpha(-1.5), "t is -1.5; allowed: -1"),
        (lambda: SCHEDULE.sigma(999.01), "allowed: -1 .clean. to 999"),
        (lambda: SCHEDULE.alpha(math.nan), "t is nan"),
        (lambda: SCHEDULE.alpha(torch.tensor([999.0], dtype=torch.bfloat16)), "bfloat16"),
        (lambda: SCHEDULE.t_from_sigma_ve(15), "sigma_ve is 15; allowed: 0 to 14.61"),
        (lambda: SCHEDULE.add_noise(torch.zeros(2, 3), torch.zeros(2, 4), 1), "eps"),
        (lambda: SCHEDULE.add_noise(torch.zeros(2, 3), torch.zeros(2, 3), [1, 2, 3]), "or \\[2\\]"),
        (lambda: NoiseSchedule.scaled_linear(beta_start=0.5, beta_end=0.1), "beta_start"),
        (lambda: NoiseSchedule.scaled_linear(num_train_steps=1), "num_train_steps is 1"),
        (lambda: NoiseSchedule.from_alphas_cumprod([0.5, 0.9]), "fall"),
        (lambda: NoiseSchedule.from_alphas_cumprod([0.9, 0.0]), "above 0"),
        (lambda: NoiseSchedule(torch.rand(3)), "float64"),
        (lambda: uniform_grid(SCHEDULE, 0), "points is 0; allowed: 1 to 1000"),
        (lambda: linspace_grid(SCHEDULE, 1), "points is 1"),
        (lambda: karras_grid(SCHEDULE, 1), "points is 1"),
        (lambda: karras_sigmas(4, 2, 1), "sigma_min"),
        (lambda: coarse_grid(SCHEDULE, 4, "karas"), "did you mean 'karras'"),
        (lambda: coarse_grid(SCHEDULE, 2, "explicit", [5, 5]), r"are \[5, 5\]; needed: rising"),
        (lambda: coarse_grid(SCHEDULE, 2, "explicit", [-1, 5]), "needed: rising, from 0"),
        (lambda: coarse_grid(SCHEDULE, 0, "explicit"), r"are \[\]; needed"),
        (lambda: sampling_timesteps(SCHEDULE, 0), "num_inference_steps is 0"),
        (lambda: batch_times([1, 2], torch.zeros(3)), "one number or \\[3\\]"),
    ],
)
def test_wrong_input_is_refused(call, says: str):
    with pytest.raises(InputError, match=says):
        call()
