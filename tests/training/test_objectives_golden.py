"""The objectives on the real networks: losses, gradients and averages of the reference tensors."""

from __future__ import annotations

import pytest
import torch
from reference_steps import (
    SCHEDULE,
    audiolcm,
    check_audiolcm,
    check_gradients,
    check_stage_1,
    check_stage_2,
    check_state,
    consistency,
    denoise,
    dit,
    halves,
    near,
    preset,
    reference,
    stage_2,
    unet,
)

from soundleap.importers.keys_2d import unet2d_name
from soundleap.training.ema import make_ema, update_ema
from soundleap.training.objectives import ConsistencyDraws, DiffusionObjective, validate


@pytest.mark.slow
@torch.no_grad()
def test_golden_consistencytta_stage_1() -> None:
    tensors, _ = reference("ctta_distill_stage1")
    weights, constructor = reference("ctta_distill_stage2")
    teacher, student = (unet(weights, constructor, n) for n in ("teacher_unet", "student_unet"))
    check_stage_1(tensors, (teacher, student), *halves(tensors))


@pytest.mark.slow
@pytest.mark.parametrize("case", ["case0", "case1"])
def test_golden_consistencytta_stage_2(case: str) -> None:
    tensors, constructor = reference("ctta_distill_stage2")
    networks = tuple(
        unet(tensors, constructor, name)
        for name in ("teacher_unet", "student_unet", "student_target_unet")
    )
    student = networks[1]
    for weighting, loss in (("none", "loss_none"), ("min_snr_x0", "loss_snr5")):
        student.zero_grad()
        terms = stage_2(tensors, case, weighting, networks, *halves(tensors))
        check_stage_2(terms, lambda name: tensors[f"out/{case}/{name}"])
        near(terms.loss.mean(), tensors[f"out/{case}/{loss}"])
        terms.loss.mean().backward()
    prefix = f"out/{case}/grad_snr5/student_unet."
    check_gradients(student, tensors, prefix, unet2d_name)


@pytest.mark.slow
def test_golden_consistencytta_validation_and_averages() -> None:
    tensors, constructor = reference("ctta_distill_stage2")
    teacher, student, target, average = (
        unet(tensors, constructor, name)
        for name in ("teacher_unet", "student_unet", "student_target_unet", "student_ema_unet")
    )
    objective = consistency(preset("consistencytta-stage2"), (teacher, student, target))
    w, eps = tensors["in/validation/w"], tensors["in/validation/noise"]
    draws = ConsistencyDraws(torch.full((3,), 3), w, eps)  # its mode 4 is level 13 of 18
    found = validate(objective, target, tensors["in/z_0"], *halves(tensors), draws)
    means = [found.truth, found.teacher, found.consistency, found.teacher_truth]
    near(torch.stack([x.mean() for x in means]), tensors["out/validation/losses"])
    for name, network, decay in (
        ("student_target_unet", make_ema(target), 0.95),
        ("student_ema_unet", make_ema(average), 0.999),
    ):
        update_ema(network, student, decay)
        check_state(network, tensors, f"out/ema/{name}.", unet2d_name)


@pytest.mark.parametrize("case", ["case0", "case1"])
def test_golden_audiolcm(case: str) -> None:
    tensors, constructor = reference("audiolcm_distill")
    heads = constructor["unet_config"]["params"]["num_heads"]
    teacher = dit(tensors, "model.", heads, guided=False)
    student, target = (dit(tensors, name, heads, guided=True) for name in ("unet.", "target_unet."))
    positive, negative = ({"text_embeds": tensors[f"in/{k}"]} for k in ("cond", "uncond"))
    terms = audiolcm(tensors, case, (teacher, student, target), positive, negative)
    check_audiolcm(terms, tensors, case)
    terms.loss.mean().backward()
    check_gradients(student, tensors, f"out/{case}/grad/unet.diffusion_model.")
    average = make_ema(target)
    update_ema(average, student, 0.95)
    check_state(average, tensors, "out/ema/target_unet.diffusion_model.")


def test_golden_loss_of_make_an_audio_2() -> None:
    tensors, constructor = reference("maa2_teacher")
    heads = constructor["unet_config"]["params"]["num_heads"]
    network = dit(tensors, "model.", heads, guided=False)
    objective = DiffusionObjective(SCHEDULE, network, "eps")
    terms = denoise(objective, tensors, "x_start", {"text_embeds": tensors["in/cond"]})
    near(terms.loss.mean(), tensors["out/train/loss"])
    terms.loss.mean().backward()
    check_gradients(network, tensors, "out/train/grad/model.diffusion_model.")


@pytest.mark.slow
@torch.no_grad()
def test_golden_losses_of_tango() -> None:
    tensors, constructor = reference("tango_unet_sampling")
    network = unet(tensors, constructor, "unet")
    conditions = {
        "text_embeds": tensors["in/train/prompt_embeds"],
        "text_mask": tensors["in/train/prompt_mask"].bool(),
    }
    for weighting, loss in (("none", "loss_none"), ("min_snr_eps", "loss_snr5")):
        objective = DiffusionObjective(SCHEDULE, network, "v", weighting)
        terms = denoise(objective, tensors, "z_0", conditions)
        near(terms.loss.mean(), tensors[f"out/train/{loss}"])
