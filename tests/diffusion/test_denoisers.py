from functools import partial
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import Tensor

from soundleap.diffusion import (
    ConsistencyFunction,
    NetworkDenoiser,
    NoiseSchedule,
    boundary_scalings,
    convert_output,
    from_x_0,
    identity_scalings,
    to_eps,
    to_x_0,
    training_target,
)
from soundleap.errors import InputError

SCHEDULE = NoiseSchedule.scaled_linear()
GOLDEN = Path(__file__).parents[2].parent / "shared" / "golden"
PREDICTIONS = ("eps", "v", "x0")
numbers = st.floats(-5, 5)


@settings(deadline=None)
@given(numbers, numbers, st.floats(0, 999), st.sampled_from(PREDICTIONS))
def test_predictions_round_trip(x_0: float, eps: float, t: float, prediction):
    clean, noise = (torch.tensor([[value]], dtype=torch.float64) for value in (x_0, eps))
    alpha, sigma = SCHEDULE.alpha([t]), SCHEDULE.sigma([t])
    x_t = SCHEDULE.add_noise(clean, noise, [t])
    output = training_target(clean, noise, alpha, sigma, prediction)
    close = partial(torch.testing.assert_close, atol=1e-9, rtol=1e-9)
    close(to_x_0(output, x_t, alpha, sigma, prediction), clean)
    close(to_eps(output, x_t, alpha, sigma, prediction), noise)
    close(from_x_0(clean, x_t, alpha, sigma, prediction), output)
    for other in PREDICTIONS:
        expected = training_target(clean, noise, alpha, sigma, other)
        close(convert_output(output, x_t, alpha, sigma, prediction, other), expected)


def echo(x_t: Tensor, t: Tensor, gain: Tensor | None = None) -> Tensor:
    """A network whose output shows everything it was given."""
    out = x_t * 0.5 + t[:, None] / 1000
    return out if gain is None else out * gain[:, None]


def test_network_gets_float_timesteps_and_bound_conditions():
    x_t, t = torch.ones(3, 2), torch.tensor([0.0, 58.76, 999.0], dtype=torch.float64)
    gain = torch.tensor([1.0, 2.0, 3.0])
    seen = []

    def network(x_t: Tensor, t: Tensor, gain: Tensor) -> Tensor:
        seen.append(t)
        return echo(x_t, t, gain)

    denoise = NetworkDenoiser(network, SCHEDULE, "x0").bind(gain=gain + 1).bind(gain=gain)
    assert torch.equal(denoise(x_t, t), echo(x_t, t.float(), gain))
    assert seen[0].dtype == torch.float32
    assert torch.equal(
        NetworkDenoiser(echo, SCHEDULE, "x0")(x_t, 5.0), echo(x_t, torch.full((3,), 5.0))
    )


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_denoiser_turns_every_prediction_into_x_0(prediction):
    g = torch.Generator().manual_seed(1)
    x_0, eps = torch.randn(2, 4, 3, generator=g, dtype=torch.float64)
    t = torch.tensor([0.0, 20.5, 500, 999], dtype=torch.float64)
    target = training_target(x_0, eps, SCHEDULE.alpha(t), SCHEDULE.sigma(t), prediction)
    denoise = NetworkDenoiser(lambda x_t, t: target, SCHEDULE, prediction)
    torch.testing.assert_close(denoise(SCHEDULE.add_noise(x_0, eps, t), t), x_0)


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_a_clean_sample_stays_as_it_is(prediction):
    x_t = torch.randn(2, 3, generator=torch.Generator().manual_seed(2))
    denoise = NetworkDenoiser(echo, SCHEDULE, prediction)
    out = denoise(x_t, torch.tensor([-1.0, 100.0]))
    assert torch.equal(out[0], x_t[0])
    assert not torch.equal(out[1], x_t[1])


@pytest.mark.parametrize("boundary", ["lcm", "identity"])
def test_boundary_of_the_consistency_function(boundary):
    x_t = torch.randn(2, 3, generator=torch.Generator().manual_seed(3))
    denoise = NetworkDenoiser(echo, SCHEDULE, "v")
    f = ConsistencyFunction(denoise, boundary)
    assert torch.equal(f(x_t, -1), x_t)
    assert torch.equal(f(x_t, 0), x_t if boundary == "lcm" else denoise(x_t, 0))
    torch.testing.assert_close(f(x_t, 999), denoise(x_t, 999))


def test_scalings_are_those_of_lcm():
    c_skip, c_out = boundary_scalings(torch.tensor([-1.0, -0.3, 0, 19, 999]))
    assert c_skip[:3].tolist() == [1, 1, 1]
    assert c_out[:3].tolist() == [0, 0, 0]
    assert c_skip[3].item() == pytest.approx(6.9252e-6, rel=1e-4)
    assert c_out[3].item() == pytest.approx(0.9999965, abs=1e-7)
    assert [float(c) for c in identity_scalings(7.0)] == [0, 1]


def test_golden_scalings():
    path = GOLDEN / "audiolcm_solver_a.safetensors"
    if not path.exists():
        pytest.skip(f"reference tensors are not at {path}")
    item = load_file(path)
    c_skip, c_out = boundary_scalings(item["in/t"])
    torch.testing.assert_close(c_skip.float(), item["out/c_skip"])
    torch.testing.assert_close(c_out.float(), item["out/c_out"])


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: NetworkDenoiser(echo, SCHEDULE, "epsilon"), "did you mean 'eps'"),
        (lambda: ConsistencyFunction(echo, "lmc"), "did you mean 'lcm'"),
        (lambda: to_x_0(torch.zeros(1), torch.zeros(1), 1, 0, "flow"), "unknown prediction"),
        (lambda: to_eps(torch.zeros(1), torch.zeros(1), 1, 0, "x0"), "sigma is 0"),
        (lambda: from_x_0(torch.zeros(1), torch.zeros(1), 1, 0, "v"), "sigma is 0"),
        (lambda: boundary_scalings(1, sigma_data=0), "sigma_data is 0"),
        (lambda: NetworkDenoiser(echo, SCHEDULE, "v")(torch.zeros(2, 1), 1000), "t is 1000"),
    ],
)
def test_wrong_input_is_refused(call, says: str):
    with pytest.raises(InputError, match=says):
        call()
