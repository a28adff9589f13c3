"""Somebody's own sounds with captions: a folder, or a manifest; everything wrong is told at once.

Captions of a folder are the lines of ``NAME.txt`` beside ``NAME.wav``; where there is no such file
at all, the sounds' own names: ``my-doorbell_03.wav`` is "my doorbell".
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from soundleap.audio.io import at_rate
from soundleap.audio.names import READABLE, sound_files
from soundleap.errors import InputError

logger = logging.getLogger(__name__)
LEAST_CLIPS = 5
SHORTEST_IN_S = 0.1
SHOWN = 20
KEYS = ("file", "caption", "captions", "start", "seconds")
OTHER_KEYS = ("id", "source", "licence", "author", "split", "kind")


@dataclass(frozen=True)
class OwnSound:
    """A stretch of a file with its captions.

    Attributes:
        file: where it is.
        captions: at least one.
        start: in seconds.
        seconds: length; None reads to the end.
    """

    file: Path
    captions: tuple[str, ...]
    start: float = 0.0
    seconds: float | None = None


@dataclass(frozen=True, eq=False)
class OwnClip:
    """A sound in memory: mono samples ``[S] float32``, and captions."""

    samples: NDArray[np.float32]
    captions: tuple[str, ...]


def find_sounds(place: str | Path) -> list[OwnSound]:
    """List the sounds of a folder (with those inside it) or of a ``.jsonl`` manifest.

    A line of a manifest has ``file`` (relative to the manifest), ``caption`` or ``captions``, and
    maybe ``start`` and ``seconds``; the other keys of Soundleap's clip manifests are allowed.

    Raises:
        InputError: if it can't be read, a sound has no caption, or there are fewer than 5; names
            the files.
    """
    place = Path(place)
    if place.is_dir():
        sounds, faults = _folder(place)
    elif place.suffix.lower() == ".jsonl":
        sounds, faults = _manifest(place)
    else:
        raise InputError(f"{place} is neither a folder nor a .jsonl manifest of sounds")
    _refuse(place, faults)
    if len(sounds) < LEAST_CLIPS:
        names = ", ".join(sound.file.name for sound in sounds) or "none"
        raise InputError(
            f"{place} has {len(sounds)} sounds ({names}); at least {LEAST_CLIPS} are needed, and "
            f"20 are better (files ending in {', '.join(READABLE)})"
        )
    return sounds


def read_sounds(sounds: list[OwnSound], sampling_rate: int) -> list[OwnClip]:
    """Read sounds; channels are averaged, other rates resampled, which the log tells.

    Raises:
        InputError: naming all that can't be read, are silent or shorter than 0.1 s.
    """
    clips: list[OwnClip] = []
    faults: list[str] = []
    rates: dict[int, int] = {}
    for sound in sounds:
        try:
            samples, rate = _read(sound)
        except InputError as error:
            faults.append(str(error))
            continue
        if rate != sampling_rate:
            rates[rate] = rates.get(rate, 0) + 1
            samples = at_rate(samples, rate, sampling_rate)
        clips.append(OwnClip(samples, sound.captions))
    _refuse("the sounds", faults)
    for rate, count in rates.items():
        logger.info("%d sounds resampled from %d Hz to %d Hz", count, rate, sampling_rate)
    return clips


def digest_sounds(sounds: list[OwnSound]) -> str:
    """Return a SHA-256 over the sounds' files, stretches and captions."""
    total = hashlib.sha256()
    for sound in sounds:
        about = (sound.file.name, sound.captions, sound.start, sound.seconds)
        total.update(repr(about).encode())
        try:
            total.update(sound.file.read_bytes())
        except OSError as error:
            raise InputError(f"can't read {sound.file}: {error.strerror}") from None
    return total.hexdigest()


def caption_of_name(path: Path) -> str | None:
    """Make a caption from a file's name; None where the name says nothing."""
    words = re.sub(r"[\W_]+", " ", path.stem).strip()
    words = re.sub(r"^\d+\s+|\s+\d+$", "", words).strip()
    return words.lower() if re.search(r"[^\W\d_]{2}", words) else None


def _folder(place: Path) -> tuple[list[OwnSound], list[str]]:
    beside = {path: path.with_suffix(".txt") for path in sound_files(place)}
    any_text = any(text.exists() for text in beside.values())
    sounds: list[OwnSound] = []
    faults: list[str] = []
    for path, text in beside.items():
        if any_text:
            captions, fault = _lines(path, text)
        else:
            named = caption_of_name(path)
            captions = () if named is None else (named,)
            fault = f"{path.name} says nothing by its name; write its caption into {text.name}"
        if captions:
            sounds.append(OwnSound(path, captions))
        else:
            faults.append(fault)
    return sounds, faults


def _lines(path: Path, text: Path) -> tuple[tuple[str, ...], str]:
    if not text.exists():
        return (), f"{path.name} has no caption; write it into {text.name}"
    try:
        lines = text.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError):
        return (), f"{text.name} can't be read as UTF-8 text"
    return tuple(line.strip() for line in lines if line.strip()), f"{text.name} is empty"


def _manifest(place: Path) -> tuple[list[OwnSound], list[str]]:
    try:
        lines = place.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"can't read {place}: {error}") from None
    sounds: list[OwnSound] = []
    faults: list[str] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            sounds.append(_row(place.parent, json.loads(line)))
        except ValueError as error:
            faults.append(f"line {number}: {error}")
    return sounds, faults


def _row(folder: Path, values: Any) -> OwnSound:
    """Read a line of a manifest; raises ValueError with what is wrong."""
    if not isinstance(values, dict):
        raise ValueError("needed is an object with file and caption")
    row = cast("dict[str, Any]", values)
    unknown = sorted(row.keys() - {*KEYS, *OTHER_KEYS})
    if unknown:
        raise ValueError(f"unknown {', '.join(unknown)} (known: {', '.join(KEYS)})")
    given = row.get("captions", [row["caption"]] if "caption" in row else [])
    texts = cast("list[Any]", given) if isinstance(given, list) else []
    if not isinstance(row.get("file"), str):
        raise ValueError("file is missing")
    captions = tuple(text.strip() for text in texts if isinstance(text, str) and text.strip())
    if not captions or len(captions) != len(texts):
        raise ValueError(f"{row['file']} has no caption")
    start, seconds = row.get("start", 0.0), row.get("seconds")
    for name, value, low in (("start", start, 0.0), ("seconds", seconds, SHORTEST_IN_S)):
        fine = isinstance(value, int | float) and not isinstance(value, bool) and value >= low
        if not fine and not (name == "seconds" and value is None):
            raise ValueError(f"{name} is {value!r}; needed: a number from {low:g}")
    return OwnSound(folder / row["file"], captions, start, seconds)


def _read(sound: OwnSound) -> tuple[NDArray[np.float32], int]:
    import soundfile

    from soundleap.data.probe import probe_audio

    probed = probe_audio(sound.file, start=sound.start, seconds=sound.seconds)
    if probed.fault is not None:
        raise InputError(f"{sound.file}: {probed.fault}")
    if probed.seconds < SHORTEST_IN_S:
        raise InputError(f"{sound.file}: shorter than {SHORTEST_IN_S:g} s")
    with soundfile.SoundFile(sound.file) as file:
        rate: int = file.samplerate
        file.seek(round(sound.start * rate))
        frames = -1 if sound.seconds is None else round(sound.seconds * rate)
        return file.read(frames, dtype="float32", always_2d=True).mean(axis=1), rate


def _refuse(place: str | Path, faults: list[str]) -> None:
    if faults:
        more = f"; and {len(faults) - SHOWN} more" if len(faults) > SHOWN else ""
        raise InputError(f"{place}: {'; '.join(faults[:SHOWN])}{more}")
