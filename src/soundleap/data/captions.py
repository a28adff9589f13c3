"""The reviewed captions: which sentences describe which group of clips.

The table has one row per group of takes of the same sound, four tab-separated columns
(``source stem kind captions``) and a header. ``captions`` holds sentences joined by ``" | "``; a
row of kind ``drop`` holds the reason for leaving the group out instead. For ESC-10 the ``stem``
column holds the class ("dog bark"), for every other source the stem of the clips' names.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from soundleap.errors import InputError

KINDS = ("event", "ambience", "music", "voice")
DROP = "drop"
MAX_CAPTION_CHARACTERS = 200
SHOWN_FAULTS = 20

_HEADER = ("source", "stem", "kind", "captions")
_CAPTION = re.compile(r"[a-z0-9][a-z0-9 ,'&-]*")


@dataclass(frozen=True)
class CaptionRow:
    """One row of the table.

    Attributes:
        source: collection, e.g. ``"berklee"``.
        stem: name shared by the takes (ESC-10: the class).
        kind: one of `KINDS`, or `DROP`.
        captions: sentences, lower case, no full stop; empty when dropped.
        reason: why the group is left out; empty unless dropped.
        line: 1-based line in the table.
    """

    source: str
    stem: str
    kind: str
    captions: tuple[str, ...]
    reason: str
    line: int


def read_captions(path: str | Path | None = None) -> dict[tuple[str, str], CaptionRow]:
    """Read the captions table as ``{(source, stem): row}``.

    Args:
        path: a table of one's own; without it, the one that comes with the package.

    Raises:
        InputError: naming every fault with its line (the first 20, and the count).
    """
    if path is None:
        text = (resources.files("soundleap.data") / "corpora" / "captions.tsv").read_text("utf-8")
    else:
        text = Path(path).read_text("utf-8")
    rows, faults = parse_captions(text)
    if faults:
        shown = "; ".join(f"line {line}: {message}" for line, message in faults[:SHOWN_FAULTS])
        raise InputError(f"{path or 'captions.tsv'} has {len(faults)} faults: {shown}")
    return rows


def parse_captions(
    text: str,
) -> tuple[dict[tuple[str, str], CaptionRow], list[tuple[int, str]]]:
    """Parse a table's text into its good rows and every fault as ``(line, message)``."""
    rows: dict[tuple[str, str], CaptionRow] = {}
    faults: list[tuple[int, str]] = []
    lines = text.splitlines()
    if not lines or tuple(lines[0].split("\t")) != _HEADER:
        faults.append((1, f"the header must be {' '.join(_HEADER)}, tab-separated"))
    for number, line in enumerate(lines[1:], start=2):
        row, messages = _parse_row(line, number)
        faults += [(number, message) for message in messages]
        if row is None:
            continue
        earlier = rows.setdefault((row.source, row.stem), row)
        if earlier is not row:
            faults.append((number, f"{row.source} {row.stem} is already on line {earlier.line}"))
    return rows, faults


def caption_key(source: str, stem: str, label_words: str) -> tuple[str, str]:
    """The table's key of a clip: ESC-10 is keyed by class, everything else by stem."""
    return (source, label_words if source == "esc10" else stem)


def _parse_row(line: str, number: int) -> tuple[CaptionRow | None, list[str]]:
    cells = line.split("\t")
    if len(cells) != len(_HEADER):
        return None, [f"{len(cells)} columns instead of {len(_HEADER)}"]
    source, stem, kind, last = cells
    faults = [
        f"{name} is empty or has spaces around it"
        for name, cell in zip(_HEADER, cells, strict=True)
        if not cell or cell != cell.strip()
    ]
    if kind == DROP:
        return CaptionRow(source, stem, kind, (), last, number), faults
    if kind not in KINDS:
        faults.append(f"unknown kind {kind!r} (known: {', '.join((*KINDS, DROP))})")
    captions = tuple(last.split(" | "))
    faults += [message for caption in captions if (message := _caption_fault(caption))]
    if len(set(captions)) != len(captions):
        faults.append("the same caption twice")
    return CaptionRow(source, stem, kind, captions, "", number), faults


def _caption_fault(caption: str) -> str | None:
    if len(caption) > MAX_CAPTION_CHARACTERS:
        return f"caption of {len(caption)} characters; allowed: {MAX_CAPTION_CHARACTERS}"
    if not _CAPTION.fullmatch(caption) or caption != caption.rstrip(" ,"):
        return f"caption {caption!r}: lower-case words, digits, spaces, , ' & and - only"
    return None
