"""The axes as settings: presets of the published systems, and conflicts refused all at once."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
import yaml
from pydantic import ValidationError

from soundleap.diffusion import NoiseSchedule
from soundleap.errors import InputError
from soundleap.training.cache import CacheSettings
from soundleap.training.clap import ClapSettings
from soundleap.training.codec import CodecSettings
from soundleap.training.distillation import DistillationSettings
from soundleap.training.objectives import (
    ConsistencyObjective,
    DistillationAxes,
    GuidedDiffusionObjective,
    objective_from,
)
from soundleap.training.settings import PRESETS, load_settings, preset_stage, stage_name
from soundleap.training.teacher import TeacherSettings
from soundleap.training.vae import VAESettings
from soundleap.training.vocoder import VocoderSettings

KINDS = (
    CacheSettings, ClapSettings, CodecSettings, DistillationSettings, TeacherSettings, VAESettings,
    VocoderSettings,
)  # fmt: skip
PATHS = ["run_dir=r", "cache=c", "teacher=t", "codec=k"]
CLAP = f"rewards=[{{name: clap, term: both, weight: 0.1, weights: {PRESETS}}}]"  # any folder
PUBLISHED = {
    "consistencytta-stage1": (), "consistencytta-stage2": (), "consistencytta-stage3": (CLAP,),
    "audiolcm": (), "audiolcm-walk": (), "lcm": (),
}  # fmt: skip
"""Presets of published systems, with what they need besides paths."""


def published(name: str, *overrides: str) -> DistillationSettings:
    return load_settings(DistillationSettings, name, [*PATHS, *PUBLISHED[name], *overrides])


@pytest.mark.parametrize("name", sorted(path.stem for path in PRESETS.glob("*.yaml")))
def test_every_preset_loads(name: str) -> None:
    kinds = {stage_name(kind): kind for kind in KINDS}
    kind = kinds[str(preset_stage(name))]
    given = [*PATHS, *PUBLISHED[name]] if name in PUBLISHED else []
    assert load_settings(kind, name, given)


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_presets_need_paths_and_make_an_objective(name: str) -> None:
    with pytest.raises(InputError, match="run_dir: missing; teacher: missing"):
        load_settings(DistillationSettings, name)
    with pytest.raises(InputError, match="cache is missing"):
        load_settings(DistillationSettings, name, ["run_dir=r", "teacher=t"])
    objective = objective_from(
        published(name), NoiseSchedule.scaled_linear(),
        teacher=torch.nn.Identity(), student=torch.nn.Identity(), target=torch.nn.Identity(),
    )  # fmt: skip
    kind = GuidedDiffusionObjective if name == "consistencytta-stage1" else ConsistencyObjective
    assert isinstance(objective, kind)
    if isinstance(objective, ConsistencyObjective):
        t, s = objective.interval_times(torch.arange(len(objective.starts)))
        if name.startswith("consistencytta"):
            torch.testing.assert_close(t - s, torch.full((17,), 999 / 17).double())
        else:
            assert (t - s).tolist() == [19.0] + [20.0] * 49


def test_the_walk_differs_from_the_jump_in_its_steps_alone() -> None:
    changed = published("audiolcm-walk", "solver_steps=1")
    assert changed == published("audiolcm")
    assert published("audiolcm").cfg_range == (5.0, 13.0)
    assert published("audiolcm").student_gives == "eps"
    assert DistillationAxes(prediction="v").student_gives == "v"


def test_the_third_stage_is_the_second_with_rewards() -> None:
    second, third = published("consistencytta-stage2"), published("consistencytta-stage3")
    axes = [field.name for field in dataclasses.fields(DistillationAxes)]
    assert [getattr(second, name) for name in axes] == [getattr(third, name) for name in axes]
    (term,) = third.rewards
    assert (term.name, term.term, term.weight, third.reward_weighting) == (
        "clap", "both", 0.1, "as_loss",
    )  # fmt: skip
    with pytest.raises(InputError, match="reward clap needs weights=PATH"):
        load_settings(DistillationSettings, "consistencytta-stage3", PATHS)


TABLE: dict[str, tuple[str, ...]] = {
    "prediction": ("eps", "v", "x0"),
    "student_prediction": ("eps", "v", "x0"),
    "grid_spacing": ("uniform", "linspace", "karras"),
    "grid_points": ("18", "100"),
    "skip_points": ("1", "10"),
    "solver": ("ddim", "heun", "dpmpp_2m"),
    "solver_steps": ("2", "8"),
    "guidance_range": ("[3, 3]", "[0, 6]"),
    "guidance_form": ("cfg", "lcm"),
    "guidance_embedding": ("input",),
    "boundary": ("lcm",),
    "bottom_rule": ("teacher", "data"),
    "top_rule": ("data", "noise", "unit_noise"),
    "target_ema": ("0", "0.95"),
    "distance": ("mse", "huber", "mel", "stft"),
    "weighting": ("none", "min_snr_x0", "min_snr_eps", "min_snr_v"),
    "weighting_gamma": ("5", ".inf"),
    "lora_rank": ("0", "16"),
    "shard": ("none", "teacher"),
}


@pytest.mark.parametrize(("name", "value"), [(n, v) for n, vs in TABLE.items() for v in vs])
def test_every_axis_is_one_setting(name: str, value: str) -> None:
    settings = published("audiolcm-walk", f"{name}={value}")
    found = getattr(settings, name)
    assert found == yaml.safe_load(value) or list(found) == yaml.safe_load(value)


@pytest.mark.parametrize(
    "overrides",
    [
        ("grid_spacing=explicit", "grid_points=3", "grid_timesteps=[0, 499.5, 999]"),
        ("guidance_embedding=none", "guidance_range=[4, 4]"),
        ("boundary=identity", "bottom_rule=data"),
        ("data=captions", "cache=null", "captions=words.txt", "top_rule=unit_noise",
         "duration_range_in_s=[2, 10]"),
    ],
)  # fmt: skip
def test_axes_that_go_together(overrides: tuple[str, ...]) -> None:
    assert published("audiolcm-walk", *overrides)


def test_all_conflicts_come_at_once() -> None:
    with pytest.raises(InputError) as caught:
        published(
            "consistencytta-stage2", "bottom_rule=teacher", "skip_points=18", "huber_c=0",
            "guidance_embedding=none", "solver=dpmpp_2m", "grid_timesteps=[3, 2]", "ema=1.5",
        )  # fmt: skip
    for part in (
        "huber_c is 0; it must be above 0",
        "guidance_range is 0 to 6 but guidance_embedding is none",
        "grid_timesteps is given but grid_spacing is linspace",
        "grid_timesteps must rise",
        "skip_points is 18; allowed: 1 to 17",
        "boundary is identity and bottom_rule is teacher",
        "solver is dpmpp_2m and solver_steps is 1",
        "ema is 1.5; allowed: 0 to 1",
    ):
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"guidance_range": (3.0, 1.0)}, "guidance_range is 3 to 1"),
        ({"guidance_range": (1.0, float("nan"))}, "guidance_range is 1 to nan"),
        ({"solver_steps": 0}, "solver_steps is 0; it must be at least 1"),
        ({"weighting_gamma": -1.0}, "weighting_gamma is -1"),
        ({"grid_spacing": "explicit"}, "grid_timesteps holds 0 numbers but grid_points is 50"),
        ({"grid_spacing": "karras", "grid_points": 5}, "skip_points is 5; allowed: 1 to 4"),
        ({"objective": "guided", "solver_steps": 1}, "guided, which has no use for solver_steps=1"),
        ({"top_rule": "nothing"}, "'data', 'noise' or 'unit_noise'"),
    ],
)
def test_bad_axes(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        DistillationAxes(**values)
