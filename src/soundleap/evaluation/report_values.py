"""How numbers, their origin and their protocol are written in reports."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from soundleap.evaluation.record import ClipRow, EvaluationRecord, MetricValue

SHORT_HASH = 12
NOT_ASKED_FOR = "not in the list"
"""How the fault of a clip begins that is there but not in the protocol."""
BUSY = 1.0
"""Load before a measurement from which on it is told."""

NAMES = {
    "fd": "Fréchet distance",
    "fd-pca64": "Fréchet distance, 64 components",
    "fd-inf": "Fréchet distance, infinite samples",
    "kad": "kernel distance (KAD)",
    "kid": "kernel distance (KID)",
    "kl": "KL divergence",
    "is": "inception score",
    "is-10": "inception score, 10 parts",
    "text-score": "text score",
    "text-score-reference": "text score of the recordings",
    "recall-text-to-audio-1": "text to sound R@1",
    "recall-text-to-audio-10": "text to sound R@10",
    "recall-audio-to-text-1": "sound to text R@1",
    "recall-audio-to-text-10": "sound to text R@10",
    "density": "density",
    "coverage": "coverage",
    "accuracy-generated": "tag accuracy",
    "accuracy-reference": "tag accuracy of the recordings",
}
"""Metrics in words."""

OURS = "Soundleap's own model"


def stamp(record: EvaluationRecord) -> str:
    """Name what fixed the numbers: `protocol@hash`, or `settings@hash` without a protocol."""
    if record.protocol is None:
        return f"settings@{record.settings_hash[:SHORT_HASH]}"
    return f"{record.protocol.name}@{record.protocol.hash[:SHORT_HASH]}"


def system_name(record: EvaluationRecord) -> str:
    """Name of what was judged."""
    return str(record.system.get("name") or "unnamed system")


def metric_name(metric: str) -> str:
    """Write a metric in words; unknown ones keep their name."""
    return NAMES.get(metric, metric)


def number(value: float) -> str:
    """Write a number with about four digits."""
    if not math.isfinite(value):
        return str(value)
    if value == 0 or 1e-3 <= abs(value) < 1e5:
        digits = max(0, min(4, 3 - math.floor(math.log10(abs(value))))) if value else 0
        return f"{value:.{digits}f}"
    return f"{value:.3g}"


def interval(value: MetricValue) -> str:
    """Write a number's interval, or a dash where none was computed."""
    if value.low is None or value.high is None:
        return "–"
    return f"{number(value.low)} to {number(value.high)}"


def counts(value: MetricValue) -> str:
    """Write how many clips entered, generated / reference."""
    sides = (value.generated_count, value.reference_count)
    return " / ".join(str(count) if count else "–" for count in sides)


def arrow(better: str) -> str:
    """Say which direction is better."""
    return "lower" if better == "lower" else "higher"


def judge(record: EvaluationRecord, name: str) -> str:
    """Name an embedder; Soundleap's own is always marked."""
    return f"{name} ({OURS})" if name in ours(record) else name


def ours(record: EvaluationRecord) -> frozenset[str]:
    """Names of the embedders that are Soundleap's own."""
    return frozenset(e.name for e in record.embedders if e.ours)


def warnings(record: EvaluationRecord) -> list[str]:
    """List every warning with the number that it belongs to."""
    return [
        f"{metric_name(m.metric)}, {m.embedder}: {text}"
        for m in record.metrics
        for text in m.warnings
    ]


def not_computed(record: EvaluationRecord) -> list[str]:
    """List every number that was not computed, with the reason."""
    found: list[str] = []
    for key, why in record.not_computed.items():
        metric, _, embedder = key.partition(" ")
        found.append(f"{joined([metric_name(metric), embedder])}: {why}")
    return found


def about_recordings(metric: str) -> bool:
    """Whether a number is about the recordings alone: a ceiling, not a result of the system."""
    return metric.endswith("-reference")


def used(record: EvaluationRecord, role: str) -> list[ClipRow]:
    """Clips of one side that were judged."""
    return [clip for clip in record.clips if clip.role == role and clip.fault is None]


def faults(record: EvaluationRecord) -> list[tuple[str, str, str]]:
    """List (side, clip, reason) of all that some embedder or all of them refused.

    Clips that the protocol does not ask for are counted elsewhere, and not listed.
    """
    rows: list[tuple[str, str, str]] = []
    for clip in record.clips:
        if clip.fault is not None and not clip.fault.startswith(NOT_ASKED_FOR):
            rows.append((clip.role, clip.id, clip.fault))
        rows += [(clip.role, clip.id, f"{name}: {why}") for name, why in clip.refused.items()]
    return rows


def score_key(record: EvaluationRecord) -> str | None:
    """Choose the per-clip value that orders clips: a text score, else KL divergence, else any.

    A judge that is not Soundleap's own goes first.
    """
    keys = list(dict.fromkeys(key for clip in used(record, "generated") for key in clip.scores))
    own = ours(record)
    for wanted in ("text-score ", "kl ", ""):
        found = [key for key in keys if key.startswith(wanted)]
        if found:
            return min(found, key=lambda key: key.partition(" ")[2] in own)
    return None


def higher_is_better(key: str) -> bool:
    """Whether a larger per-clip value is better."""
    return not key.startswith(("kl ", "rank-"))


def rank_clips(record: EvaluationRecord, key: str) -> list[ClipRow]:
    """Order judged clips by a per-clip value, best first; ties by id."""
    rows = [clip for clip in used(record, "generated") if key in clip.scores]
    sign = -1 if higher_is_better(key) else 1
    return sorted(rows, key=lambda clip: (sign * clip.scores[key], clip.id))


def spread(rows: Sequence[ClipRow], count: int) -> list[ClipRow]:
    """Take at most `count` evenly spaced clips."""
    if len(rows) <= count:
        return list(rows)
    return [rows[(2 * i + 1) * len(rows) // (2 * count)] for i in range(count)]


def seconds_per_second(system: Mapping[str, Any]) -> float | None:
    """Seconds of work for a second of sound, if the system tells."""
    for key in ("seconds_per_second", "real_time_factor"):
        value = system.get(key)
        if isinstance(value, int | float) and value > 0:
            return float(value)
    return None


def steps(system: Mapping[str, Any]) -> float | None:
    """Network queries (or solver steps) of a system, if it tells."""
    value = system.get("num_inference_steps")
    return float(value) if isinstance(value, int | float) and value > 0 else None


def speed_note(system: Mapping[str, Any]) -> str | None:
    """Say that a system's speed was measured beside other work, if it tells so."""
    machine = system.get("machine")
    load = machine.get("load_before") if isinstance(machine, Mapping) else None
    if seconds_per_second(system) is None or not isinstance(load, int | float) or load < BUSY:
        return None
    return f"its speed was measured beside other work (load {load:.1f}) and may be too slow"


def joined(parts: Iterable[str]) -> str:
    """Join what there is with commas."""
    return ", ".join(part for part in parts if part)
