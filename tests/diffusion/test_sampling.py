from pathlib import Path

import pytest
import torch
from diffusion_gaussian import MU, SCHEDULE, STD, denoise, flow
from safetensors.torch import load_file
from torch import Tensor

from soundleap.diffusion import (
    consistency_timesteps,
    ddim_update,
    leading_timesteps,
    linspace_grid,
    randn_per_sample,
    sample_consistency,
    sample_generators,
    sample_ode,
    sampling_timesteps,
    uniform_grid,
)
from soundleap.errors import InputError

GOLDEN = Path(__file__).parents[2].parent / "shared" / "golden"
SEEDS = [3, 1, 2**63, 7]


def f(x_t: Tensor, t: Tensor) -> Tensor:
    """The exact consistency function of the Gaussian."""
    return flow(x_t, t, -1.0)


def start(seeds: list[int]) -> tuple[Tensor, list[torch.Generator]]:
    generators = sample_generators(seeds)
    return randn_per_sample((2, 3), generators, dtype=torch.float64), generators


def run(seeds: list[int], steps: int, **options) -> Tensor:
    x_T, generators = start(seeds)
    timesteps = consistency_timesteps(uniform_grid(SCHEDULE, 50), steps)
    return sample_consistency(f, x_T, timesteps, SCHEDULE, generators, **options)


@pytest.mark.parametrize("steps", [1, 2, 4])
def test_a_sample_does_not_depend_on_its_batch(steps: int):
    together = run(SEEDS, steps)
    for i, seed in enumerate(SEEDS):
        assert torch.equal(run([seed], steps)[0], together[i])
    assert torch.equal(run(SEEDS[::-1], steps), together.flip(0))


@pytest.mark.parametrize("solver", ["ddim", "heun", "dpmpp_2m"])
def test_an_ode_sample_does_not_depend_on_its_batch(solver):
    path = sampling_timesteps(SCHEDULE, 5)
    together = sample_ode(denoise, start(SEEDS)[0], path, SCHEDULE, solver=solver)
    for i, seed in enumerate(SEEDS):
        alone = sample_ode(denoise, start([seed])[0], path, SCHEDULE, solver=solver)
        assert torch.equal(alone[0], together[i])


def test_noise_is_drawn_in_float32_and_continues():
    generators = sample_generators([5])
    first, second = (randn_per_sample((3,), generators) for _ in range(2))
    whole = torch.Generator().manual_seed(5)
    assert torch.equal(first[0], torch.randn(3, generator=whole))
    assert torch.equal(second[0], torch.randn(3, generator=whole))
    assert torch.equal(randn_per_sample((3,), sample_generators([5]), dtype=torch.float64), first)


@pytest.mark.parametrize("steps", [1, 4])
def test_the_exact_consistency_function_gives_the_target(steps: int):
    generators = sample_generators(range(4000))
    x_T = randn_per_sample((2,), generators, dtype=torch.float64)
    timesteps = consistency_timesteps(linspace_grid(SCHEDULE, 18), steps)
    x_0 = sample_consistency(f, x_T, timesteps, SCHEDULE, generators)
    assert x_0.mean().item() == pytest.approx(MU, abs=0.05)
    assert x_0.std().item() == pytest.approx(STD, abs=0.02)


def test_each_step_puts_new_noise_on_the_last_answer():
    x_T, generators = start([9])
    timesteps = torch.tensor([999.0, 499.0])
    x_0 = f(x_T, timesteps[:1])
    noise = torch.Generator().manual_seed(9)
    _, fresh = (torch.randn(1, 2, 3, generator=noise).double() for _ in range(2))
    expected = f(SCHEDULE.add_noise(x_0, fresh, 499.0), timesteps[1:])
    assert torch.equal(sample_consistency(f, x_T, timesteps, SCHEDULE, generators), expected)


def test_deterministic_steps_keep_the_implied_noise():
    x_T, _ = start(SEEDS)
    timesteps = torch.tensor([999.0, 600.0, 200.0])
    x_t, x_0 = x_T, f(x_T, timesteps[:1])
    for t, s in ((999.0, 600.0), (600.0, 200.0)):
        x_t = ddim_update(x_t, x_0, t, s, SCHEDULE)
        x_0 = f(x_t, torch.tensor([s]))
    assert torch.equal(sample_consistency(f, x_T, timesteps, SCHEDULE, deterministic=True), x_0)


def test_given_noise_takes_the_place_of_draws():
    expected = run([9], 2)
    x_T, (generator,) = start([9])
    fresh = torch.randn(1, 2, 3, generator=generator).double()
    timesteps = consistency_timesteps(uniform_grid(SCHEDULE, 50), 2)
    assert torch.equal(sample_consistency(f, x_T, timesteps, SCHEDULE, noises=[fresh]), expected)
    with pytest.raises(InputError, match="got 0 noises; needed: 1"):
        sample_consistency(f, x_T, timesteps, SCHEDULE, noises=[])
    with pytest.raises(InputError, match="noise is"):
        sample_consistency(f, x_T, timesteps, SCHEDULE, noises=[fresh[0]])


@pytest.mark.parametrize("solver", ["ddim", "heun", "dpmpp_2m"])
def test_a_path_may_end_at_the_first_timestep(solver):
    x_T, _ = start(SEEDS)
    path = leading_timesteps(SCHEDULE, 500, end=0.0)
    end = sample_ode(denoise, x_T, path, SCHEDULE, solver=solver)
    torch.testing.assert_close(end, flow(x_T, path[0], 0.0), atol=0.02, rtol=0)


def test_callbacks_see_every_step_and_can_stop():
    seen = []

    def note(step: int, t: float, x_0: Tensor) -> None:
        seen.append((step, t))
        if step == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(SEEDS, 4, callback_on_step_end=note)
    assert seen == [(0, 999), (1, 759)]
    seen.clear()
    path = sampling_timesteps(SCHEDULE, 4)
    with pytest.raises(KeyboardInterrupt):
        sample_ode(denoise, start(SEEDS)[0], path, SCHEDULE, callback_on_step_end=note)
    assert seen == [(0, 999), (1, 749)]


def test_published_few_step_lists():
    grid = uniform_grid(SCHEDULE, 50)
    for steps, expected in {
        1: [999],
        2: [999, 499],
        3: [999, 679, 339],
        4: [999, 759, 499, 259],
        8: [999, 879, 759, 639, 499, 379, 259, 139],
    }.items():
        assert consistency_timesteps(grid, steps).tolist() == expected
    ctta = linspace_grid(SCHEDULE, 18)
    assert torch.equal(consistency_timesteps(ctta, 17), ctta[1:].flip(0))


def test_golden_few_step_lists():
    path = GOLDEN / "audiolcm_solver_a.safetensors"
    if not path.exists():
        pytest.skip(f"reference tensors are not at {path}")
    prefix = "out/lcm_timesteps/orig"
    for name, expected in load_file(path).items():
        if name.startswith(prefix):
            points, steps = map(int, name.removeprefix(prefix).split("_n"))
            got = consistency_timesteps(uniform_grid(SCHEDULE, points), steps)
            assert torch.equal(got.long(), expected)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda x, g: sample_generators([-1]), "seed is -1"),
        (lambda x, g: randn_per_sample((2,), []), "generators is empty"),
        (
            lambda x, g: consistency_timesteps(linspace_grid(SCHEDULE, 18), 18),
            "is 18; allowed: 1 to 17",
        ),
        (lambda x, g: consistency_timesteps(torch.zeros(2), 1), "above t = 0"),
        (
            lambda x, g: sample_consistency(f, x, torch.tensor([9.0, 1]), SCHEDULE),
            "0 generators for 2",
        ),
        (
            lambda x, g: sample_consistency(f, x, torch.tensor([9.0, 1]), SCHEDULE, g[:1]),
            "1 generators",
        ),
        (lambda x, g: sample_consistency(f, x, torch.tensor([9.0, -1]), SCHEDULE, g), "hold -1"),
        (lambda x, g: sample_consistency(f, x, torch.tensor([1.0, 9]), SCHEDULE, g), "falling"),
        (lambda x, g: sample_ode(denoise, x, torch.tensor([9.0, 2]), SCHEDULE), "end at -1"),
        (lambda x, g: sample_ode(denoise, x, torch.tensor([-1.0]), SCHEDULE), "end at -1"),
    ],
)
def test_wrong_input_is_refused(call, says: str):
    with pytest.raises(InputError, match=says):
        call(*start([1, 2]))
