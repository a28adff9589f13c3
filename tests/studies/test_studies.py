"""Studies on closed forms and on a tiny model: orders of solvers, resuming, refusals."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from soundleap.cli.main import main
from soundleap.diffusion import NoiseSchedule, per_sample
from soundleap.errors import InputError
from soundleap.studies.errors import GRIDS, Method, interval_errors
from soundleap.studies.ground import Ground, held_out_prompts, open_ground
from soundleap.studies.solver import SolverPlan, study_solver
from soundleap.studies.tables import solver_markdown

SCHEDULE = NoiseSchedule.scaled_linear()
MU, STD = 0.7, 0.4
METHODS = tuple(Method(solver, m) for solver in ("ddim", "heun") for m in (1, 2, 4, 8))
SMALL = SolverPlan(("consistencytta",), levels=3, reference_steps=16, sample_steps=2)


def denoise(x_t: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    """The exact denoiser of a normal distribution."""
    a, s = per_sample(SCHEDULE.alpha(t), x_t), per_sample(SCHEDULE.sigma(t), x_t)
    return (a * STD**2 * x_t + s**2 * MU) / (a**2 * STD**2 + s**2)


@pytest.fixture(scope="module")
def ground(untrained_folder: Path) -> Ground:
    return open_ground(
        untrained_folder, ("teacher",), ("rain", "wind"), duration_in_s=0.5, guidance_scale=2.0
    )


def test_errors_fall_with_the_order_of_the_solver() -> None:
    t, s = GRIDS["consistencytta"].intervals(SCHEDULE)
    x_t = torch.randn(len(t), 4, 8, generator=torch.Generator().manual_seed(0)).double()
    found = interval_errors(denoise, x_t, t, s, SCHEDULE, methods=METHODS, reference_steps=128)
    middle = len(t) // 2
    for solver, order, calls in (("ddim", 1, 1), ("heun", 2, 2)):
        errors = [found.error[f"{solver}-{m}"][middle] for m in (1, 2, 4, 8)]
        assert math.log2(errors[2] / errors[3]) == pytest.approx(order, abs=0.25)
        assert [found.calls[f"{solver}-{m}"] for m in (1, 2, 4, 8)] == [
            calls * m for m in (1, 2, 4, 8)
        ]
    assert found.check[middle] < 0.02 * found.error["heun-8"][middle]


def test_an_interrupted_study_goes_on_to_the_same_numbers(ground: Ground, tmp_path: Path) -> None:
    straight = study_solver(ground, SMALL, tmp_path / "straight")
    done: list[int] = []

    class Stop(Exception):
        pass

    def stop() -> None:
        done.append(1)
        raise Stop

    with pytest.raises(Stop):
        study_solver(ground, SMALL, tmp_path / "stopped", on_cell=stop)
    assert done == [1]
    resumed = study_solver(ground, SMALL, tmp_path / "stopped")
    assert resumed["results"] == straight["results"]
    methods = straight["results"]["consistencytta"]["methods"]
    by_name = {row["method"]: row for row in methods}
    assert by_name["ddim-8"]["error"] < by_name["ddim-1"]["error"]
    assert by_name["ddim-4"]["queries"] == 2 * by_name["ddim-4"]["calls"]  # guided: two a call
    assert "| ddim-4 | 4 | 8 |" in solver_markdown(straight)


def test_a_folder_of_another_study_is_refused(ground: Ground, tmp_path: Path) -> None:
    study_solver(ground, SMALL, tmp_path)
    other = SolverPlan(("consistencytta",), levels=2, reference_steps=16, sample_steps=2)
    with pytest.raises(InputError, match="levels"):
        study_solver(ground, other, tmp_path)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"grids": ("audiolmc",)}, "did you mean 'audiolcm'"),
        ({"grids": ()}, "give one or more"),
        ({"levels": 0}, "levels is 0"),
        ({"reference_steps": 33}, "give an even number"),
        ({"reference_steps": 8}, "reference_steps is 8; allowed: 16"),
    ],
)
def test_plans_that_make_no_sense(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        SolverPlan(**settings)


def test_prompts_are_spread_over_the_held_out_captions() -> None:
    prompts = held_out_prompts(5)
    assert len(set(prompts)) == 5
    assert prompts == held_out_prompts(5)


def test_from_the_command_line(
    untrained_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["study", "solver", "-o", str(tmp_path), "--model", str(untrained_folder)]
    small = ["--grid", "audiolcm", "--levels", "2", "--prompts", "1", "--duration", "0.5", "-q"]
    assert main([*arguments, *small, "--reference-steps", "16"]) == 0
    result = json.loads((tmp_path / "solver.json").read_text())
    assert list(result["results"]) == ["audiolcm"]
    assert (tmp_path / "solver.png").read_bytes().startswith(b"\x89PNG")
    capsys.readouterr()
    steps = ["study", "steps", "-o", str(tmp_path / "s"), "--model", str(untrained_folder)]
    assert main([*steps, "--step", "9", "--clips", "2", "--prompts", "1", "-q"]) == 2
    assert "num_inference_steps is 9; allowed: 1 to 8" in capsys.readouterr().err
