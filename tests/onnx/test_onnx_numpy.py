from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from soundleap.audio.stft import istft, stft
from soundleap.bundle_schema import Sampling, Schedule
from soundleap.diffusion import (
    NoiseSchedule,
    consistency_timesteps,
    sample_ode,
    sampling_timesteps,
)
from soundleap.errors import InputError
from soundleap.models.griffin_lim import griffin_lim
from soundleap.onnx.noise import TorchNoise
from soundleap.onnx.phase import Transform, find_phase
from soundleap.onnx.sampling import (
    NumpySchedule,
    sample_teacher,
    student_timesteps,
    teacher_timesteps,
    to_x_0,
)


@pytest.mark.parametrize("seed", [0, 1, 2**32 - 1, 2**32 + 5, 2**64 - 1])
def test_noise_is_torchs(seed: int) -> None:
    generator, ours = torch.Generator().manual_seed(seed), TorchNoise(seed)
    for shape in ((16,), (5, 7), (128, 79), (3, 4, 5)):
        normal = torch.randn(*shape, generator=generator).numpy()
        assert np.abs(ours.randn(*shape) - normal).max() < 4e-6
        uniform = torch.rand(*shape, generator=generator).numpy()
        np.testing.assert_array_equal(ours.rand(*shape), uniform)


def test_noise_refuses_what_torch_draws_otherwise() -> None:
    with pytest.raises(InputError, match="at least 16"):
        TorchNoise(0).randn(3)
    with pytest.raises(InputError, match="seed is -1"):
        TorchNoise(-1)


@pytest.mark.parametrize(("n_fft", "hop"), [(1024, 256), (64, 24)])
def test_transform_is_torchs(n_fft: int, hop: int) -> None:
    frames = 60
    wave = torch.randn(1, frames * hop, generator=torch.Generator().manual_seed(0))
    window = torch.hann_window(n_fft)
    ours = Transform(n_fft, hop, frames)
    expected = stft(wave, window, hop)
    found = ours.forward(wave[0].numpy())
    np.testing.assert_allclose(found.T, expected[0].numpy(), atol=1e-4)
    back = istft(expected, window, hop)[0].numpy()
    inside = slice(n_fft, -n_fft)  # the ends divide by very little
    np.testing.assert_allclose(ours.inverse(found)[inside], back[inside], atol=1e-5)


def test_phase_search_is_torchs() -> None:
    generator = torch.Generator().manual_seed(0)
    magnitude = torch.rand(1, 33, 40, generator=generator)
    phase = 2 * math.pi * torch.rand(1, 33, 40, generator=generator)
    expected = griffin_lim(
        magnitude, torch.hann_window(64), 16, initial_phase=phase, iterations=4, momentum=0.9
    )
    found = find_phase(magnitude[0].T.numpy(), phase[0].T.numpy(), Transform(64, 16, 40), 4, 0.9)
    np.testing.assert_allclose(found.T, expected[0].numpy(), atol=2e-4)


def test_schedule_and_times_are_torchs() -> None:
    ours, theirs = NumpySchedule(Schedule()), NoiseSchedule.scaled_linear()
    for t in (-1.0, -0.5, 0.0, 13.3, 998.9, 999.0):
        assert ours.alpha(t) == pytest.approx(float(theirs.alpha(t)), rel=1e-12)
        assert ours.sigma(t) == pytest.approx(float(theirs.sigma(t)), rel=1e-12)
    sampling = Sampling(grid=tuple(range(19, 1000, 20)))
    for steps in (1, 3, 7):
        grid = torch.tensor(sampling.grid, dtype=torch.float64)
        assert student_timesteps(sampling, steps) == consistency_timesteps(grid, steps).tolist()
        assert teacher_timesteps(ours, steps) == sampling_timesteps(theirs, steps).tolist()


@pytest.mark.parametrize("solver", ["ddim", "dpmpp_2m"])
def test_teachers_path_is_torchs(solver: str) -> None:
    ours, theirs = NumpySchedule(Schedule()), NoiseSchedule.scaled_linear()
    x_T = np.random.default_rng(0).standard_normal((1, 4, 9)).astype(np.float32)

    def denoise(x, t):  # of either library
        return 0.3 * x + 0.1 * float(t) / 1000

    path = sampling_timesteps(theirs, 6)
    expected = sample_ode(
        lambda x, t: denoise(x, t[0]), torch.from_numpy(x_T), path, theirs, solver=solver
    )
    found = sample_teacher(denoise, x_T, path.tolist(), ours, solver)
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-5)
    with pytest.raises(InputError, match="heun"):
        sample_teacher(denoise, x_T, path.tolist(), ours, "heun")


@pytest.mark.parametrize("prediction", ["eps", "v", "x0"])
def test_predictions_are_torchs(prediction: str) -> None:
    from soundleap.diffusion.denoisers import to_x_0 as theirs

    x, y = np.ones((1, 2, 3), np.float32), np.full((1, 2, 3), 0.4, np.float32)
    expected = theirs(torch.from_numpy(y), torch.from_numpy(x), 0.6, 0.8, prediction)
    np.testing.assert_allclose(to_x_0(y, x, 0.6, 0.8, prediction), expected.numpy(), rtol=1e-6)
