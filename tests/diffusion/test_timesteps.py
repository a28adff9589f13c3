import pytest
import torch

from soundleap.diffusion import (
    NoiseSchedule,
    consistency_timesteps,
    consistencytta_timesteps,
    lcm_timesteps,
    leading_timesteps,
    linspace_grid,
    linspace_timesteps,
    strided_timesteps,
    uniform_grid,
)
from soundleap.errors import InputError

SCHEDULE = NoiseSchedule.scaled_linear()


@pytest.mark.parametrize(
    ("steps", "offset", "expected"),
    [
        (200, 1, [*range(996, 0, -5), -1]),
        (200, 0, [*range(995, -1, -5), -1]),
        (100, 1, [*range(991, 0, -10), -1]),
        (5, 1, [801, 601, 401, 201, 1, -1]),
        (3, 1, [667, 334, 1, -1]),
        (1, 1, [1, -1]),
        (1000, 0, list(range(999, -2, -1))),
    ],
)
def test_leading_lists(steps: int, offset: int, expected: list[int]):
    assert leading_timesteps(SCHEDULE, steps, offset).tolist() == expected


def test_the_end_of_a_path_may_be_0():
    assert leading_timesteps(SCHEDULE, 5, end=0.0).tolist() == [801, 601, 401, 201, 1, 0]


def test_strided_lists():
    assert strided_timesteps(SCHEDULE, 100).tolist() == [*range(991, 0, -10), 0]
    assert torch.equal(strided_timesteps(SCHEDULE, 20), leading_timesteps(SCHEDULE, 20, end=0.0))
    assert len(strided_timesteps(SCHEDULE, 30)) == 31 + 1
    assert strided_timesteps(SCHEDULE, 30).tolist()[:2] == [991, 958]


@pytest.mark.parametrize("steps", [3, 9, 27, 36, 37, 101, 111, 251, 333, 501, 1000])
def test_strided_lists_that_begin_above_the_schedule_are_refused(steps: int):
    with pytest.raises(InputError, match="choose another number"):
        strided_timesteps(SCHEDULE, steps)


def test_linspace_lists():
    path = linspace_timesteps(SCHEDULE, 18)
    assert torch.equal(path[:-1], linspace_grid(SCHEDULE, 18).flip(0))
    assert path[-1] == -1
    assert linspace_timesteps(SCHEDULE, 2).tolist() == [999, 0, -1]


@pytest.mark.parametrize(
    ("queries", "expected"),
    [
        (1, [999]),
        (2, [999, 0]),
        (3, [999, 499.5, 0]),
        (4, [999, 666, 333, 0]),
        (8, [999, 856.29, 713.57, 570.86, 428.14, 285.43, 142.71, 0]),
    ],
)
def test_published_lists_of_consistencytta(queries: int, expected: list[float]):
    assert consistencytta_timesteps(queries).tolist() == pytest.approx(expected, abs=0.006)


@pytest.mark.parametrize(
    ("original", "queries", "expected"),
    [
        (50, 3, [999, 679, 339]),
        (50, 4, [999, 759, 499, 259]),
        (100, 8, [999, 879, 749, 629, 499, 379, 249, 129]),
        (20, 8, [999, 899, 749, 649, 499, 399, 249, 149]),
        (18, 4, [989, 769, 494, 274]),
        (18, 1, [989]),
    ],
)
def test_published_lists_of_lcm(original: int, queries: int, expected: list[int]):
    assert lcm_timesteps(SCHEDULE, original, queries).tolist() == expected


def test_lcm_lists_are_even_picks_of_the_trained_grid():
    for original in (25, 50, 100):
        grid = uniform_grid(SCHEDULE, original)
        for queries in range(1, original + 1):
            ours = consistency_timesteps(grid, queries)
            assert torch.equal(lcm_timesteps(SCHEDULE, original, queries), ours)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: leading_timesteps(SCHEDULE, 0), "num_inference_steps is 0"),
        (lambda: leading_timesteps(SCHEDULE, 1000), "would be 1000"),
        (lambda: leading_timesteps(SCHEDULE, 5, offset=0, end=0.0), "falling"),
        (lambda: leading_timesteps(SCHEDULE, 5, end=0.5), "end at -1 or 0"),
        (lambda: linspace_timesteps(SCHEDULE, 1), "allowed: 2 to 1000"),
        (lambda: consistencytta_timesteps(0), "allowed: 1 to 1000"),
        (lambda: lcm_timesteps(SCHEDULE, 50, 51), "allowed: 1 to 50"),
    ],
)
def test_wrong_input_is_refused(call, says: str):
    with pytest.raises(InputError, match=says):
        call()
