"""What one sample is asked for, and the check of it against a model's limits."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from numbers import Integral, Real
from typing import Any, cast, get_args

from soundleap.bundle_schema import Manifest, NetworkName, Sampling, TeacherSolver
from soundleap.errors import InputError, check_range, unknown_name
from soundleap.ways import check_way, filled_way

MAX_SEED = 2**64 - 1
MAX_COUNT = 10_000
MAX_CHARACTERS = 1000
"""Longest prompt in characters; the text encoder's limit in tokens comes on top."""


@dataclass(frozen=True)
class Request:
    """One sound to be made.

    Attributes:
        prompt: what is to be heard.
        negative_prompt: what is not; None for nothing.
        duration_in_s: length of the sound; None takes the model's default.
        num_inference_steps: network queries (student) or solver steps (teacher); None takes the
            model's default.
        guidance_scale: 1 is no guidance, more follows the prompt more closely; None takes the
            model's default.
        seed: 0 to 2^64 - 1; None draws one.
        network: "student" or "teacher"; None takes the student where there is one.
        struct_prompt: structured caption ``<event& tag>@<event& tag>`` for models that read one;
            None makes it from the prompt by rule.
        guidance_scale_post: classifier-free guidance of the student's answers, on top of the
            guidance that it knows as an input; doubles the queries; 1 is none.
        solver: how the teacher is followed; None takes the model's default.
        compat: sample as the published system's own scripts do, for comparison.
    """

    prompt: str
    negative_prompt: str | None = None
    duration_in_s: float | None = None
    num_inference_steps: int | None = None
    guidance_scale: float | None = None
    seed: int | None = None
    network: NetworkName | None = None
    struct_prompt: str | None = None
    guidance_scale_post: float = 1.0
    solver: TeacherSolver | None = None
    compat: bool = False


@dataclass(frozen=True)
class Sample:
    """A `Request` with every default filled in and every value checked."""

    prompt: str
    negative_prompt: str | None
    duration_in_s: float
    num_inference_steps: int
    guidance_scale: float
    seed: int
    network: NetworkName
    struct_prompt: str | None = None
    guidance_scale_post: float = 1.0
    solver: TeacherSolver | None = None
    compat: bool = False


def draw_seed() -> int:
    """Draw a seed from the operating system, small enough to type."""
    return secrets.randbelow(2**32)


def requests_from_lists(
    prompt: str | Sequence[str],
    columns: Mapping[str, Any],
    seed: int | Sequence[int] | None,
    count: int,
    common: Request,
) -> list[Request]:
    """Make requests from single values and lists with one entry per prompt, seeds spread.

    Args:
        prompt: one text or several.
        columns: fields of `Request` by name: one value for all, or a list.
        seed: see `spread_seeds`; a list gives each prompt its own.
        count: samples of each prompt.
        common: the other fields.

    Raises:
        InputError: for an empty list, or one whose length is not the number of prompts.
    """
    if not isinstance(prompt, Iterable):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InputError(f"prompt is {prompt!r}; give a text or a list of texts")
    prompts = [prompt] if isinstance(prompt, str) else list(prompt)
    if not prompts:
        raise InputError("prompt is an empty list; give at least one text")
    _check_whole("num_waveforms_per_prompt", count, 1, MAX_COUNT)
    single = None if isinstance(seed, Sequence) else seed
    own = {"seed": seed} if isinstance(seed, Sequence) else {}
    rows = {name: _column(name, value, len(prompts)) for name, value in {**columns, **own}.items()}
    requests = [
        replace(common, prompt=text, **{name: values[i] for name, values in rows.items()})
        for i, text in enumerate(prompts)
    ]
    return spread_seeds(requests, single, count)


def _column(name: str, value: Any, size: int) -> list[Any]:
    if isinstance(value, str) or not isinstance(value, Sequence):
        return [value] * size
    values = list(cast("Sequence[Any]", value))
    if len(values) != size:
        raise InputError(f"{name} has {len(values)} entries for {size} prompts; make them equal")
    return values


def spread_seeds(requests: Sequence[Request], seed: int | None, count: int = 1) -> list[Request]:
    """Repeat requests and give every sample a seed.

    A request's own seed s becomes s, s + 1, ... over its repetitions. The others share `seed`
    (drawn if None): sample number k of the whole list takes seed + k.

    Raises:
        InputError: unless count is at least 1 and every seed is in range.
    """
    _check_whole("count", count, 1, MAX_COUNT)
    first = draw_seed() if seed is None else _check_whole("seed", seed, 0, MAX_SEED)
    spread: list[Request] = []
    for request in requests:
        own = request.seed
        for repeat in range(count):
            value = first + len(spread) if own is None else _whole("seed", own) + repeat
            spread.append(replace(request, seed=_check_whole("seed", value, 0, MAX_SEED)))
    return spread


def complete(request: Request, manifest: Manifest) -> Sample:
    """Fill in a model's defaults and check every value.

    Raises:
        InputError: naming the first value that is not allowed, and what is.
    """
    network = request.network or manifest.networks[0]
    if network not in get_args(NetworkName):
        raise unknown_name("network", str(network), get_args(NetworkName))
    if network not in manifest.networks:
        there = ", ".join(manifest.networks)
        raise InputError(f"model {manifest.name} has no {network}; it has: {there}")
    sampling = manifest.sampling
    filled = _filled(replace(request, network=network), sampling, network)
    values: dict[str, Any] = {**asdict(request), **filled, "network": network}
    sample = Sample(**values)
    _check_texts(sample)
    low, high = sampling.min_duration_in_s, sampling.max_duration_in_s
    check_range("duration_in_s", sample.duration_in_s, low, high, "s")
    _check_negative(sample, sampling)
    check_way(sample, manifest)
    return sample


def complete_all(
    requests: Sequence[Request],
    manifest: Manifest,
    check: Callable[[Sample], None] | None = None,
) -> list[Sample]:
    """Apply `complete`, and another check, to each request.

    Raises:
        InputError: for the first value that is not allowed; says which request if several.
    """
    samples: list[Sample] = []
    for i, request in enumerate(requests):
        try:
            samples.append(complete(request, manifest))
            if check is not None:
                check(samples[-1])
        except InputError as error:
            place = f"request {i + 1} of {len(requests)}: " if len(requests) > 1 else ""
            raise InputError(f"{place}{error}") from None
    return samples


def _filled(request: Request, sampling: Sampling, network: NetworkName) -> dict[str, Any]:
    default, most = sampling.step_limits(network)
    steps = default if request.num_inference_steps is None else request.num_inference_steps
    scale = request.guidance_scale
    guidance = _number(
        "guidance_scale", sampling.default_guidance_scale if scale is None else scale
    )
    _check_guidance(guidance, sampling, network)
    seed = draw_seed() if request.seed is None else request.seed
    length = request.duration_in_s
    return {
        "num_inference_steps": _check_whole("num_inference_steps", steps, 1, most),
        "guidance_scale": guidance,
        "duration_in_s": _number(
            "duration_in_s", sampling.usual_duration_in_s if length is None else length
        ),
        "seed": _check_whole("seed", seed, 0, MAX_SEED),
        "guidance_scale_post": _number("guidance_scale_post", request.guidance_scale_post),
        **filled_way(request, sampling, network),
    }


def _check_texts(sample: Sample) -> None:
    for name in ("prompt", "negative_prompt", "struct_prompt"):
        text = getattr(sample, name)
        if not isinstance(text, str) and not (name != "prompt" and text is None):
            raise InputError(f"{name} is {text!r}; give a text")
        if text is not None and len(text) > MAX_CHARACTERS:
            raise InputError(
                f"{name} has {len(text)} characters; allowed: at most {MAX_CHARACTERS}"
            )
        if text is not None and any("\ud800" <= letter <= "\udfff" for letter in text):
            raise InputError(f"{name} is not valid Unicode; give it as UTF-8")
    if not sample.prompt.strip():
        raise InputError("prompt is empty; say what is to be heard")


def _check_guidance(scale: float, sampling: Sampling, network: NetworkName) -> None:
    low, high = sampling.guidance_limits(network)
    if network == "student" and not sampling.student_guided and scale != low:
        raise InputError(
            f"guidance_scale is {scale:g}, but this model's student was trained for {low:g} alone "
            "and is not told another; leave it out, or use the teacher or guidance_scale_post"
        )
    check_range("guidance_scale", scale, low, high)


def _check_negative(sample: Sample, sampling: Sampling) -> None:
    if not sample.negative_prompt:
        return
    if sample.guidance_scale == 1:
        raise InputError(
            "negative_prompt does nothing at guidance_scale 1; raise guidance_scale or leave it out"
        )
    if sample.guidance_scale_post > 1:
        return
    if sample.network == "student" and not sampling.takes_negative:
        raise InputError(
            "this model's student takes no negative_prompt; use its teacher, or a "
            "guidance_scale_post above 1"
        )


def _number(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, Real):  # NumPy's numbers are Real too
        raise InputError(f"{name} is {value!r}; give a number")
    try:
        return float(value)
    except OverflowError:
        raise InputError(f"{name} is beyond what a number can hold here") from None


def _whole(name: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise InputError(f"{name} is {value!r}; give a whole number")
    return int(value)


def _check_whole(name: str, value: object, low: int, high: int) -> int:
    number = _whole(name, value)
    if not low <= number <= high:
        raise InputError(f"{name} is {number}; allowed: {low} to {high}")
    return number
