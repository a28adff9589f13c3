"""The settings of a request that only some models have: how they are read and sampled."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast, get_args

from soundleap.bundle_schema import Manifest, NetworkName, Sampling, TeacherSolver
from soundleap.errors import InputError, check_range, unknown_name

if TYPE_CHECKING:
    from soundleap.requests import Request, Sample
    from soundleap.structured import How

MAX_GUIDANCE_POST = 20.0
logger = logging.getLogger(__name__)


def filled_way(request: Request, sampling: Sampling, network: NetworkName) -> dict[str, Any]:
    """Give the structured caption and the solver that a request ends up with.

    Raises:
        InputError: for a caption or solver that this model does not take.
    """
    struct_prompt, solver = request.struct_prompt, request.solver
    if struct_prompt is not None and not sampling.structured_captions:
        raise InputError("this model reads no struct_prompt; leave it out")
    if struct_prompt is not None:
        _check_structure(struct_prompt)
    if struct_prompt is None and sampling.structured_captions:
        from soundleap.structured import structure_all

        struct_prompt = structure_all(request.prompt)
    if solver is not None and solver not in get_args(TeacherSolver):
        raise unknown_name("solver", str(solver), get_args(TeacherSolver))
    if solver is not None and network == "student":
        raise InputError("solver is for the teacher; a student is asked and not solved")
    if solver is None and network == "teacher":
        solver = sampling.teacher_solver
    return {"struct_prompt": struct_prompt, "solver": solver}


def _check_structure(struct_prompt: str) -> None:
    """Refuse a structured caption that does not parse; log what is odd about one that does."""
    from soundleap.structured import parse_events

    for warning in parse_events(struct_prompt).warnings:
        logger.warning("struct_prompt: %s", warning)


def check_way(sample: Sample, manifest: Manifest) -> None:
    """Check what the settings ask of a model together.

    Raises:
        InputError: for settings that this model or network does not take.
    """
    post = sample.guidance_scale_post
    check_range("guidance_scale_post", post, 1.0, MAX_GUIDANCE_POST)
    if post != 1 and sample.network == "teacher":
        raise InputError("guidance_scale_post is for the student; use guidance_scale")
    if not isinstance(sample.compat, bool):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InputError(f"compat is {sample.compat!r}; give true or false")
    if sample.compat and manifest.kind == "default-family":
        raise InputError(
            f"compat repeats how a published system samples; {manifest.name} is none; leave it out"
        )


def with_structure(
    requests: Sequence[Request], how: How | str, sampling: Sampling
) -> list[Request]:
    """Make the structured captions that requests lack, other than by the default rule.

    Raises:
        InputError: for an unknown way, or one that this model has no use for.
    """
    if how == "all":  # the rule that `filled_way` applies
        return list(requests)
    if not sampling.structured_captions:
        raise InputError(f"structure is {how!r}, but this model reads no structured captions")
    from soundleap.structured import structure

    made: dict[str, str] = {}
    for prompt in dict.fromkeys(r.prompt for r in requests if r.struct_prompt is None):
        found = structure(prompt, cast("How", how))
        if found.warning is not None and how != "endpoint":  # which logs its own
            logger.warning("structure: %s", found.warning)
        made[prompt] = found.text
    return [
        replace(r, struct_prompt=made[r.prompt]) if r.struct_prompt is None else r for r in requests
    ]
