"""Students of any network kind: a teacher's copy, told the guidance scale or not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from soundleap.diffusion.denoisers import Prediction
from soundleap.errors import InputError
from soundleap.models.registry import load_network
from soundleap.models.seams import Network


def student_config(teacher: Any, *, guided: bool, prediction: Prediction) -> Any:
    """Return the configuration of a teacher's student: its own but for the guidance input."""
    return replace(teacher, guided=guided, prediction=prediction)


def first_student(
    teacher: Network, *, guided: bool, prediction: Prediction, start: Path | None = None
) -> Any:
    """Return the student that training begins with, to be trained, with the same answers.

    A copy of the teacher (ConsistencyTTA's first stage, AudioLCM), or another student to go on
    from. One that predicted something else may be gone on from: ConsistencyTTA's second stage makes
    a predictor of x_0 from one of v.

    Args:
        teacher: of any kind, as loaded.
        guided: whether the student is given the guidance scale.
        prediction: what the student gives.
        start: file of a student to go on from; None begins with the teacher itself.

    Raises:
        InputError: if the file holds another network than this teacher's student.
        BundleError: if it can't be read.
    """
    config = student_config(teacher.config, guided=guided, prediction=prediction)
    before = teacher if start is None else load_network(start)
    if start is not None:
        faults = start_faults(start, before.config, config)
        if faults:
            raise InputError("; ".join(faults))
    return student_from(before, config)


def start_faults(start: Path, found: Any, config: Any) -> list[str]:
    """Say why a student can't be gone on from as one of this configuration."""
    if type(found) is type(config) and replace(found, prediction=config.prediction) == config:
        return []
    return [f"start {start} holds {found}, but a student of this teacher is {config}"]


def student_from(network: Any, config: Any) -> Any:
    """Copy a teacher or a student; a guidance input that it lacks starts without effect.

    What the new input holds else (ConsistencyTTA's random frequencies) comes from torch's global
    generator.

    Args:
        network: of any kind of `registry.NETWORKS`.
        config: of the copy; its own but for `guided` and `prediction`.

    Raises:
        RuntimeError: if the state does not fit, which would be a mistake of ours.
    """
    student: nn.Module = type(network)(config)
    missing = student.load_state_dict(network.state_dict(), strict=False)
    new = tuple(network.guidance_input)
    if missing.unexpected_keys or any(not key.startswith(new) for key in missing.missing_keys):
        raise RuntimeError(f"a student does not fit its teacher: {missing}")
    return student
