"""How far the teacher's solver is off in the intervals of a batch, by doubling its steps.

    solver_error = rms(Φ^m(x_t) - Φ^2m(x_t)) / rms(Φ^2m(x_t) - x_t)

for each item, over its own elements: the difference between m steps and 2 m steps as a share of
the way from t to s. For a solver of order p the error of the m steps themselves is about
2^p / (2^p - 1) times as large: twice for DDIM, 4/3 times for Heun and DPM-Solver++(2M).

Source: Hairer, Nørsett and Wanner, Solving Ordinary Differential Equations I (1993), section II.4.
"""

from __future__ import annotations

import torch
from torch import Tensor

from soundleap.training.objectives.consistency import (
    ConsistencyDraws,
    ConsistencyObjective,
    ConsistencyTerms,
)
from soundleap.training.objectives.terms import Conditions, item_mean


@torch.no_grad()
def solver_error(
    objective: ConsistencyObjective,
    terms: ConsistencyTerms,
    positive: Conditions,
    negative: Conditions,
    draws: ConsistencyDraws,
) -> Tensor:
    """Estimate the solver's error in the intervals of a batch whose loss is computed, ``[B]``.

    The teacher is asked twice as often as for the loss, besides.

    Args:
        objective: whose teacher and solver are used.
        terms: what it gave.
        positive: conditions of the prompts.
        negative: those of the empty prompt.
        draws: what chance decided.
    """
    fine = objective.walk(
        terms.x_t,
        terms.t,
        terms.s,
        draws.w.to(terms.x_t.device),
        positive,
        negative,
        solver_steps=2 * objective.axes.solver_steps,
    )
    mask = positive.get("latent_mask")
    apart, moved = (item_mean((fine - x).float() ** 2, mask).sqrt() for x in (terms.x_s, terms.x_t))
    return apart / moved
