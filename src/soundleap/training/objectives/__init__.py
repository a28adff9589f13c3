"""Training objectives as functions of networks, settings and explicit draws; no files, no loop."""

from .axes import DistillationAxes
from .build import objective_from
from .consistency import ConsistencyDraws, ConsistencyObjective, ConsistencyTerms
from .denoising import (
    DenoisingTerms,
    DiffusionObjective,
    GuidedDiffusionObjective,
    TimedDraws,
)
from .distances import clean_distance, stft_distance
from .solver_error import solver_error
from .terms import Query, item_distance, item_mean, snr_weight
from .validation import Validation, validate

__all__ = [
    "ConsistencyDraws",
    "ConsistencyObjective",
    "ConsistencyTerms",
    "DenoisingTerms",
    "DiffusionObjective",
    "DistillationAxes",
    "GuidedDiffusionObjective",
    "Query",
    "TimedDraws",
    "Validation",
    "clean_distance",
    "item_distance",
    "item_mean",
    "objective_from",
    "snr_weight",
    "solver_error",
    "stft_distance",
    "validate",
]
