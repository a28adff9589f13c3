"""The page of one evaluation."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from soundleap.evaluation import report_values as values
from soundleap.evaluation.record import EvaluationRecord, MetricValue
from soundleap.evaluation.report_cards import CardMaker, levelled
from soundleap.evaluation.report_page import (
    definitions,
    details,
    escape,
    items,
    page,
    paragraph,
    section,
    table,
)
from soundleap.evaluation.report_series import plots
from soundleap.evaluation.report_sounds import SoundBudget
from soundleap.evaluation.rewarded import told

SHOWN_ROWS = 200
"""Longer tables of clips are cut here; the files beside the page hold all of them."""


def report_page(
    record: EvaluationRecord,
    *,
    others: Sequence[EvaluationRecord] = (),
    audio_megabytes: float = 24.0,
    shown: int = 12,
    ranked: int = 4,
) -> str:
    """Make the page of an evaluation: one HTML file that loads nothing.

    Args:
        record: the evaluation.
        others: evaluations under the same protocol, for the plots of quality against effort.
        audio_megabytes: most of all sounds in the page, as they stand there; 0 leaves them out.
        shown: clips in the overview.
        ranked: best and worst clips.
    """
    budget = SoundBudget(audio_megabytes)
    maker = CardMaker(record, budget, level=levelled(record.settings))
    sections = [
        section("Numbers", numbers_table(record), _notes(record)),
        section("Quality against effort", _effort([record, *others])),
        *_ranked_sections(record, maker, ranked),
        section("More clips", _overview(record, maker, shown)),
        section("Classes", *(_confusion(record, i) for i in range(len(record.confusion)))),
        section("Clips used and left out", _sets(record), _faults(record)),
        section("All clips", _all_clips(record)),
        section("Who made the recordings", maker.credits()),
        section("How it was measured", *_origin(record)),
    ]
    name = values.system_name(record)
    head = f"<h1>{escape(f'Evaluation of {name}')}</h1>\n" + _summary(record)
    body = "\n".join([head, _sound_note(budget), *sections])
    return page(f"Evaluation of {name}, {values.stamp(record)}", body)


def numbers_table(record: EvaluationRecord) -> str:
    """Make the table of all numbers, each with its interval, counts and protocol."""
    header = ["number", "judge", "value", "interval", "better", "clips", "protocol"]
    rows = [
        [
            values.metric_name(m.metric),
            _marked(record, m),
            values.number(m.value),
            values.interval(m),
            values.arrow(m.better),
            values.counts(m),
            (values.stamp(record), "whole"),
        ]
        for m in record.metrics
    ]
    caption = "Numbers with intervals; clips: generated / recordings"
    return table(caption, header, rows, numeric=(2, 3, 5))


def _marked(record: EvaluationRecord, metric: MetricValue) -> str | tuple[str, str]:
    name = values.judge(record, metric.embedder)
    return (name, "warn") if metric.embedder in values.ours(record) else name


def _summary(record: EvaluationRecord) -> str:
    counts = values.joined(f"{s.used} of {s.listed} {s.role} clips" for s in record.sets)
    judges = ", ".join(values.judge(record, e.name) for e in record.embedders)
    stamp = f"<p>Protocol <code>{escape(values.stamp(record))}</code>. "
    judged = told(record) or f"Judged by {judges}."
    return stamp + escape(f"{counts} used. {judged}") + "</p>"


def _notes(record: EvaluationRecord) -> str:
    kinds = list(
        dict.fromkeys(
            f"Intervals of {values.metric_name(m.metric)}: {m.details['interval']}"
            for m in record.metrics
            if isinstance(m.details.get("interval"), str)
        )
    )
    warned = values.warnings(record)
    slow = values.speed_note(record.system)
    if slow:
        warned.append(f"{values.system_name(record)}: {slow}")
    if values.ours(record):
        warned.append(
            f"Judges marked as {values.OURS} come from the same project as the system; "
            "rely on the others."
        )
    return (
        items(warned, "warn")
        + details("How the intervals were made", items(kinds))
        + details("Not computed", items(values.not_computed(record)))
    )


def _effort(records: Sequence[EvaluationRecord]) -> str:
    drawn = plots(records)
    if drawn:
        return drawn
    return paragraph(
        "One system alone, or none that tells its steps or speed: put several side by side with "
        "`soundleap evaluate compare`.",
        "quiet",
    )


def _ranked_sections(record: EvaluationRecord, maker: CardMaker, count: int) -> list[str]:
    key = values.score_key(record)
    order = values.rank_clips(record, key) if key else []
    if not key or not count or len(order) < 2:
        return []
    half = min(count, len(order) // 2)
    return [
        section(f"Best clips by {key}", maker.cards(order[:half], key)),
        section(f"Worst clips by {key}", maker.cards(order[-half:][::-1], key)),
    ]


def _overview(record: EvaluationRecord, maker: CardMaker, count: int) -> str:
    """Show evenly spaced clips that have no card yet."""
    rest = (clip for clip in values.used(record, "generated") if not maker.has(clip))
    clips = sorted(rest, key=lambda clip: clip.id)
    return maker.cards(values.spread(clips, count), values.score_key(record))


def _sound_note(budget: SoundBudget) -> str:
    notes: list[str] = []
    if budget.left_out:
        notes.append(
            f"{budget.left_out} sounds have no player here: this page holds at most "
            f"{budget.megabytes:g} MB of sound."
        )
    notes += [f"No sound for {name}: {why}" for name, why in list(budget.missing.items())[:5]]
    if len(budget.missing) > 5:
        notes.append(f"and {len(budget.missing) - 5} more sounds that are not there any more")
    return items(notes, "warn")


def _confusion(record: EvaluationRecord, index: int) -> str:
    found = record.confusion[index]
    rows = [
        [label, *((str(n), "best") if i == j and n else str(n or "") for j, n in enumerate(row))]
        for i, (label, row) in enumerate(zip(found.labels, found.rows, strict=True))
    ]
    caption = f"{found.role} clips, {found.embedder}: true class (rows), class heard (columns)"
    return table(caption, ["", *found.labels], rows, numeric=range(1, len(found.labels) + 1))


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
    return table("Counts of clips", header, rows, numeric=(1, 2, 3, 4, 5))


def _faults(record: EvaluationRecord) -> str:
    found = values.faults(record)
    if not found:
        return ""
    shown = table("Clips that were refused", ["set", "clip", "reason"], found[:SHOWN_ROWS])
    return details(f"{len(found)} refusals", shown + _cut_note(len(found)))


def _all_clips(record: EvaluationRecord) -> str:
    clips = values.used(record, "generated")
    keys = list(dict.fromkeys(key for clip in clips for key in clip.scores))
    rows = [
        [
            clip.id,
            clip.prompt or "",
            f"{clip.seconds:.2f}",
            *(values.number(clip.scores[key]) if key in clip.scores else "" for key in keys),
            clip.predicted or ", ".join(clip.tags),
        ]
        for clip in clips[:SHOWN_ROWS]
    ]
    if not rows:
        return ""
    header = ["clip", "caption", "seconds", *keys, "heard"]
    made = table("Generated clips", header, rows, numeric=range(2, 3 + len(keys)))
    return details(f"{len(clips)} clips", made + _cut_note(len(clips)))


def _cut_note(count: int) -> str:
    if count <= SHOWN_ROWS:
        return ""
    return paragraph(f"{SHOWN_ROWS} of {count} rows; clips.csv beside this page holds all.")


def _origin(record: EvaluationRecord) -> list[str]:
    parts = ["<h3>System</h3>", definitions(record.system)]
    if record.protocol is not None:
        whole = {"name": record.protocol.name, "hash": record.protocol.hash}
        parts += ["<h3>Protocol</h3>", definitions(whole | dict(record.protocol.details))]
    parts += ["<h3>Settings</h3>", definitions({"hash": record.settings_hash, **record.settings})]
    for embedder in record.embedders:
        told = dataclasses.asdict(embedder)
        parts += [f"<h3>Judge {escape(told.pop('name'))}</h3>", definitions(told)]
    parts += ["<h3>Hardware</h3>", definitions(record.hardware)]
    parts += ["<h3>Versions</h3>", definitions(record.versions)]
    if record.seconds:
        seconds = {name: f"{value:.2f} s" for name, value in record.seconds.items()}
        parts += ["<h3>Time</h3>", definitions(seconds)]
    if record.command:
        parts += ["<h3>Command</h3>", f"<p><code>{escape(record.command)}</code></p>"]
    return parts
