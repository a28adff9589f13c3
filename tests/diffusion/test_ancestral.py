import pytest
import torch
from diffusion_gaussian import MU, SCHEDULE, STD, denoise
from torch import Tensor

from soundleap.diffusion import (
    ancestral_update,
    ddim_update,
    leading_timesteps,
    randn_per_sample,
    sample_ddpm,
    sample_generators,
    sample_ode,
    strided_timesteps,
)
from soundleap.errors import InputError

SEEDS = [3, 1, 2**63, 7]


def normal(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize(("t", "s"), [(801, 601), (201, 1), (1, 0), (1, -1)])
def test_a_step_is_the_posterior_of_ddpm(t: int, s: int):
    x_t, x_0, noise = normal(3, 2, 4, seed=1), normal(3, 2, 4, seed=2), normal(3, 2, 4, seed=3)
    bar_t = SCHEDULE.alphas_cumprod[t]
    bar_s = SCHEDULE.alphas_cumprod[s] if s >= 0 else torch.tensor(1.0, dtype=torch.float64)
    beta = 1 - bar_t / bar_s
    mean = bar_s.sqrt() * beta / (1 - bar_t) * x_0
    mean = mean + (1 - beta).sqrt() * (1 - bar_s) / (1 - bar_t) * x_t
    variance = (1 - bar_s) / (1 - bar_t) * beta
    expected = mean + variance.sqrt() * noise
    torch.testing.assert_close(ancestral_update(x_t, x_0, t, s, SCHEDULE, noise), expected)


@pytest.mark.parametrize("eta", [0.3, 1.0])
def test_the_level_of_the_noise_is_right_at_every_step(eta: float):
    """The step from exact samples of time t gives samples of time s, whatever eta is."""
    x_0, eps, noise = (normal(100_000, seed=seed) for seed in (1, 2, 3))
    x_0 = MU + STD * x_0
    x_t = SCHEDULE.add_noise(x_0, eps, 600)
    x_s = ancestral_update(x_t, x_0, 600, 300, SCHEDULE, noise, eta)
    assert float((x_s - SCHEDULE.alpha(300) * x_0).std()) == pytest.approx(
        float(SCHEDULE.sigma(300)), rel=0.01
    )


def test_eta_0_is_ddim():
    x_t, x_0 = normal(3, 4, seed=1), normal(3, 4, seed=2)
    ours = ancestral_update(x_t, x_0, 700.0, 300.5, SCHEDULE, None, eta=0)
    torch.testing.assert_close(ours, ddim_update(x_t, x_0, 700.0, 300.5, SCHEDULE))
    path = strided_timesteps(SCHEDULE, 10)
    sample = sample_ddpm(denoise, x_t, path, SCHEDULE, eta=0)
    torch.testing.assert_close(sample, sample_ode(denoise, x_t, path, SCHEDULE, solver="ddim"))


def test_two_hundred_steps_give_the_target():
    generators = sample_generators(range(4000))
    x_T = randn_per_sample((2,), generators, dtype=torch.float64)
    x_0 = sample_ddpm(denoise, x_T, leading_timesteps(SCHEDULE, 200), SCHEDULE, generators)
    assert x_0.mean().item() == pytest.approx(MU, abs=0.03)
    assert x_0.std().item() == pytest.approx(STD, abs=0.02)


def test_a_sample_does_not_depend_on_its_batch():
    def run(seeds: list[int]) -> Tensor:
        generators = sample_generators(seeds)
        x_T = randn_per_sample((2, 3), generators, dtype=torch.float64)
        return sample_ddpm(denoise, x_T, leading_timesteps(SCHEDULE, 5), SCHEDULE, generators)

    together = run(SEEDS)
    for i, seed in enumerate(SEEDS):
        assert torch.equal(run([seed])[0], together[i])


@pytest.mark.parametrize(("end", "count"), [(-1.0, 4), (0.0, 5)])
def test_noise_is_taken_for_the_steps_that_need_it(end: float, count: int):
    noises = normal(count, 2, 3)
    used: list[int] = []

    def given():
        for number, noise in enumerate(noises):
            used.append(number)
            yield noise

    path = leading_timesteps(SCHEDULE, 5, end=end)
    x_T = normal(2, 3, seed=4)
    sample = sample_ddpm(denoise, x_T, path, SCHEDULE, noises=given())
    assert used == list(range(count))
    x_t = x_T
    for (t, s), noise in zip(
        zip(path[:-1].tolist(), path[1:].tolist(), strict=True), [*noises, None], strict=False
    ):
        x_0 = denoise(x_t, torch.full((2,), t, dtype=torch.float64))
        x_t = ancestral_update(x_t, x_0, t, s, SCHEDULE, noise)
    assert torch.equal(sample, x_t)


def test_padding_never_changes_a_draw():
    generators = sample_generators([1, 2])
    x_T = torch.zeros(2, 2, 5, dtype=torch.float64)
    options = {"generators": generators, "lengths": [5, 3]}
    together = sample_ddpm(denoise, x_T, leading_timesteps(SCHEDULE, 3), SCHEDULE, **options)
    alone = sample_ddpm(
        denoise, x_T[1:, :, :3], leading_timesteps(SCHEDULE, 3), SCHEDULE, sample_generators([2])
    )
    assert torch.equal(together[1, :, :3], alone[0])


def test_callbacks_see_every_step_and_can_stop():
    seen = []

    def note(step: int, t: float, x_0: Tensor) -> None:
        seen.append((step, t))
        if step == 1:
            raise KeyboardInterrupt

    path = leading_timesteps(SCHEDULE, 4)
    with pytest.raises(KeyboardInterrupt):
        sample_ddpm(
            denoise, normal(1, 2), path, SCHEDULE, sample_generators([0]), callback_on_step_end=note
        )
    assert seen == [(0, 751), (1, 501)]


PATH = leading_timesteps(SCHEDULE, 3)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda x: sample_ddpm(denoise, x, PATH, SCHEDULE), "0 generators for 2"),
        (lambda x: sample_ddpm(denoise, x, PATH, SCHEDULE, noises=[x]), "got 1 noises; needed: 2"),
        (lambda x: sample_ddpm(denoise, x, PATH, SCHEDULE, noises=iter([x])), "noises end"),
        (lambda x: sample_ddpm(denoise, x, PATH, SCHEDULE, noises=[x[:1]] * 2), "noise is"),
        (lambda x: sample_ddpm(denoise, x, PATH, SCHEDULE, eta=1.5), "eta is 1.5"),
        (lambda x: sample_ddpm(denoise, x, PATH[:-1], SCHEDULE), "end at -1 or 0"),
        (lambda x: sample_ddpm(denoise, x, PATH.flip(0), SCHEDULE), "falling"),
        (lambda x: ancestral_update(x, x, 5, 5, SCHEDULE, x), "lead down"),
        (lambda x: ancestral_update(x, x, 5, 4, SCHEDULE, None), "needs noise"),
    ],
)
def test_wrong_input_is_refused(call, says: str):
    with pytest.raises(InputError, match=says):
        call(normal(2, 3))
