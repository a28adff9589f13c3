"""Numbers that compare the two sets as a whole: Fréchet, kernel, density and coverage."""

from __future__ import annotations

from typing import Any

import numpy as np

from soundleap.evaluation.features import FloatArray, IntArray
from soundleap.evaluation.findings import Findings
from soundleap.evaluation.frechet import (
    FrechetResult,
    Statistics,
    compare,
    distance_of,
    extrapolate,
    principal_components,
    statistics,
)
from soundleap.evaluation.intervals import bootstrap_weights
from soundleap.evaluation.kernel import (
    BANDWIDTH_ROWS,
    KAD_SCALE,
    Kernel,
    cubic,
    gaussian,
    kernel_distance,
    median_bandwidth,
)
from soundleap.evaluation.manifold import density_coverage
from soundleap.evaluation.record import EmbedderInfo
from soundleap.evaluation.settings import EvaluationSettings
from soundleap.evaluation.tables import Table

COMPONENTS = 64
INFINITY_CLIPS = 30
GENERATED, REFERENCE = 0, 1
"""Streams of the draws."""


def judge_sets(findings: Findings, info: EmbedderInfo, ours: Table, theirs: Table) -> None:
    """Compare the sets in one embedder's features."""
    _frechet(findings, info.name, ours, theirs)
    _kernel(findings, info.name, ours, theirs)
    _manifold(findings, info, ours, theirs)


def draws_for(
    settings: EvaluationSettings, ours: int, theirs: int
) -> tuple[IntArray, IntArray] | None:
    """Draw resampled sets of both sides; None without bootstrap."""
    if settings.bootstrap == 0:
        return None
    return (
        bootstrap_weights(ours, settings.bootstrap, settings.seed, GENERATED),
        bootstrap_weights(theirs, settings.bootstrap, settings.seed, REFERENCE),
    )


def _frechet(findings: Findings, name: str, ours: Table, theirs: Table) -> None:
    wanted = [m for m in ("fd", "fd-pca64", "fd-inf") if findings.wants(m)]
    if not wanted:
        return
    if min(len(ours.rows.rows), len(theirs.rows.rows)) < 2:
        for metric in wanted:
            findings.skip(metric, name, "a set has fewer than 2 feature rows")
        return
    one, two = statistics(ours.rows), statistics(theirs.rows)
    bases: dict[str, FloatArray | None] = {"fd": None} if "fd" in wanted else {}
    if "fd-pca64" in wanted and COMPONENTS < one.mean.size:
        bases["fd-pca64"] = principal_components(two, COMPONENTS)
    draws = _frechet_draws(findings.settings, ours, theirs, bases)
    counts = (len(ours.ids), len(theirs.ids))
    for metric, basis in bases.items():
        found = compare(_in(one, basis), _in(two, basis))
        details = _frechet_details(found)
        findings.add(
            metric,
            name,
            found.distance,
            counts,
            draws=draws[metric],
            details=details,
            warnings=found.warnings,
        )
    if "fd-inf" in wanted:
        _infinity(findings, name, ours, two, counts)


def _in(stats: Statistics, basis: FloatArray | None) -> Statistics:
    return stats if basis is None else stats.projected(basis)


def _frechet_details(found: FrechetResult) -> dict[str, Any]:
    return {
        "dimensions": found.dimensions,
        "generated_rows": found.generated_count,
        "reference_rows": found.reference_count,
    }


def _frechet_draws(
    settings: EvaluationSettings, ours: Table, theirs: Table, bases: dict[str, FloatArray | None]
) -> dict[str, FloatArray]:
    weights = draws_for(settings, ours.rows.clips, theirs.rows.clips)
    if weights is None or not bases:
        return {metric: np.zeros(0) for metric in bases}
    draws: dict[str, FloatArray] = {metric: np.empty(settings.bootstrap) for metric in bases}
    for index in range(settings.bootstrap):
        one = statistics(ours.rows, weights[0][:, index])
        two = statistics(theirs.rows, weights[1][:, index])
        for metric, basis in bases.items():
            draws[metric][index] = distance_of(_in(one, basis), _in(two, basis))
    return draws


def _infinity(
    findings: Findings, name: str, ours: Table, reference: Statistics, counts: tuple[int, int]
) -> None:
    if ours.rows.clips < INFINITY_CLIPS:
        reason = f"{ours.rows.clips} generated clips; an extrapolation needs {INFINITY_CLIPS}"
        findings.skip("fd-inf", name, reason)
        return
    found = extrapolate(ours.rows, reference, seed=findings.settings.seed)
    details = {
        "points": [list(point) for point in found.points],
        "slope": found.slope,
        "r2": found.r_squared,
        "interval": "none (see r2 and the interval of fd)",
    }
    warnings = (f"reference: {reference.warning}",) if reference.warning else ()
    findings.add("fd-inf", name, found.distance, counts, details=details, warnings=warnings)


def _kernel(findings: Findings, name: str, ours: Table, theirs: Table) -> None:
    wanted = [m for m in ("kad", "kid") if findings.wants(m)]
    if wanted and min(ours.rows.clips, theirs.rows.clips) < 2:
        for metric in wanted:
            findings.skip(metric, name, "a set has fewer than 2 clips")
        return
    limit = findings.settings.pair_rows
    one, two = ours.rows.thinned(limit), theirs.rows.thinned(limit)
    weights = draws_for(findings.settings, one.clips, two.clips) if wanted else None
    rows = {"generated_rows": len(one.rows), "reference_rows": len(two.rows)}
    warnings = tuple(
        f"{role}: {part.clips} evenly spaced of {table.rows.clips} clips, for the sake of time"
        for role, part, table in (("generated", one, ours), ("reference", two, theirs))
        if part.clips < table.rows.clips
    )
    for metric in wanted:
        kernel: Kernel = cubic
        details: dict[str, Any] = {"kernel": "cubic, (x.y / D + 1)^3", "scale": 1.0, **rows}
        if metric == "kad":
            bandwidth = median_bandwidth(theirs.rows)
            if bandwidth == 0:
                findings.skip(metric, name, "the median distance between reference rows is 0")
                continue
            kernel = gaussian(bandwidth)
            details |= {"kernel": "Gaussian", "scale": KAD_SCALE, "bandwidth": bandwidth}
            details["bandwidth_from"] = (
                f"median distance of reference rows, {BANDWIDTH_ROWS} evenly spaced at most"
            )
        found = kernel_distance(one, two, kernel, weights)
        scale = details["scale"]
        findings.add(
            metric,
            name,
            found.value * scale,
            (one.clips, two.clips),
            draws=found.draws * scale,
            details=details,
            warnings=warnings,
        )


def _manifold(findings: Findings, info: EmbedderInfo, ours: Table, theirs: Table) -> None:
    if not findings.wants("density-coverage"):
        return
    nearest = findings.settings.nearest
    if theirs.vectors.clips <= nearest:
        reason = f"{theirs.vectors.clips} reference clips; k = {nearest} needs more"
        findings.skip("density-coverage", info.name, reason)
        return
    weights = draws_for(findings.settings, ours.vectors.clips, theirs.vectors.clips)
    found = density_coverage(ours.vectors, theirs.vectors, nearest, weights)
    details = {
        "nearest": nearest,
        "vectors": "mean over patches" if info.rows_per == "patch" else "as they are",
    }
    counts = (ours.vectors.clips, theirs.vectors.clips)
    for metric, value, draws in (
        ("density", found.density, found.density_draws),
        ("coverage", found.coverage, found.coverage_draws),
    ):
        findings.add(metric, info.name, value, counts, draws=draws, details=details)
