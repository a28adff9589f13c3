"""From a folder of clips with metadata to a manifest that training reads."""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from tqdm import tqdm

from soundleap.data.captions import (
    DROP,
    SHOWN_FAULTS,
    CaptionRow,
    caption_key,
    read_captions,
)
from soundleap.data.manifest import Clip, write_manifest, write_text_atomically
from soundleap.data.probe import probe_audio
from soundleap.data.splits import Origin, choose_heldout
from soundleap.errors import InputError, check_range, unknown_name

Link = Literal["hardlink", "copy", "symlink"]
LINKS = ("hardlink", "copy", "symlink")

_ATTRIBUTION = ("id", "source", "title", "author", "licence", "licence_url", "source_url")
_NEEDED = ("id", "file", "source", "stem", "label_words", "author", "licence", "source_url")


@dataclass(frozen=True)
class PrepareReport:
    """What `prepare_corpus` did.

    Attributes:
        manifest: path of the manifest.
        clips: count of clips in it.
        seconds: their length together.
        by_source: ``{source: {split: count}}``.
        by_kind: ``{kind: count}``.
        by_licence: ``{licence: count}``.
        dropped: ``{"source/stem": reason}`` of the groups that the captions table leaves out.
        dropped_clips: count of their clips.
        skipped: ``{id: what is wrong}`` of clips that could not be used.
        placed: ``{"in place" | "hardlink" | "copy" | "symlink": count}`` of audio files.
        heldout_share: as asked for.
        seed: as asked for.
    """

    manifest: str
    clips: int
    seconds: float
    by_source: dict[str, dict[str, int]]
    by_kind: dict[str, int]
    by_licence: dict[str, int]
    dropped: dict[str, str]
    dropped_clips: int
    skipped: dict[str, str]
    placed: dict[str, int]
    heldout_share: float
    seed: int


def prepare_corpus(
    corpus_dir: str | Path,
    out_dir: str | Path,
    *,
    heldout_share: float = 0.06,
    seed: int = 0,
    link: Link = "hardlink",
    captions: str | Path | None = None,
    progress: bool = True,
) -> PrepareReport:
    """Check every clip, give it its captions and split, and write the manifest.

    Writes ``manifest.jsonl``, ``ATTRIBUTION.tsv`` and ``report.json`` to ``out_dir``, and the audio
    used unless that is the corpus itself. Clips that can't be decoded are named in the report.

    Args:
        corpus_dir: folder with ``metadata.jsonl`` and the files it names.
        out_dir: may be ``corpus_dir`` itself: then nothing but the three files is written.
        heldout_share: share of recordings held out, 0 to 0.5; of each ESC-10 class it is a quarter
            whatever this is, unless 0.
        seed: another number gives another split.
        link: how audio gets to ``out_dir``; a hard link that the file system refuses becomes a
            copy, which the report counts.
        captions: another captions table than the package's.
        progress: show a progress bar.

    Raises:
        InputError: if the metadata are faulty, or the captions table lacks a row for a clip.
    """
    check_range("heldout_share", heldout_share, 0.0, 0.5)
    if link not in LINKS:
        raise unknown_name("link", link, LINKS)
    corpus_dir, out_dir = Path(corpus_dir).resolve(), Path(out_dir).resolve()
    rows = read_metadata(corpus_dir / "metadata.jsonl")
    table = _rows_of_table(rows, read_captions(captions))
    heldout = choose_heldout([_origin(row) for row in rows], heldout_share=heldout_share, seed=seed)
    kept = [row for row in rows if table[row["id"]].kind != DROP]
    clips: list[Clip] = []
    skipped: dict[str, str] = {}
    placed: Counter[str] = Counter()
    for row in tqdm(kept, desc="clips", unit="clip", disable=not progress):
        probe = probe_audio(corpus_dir / row["file"])
        if probe.fault:
            skipped[row["id"]] = f"{row['file']}: {probe.fault}"
            continue
        split = "heldout" if row["id"] in heldout else "train"
        clips.append(_make_clip(row, table[row["id"]], probe.seconds, split))
        placed[_place(corpus_dir / row["file"], out_dir / row["file"], link)] += 1
    report = PrepareReport(
        manifest=str(out_dir / "manifest.jsonl"),
        **_count(clips),
        dropped=_dropped(table.values()),
        dropped_clips=len(rows) - len(kept),
        skipped=skipped,
        placed=dict(placed),
        heldout_share=heldout_share,
        seed=seed,
    )
    _write_results(clips, rows, report, out_dir)
    return report


def read_metadata(path: Path) -> list[dict[str, Any]]:
    """Read a corpus's ``metadata.jsonl``, one object per clip.

    Raises:
        InputError: if it is missing, or naming the faulty lines.
    """
    if not path.is_file():
        raise InputError(f"{path} does not exist: the corpus folder must hold metadata.jsonl")
    rows: list[dict[str, Any]] = []
    faults: list[str] = []
    seen: set[str] = set()
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        try:
            row = json.loads(line)
            missing = [key for key in _NEEDED if not row.get(key) or not isinstance(row[key], str)]
        except (ValueError, AttributeError) as error:
            faults.append(f"line {number}: {error}")
            continue
        if missing:
            faults.append(f"line {number}: no {', '.join(missing)}")
        elif row["id"] in seen:
            faults.append(f"line {number}: id {row['id']!r} twice")
        elif row["file"].startswith("/") or ".." in Path(row["file"]).parts:
            faults.append(f"line {number}: {row['file']!r} leads out of the corpus")
        else:
            seen.add(row["id"])
            rows.append(row)
    if faults:
        shown = "; ".join(faults[:SHOWN_FAULTS])
        raise InputError(f"{path} has {len(faults)} faults: {shown}")
    return rows


def write_attribution(rows: Iterable[Mapping[str, Any]], path: Path) -> None:
    """Write who made what under which licence, one tab-separated line per clip."""
    lines = ["\t".join(_ATTRIBUTION)]
    for row in rows:
        lines.append("\t".join(" ".join(str(row.get(k) or "").split()) for k in _ATTRIBUTION))
    write_text_atomically(path, "\n".join(lines) + "\n")


def _write_results(
    clips: list[Clip], rows: list[dict[str, Any]], report: PrepareReport, out_dir: Path
) -> None:
    used = {clip.id for clip in clips}
    write_attribution((row for row in rows if row["id"] in used), out_dir / "ATTRIBUTION.tsv")
    text = json.dumps(asdict(report), indent=2, ensure_ascii=False) + "\n"
    write_text_atomically(out_dir / "report.json", text)
    write_manifest(clips, out_dir / "manifest.jsonl")


def _rows_of_table(
    rows: list[dict[str, Any]], table: Mapping[tuple[str, str], CaptionRow]
) -> dict[str, CaptionRow]:
    keys = {row["id"]: caption_key(row["source"], row["stem"], row["label_words"]) for row in rows}
    unknown = sorted({" ".join(key) for key in keys.values() if key not in table})
    if unknown:
        shown = ", ".join(unknown[:SHOWN_FAULTS])
        raise InputError(f"{len(unknown)} stems have no row in the captions table: {shown}")
    return {clip_id: table[key] for clip_id, key in keys.items()}


def _origin(row: Mapping[str, Any]) -> Origin:
    return Origin(row["id"], row["source"], row["stem"], row["label_words"], row["source_url"])


def _make_clip(row: Mapping[str, Any], entry: CaptionRow, seconds: float, split: str) -> Clip:
    return Clip(
        id=row["id"],
        file=row["file"],
        start=0.0,
        seconds=seconds,
        captions=entry.captions,
        source=row["source"],
        licence=row["licence"],
        author=row["author"],
        split=split,
        kind=entry.kind,
    )


def _count(clips: list[Clip]) -> dict[str, Any]:
    by_source: dict[str, dict[str, int]] = {}
    for clip in clips:
        by_source.setdefault(clip.source, {"train": 0, "heldout": 0})[clip.split] += 1
    return {
        "clips": len(clips),
        "seconds": round(sum(clip.seconds for clip in clips), 3),
        "by_source": by_source,
        "by_kind": dict(Counter(clip.kind for clip in clips)),
        "by_licence": dict(Counter(clip.licence for clip in clips)),
    }


def _dropped(entries: Iterable[CaptionRow]) -> dict[str, str]:
    return {f"{row.source}/{row.stem}": row.reason for row in entries if row.kind == DROP}


def _place(source: Path, target: Path, link: Link) -> str:
    """Bring a file to its place, through a temporary name, and say how."""
    if target == source or (target.exists() and target.samefile(source)):
        return "in place"
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.partial")
    partial.unlink(missing_ok=True)
    how: str = link
    if link == "symlink":
        partial.symlink_to(source)
    elif link == "hardlink":
        try:
            os.link(source, partial)
        except OSError:
            how = "copy"
    if how == "copy":
        shutil.copyfile(source, partial)
    os.replace(partial, target)
    return how
