"""Render a corpus: FLAC files and a manifest with exact captions.

Every clip is a function of (source, seed, index): stopping, resuming, the number of workers and the
number of clips do not change it.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import TypedDict

import numpy as np
import soundfile  # pyright: ignore[reportMissingTypeStubs]
from numpy.typing import NDArray

from soundleap.data.rendering.fluidsynth import fluidsynth_missing, render_scores
from soundleap.data.rendering.music import compose
from soundleap.data.rendering.noises import make_noise
from soundleap.data.rendering.rooms import finish, trim_silence
from soundleap.data.rendering.speech import flite_missing, plan_talk, render_talk
from soundleap.errors import InputError, check_range, unknown_name

SAMPLING_RATE = 16_000
PIECES_PER_RUN = 30
"""Pieces that share one run of FluidSynth; part of what determines the samples."""
_HELD_OUT_SHARE = 0.05


@dataclass(frozen=True)
class Source:
    """Where clips come from: the licence and author of their rows, and the default kind."""

    name: str
    licence: str
    author: str
    kind: str


SOURCES: dict[str, Source] = {
    "music": Source(
        "rendered-music", "MIT", "Soundleap, with FluidR3 GM sounds by Frank Wen", "music"
    ),
    "speech": Source(
        "rendered-speech", "MIT-Festival", "Soundleap, with Flite voices by CMU", "voice"
    ),
    "noise": Source("rendered-noise", "CC0-1.0", "Soundleap", "event"),
}
"""What can be rendered, by the name used in `counts`."""


class Row(TypedDict):
    """One line of the manifest."""

    id: str
    file: str
    start: float
    seconds: float
    captions: list[str]
    source: str
    licence: str
    author: str
    split: str
    kind: str


@dataclass
class RenderReport:
    """What a call did: clips made, clips found complete, and failures as (id, reason)."""

    rendered: int = 0
    skipped: int = 0
    failures: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])


@dataclass(frozen=True)
class _Clip:
    captions: tuple[str, ...]
    kind: str
    waveform: Callable[[], NDArray[np.float32]]


Progress = Callable[[int, int], None]


def render_corpus(
    out: Path | str,
    *,
    counts: Mapping[str, int],
    seed: int = 0,
    workers: int = 1,
    progress: Progress | None = None,
) -> RenderReport:
    """Render clips into OUT/audio/<source>/<id>.flac and describe them in OUT/manifest.jsonl.

    Complete files of an earlier call are kept and counted as skipped. The manifest holds exactly
    the clips of this call that exist, so repeat it with larger counts to extend a corpus.

    Args:
        out: the corpus folder, made if missing.
        counts: how many clips of "music", "speech" and "noise".
        seed: chooses another corpus of the same kind, 0 or more.
        workers: batches rendered at the same time, 1 to 64; never changes a sample.
        progress: called with (clips done, clips in all) after each batch.

    Raises:
        InputError: an unknown name in `counts`, a value out of range, or a missing synthesizer.
    """
    _check(counts, seed, workers)
    folder = Path(out)
    jobs = [
        (name, range(first, min(first + PIECES_PER_RUN, count)))
        for name, count in counts.items()
        for first in range(0, count, PIECES_PER_RUN)
    ]
    report, rows, total = RenderReport(), list[Row](), sum(counts.values())
    with ThreadPoolExecutor(workers) as pool:
        batches = [pool.submit(_render_batch, folder, name, seed, part) for name, part in jobs]
        for batch in batches:
            _account(batch.result(), report, rows)
            if progress is not None:
                progress(report.rendered + report.skipped + len(report.failures), total)
    _write_manifest(folder, rows)
    return report


def _check(counts: Mapping[str, int], seed: int, workers: int) -> None:
    for name, count in counts.items():
        if name not in SOURCES:
            raise unknown_name("kind of clip", name, SOURCES)
        check_range(f"count of {name}", count, 0, 1_000_000, "clips")
    check_range("seed", seed, 0, 2**63 - 1)
    check_range("workers", workers, 1, 64)
    missing = {"music": fluidsynth_missing, "speech": flite_missing}
    for name, reason in missing.items():
        if counts.get(name) and (why := reason()):
            raise InputError(f"can't render {name}: {why}, or set its count to 0")


_Done = tuple[str, Row | None, str]
"""Clip id, its row unless it failed, and "rendered", "skipped" or the reason of the failure."""


def _account(done: Iterable[_Done], report: RenderReport, rows: list[Row]) -> None:
    for clip_id, row, outcome in done:
        if row is None:
            report.failures.append((clip_id, outcome))
            continue
        rows.append(row)
        report.rendered += outcome == "rendered"
        report.skipped += outcome == "skipped"


def _render_batch(out: Path, name: str, seed: int, indices: range) -> list[_Done]:
    done: list[_Done] = []
    for index, make in zip(indices, _clips(name, seed, indices), strict=True):
        clip_id = f"{SOURCES[name].name}-{seed}-{index:06d}"
        path = out / "audio" / SOURCES[name].name / f"{clip_id}.flac"
        try:
            clip = make()
            seconds, outcome = _duration_in_s(path), "skipped"
            if seconds is None:
                rng = random.Random(f"level:{name}:{seed}:{index}")
                waveform = finish(rng, clip.waveform(), SAMPLING_RATE)
                _write_flac(path, waveform)
                seconds, outcome = len(waveform) / SAMPLING_RATE, "rendered"
            done.append((clip_id, _row(out, path, clip, SOURCES[name], seconds), outcome))
        except Exception as error:  # one bad clip must not end a run of hours; it is reported
            done.append((clip_id, None, f"{type(error).__name__}: {error}"))
    return done


def _clips(name: str, seed: int, indices: range) -> list[Callable[[], _Clip]]:
    rngs = [random.Random(f"{name}:{seed}:{index}") for index in indices]
    if name == "music":
        return _music(rngs)
    make = {"speech": _speech, "noise": _noise}[name]
    return [partial(make, rng) for rng in rngs]


def _music(rngs: list[random.Random]) -> list[Callable[[], _Clip]]:
    pieces = cache(lambda: [compose(rng) for rng in rngs])
    waveforms = cache(lambda: render_scores([p.score for p in pieces()], SAMPLING_RATE))
    return [
        lambda k=k: _Clip(
            pieces()[k].captions, "music", lambda: trim_silence(waveforms()[k], SAMPLING_RATE)
        )
        for k in range(len(rngs))
    ]


def _speech(rng: random.Random) -> _Clip:
    talk = plan_talk(rng)
    return _Clip(talk.captions, "voice", lambda: render_talk(rng, talk, SAMPLING_RATE))


def _noise(rng: random.Random) -> _Clip:
    noise = make_noise(rng)
    return _Clip(noise.captions, noise.kind, lambda: noise.waveform)


def _duration_in_s(path: Path) -> float | None:
    """Length of a complete file of ours; None if it must be made."""
    try:
        info = soundfile.info(path)
    except (OSError, soundfile.LibsndfileError):
        return None
    return info.frames / SAMPLING_RATE if info.samplerate == SAMPLING_RATE else None


def _write_flac(path: Path, waveform: NDArray[np.float32]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.part")
    try:
        soundfile.write(unfinished, waveform, SAMPLING_RATE, format="FLAC", subtype="PCM_16")
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def _row(out: Path, path: Path, clip: _Clip, source: Source, seconds: float) -> Row:
    return Row(
        id=path.stem,
        file=path.relative_to(out).as_posix(),
        start=0.0,
        seconds=round(seconds, 4),
        captions=list(clip.captions),
        source=source.name,
        licence=source.licence,
        author=source.author,
        split=split_of(path.stem),
        kind=clip.kind,
    )


def split_of(clip_id: str) -> str:
    """Put about 5 % of the clips into "heldout", by a hash of the id, the others into "train"."""
    share = int.from_bytes(hashlib.sha256(clip_id.encode()).digest()[:8], "big") / 2**64
    return "heldout" if share < _HELD_OUT_SHARE else "train"


def _write_manifest(folder: Path, rows: list[Row]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    unfinished = folder / ".manifest.jsonl.part"
    unfinished.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    os.replace(unfinished, folder / "manifest.jsonl")
