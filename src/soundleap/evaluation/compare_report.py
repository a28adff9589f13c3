"""The comparison as a page, a Markdown table and JSON."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from soundleap.errors import check_range
from soundleap.evaluation import report_values as values
from soundleap.evaluation.compare import Comparison, Difference, Row
from soundleap.evaluation.record import ClipRow, MetricValue
from soundleap.evaluation.record_io import write_atomically
from soundleap.evaluation.report_cards import CardMaker, levelled
from soundleap.evaluation.report_markdown import markdown_table
from soundleap.evaluation.report_page import (
    definitions,
    escape,
    items,
    page,
    paragraph,
    section,
    table,
)
from soundleap.evaluation.report_series import plots
from soundleap.evaluation.report_sounds import SoundBudget

PAGE_FILE, MARKDOWN_FILE, JSON_FILE = "comparison.html", "comparison.md", "comparison.json"
MARK = "bold: the best, and what can't be told apart from it because intervals meet"


def write_comparison(
    comparison: Comparison,
    folder: str | Path,
    *,
    audio_megabytes: float = 24.0,
    shown: int = 6,
) -> list[Path]:
    """Write `comparison.html`, `comparison.md` and `comparison.json`, each whole or not at all.

    Args:
        comparison: from `compare_records`.
        folder: where to; made if it is not there.
        audio_megabytes: most of all sounds in the page, 0 to 2000.
        shown: prompts whose sounds are put side by side, 0 to 1000.

    Returns:
        The three paths.

    Raises:
        InputError: for a limit out of range.
    """
    check_range("audio_megabytes", audio_megabytes, 0, 2000, "MB")
    check_range("shown", shown, 0, 1000)
    root = Path(folder)
    root.mkdir(parents=True, exist_ok=True)
    texts = {
        PAGE_FILE: comparison_page(comparison, audio_megabytes=audio_megabytes, shown=shown),
        MARKDOWN_FILE: comparison_markdown(comparison),
        JSON_FILE: comparison.to_json(),
    }
    for name, text in texts.items():
        write_atomically(root / name, text.encode())
    return [root / name for name in texts]


def comparison_markdown(comparison: Comparison) -> str:
    """Write the numbers of all systems as Markdown tables."""
    rows = [
        [_number_name(row), row.better, *(_marked(row, i) for i in range(len(row.values)))]
        for row in comparison.rows
    ]
    parts = [
        f"# {', '.join(comparison.names)}",
        f"Protocol `{comparison.stamp}`; in brackets: intervals; {MARK}.",
        markdown_table(["number", "better", *comparison.names], rows),
        "\n".join(f"- {note}" for note in comparison.notes),
    ]
    if comparison.differences:
        told = f"Clip by clip, against {comparison.names[0]} (95 %, bootstrap over clips):"
        header = ["system", "value", "clips", "mean difference", "interval", "reads"]
        parts += [told, markdown_table(header, _difference_rows(comparison))]
    return "\n\n".join(part for part in parts if part) + "\n"


def comparison_page(comparison: Comparison, *, audio_megabytes: float, shown: int) -> str:
    """Make the page: one HTML file that loads nothing."""
    budget = SoundBudget(audio_megabytes)
    sounds, credits = _sounds(comparison, budget, shown)
    limit = (
        [f"{budget.left_out} sounds have no player: the limit is {budget.megabytes:g} MB."]
        if budget.left_out
        else []
    )
    names = ", ".join(comparison.names)
    body = [
        f"<h1>{escape(names)}</h1>",
        f"<p>All numbers under protocol <code>{escape(comparison.stamp)}</code>.</p>",
        section("Numbers", _numbers(comparison), items(comparison.notes, "warn")),
        section("Clip by clip", _paired(comparison)),
        section("Quality against effort", plots(comparison.records)),
        section("Sounds side by side", items(limit, "warn"), sounds),
        section("Who made the recordings", credits),
        section("Systems", *_systems(comparison)),
    ]
    return page(f"{names}, {comparison.stamp}", "\n".join(body))


def _numbers(comparison: Comparison) -> str:
    rows = [
        [
            _number_name(row),
            row.better,
            *((_cell(v), "best" if i in row.best else "") for i, v in enumerate(row.values)),
        ]
        for row in comparison.rows
    ]
    caption = f"Numbers with intervals, {comparison.stamp}; {MARK}"
    count = len(comparison.names)
    return table(
        caption, ["number", "better", *comparison.names], rows, numeric=range(2, 2 + count)
    )


def _paired(comparison: Comparison) -> str:
    if not comparison.differences:
        return ""
    caption = f"Difference to {comparison.names[0]}, 95 % by bootstrap over clips"
    header = ["system", "value", "clips", "mean difference", "interval", "reads"]
    return table(caption, header, _difference_rows(comparison), numeric=(2, 3, 4))


def _difference_rows(comparison: Comparison) -> list[list[str]]:
    return [
        [
            comparison.names[d.system],
            d.key,
            str(d.clips),
            f"{d.mean:+.4g}",
            f"{d.low:+.4g} to {d.high:+.4g}",
            _reading(d),
        ]
        for d in comparison.differences
    ]


def _reading(difference: Difference) -> str:
    if difference.low <= 0 <= difference.high:
        return "not told apart"
    higher = difference.low > 0
    return "better" if higher == (difference.better == "higher") else "worse"


def _number_name(row: Row) -> str:
    judge = f"{row.embedder} ({values.OURS})" if row.ours else row.embedder
    return f"{values.metric_name(row.metric)}, {judge}"


def _cell(value: MetricValue | None) -> str:
    if value is None:
        return "–"
    ends = "" if value.low is None else f" [{values.interval(value)}]"
    return values.number(value.value) + ends


def _marked(row: Row, position: int) -> str:
    text = _cell(row.values[position])
    return f"**{text}**" if position in row.best else text


def _sounds(comparison: Comparison, budget: SoundBudget, count: int) -> tuple[str, str]:
    """Put the sounds of some prompts that all systems have side by side; credits apart."""
    sets = [{c.id: c for c in values.used(r, "generated")} for r in comparison.records]
    shared = sorted(set(sets[0]).intersection(*sets[1:]))
    makers = [
        CardMaker(r, budget, level=levelled(r.settings), words={"generated": name})
        for r, name in zip(comparison.records, comparison.names, strict=True)
    ]
    parts: list[str] = []
    for clip in values.spread([sets[0][name] for name in shared], count):
        cards = [maker.sound(found[clip.id]) for maker, found in zip(makers, sets, strict=True)] + [
            makers[0].recording(clip)
        ]
        parts.append(_prompt_row(clip, cards))
    return "\n".join(parts), makers[0].credits()


def _prompt_row(clip: ClipRow, cards: Sequence[str]) -> str:
    inner = "\n".join(f"<li>{card}</li>" for card in cards if card)
    return f'<h3>{escape(clip.prompt or clip.id)}</h3>\n<ul class="cards">\n{inner}\n</ul>'


def _systems(comparison: Comparison) -> list[str]:
    parts: list[str] = []
    for name, record in zip(comparison.names, comparison.records, strict=True):
        parts += [f"<h3>{escape(name)}</h3>", definitions(record.system)]
        told = values.joined(f"{s.used} of {s.listed} {s.role} clips" for s in record.sets)
        parts.append(paragraph(f"{told} used", "quiet"))
    first = comparison.records[0]
    if first.protocol is not None:
        whole = {"name": first.protocol.name, "hash": first.protocol.hash}
        parts += ["<h3>Protocol</h3>", definitions(whole | dict(first.protocol.details))]
    return parts
