"""The same report as Markdown tables."""

from __future__ import annotations

from collections.abc import Sequence

from soundleap.evaluation import report_values as values
from soundleap.evaluation.record import EvaluationRecord
from soundleap.evaluation.report_page import flatten
from soundleap.evaluation.rewarded import told

SHOWN_CLIPS = 10
SHOWN_FAULTS = 50


def report_markdown(record: EvaluationRecord) -> str:
    """Write numbers, counts, best and worst clips and origin of an evaluation."""
    parts = [f"# Evaluation of {values.system_name(record)}", _summary(record), _numbers(record)]
    parts.append("\n".join(f"- {text}" for text in values.warnings(record)))
    missing = values.not_computed(record)
    parts.append(
        "\n".join(["Not computed:", "", *(f"- {text}" for text in missing)]) if missing else ""
    )
    parts += ["## Clips", _sets(record), *_ranked(record), *_faults(record)]
    parts += ["## How it was measured", _origin(record)]
    return "\n\n".join(part for part in parts if part) + "\n"


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Write a table; bars and line ends in cells are made safe."""
    lines = [header, ["---"] * len(header), *rows]
    cells = ([" ".join(c.split()).replace("|", "\\|") for c in line] for line in lines)
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)


def _summary(record: EvaluationRecord) -> str:
    lines = [f"Protocol `{values.stamp(record)}`"]
    if record.protocol is not None:
        lines[0] += f" (SHA-256 {record.protocol.hash})"
    if record.command:
        lines.append(f"Command: `{record.command}`")
    rewarded = told(record)
    lines += [rewarded] if rewarded else []
    lines += [f"`{e.name}` is {values.OURS}: rely on others." for e in record.embedders if e.ours]
    return "  \n".join(lines)


def _numbers(record: EvaluationRecord) -> str:
    header = ["number", "judge", "value", "interval", "better", "clips", "protocol"]
    rows = [
        [
            values.metric_name(m.metric),
            values.judge(record, m.embedder),
            values.number(m.value),
            values.interval(m),
            values.arrow(m.better),
            values.counts(m),
            values.stamp(record),
        ]
        for m in record.metrics
    ]
    return markdown_table(header, rows)


def _sets(record: EvaluationRecord) -> str:
    rows = [
        [
            s.role,
            *map(str, (s.listed, s.used, s.unpaired, s.without_caption)),
            f"{s.seconds:.1f}",
            values.joined(f"{name}: {n}" for name, n in s.skipped.items()) or "none",
            values.joined(f"{name}: {n}" for name, n in s.changed.items()) or "none",
        ]
        for s in record.sets
    ]
    header = ["set", "listed", "used", "unpaired", "no caption", "seconds", "left out", "changed"]
    return markdown_table(header, rows)


def _ranked(record: EvaluationRecord) -> list[str]:
    key = values.score_key(record)
    order = values.rank_clips(record, key) if key else []
    if not key or len(order) < 2:
        return []
    count = min(SHOWN_CLIPS, len(order) // 2)
    found: list[str] = []
    for title, clips in (("Best", order[:count]), ("Worst", order[-count:][::-1])):
        rows = [[c.id, c.prompt or "", values.number(c.scores[key])] for c in clips]
        found.append(f"{title} by {key}:\n\n" + markdown_table(["clip", "caption", key], rows))
    return found


def _faults(record: EvaluationRecord) -> list[str]:
    rows = values.faults(record)
    if not rows:
        return []
    told = "Refused:" if len(rows) <= SHOWN_FAULTS else f"Refused ({SHOWN_FAULTS} of {len(rows)}):"
    return [f"{told}\n\n" + markdown_table(["set", "clip", "reason"], rows[:SHOWN_FAULTS])]


def _origin(record: EvaluationRecord) -> str:
    rows = [
        *((f"system.{name}", text) for name, text in flatten(record.system)),
        *((f"setting.{name}", text) for name, text in flatten(record.settings)),
        *_judges(record),
        *flatten(record.hardware),
        *((f"version.{name}", text) for name, text in flatten(record.versions)),
    ]
    if record.protocol is not None:
        rows[:0] = [("protocol." + n, text) for n, text in flatten(record.protocol.details)]
    return markdown_table(["what", "value"], [list(row) for row in rows])


def _judges(record: EvaluationRecord) -> list[tuple[str, str]]:
    return [
        (
            f"judge {e.name}",
            f"{e.description}; {e.sampling_rate} Hz by {e.resampler}; {e.window}; {e.layer}; "
            f"{e.dimensions} dimensions a {e.rows_per}; weights {e.licence}, SHA-256 "
            f"{e.weights_sha256[: values.SHORT_HASH]}",
        )
        for e in record.embedders
    ]
