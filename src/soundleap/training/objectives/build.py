"""From settings to an objective."""

from __future__ import annotations

from soundleap.diffusion.schedules import NoiseSchedule
from soundleap.errors import InputError
from soundleap.training.objectives.axes import DistillationAxes
from soundleap.training.objectives.consistency import ConsistencyObjective
from soundleap.training.objectives.denoising import GuidedDiffusionObjective
from soundleap.training.objectives.distances import Decode
from soundleap.training.objectives.terms import Network


def objective_from(
    axes: DistillationAxes,
    schedule: NoiseSchedule,
    *,
    teacher: Network,
    student: Network,
    target: Network | None = None,
    decode: Decode | None = None,
) -> ConsistencyObjective | GuidedDiffusionObjective:
    """Return the objective that settings name.

    Both are called as ``objective(x_0, positive, negative, draws)`` with what
    ``objective.draw(x_0, generator)`` returns, or with draws of one's own.

    Args:
        axes: the settings; those of `distill` will do, as they hold the axes.
        schedule: the teacher's noise schedule.
        teacher: a network.
        student: a network, guided unless `guidance_embedding` is "none".
        target: its moving average; for consistency only.
        decode: from latents to mels or waveforms, for the distances "mel" and "stft".

    Raises:
        InputError: if consistency is asked for without a target, or a distance of sounds without a
            decoder, or the grid does not fit.
    """
    if axes.objective == "guided":
        return GuidedDiffusionObjective(axes, schedule, teacher, student)
    if target is None:
        raise InputError("objective consistency needs a target network")
    if axes.decoded and decode is None:
        raise InputError(f"distance is {axes.distance}, which needs a decoder of the latents")
    objective = ConsistencyObjective(axes, schedule, teacher, student, target, decode)
    _ = objective.grid  # refuses a grid that does not fit, before any work
    return objective
