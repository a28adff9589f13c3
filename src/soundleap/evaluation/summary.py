"""A record as plain text for the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from soundleap.evaluation.record import EvaluationRecord, MetricValue, SetCounts
from soundleap.evaluation.rewarded import told


def summarise(record: EvaluationRecord) -> str:
    """Write the numbers with their intervals, the counts, and all that must stand beside them."""
    lines = [f"system: {record.system.get('name', 'unnamed')}"]
    if record.protocol:
        lines.append(f"protocol: {record.protocol.name}, SHA-256 {record.protocol.hash}")
    lines.append(f"settings: SHA-256 {record.settings_hash}")
    for info in record.embedders:
        ours = ", OURS" if info.ours else ""
        lines.append(f"embedder {info.name}: {info.description} ({info.sampling_rate} Hz{ours})")
    rewarded = told(record)
    lines += [rewarded] if rewarded else []
    lines += ["", *_columns([_HEADER, *(_row(record, value) for value in record.metrics)]), ""]
    lines += [_counts(counts) for counts in record.sets]
    lines += [f"not computed, {name}: {why}" for name, why in record.not_computed.items()]
    lines += _warnings(record.metrics)
    return "\n".join(lines)


_HEADER = ("metric", "embedder", "value", "95 %", "better", "clips")


def _row(record: EvaluationRecord, value: MetricValue) -> tuple[str, ...]:
    ours = any(info.ours and info.name == value.embedder for info in record.embedders)
    interval = "" if value.low is None else f"{value.low:.4g} to {value.high:.4g}"
    counts = (value.generated_count, value.reference_count)
    return (
        value.metric,
        value.embedder + (" (ours)" if ours else ""),
        f"{value.value:.4g}",
        interval,
        value.better,
        " / ".join(str(count) for count in counts if count),
    )


def _columns(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        "  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in rows
    ]


def _counts(counts: SetCounts) -> str:
    parts = [f"{counts.role}: {counts.used} of {counts.listed} clips used, {counts.seconds:.1f} s"]
    if counts.skipped:
        parts.append("skipped: " + _told(counts.skipped))
    if counts.changed:
        parts.append("changed: " + _told(counts.changed))
    for name in ("unpaired", "without_caption", "unlabelled"):
        if getattr(counts, name):
            parts.append(f"{name.replace('_', ' ')}: {getattr(counts, name)}")
    return "; ".join(parts)


def _told(kinds: Mapping[str, int]) -> str:
    return ", ".join(f"{kind} {count}" for kind, count in kinds.items())


def _warnings(values: Sequence[MetricValue]) -> list[str]:
    seen: dict[str, list[str]] = {}
    for value in values:
        for warning in value.warnings:
            seen.setdefault(warning, []).append(f"{value.metric} {value.embedder}")
    return [f"note on {', '.join(names)}: {warning}" for warning, names in seen.items()]
