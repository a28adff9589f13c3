from __future__ import annotations

import dataclasses

import pytest
import torch

from soundleap.diffusion import NetworkDenoiser, cfg, sample_generators, sampling_timesteps
from soundleap.latents import Conditions, LatentSampler
from soundleap.pipeline import TextToAudio

T = torch.tensor([900.0, 400.0], dtype=torch.float64)


@pytest.fixture(scope="module")
def x_t() -> torch.Tensor:
    return torch.randn(2, 16, 6, generator=torch.Generator().manual_seed(0))


def conditions(pipeline: TextToAudio, negatives: tuple[str, str], w: float = 3.0) -> Conditions:
    states = pipeline.text_encoder.encode(["rain", "a dog barks", *negatives, "", ""])
    return Conditions(
        embeds=states.embeds.unflatten(0, (3, 2)),
        mask=states.mask.unflatten(0, (3, 2)),
        w=torch.full((2,), w),
        negative=any(negatives),
        lengths=[6, 4],
    )


def sampler(pipeline: TextToAudio, name: str) -> LatentSampler:
    return LatentSampler(pipeline.network(name), pipeline.manifest.sampling, None)  # pyright: ignore


def test_latent_mask_marks_each_length(pipeline: TextToAudio) -> None:
    both = conditions(pipeline, ("", ""))
    mask = both.latent_mask
    assert mask is not None
    assert mask.sum(1).tolist() == [6, 4]
    assert dataclasses.replace(both, lengths=[5, 5]).latent_mask is None


def test_negative_prompt_takes_the_place_of_the_empty_one(
    pipeline: TextToAudio, x_t: torch.Tensor
) -> None:
    both = conditions(pipeline, ("wind", "a car"))
    student = sampler(pipeline, "student")
    network = NetworkDenoiser(student.network, student.schedule, "v")

    def ask(row: int, w: float) -> torch.Tensor:
        return network.bind(**both.of(row), w=torch.full((2,), w))(x_t, T)

    expected = ask(0, 3.0) - 2.0 * (ask(1, 1.0) - ask(2, 1.0))
    torch.testing.assert_close(student.student_denoise(both)(x_t, T), expected)


def test_an_empty_negative_prompt_changes_nothing(pipeline: TextToAudio, x_t: torch.Tensor) -> None:
    student = sampler(pipeline, "student")
    without = student.student_denoise(conditions(pipeline, ("", "")))(x_t, T)
    with_one = student.student_denoise(conditions(pipeline, ("", "wind")))(x_t, T)
    torch.testing.assert_close(without[0], with_one[0])
    assert not torch.allclose(without[1], with_one[1], atol=1e-3)


def test_teacher_uses_classifier_free_guidance(pipeline: TextToAudio, x_t: torch.Tensor) -> None:
    both = conditions(pipeline, ("wind", ""))
    teacher = sampler(pipeline, "teacher")
    network = NetworkDenoiser(teacher.network, teacher.schedule, "v")
    cond, uncond = (network.bind(**both.of(row))(x_t, T) for row in (0, 1))
    torch.testing.assert_close(teacher.teacher_denoise(both)(x_t, T), cfg(cond, uncond, 3.0))
    unguided = teacher.teacher_denoise(conditions(pipeline, ("", ""), w=1.0))(x_t, T)
    torch.testing.assert_close(unguided, network.bind(**both.of(0))(x_t, T))


def test_guidance_of_the_answers(pipeline: TextToAudio, x_t: torch.Tensor) -> None:
    both = dataclasses.replace(conditions(pipeline, ("wind", "")), post=torch.tensor([2.0, 1.0]))
    student = sampler(pipeline, "student")
    network = NetworkDenoiser(student.network, student.schedule, "v").bind(w=both.w)
    cond, uncond = (network.bind(**both.of(row))(x_t, T) for row in (0, 1))
    found = student.student_denoise(both)(x_t, T)
    torch.testing.assert_close(found, cfg(cond, uncond, torch.tensor([2.0, 1.0])))
    torch.testing.assert_close(found[1], cond[1])


def test_noise_scaled_by_the_schedule(pipeline: TextToAudio) -> None:
    plain = sampler(pipeline, "student")
    scaled = LatentSampler(
        plain.network, plain.sampling.model_copy(update={"initial_noise": "schedule"}), None
    )
    both = conditions(pipeline, ("", ""))
    ratio = scaled._noise(both, sample_generators([1, 2])) / plain._noise(
        both, sample_generators([1, 2])
    )
    assert float(ratio[0].mean()) == pytest.approx(0.9976672, abs=1e-6)


@pytest.mark.parametrize(("name", "solver"), [
    ("student", None), ("teacher", "dpmpp_2m"), ("teacher", "heun"), ("teacher", "ddpm"),
])  # fmt: skip
def test_samples_do_not_see_each_other(
    pipeline: TextToAudio, name: str, solver: str | None
) -> None:
    both = conditions(pipeline, ("", ""))
    some = sampler(pipeline, name)
    timesteps = (
        torch.tensor([999.0, 499.0, 19.0], dtype=torch.float64)
        if name == "student"
        else sampling_timesteps(some.schedule, 3)
    )

    def run(asked: Conditions, seeds: list[int]) -> torch.Tensor:
        arguments = [timesteps, *([] if solver is None else [solver]), sample_generators(seeds)]
        return getattr(some, name)(asked, *arguments)

    together = run(both, [1, 2])
    assert together.shape == (2, 16, 6)
    assert not together[1, :, 4:].any()
    for i, length in enumerate(both.lengths):
        alone = dataclasses.replace(
            both,
            embeds=both.embeds[:, i : i + 1],
            mask=both.mask[:, i : i + 1],
            w=both.w[i : i + 1],
            lengths=[length],
        )
        single = run(alone, [i + 1])
        torch.testing.assert_close(together[i : i + 1, :, :length], single, atol=1e-4, rtol=1e-4)
