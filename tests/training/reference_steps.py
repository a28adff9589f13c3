"""Distillation steps of the published systems: how to load, run and compare them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from soundleap.diffusion import NoiseSchedule
from soundleap.importers.keys_1d import concat_dit_config, concat_dit_state
from soundleap.importers.keys_2d import unet2d_config, unet2d_state
from soundleap.models.concat_dit import ConcatDiT
from soundleap.models.unet2d import UNet2D
from soundleap.training.distillation import DistillationSettings
from soundleap.training.objectives import (
    ConsistencyDraws,
    ConsistencyObjective,
    ConsistencyTerms,
    DenoisingTerms,
    DiffusionObjective,
    DistillationAxes,
    GuidedDiffusionObjective,
    TimedDraws,
    objective_from,
)
from soundleap.training.settings import load_settings

EXTRACT = Path(__file__).parents[1] / "golden" / "d_distillation.safetensors"
GOLDEN = Path(__file__).parents[2].parent / "shared" / "golden"
SCHEDULE = NoiseSchedule.scaled_linear()
Tensors = dict[str, Tensor]
Networks = tuple[Any, Any, Any]


def preset(name: str, **changes: Any) -> DistillationAxes:
    paths = ["run_dir=r", "cache=c", "teacher=t", "codec=k"]
    return replace(load_settings(DistillationSettings, name, paths), **changes)


def part(prefix: str) -> Tensors:
    tensors = load_file(EXTRACT)
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def reference(name: str) -> tuple[Tensors, dict[str, Any]]:
    path = GOLDEN / f"{name}_a.safetensors"
    if not path.exists():
        pytest.skip(f"no reference tensors at {path}")
    return load_file(path), json.loads(path.with_suffix(".json").read_text())["constructor"]


def near(found: Tensor, expected: Tensor, tolerance: float = 1e-5) -> None:
    atol = tolerance * float(expected.abs().max())
    torch.testing.assert_close(found.float(), expected.float(), rtol=0, atol=atol)


def answers(*outputs: Tensor) -> Callable[..., Tensor]:
    left = iter(outputs)
    return lambda x_t, t, **conditions: next(left)


def no_text(count: int) -> Tensors:
    return {"text_embeds": torch.zeros(count, 1, 1), "text_mask": torch.ones(count, 1) > 0}


def halves(tensors: Tensors) -> tuple[Tensors, Tensors]:
    """The conditions of prompts and of the empty prompt, from both in one batch."""
    (n_e, p_e), (n_m, p_m) = (
        tensors[f"in/prompt_{k}_cf"].chunk(2) for k in ("embeds", "mask")
    )  # fmt: skip
    return (
        {"text_embeds": p_e, "text_mask": p_m.bool()},
        {"text_embeds": n_e, "text_mask": n_m.bool()},
    )


def check_stage_1(
    tensors: Tensors, networks: tuple[Any, Any], positive: Tensors, negative: Tensors
) -> None:
    draws = TimedDraws(999 - tensors["in/index"], tensors["in/noise"], tensors["in/w"])
    for weighting, loss in (("none", "loss_none"), ("min_snr_v", "loss_snr5")):
        axes = preset("consistencytta-stage1", weighting=weighting)
        objective = objective_from(axes, SCHEDULE, teacher=networks[0], student=networks[1])
        assert isinstance(objective, GuidedDiffusionObjective)
        terms = objective(tensors["in/z_0"], positive, negative, draws)
        near(terms.loss.mean(), tensors[f"out/{loss}"])
        near(terms.x_t, tensors["out/z_n"])
        near(terms.teacher_queries[0].output, tensors["out/teacher_v"])
        near(terms.ours, tensors["out/student_v"])


def unet(tensors: Tensors, constructor: dict[str, Any], name: str) -> UNet2D:
    prefix, sizes = f"weights/{name}.", constructor["unet"]
    published = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
    network = UNet2D(
        unet2d_config(
            published,
            attention_heads=tuple(sizes["attention_head_dim"]),
            norm_num_groups=sizes["norm_num_groups"],
        )
    )
    network.load_state_dict(unet2d_state(published))
    return network.eval()


def stage_2(
    tensors: Tensors, case: str, weighting: str, networks: Networks, *texts: Tensors
) -> ConsistencyTerms:
    axes = preset("consistencytta-stage2", weighting=weighting)
    objective = consistency(axes, networks)
    interval = 16 - tensors[f"in/{case}/index_half"]
    draws = ConsistencyDraws(interval, tensors[f"in/{case}/w"], tensors[f"in/{case}/noise"])
    return objective(tensors["in/z_0"], texts[0], texts[1], draws)


def consistency(axes: DistillationAxes, networks: Networks) -> ConsistencyObjective:
    teacher, student, target = networks
    objective = objective_from(axes, SCHEDULE, teacher=teacher, student=student, target=target)
    assert isinstance(objective, ConsistencyObjective)
    return objective


def check_stage_2(terms: ConsistencyTerms, out: Callable[[str], Tensor]) -> None:
    first, second = terms.teacher_queries
    near(terms.t, out("t_nplus1"))
    near(terms.s, out("t_n"))
    near(terms.x_t, out("z_nplus1_scaled"))
    near(first.output, out("teacher_v_nplus1"))
    near(second.x_t[:3], out("zhat_n_euler_scaled"))
    near(second.output, out("teacher_v_n"))
    near(terms.x_s, out("zhat_n_heun_scaled"))
    near(terms.target_query.output, out("target_raw"))
    near(terms.ours, out("student"))


def audiolcm(tensors: Tensors, case: str, networks: Networks, *texts: Tensors) -> ConsistencyTerms:
    w = 1 + (4 + 8 * tensors[f"in/{case}/u"]).double()
    draws = ConsistencyDraws(tensors[f"in/{case}/index"], w, tensors[f"in/{case}/noise"])
    objective = consistency(preset("audiolcm"), networks)
    return objective(tensors["in/x_start"], texts[0], texts[1], draws)


def check_audiolcm(terms: ConsistencyTerms, tensors: Tensors, case: str) -> None:
    (query,) = terms.teacher_queries
    uncond, cond = query.output.chunk(2)
    near(terms.t, tensors[f"in/{case}/t"])
    near(terms.s, (tensors[f"in/{case}/t"] - 20).clamp(min=0))
    for name, found in (
        ("x_noisy", terms.x_t), ("teacher_eps_cond", cond), ("teacher_eps_uncond", uncond),
        ("x_prev", terms.x_s), ("target_eps", terms.target_query.output),
        ("student_eps", terms.student_query.output), ("loss", terms.loss.mean()),
    ):  # fmt: skip
        near(found, tensors[f"out/{case}/{name}"])


def dit(tensors: Tensors, name: str, heads: int, *, guided: bool) -> ConcatDiT:
    prefix = f"weights/{name}diffusion_model."
    published = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
    network = ConcatDiT(concat_dit_config(published, heads=heads, guided=guided))
    network.load_state_dict(concat_dit_state(published, guided=guided))
    return network.eval()


def denoise(
    objective: DiffusionObjective, tensors: Tensors, clean: str, conditions: Tensors
) -> DenoisingTerms:
    draws = TimedDraws(tensors["in/train/t"], tensors["in/train/noise"])
    return objective(tensors[f"in/train/{clean}"], conditions, draws)


def check_gradients(
    network: nn.Module, tensors: Tensors, prefix: str, rename: Callable[[str], str] = str
) -> None:
    found = {name: p.grad for name, p in network.named_parameters()}
    names = [name.removeprefix(prefix) for name in tensors if name.startswith(prefix)]
    assert names
    for name in names:
        gradient = found[rename(name)]
        assert gradient is not None
        near(gradient, tensors[prefix + name], 2e-5)


def check_state(
    network: nn.Module, tensors: Tensors, prefix: str, rename: Callable[[str], str] = str
) -> None:
    names = [name.removeprefix(prefix) for name in tensors if name.startswith(prefix)]
    assert names
    for name in names:
        near(network.state_dict()[rename(name)], tensors[prefix + name], 1e-6)
