"""What is known of every clip of the corpus: its place in its collection, words, author, licence.

The table comes with the package, tab-separated and xz-compressed (``clips.tsv.xz``). `fetch_corpus`
cuts clips by it and checks their lengths against it.
"""

from __future__ import annotations

import lzma
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from importlib import resources
from pathlib import Path
from typing import Any

from soundleap.errors import InputError

_LICENCE_URLS = {
    "CC0-1.0": "https://creativecommons.org/publicdomain/zero/1.0/",
    "CC-BY-3.0": "https://creativecommons.org/licenses/by/3.0/",
    "CC-BY-4.0": "https://creativecommons.org/licenses/by/4.0/",
    "LicenseRef-Public-Domain": "https://creativecommons.org/publicdomain/mark/1.0/",
}


@dataclass(frozen=True)
class ClipFacts:
    """One clip of the corpus.

    Attributes:
        id: unique name.
        source: collection.
        source_path: path of the original inside the collection.
        stem: name shared by takes of the same sound.
        label_words: words of the file name.
        title: title that the uploader gave, or empty.
        author: as the source names them.
        licence: SPDX identifier.
        licence_as_stated: the words of the source.
        source_url: page of the clip or the collection.
        seconds: length of the clip.
        excerpt_start: start within the trimmed original, or None for its beginning.
    """

    id: str
    source: str
    source_path: str
    stem: str
    label_words: str
    title: str
    author: str
    licence: str
    licence_as_stated: str
    source_url: str
    seconds: float
    excerpt_start: float | None

    @property
    def licence_url(self) -> str:
        """Link to the licence's text."""
        return _LICENCE_URLS[self.licence]


_COLUMNS = tuple(field.name for field in fields(ClipFacts))


def read_facts(path: str | Path | None = None) -> list[ClipFacts]:
    """Read the table that comes with the package, or another one.

    Raises:
        InputError: if it is not such a table.
    """
    if path is None:
        content = (resources.files("soundleap.data") / "corpora" / "clips.tsv.xz").read_bytes()
    else:
        content = Path(path).read_bytes()
    lines = lzma.decompress(content).decode("utf-8").splitlines()
    if lines[0].split("\t") != list(_COLUMNS):
        raise InputError(f"{path or 'clips.tsv.xz'}: columns must be {' '.join(_COLUMNS)}")
    return [_parse(line) for line in lines[1:]]


def write_facts(rows: Iterable[Mapping[str, Any]], path: str | Path) -> None:
    """Write the table from a corpus's metadata (`soundleap.data.prepare.read_metadata`)."""
    lines = ["\t".join(_COLUMNS)]
    for row in rows:
        cells = ("" if row[key] is None else str(row[key]) for key in _COLUMNS)
        lines.append("\t".join(" ".join(cell.split()) for cell in cells))
    Path(path).write_bytes(lzma.compress("\n".join(lines).encode(), preset=9 | lzma.PRESET_EXTREME))


def _parse(line: str) -> ClipFacts:
    cells = line.split("\t")
    values: dict[str, Any] = dict(zip(_COLUMNS, cells, strict=True))
    values["seconds"] = float(cells[-2])
    values["excerpt_start"] = float(cells[-1]) if cells[-1] else None
    return ClipFacts(**values)
