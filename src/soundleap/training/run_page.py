"""``index.html`` in a run's folder: what the run is, how far it is, how it sounds.

One file with relative links, so that the folder can be opened from a disk, moved, or served.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

from soundleap.data.manifest import write_text_atomically
from soundleap.training.checkpoint import list_checkpoints
from soundleap.training.progress import Pace, duration
from soundleap.training.records import read_stats
from soundleap.training.run_folder import Sound, heldout_numbers, sounds_of
from soundleap.training.run_plots import curve
from soundleap.training.settings import RunSettings, as_dict, stage_name

NAME = "index.html"
HERE = Path(__file__).parent
MOST_SNAPSHOTS = 24
"""Most snapshots that a prompt is shown at across time; of more, these many evenly spaced."""


class RunPage:
    """Writes the page at the start, at every snapshot and at the end of a process."""

    def __init__(self, settings: RunSettings, folder: Path, pace: Pace):
        self.settings, self.folder, self.pace = settings, folder, pace
        self._write(pace.first, "running")

    def __str__(self) -> str:
        return "page of the run"

    def step(self, iteration: int) -> None:
        """Nothing to write."""

    def scalars(self, iteration: int, values: Mapping[str, float]) -> None:
        """Nothing to write yet."""

    def snapshot(self, iteration: int) -> None:
        """Write the page anew."""
        self._write(iteration, "running")

    def end(self, iteration: int, *, finished: bool) -> None:
        """Write the page for the last time."""
        self._write(iteration, "finished" if finished else "stopped: the same command goes on")

    def _write(self, iteration: int, state: str) -> None:
        text = run_page(self.settings, self.folder, iteration, state, self.pace)
        write_text_atomically(self.folder / NAME, text)


def run_page(
    settings: RunSettings, folder: Path, iteration: int, state: str, pace: Pace | None = None
) -> str:
    """Make the page of a run from what its folder holds.

    Args:
        settings: of the run.
        folder: of the run.
        iteration: iterations done.
        state: in words.
        pace: of the process that does it, for the time left.
    """
    title = f"{stage_name(type(settings))}: {folder.resolve().name}"
    prompts = getattr(settings, "preview_prompts", ())
    sounds = sounds_of(folder, prompts=prompts)
    stats = read_stats(folder)
    body = "\n".join(
        [
            f"<h1>{escape(title)}</h1>",
            _state(settings, stats, iteration, state, pace),
            _section("Curves", _curves(folder, stats)),
            _section("Newest sounds", _newest(folder, sounds)),
            _section("Each prompt across time", _across_time(folder, sounds)),
            _section("Files", _files(folder)),
            _section("Settings", _settings(settings)),
        ]
    )
    style, script = ((HERE / f"run_page.{kind}").read_text("utf-8") for kind in ("css", "js"))
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>\n{style}</style>\n</head>\n<body>\n"
        '<a class="skip" href="#main">Skip to the content</a>\n'
        f'<main id="main">\n{body}\n</main>\n<script>\n{script}</script>\n</body>\n</html>\n'
    )


def _section(title: str, body: str) -> str:
    return f"<section><h2>{escape(title)}</h2>\n{body}</section>" if body else ""


def _state(
    settings: RunSettings,
    stats: Sequence[Mapping[str, float]],
    iteration: int,
    state: str,
    pace: Pace | None,
) -> str:
    total = settings.iterations
    words = [f"Iteration {iteration:,} of {total:,}, {state}."]
    if stats:
        words.append(f"{duration(stats[-1]['seconds'])} of work so far.")
    if pace is not None and iteration < total and pace.seconds_each is not None:
        words.append(f"{pace.seconds_each:.3g} s an iteration, {pace.left()}.")
    skipped = stats[-1].get("skipped", 0) if stats else 0
    if skipped:
        words.append(f"{skipped:.0f} steps skipped, whose loss or gradient was not finite.")
    written = time.strftime("%Y-%m-%d %H:%M:%S %Z")
    return (
        f'<progress max="{total}" value="{min(iteration, total)}" aria-label="Progress"></progress>'
        f"\n<p>{escape(' '.join(words))}</p>\n"
        f'<p class="quiet">Written {written}; reload for the newest. '
        "<kbd>j</kbd> <kbd>k</kbd> go from sound to sound, <kbd>p</kbd> plays and pauses.</p>"
    )


def _curves(folder: Path, stats: Sequence[Mapping[str, float]]) -> str:
    heldout = [(n, v) for n, v in heldout_numbers(folder) if math.isfinite(v)]
    drawn = [curve("held-out loss", heldout, smooth=False)] if heldout else []
    names = dict.fromkeys(name for line in stats for name in line)
    for name in sorted(names, key=lambda name: (name != "loss", name)):
        if name in ("iteration", "seconds"):
            continue
        points = [
            (line["iteration"], line[name])
            for line in stats
            if name in line and math.isfinite(line[name])
        ]
        if points:
            drawn.append(curve(name, points))
    numbers = _table(("iteration", "held-out loss"), [(f"{n:,}", f"{v:.5f}") for n, v in heldout])
    details = _details(f"{len(heldout)} held-out numbers", numbers) if heldout else ""
    return f'<div class="plots">{"".join(drawn)}</div>{details}' if drawn else ""


def _newest(folder: Path, sounds: Sequence[Sound]) -> str:
    if not sounds:
        return ""
    last = sounds[-1].iteration
    items = [
        f"<li><b>{escape(sound.title)}</b>{_way(sound)}{_player(folder, sound)}</li>"
        for sound in sorted(
            (sound for sound in sounds if sound.iteration == last),
            key=lambda sound: (sound.path.name, sound.way),
        )
    ]
    return f'<p>Iteration {last:,}.</p>\n<ul class="sounds">{"".join(items)}</ul>'


def _across_time(folder: Path, sounds: Sequence[Sound]) -> str:
    every = sorted({sound.iteration for sound in sounds})
    if len(every) < 2:
        return ""
    shown = set(spread(every, MOST_SNAPSHOTS))
    note = ""
    if len(shown) < len(every):
        note = f'<p class="quiet">{len(shown)} of {len(every)} snapshots; the folder has all.</p>'
    parts: list[str] = []
    for title in dict.fromkeys(sound.title for sound in sounds):
        mine = [sound for sound in sounds if sound.title == title and sound.iteration in shown]
        strips = "".join(_strip(folder, way, mine) for way in dict.fromkeys(s.way for s in mine))
        parts.append(_details(title, strips))
    return note + "".join(parts)


def _strip(folder: Path, way: str, sounds: Sequence[Sound]) -> str:
    """Show the sounds of one way, newest first."""
    items = [
        f"<li>iteration {sound.iteration:,}{_player(folder, sound)}</li>"
        for sound in reversed(sounds)
        if sound.way == way
    ]
    head = f'<p class="quiet">{escape(way)}</p>' if way else ""
    return f'{head}<ul class="strip">{"".join(items)}</ul>'


def spread(items: Sequence[int], most: int) -> list[int]:
    """Return at most `most` items, evenly spaced, the first and the last among them."""
    if len(items) <= most:
        return list(items)
    return [items[round(i * (len(items) - 1) / (most - 1))] for i in range(most)]


def _way(sound: Sound) -> str:
    return f' <span class="quiet">{escape(sound.way)}</span>' if sound.way else ""


def _player(folder: Path, sound: Sound) -> str:
    name = escape(f"{sound.label}, iteration {sound.iteration}")
    picture = ""
    if sound.picture is not None:
        picture = (
            f'<img loading="lazy" src="{_link(folder, sound.picture)}" alt="Spectrogram: {name}">'
        )
    source = _link(folder, sound.path)
    return f'{picture}<audio controls preload="none" src="{source}" aria-label="{name}"></audio>'


def _files(folder: Path) -> str:
    paths = [*reversed(list_checkpoints(folder)), *sorted(folder.glob("*.safetensors"))]
    paths += [p for p in (folder / "stats.jsonl", folder / "settings.yaml") if p.exists()]
    rows = [
        (
            f'<a href="{_link(folder, path)}"><code>{escape(path.name)}</code></a>',
            f"{path.stat().st_size / 1e6:.2f} MB",
            time.strftime("%Y-%m-%d %H:%M", time.localtime(path.stat().st_mtime)),
        )
        for path in paths
    ]
    return _table(("file", "size", "written"), rows) if rows else ""


def _settings(settings: RunSettings) -> str:
    rows = [
        (f"<code>{escape(name)}</code>", f"<code>{escape(_value(value))}</code>")
        for name, value in as_dict(settings).items()
    ]
    return _details(f"{len(rows)} settings", _table(("setting", "value"), rows, numeric=False))


def _value(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(str(item) for item in value)
    return str(value)


def _details(title: str, body: str) -> str:
    return f"<details><summary>{escape(title)}</summary>{body}</details>"


def _table(header: Sequence[str], rows: Iterable[Sequence[str]], *, numeric: bool = True) -> str:
    """Make a table of HTML cells; with `numeric` all columns but the first are aligned right."""
    kind = ' class="n"' if numeric else ""

    def row(cells: Sequence[str], tag: str) -> str:
        first, *rest = cells
        return (
            f"<tr><{tag}>{first}</{tag}>{''.join(f'<{tag}{kind}>{c}</{tag}>' for c in rest)}</tr>"
        )

    body = "".join(row(cells, "td") for cells in rows)
    head = row([escape(name) for name in header], "th")
    return f'<div class="scroll"><table><thead>{head}</thead><tbody>{body}</tbody></table></div>'


def _link(folder: Path, path: Path) -> str:
    return escape(quote(path.relative_to(folder).as_posix()))
