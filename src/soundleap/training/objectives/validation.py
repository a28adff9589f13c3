"""How good a consistency student is, against the data and against its teacher's whole flow."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from soundleap.diffusion.solvers import solve
from soundleap.diffusion.times import CLEAN
from soundleap.training.objectives.consistency import ConsistencyDraws, ConsistencyObjective
from soundleap.training.objectives.terms import Conditions, Network


@dataclass(frozen=True)
class Validation:
    """How far a student is from where it should be, unweighted but for `consistency`, ``[B]`` each.

    Attributes:
        truth: distance of its answer from x_0.
        teacher: of its answer from the end of the teacher's flow.
        consistency: between its answers at both ends of the interval, weighted.
        teacher_truth: of the end of the teacher's flow from x_0.
    """

    truth: Tensor
    teacher: Tensor
    consistency: Tensor
    teacher_truth: Tensor


@torch.no_grad()
def validate(
    objective: ConsistencyObjective,
    network: Network,
    x_0: Tensor,
    positive: Conditions,
    negative: Conditions,
    draws: ConsistencyDraws,
) -> Validation:
    """Compare a student with the data and with its teacher's whole flow down the grid.

    Args:
        objective: whose teacher, grid and target are used.
        network: the student to judge; ConsistencyTTA judges its target network.
        x_0: ``[B, ...]`` clean latents.
        positive: conditions of the prompts.
        negative: those of the empty prompt.
        draws: intervals, guidance and noise.
    """
    terms = replace(objective, student=network)(x_0, positive, negative, draws)
    denoise = objective.flow(objective.teacher, positive, negative, draws.w.to(x_0.device))
    levels = torch.tensor([*objective.starts.flip(0).tolist(), 0.0, CLEAN], dtype=torch.float64)
    path = torch.minimum(terms.t, levels[:, None])  # an item waits until the path has come to it
    end = solve(denoise, terms.x_t, path, objective.schedule, objective.axes.solver)

    def apart(ours: Tensor, aim: Tensor) -> Tensor:
        return objective.distance(ours, aim, positive)

    return Validation(apart(terms.ours, x_0), apart(terms.ours, end), terms.loss, apart(end, x_0))
