from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from soundleap.bundle import Bundle
from soundleap.bundle_schema import Manifest
from soundleap.errors import InputError
from soundleap.requests import (
    Request,
    complete,
    complete_all,
    requests_from_lists,
    spread_seeds,
)
from soundleap.ways import with_structure


@pytest.fixture
def manifest(untrained_folder: Path) -> Manifest:
    return Bundle(untrained_folder).manifest


def test_defaults_come_from_the_model(manifest: Manifest) -> None:
    sample = complete(Request("rain"), manifest)
    assert (sample.num_inference_steps, sample.guidance_scale) == (2, 3.0)
    assert (sample.duration_in_s, sample.negative_prompt) == (5.0, None)
    assert 0 <= sample.seed < 2**32
    assert complete(Request("rain", network="teacher"), manifest).num_inference_steps == 25
    assert complete(Request("rain", seed=2**64 - 1), manifest).seed == 2**64 - 1


def test_the_way_of_sampling_is_filled_in(manifest: Manifest) -> None:
    assert complete(Request("rain", network="teacher"), manifest).solver == "dpmpp_2m"
    asked = Request("rain", network="teacher", solver="ddpm")
    assert complete(asked, manifest).solver == "ddpm"
    student = complete(Request("rain"), manifest)
    assert (student.network, student.solver, student.struct_prompt) == ("student", None, None)
    assert complete(Request("rain", guidance_scale_post=2), manifest).guidance_scale_post == 2.0


def test_a_model_without_student_is_asked_for_its_teacher(manifest: Manifest) -> None:
    parts = manifest.parts.model_copy(update={"student": None})
    assert complete(Request("rain"), manifest.model_copy(update={"parts": parts})).network == (
        "teacher"
    )


def test_a_student_that_is_not_told_the_guidance_scale(manifest: Manifest) -> None:
    told = {"student_guided": False, "guidance_range": (2.0, 2.0), "default_guidance_scale": 2.0}
    one = manifest.model_copy(update={"sampling": manifest.sampling.model_copy(update=told)})
    assert complete(Request("rain", guidance_scale=2.0), one).guidance_scale == 2.0
    assert complete(Request("rain", network="teacher", guidance_scale=4.0), one).guidance_scale == 4
    with pytest.raises(InputError, match="student was trained for 2 alone and is not told another"):
        complete(Request("rain", guidance_scale=4.0), one)
    with pytest.raises(InputError, match="student takes no negative_prompt"):
        complete(Request("rain", negative_prompt="wind"), one)


def test_structured_captions(manifest: Manifest) -> None:
    sampling = manifest.sampling.model_copy(update={"structured_captions": True})
    reads = manifest.model_copy(update={"sampling": sampling})
    assert complete(Request("Rain, then wind"), reads).struct_prompt == "<Rain, then wind& all>"
    given = Request("rain", struct_prompt="<rain& start>")
    assert complete(given, reads).struct_prompt == "<rain& start>"
    split = with_structure([Request("Rain, then wind"), given], "split", sampling)
    assert [r.struct_prompt for r in split] == ["<rain& start>@<wind& end>", "<rain& start>"]
    with pytest.raises(InputError, match="reads no structured captions"):
        with_structure([given], "split", manifest.sampling)
    empty = Request("rain", struct_prompt="")
    assert with_structure([empty], "split", sampling) == [empty]
    for wrong in ("", "rain"):
        with pytest.raises(InputError, match="struct_prompt"):
            complete(Request("rain", struct_prompt=wrong), reads)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prompt": ""}, "prompt is empty"),
        ({"prompt": " \n"}, "prompt is empty"),
        ({"prompt": 5}, "prompt is 5; give a text"),
        ({"prompt": "x" * 1001}, "prompt has 1001 characters; allowed: at most 1000"),
        ({"negative_prompt": ["a"]}, "negative_prompt is .*give a text"),
        ({"negative_prompt": "x" * 1001}, "negative_prompt has 1001 characters"),
        ({"negative_prompt": "wind", "guidance_scale": 1}, "negative_prompt does nothing"),
        ({"duration_in_s": 0.49}, "duration_in_s is 0.49 s; allowed: 0.5 to 10 s"),
        ({"duration_in_s": 10.1}, "duration_in_s is 10.1 s"),
        ({"duration_in_s": float("nan")}, "duration_in_s is nan"),
        ({"duration_in_s": "5"}, "duration_in_s is '5'; give a number"),
        ({"num_inference_steps": 0}, "num_inference_steps is 0; allowed: 1 to 8"),
        ({"num_inference_steps": 9}, "num_inference_steps is 9; allowed: 1 to 8"),
        ({"num_inference_steps": 2.5}, "num_inference_steps is 2.5; give a whole number"),
        ({"num_inference_steps": True}, "num_inference_steps is True"),
        ({"num_inference_steps": 201, "network": "teacher"}, "allowed: 1 to 200"),
        ({"guidance_scale": 0.5}, "guidance_scale is 0.5; allowed: 1 to 6"),
        ({"guidance_scale": 6.5}, "guidance_scale is 6.5; allowed: 1 to 6"),
        ({"guidance_scale": 20.5, "network": "teacher"}, "allowed: 1 to 20"),
        ({"seed": -1}, "seed is -1; allowed: 0 to"),
        ({"seed": 2**64}, "seed is 18446744073709551616"),
        ({"network": "studnet"}, "unknown network 'studnet'; did you mean 'student'"),
        ({"struct_prompt": "<rain& all>"}, "reads no struct_prompt"),
        ({"solver": "ddim"}, "solver is for the teacher"),
        ({"solver": "huen", "network": "teacher"}, "unknown solver 'huen'; did you mean 'heun'"),
        ({"guidance_scale_post": 0.5}, "guidance_scale_post is 0.5; allowed: 1 to 20"),
        ({"guidance_scale_post": 2, "network": "teacher"}, "is for the student"),
        ({"compat": True}, "compat repeats how a published system samples"),
        ({"compat": 1}, "compat is 1; give true or false"),
    ],
)
def test_what_is_not_allowed_is_named(
    manifest: Manifest, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        complete(Request(**{"prompt": "rain", **changes}), manifest)


def test_a_student_trained_above_guidance_1_takes_no_negative_prompt(manifest: Manifest) -> None:
    sampling = manifest.sampling.model_copy(update={"guidance_range": (2.0, 6.0)})
    strict = manifest.model_copy(update={"sampling": sampling})
    with pytest.raises(InputError, match="takes no negative_prompt"):
        complete(Request("rain", "wind"), strict)
    assert complete(Request("rain", "wind", network="teacher"), strict).negative_prompt == "wind"


def test_a_missing_network_is_named(manifest: Manifest) -> None:
    parts = manifest.parts.model_copy(update={"teacher": None})
    with pytest.raises(InputError, match="has no teacher; it has: student"):
        complete(Request("rain", network="teacher"), manifest.model_copy(update={"parts": parts}))


def test_errors_of_many_say_which(manifest: Manifest) -> None:
    with pytest.raises(InputError, match="request 2 of 2: prompt is empty"):
        complete_all([Request("rain"), Request("")], manifest)


def test_seeds_count_up_over_all_samples() -> None:
    spread = spread_seeds([Request("a"), Request("b", seed=70), Request("c")], 5, 2)
    assert [(r.prompt, r.seed) for r in spread] == [
        ("a", 5), ("a", 6), ("b", 70), ("b", 71), ("c", 9), ("c", 10)
    ]  # fmt: skip


def test_a_drawn_seed_counts_up_too() -> None:
    first, second = spread_seeds([Request("a"), Request("b")], None)
    assert first.seed is not None
    assert second.seed == first.seed + 1


@pytest.mark.parametrize(
    ("seed", "count", "message"),
    [
        (2**64 - 1, 2, "seed is 18446744073709551616; allowed"),
        (-1, 1, "seed is -1"),
        (1.5, 1, "seed is 1.5; give a whole number"),
        (1, 0, "count is 0; allowed: 1 to 10000"),
    ],
)
def test_seeds_and_counts_are_checked(seed: Any, count: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        spread_seeds([Request("a")], seed, count)


def test_lists_have_one_entry_per_prompt() -> None:
    columns = {"duration_in_s": [1.0, 2.0], "negative_prompt": "wind", "guidance_scale": None}
    made = requests_from_lists(["a", "b"], columns, [3, 9], 2, Request("", network="teacher"))
    assert [(r.prompt, r.duration_in_s, r.negative_prompt, r.seed) for r in made] == [
        ("a", 1.0, "wind", 3), ("a", 1.0, "wind", 4), ("b", 2.0, "wind", 9), ("b", 2.0, "wind", 10)
    ]  # fmt: skip
    assert {r.network for r in made} == {"teacher"}
    with pytest.raises(InputError, match="seed has 1 entries for 2 prompts"):
        requests_from_lists(["a", "b"], {}, [3], 1, Request(""))
    with pytest.raises(InputError, match="empty list"):
        requests_from_lists([], {}, None, 1, Request(""))


def test_numpy_numbers_are_numbers(manifest: Manifest) -> None:
    request = Request("rain", duration_in_s=np.float32(1.5), seed=np.int64(7))  # pyright: ignore
    sample = complete(request, manifest)
    assert (sample.duration_in_s, sample.seed) == (1.5, 7)
    assert (type(sample.duration_in_s), type(sample.seed)) == (float, int)


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (Request("rain\udcff"), "prompt is not valid Unicode"),
        (Request("rain", "\ud800"), "negative_prompt is not valid Unicode"),
        (Request("rain", duration_in_s=10**400), "duration_in_s is beyond"),
    ],
)
def test_values_that_no_type_holds(manifest: Manifest, request_: Request, message: str) -> None:
    with pytest.raises(InputError, match=message):
        complete(request_, manifest)


def test_a_prompt_that_is_no_text() -> None:
    with pytest.raises(InputError, match="prompt is None; give a text"):
        requests_from_lists(None, {}, 1, 1, Request(""))  # pyright: ignore[reportArgumentType]
