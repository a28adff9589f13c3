"""Consistency distillation: its boundary, its walk, its start, and that it learns."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from toy_runs import Toy, assert_same_run

from soundleap.diffusion.denoisers import NetworkDenoiser
from soundleap.diffusion.guidance import cfg
from soundleap.diffusion.solvers import ddim_step
from soundleap.errors import InputError
from soundleap.models.dit import DiT, DiTConfig
from soundleap.models.registry import load_network
from soundleap.training.distillation import DistillationStory, student_from
from soundleap.training.loop import generator_for, train
from soundleap.training.objectives import ConsistencyDraws, ConsistencyObjective, item_mean
from soundleap.training.previews import first_noise


@pytest.fixture
def story(toy: Toy, tmp_path: Path) -> DistillationStory:
    settings = toy.distillation_settings(tmp_path / "run")
    return DistillationStory(settings, progress=False)


def a_batch(story: DistillationStory) -> tuple[Tensor, dict[str, Tensor], dict[str, Tensor]]:
    batch = story.batches(0, generator_for(0, 0))
    return batch.x_0, *story.conditions(batch)


def consistency(story: DistillationStory) -> ConsistencyObjective:
    assert isinstance(story.objective, ConsistencyObjective)
    return story.objective


def test_the_lowest_points_lead_to_t_0_where_f_is_the_identity(story: DistillationStory) -> None:
    objective, skip = consistency(story), story.settings.skip_points
    t, s = objective.interval_times(torch.arange(50))
    assert torch.equal(t, objective.grid)
    assert (s[:skip] == 0).all()
    torch.testing.assert_close(t[skip:] - s[skip:], torch.full_like(t[skip:], 20.0 * skip))
    x, conditions, _ = a_batch(story)
    f = objective.function(objective.target, conditions, torch.full((len(x),), 2.0))
    torch.testing.assert_close(f(x, torch.zeros(len(x)).double()), x, rtol=0, atol=0)


def test_one_step_of_ddim_is_one_ddim_step(toy: Toy, tmp_path: Path) -> None:
    settings = toy.distillation_settings(tmp_path / "run", solver_steps=1)
    story = DistillationStory(settings, progress=False)
    x_0, positive, negative = a_batch(story)
    objective = consistency(story)
    terms = objective.sample(x_0, positive, negative, torch.Generator().manual_seed(1))
    w = objective.draw(x_0, torch.Generator().manual_seed(1)).w
    denoiser = NetworkDenoiser(story.teacher, story.schedule, "v")

    def denoise(x: Tensor, t: Tensor) -> Tensor:
        return cfg(denoiser.bind(**positive)(x, t), denoiser.bind(**negative)(x, t), w)

    expected = ddim_step(denoise, terms.x_t, terms.t, terms.s, story.schedule)
    mask = positive["latent_mask"][:, None]
    torch.testing.assert_close(terms.x_s * mask, expected * mask, rtol=1e-4, atol=1e-5)


def test_more_solver_steps_come_closer_to_the_flow(toy: Toy, tmp_path: Path) -> None:
    ends: list[Tensor] = []
    for steps in (1, 4, 16, 256):
        settings = toy.distillation_settings(tmp_path / "run", solver_steps=steps, skip_points=25)
        story = DistillationStory(settings, progress=False)
        x_0, positive, negative = a_batch(story)
        eps = torch.randn(x_0.shape, generator=torch.Generator().manual_seed(2))
        count = len(x_0)
        draws = ConsistencyDraws(torch.full((count,), 49), torch.ones(count), eps)
        terms = consistency(story)(x_0, positive, negative, draws)
        assert terms.s.tolist() == [499.0] * count
        ends.append(terms.x_s)
    mask = positive["latent_mask"]
    errors = [float(item_mean((end - ends[-1]) ** 2, mask).mean()) for end in ends[:-1]]
    assert errors == sorted(errors, reverse=True)


def test_a_new_student_is_its_teacher_for_any_w(story: DistillationStory) -> None:
    x, conditions, _ = a_batch(story)
    t = torch.full((len(x),), 500.0)
    expected = story.teacher(x, t, **conditions)
    for w in (1.0, 4.0):
        student = story.student(x, t, **conditions, w=torch.full((len(x),), w))
        torch.testing.assert_close(student, expected, rtol=0, atol=0)
    assert float(expected.abs().mean()) > 0.01


def test_a_student_needs_a_teacher_that_fits() -> None:
    teacher = DiT(DiTConfig(channels=4, text_dim=8, width=16, blocks=1, heads=2, guided=True))
    assert student_from(teacher, teacher.config).guidance is not None


def test_guidance_in_lcm_form_is_one_less(toy: Toy, tmp_path: Path) -> None:
    forms = [
        DistillationStory(
            toy.distillation_settings(tmp_path / "run", guidance_form=form, guidance_range=(2, 5)),
            progress=False,
        )
        for form in ("cfg", "lcm")
    ]
    plain, lcm = (f.settings.draw_guidance(500, torch.Generator().manual_seed(0)) for f in forms)
    torch.testing.assert_close(lcm, plain + 1)
    assert 2 <= float(plain.min()) < 2.1
    assert 4.9 < float(plain.max()) <= 5


@pytest.mark.parametrize("distance", ["huber", "mse"])
def test_the_loss_goes_down(toy: Toy, tmp_path: Path, distance: str) -> None:
    settings = toy.distillation_settings(
        tmp_path / "run", iterations=60, distance=distance, learning_rate=3e-3, weight_decay=0.0,
        log_iterations=1,
    )  # fmt: skip
    story = DistillationStory(settings, progress=False)
    batch = story.batches(0, generator_for(0, 0))

    def loss() -> float:
        with torch.no_grad():
            draws = [story.objective.draw(batch.x_0, generator_for(1, i)) for i in range(8)]
            return float(torch.stack([story.losses(batch, d)["loss"].mean() for d in draws]).mean())

    before = loss()
    train(story, progress=False)
    assert loss() < 0.8 * before


def test_the_target_follows_the_student_slowly(story: DistillationStory) -> None:
    assert story.target is not None
    start = {name: p.clone() for name, p in story.target.named_parameters()}
    story.step(0, generator_for(0, 0))
    decay = story.settings.target_ema
    for name, parameter in story.student.named_parameters():
        expected = decay * start[name] + (1 - decay) * parameter.detach()
        torch.testing.assert_close(dict(story.target.named_parameters())[name], expected)
    assert not any(p.requires_grad for p in story.teacher.parameters())


def test_a_resumed_distillation_equals_a_straight_one(toy: Toy, tmp_path: Path) -> None:
    settings = toy.distillation_settings(tmp_path / "straight", preview_prompts=("rain",))
    train(DistillationStory(settings, progress=False), progress=False)
    stopped = replace(settings, run_dir=str(tmp_path / "stopped"), preview_prompts=())
    for _ in range(2):
        part = replace(stopped, max_minutes=1e-9)
        train(DistillationStory(part, progress=False), progress=False)
    train(DistillationStory(stopped, progress=False), progress=False)
    assert_same_run(tmp_path / "straight", tmp_path / "stopped")
    folders = sorted(path.name for path in (tmp_path / "straight").glob("snapshot-*"))
    assert folders == [f"snapshot-000006-{n}-steps" for n in (1, 2, 4)]


@pytest.mark.parametrize("rule", ["noise", "data"])
def test_sounds_of_a_snapshot_start_from_the_noise_that_was_trained(
    toy: Toy, tmp_path: Path, rule: str
) -> None:
    settings = toy.distillation_settings(
        tmp_path / "run", top_rule=rule, preview_prompts=("rain",), preview_guidance=2.5
    )
    story = DistillationStory(settings, progress=False)
    asked: list[tuple[Tensor, Tensor]] = []
    story.average.register_forward_pre_hook(
        lambda _, args, options: asked.append((args[0], options["w"])), with_kwargs=True
    )
    story.snapshot(0, tmp_path)
    noise = first_noise(story.parts.load_codec(), 1)
    sigma = float(story.schedule.sigma(999.0)) if rule == "noise" else 1.0
    assert len(asked) == 1 + 2 + 4
    for start in (0, 1, 3):
        torch.testing.assert_close(asked[start][0], noise * sigma, rtol=1e-6, atol=0)
    assert all(w.tolist() == [2.5] for _, w in asked)


def test_a_second_stage_goes_on_from_the_first(toy: Toy, tmp_path: Path) -> None:
    first = DistillationStory(
        toy.distillation_settings(tmp_path / "near", iterations=3), progress=False
    )
    train(first, progress=False)
    exported = tmp_path / "near" / "student.safetensors"
    second = DistillationStory(
        toy.distillation_settings(tmp_path / "far", start=str(exported)), progress=False
    )
    for network in (second.student, *second.modules.values()):
        for name, parameter in network.named_parameters():
            torch.testing.assert_close(parameter, dict(first.average.named_parameters())[name])


def test_a_teacher_is_no_student_to_go_on_from(toy: Toy, tmp_path: Path) -> None:
    settings = toy.distillation_settings(tmp_path / "far")
    with pytest.raises(InputError, match="but a student of this teacher is"):
        DistillationStory(replace(settings, start=settings.teacher), progress=False)


def test_guided_distillation_then_consistency_from_its_student(toy: Toy, tmp_path: Path) -> None:
    """ConsistencyTTA's two stages: a guided predictor of v, gone on from as one of x_0."""
    first = DistillationStory(
        toy.distillation_settings(
            tmp_path / "guided", objective="guided", solver_steps=4, guidance_range=(0, 6),
            top_rule="unit_noise", weighting="min_snr_v", distance="mse", iterations=3,
            preview_prompts=("rain",),
        ),
        progress=False,
    )  # fmt: skip
    assert sorted(first.modules) == ["average", "student"]
    train(first, progress=False)
    assert list((tmp_path / "guided").glob("snapshot-000003/*.wav"))
    exported = tmp_path / "guided" / "student.safetensors"
    second = DistillationStory(
        toy.distillation_settings(
            tmp_path / "run", start=str(exported), student_prediction="x0", solver="heun",
            boundary="identity", bottom_rule="data", top_rule="noise", iterations=2,
        ),
        progress=False,
    )  # fmt: skip
    assert (second.teacher.config.prediction, second.student.config.prediction) == ("v", "x0")
    for name, parameter in second.student.named_parameters():
        assert torch.equal(parameter, dict(first.average.named_parameters())[name])
    train(second, progress=False)
    assert load_network(tmp_path / "run" / "student.safetensors").config == second.config
