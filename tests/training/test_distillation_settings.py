"""The axes as settings: presets of the published systems, and conflicts refused all at once."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pydantic import ValidationError

from soundleap.diffusion import NoiseSchedule
from soundleap.errors import InputError
from soundleap.training.cache import CacheSettings
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
    CacheSettings, CodecSettings, DistillationSettings, TeacherSettings, VAESettings,
    VocoderSettings,
)  # fmt: skip
PATHS = ["run_dir=r", "cache=c", "teacher=t", "codec=k"]
PUBLISHED = ("consistencytta-stage1", "consistencytta-stage2", "audiolcm", "audiolcm-walk", "lcm")


def published(name: str, *overrides: str) -> DistillationSettings:
    return load_settings(DistillationSettings, name, [*PATHS, *overrides])


@pytest.mark.parametrize("name", sorted(path.stem for path in PRESETS.glob("*.yaml")))
def test_every_preset_loads(name: str) -> None:
    kinds = {stage_name(kind): kind for kind in KINDS}
    kind = kinds[str(preset_stage(name))]
    assert load_settings(kind, name, PATHS if name in PUBLISHED else ())


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_presets_need_paths_and_make_an_objective(name: str) -> None:
    with pytest.raises(InputError, match="run_dir: missing; cache: missing; teacher: missing"):
        load_settings(DistillationSettings, name)
    objective = objective_from(
        published(name), NoiseSchedule.scaled_linear(),
        teacher=torch.nn.Identity(), student=torch.nn.Identity(), target=torch.nn.Identity(),
    )  # fmt: skip
    kind = GuidedDiffusionObjective if name == "consistencytta-stage1" else ConsistencyObjective
    assert isinstance(objective, kind)
    if isinstance(objective, ConsistencyObjective):
        t, s = objective.interval_times(torch.arange(len(objective.starts)))
        if name == "consistencytta-stage2":
            torch.testing.assert_close(t - s, torch.full((17,), 999 / 17).double())
        else:
            assert (t - s).tolist() == [19.0] + [20.0] * 49


def test_the_walk_differs_from_the_jump_in_its_steps_alone() -> None:
    changed = published("audiolcm-walk", "solver_steps=1")
    assert changed == published("audiolcm")
    assert published("audiolcm").cfg_range == (5.0, 13.0)
    assert published("audiolcm").student_gives == "eps"
    assert DistillationAxes(prediction="v").student_gives == "v"


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
