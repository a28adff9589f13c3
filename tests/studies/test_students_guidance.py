from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from soundleap.errors import InputError
from soundleap.pipeline import TextToAudio
from soundleap.studies.ground import Ground
from soundleap.studies.guidance import GuidancePlan, study_guidance
from soundleap.studies.judging import Judges, agreement, part_of_protocol
from soundleap.studies.students import WAYS, StudentsPlan, judge, settings_of
from soundleap.studies.tables import guidance_markdown, paired


@pytest.fixture
def ground(pipeline: TextToAudio) -> Ground:
    return Ground(pipeline, ("rain", "a dog"), 0.5, 3.0)


def test_students_stop_where_iterations_or_teacher_calls_are_equal() -> None:
    stops = StudentsPlan("cache", iterations=10).stops()
    assert set(stops[:3]) == {("jump", 10), ("heun", 10), ("walk", 10)}
    most = {way: max(n for name, n in stops if name == way) for way in WAYS}
    assert {WAYS[way].calls * n for way, n in most.items()} == {40}
    with pytest.raises(InputError, match="did you mean 'walk'"):
        StudentsPlan("cache", ways=("wlak",))


def test_runs_differ_in_the_solver_alone(ground: Ground, tmp_path: Path) -> None:
    plan, teacher = StudentsPlan("cache"), tmp_path / "teacher.safetensors"
    jump, walk = (settings_of(ground, plan, tmp_path, way, 10, teacher) for way in ("jump", "walk"))
    differing = {k for k, v in vars(jump).items() if v != getattr(walk, k)}
    assert differing == {"run_dir", "solver_steps"}
    assert walk.solver_steps == 4
    assert walk.decay_share == 0  # a short run is the beginning of a long one


@torch.no_grad()
def test_a_student_is_at_no_distance_from_its_own_answers(ground: Ground) -> None:
    from soundleap.studies.steps import student_latents

    own = student_latents(ground, 1)
    network = ground.pipeline.network("student")
    assert judge(ground, network, own)["distance"] == 0
    assert judge(ground, network, own + 0.5)["distance"] == pytest.approx(0.5, rel=1e-5)


def test_paired_differences() -> None:
    low, high = {"each": [1.0, 2.0, 3.0]}, {"each": [1.5, 2.5, 3.5]}
    assert paired(high, low) == (0.5, 0.0)
    assert paired(low, low) == (None, None)


def test_agreement_of_a_system_with_itself_is_one() -> None:
    rows = np.random.default_rng(0).standard_normal((6, 4))
    (pair,) = agreement({"one": rows, "other": rows})
    assert pair["cosine"] == pytest.approx(1)
    assert pair["other_clips"] < 0.5


def test_guidance_beyond_the_range_is_refused_and_said(ground: Ground, tmp_path: Path) -> None:
    judges = Judges(ground.pipeline, part_of_protocol(2), tmp_path / "g" / "sounds", None)
    plan = GuidancePlan((1, 7), steps=1, teacher_steps=2)
    result = study_guidance(ground, plan, judges, tmp_path / "g")
    rows = {(row["way"], row["scale"]): row for row in result["rows"]}
    assert rows["input", 7]["refused"] == "guidance_scale is 7; allowed: 1 to 6"
    assert rows["two-query", 7]["queries"] == 2 * rows["input", 1]["queries"]
    assert rows["two-query", 7]["distance"] > 0
    assert "Refused: guidance_scale is 7" in guidance_markdown(result)
    assert study_guidance(ground, plan, judges, tmp_path / "g")["rows"] == result["rows"]
