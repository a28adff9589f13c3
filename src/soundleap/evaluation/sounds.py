"""Reading a clip for an evaluation, or saying why it can't be used. Nothing is guessed."""

from __future__ import annotations

import functools
import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from soundleap.errors import AudioFileError
from soundleap.evaluation.clips import EvaluationClip
from soundleap.evaluation.embedders.base import file_sha256
from soundleap.evaluation.settings import Preparation

SILENCE_PEAK = 1e-4


@dataclass(frozen=True)
class Sound:
    """Samples of a clip and what was done to them.

    Attributes:
        waveform: [S] float32, mono.
        rate: in Hz.
        file_rate: of the file, in Hz.
        channels: of the file.
        sha256: of the file.
        notes: changes, each with its kind, a colon and details; empty if there were none.
    """

    waveform: NDArray[np.float32]
    rate: int
    file_rate: int
    channels: int
    sha256: str
    notes: tuple[str, ...] = ()

    @property
    def seconds(self) -> float:
        """Length in seconds."""
        return self.waveform.size / self.rate


def read_sound(clip: EvaluationClip, preparation: Preparation) -> Sound:
    """Read a clip as mono samples at its file's rate; cut and level it as prepared.

    Raises:
        AudioFileError: the clip can't be used. The message begins with the kind of fault and a
            colon: unreadable, too short, not finite, silent, or what the clip's own fault says.
    """
    if clip.fault is not None or clip.path is None:
        raise AudioFileError(clip.fault or "missing: no such clip")
    samples, rate = _read_samples(clip, clip.path)
    if not np.isfinite(samples).all():
        raise AudioFileError("not finite: holds NaN or infinity")
    waveform, notes = samples.mean(axis=1), list[str]()
    if samples.shape[1] > 1:
        notes.append(f"channels averaged: {samples.shape[1]}")
    if preparation.max_seconds is not None and waveform.size > preparation.max_seconds * rate:
        waveform = waveform[: round(preparation.max_seconds * rate)]
        notes.append(f"cut: after {preparation.max_seconds:g} s")
    if waveform.size < preparation.min_seconds * rate:
        raise AudioFileError(
            f"too short: {waveform.size / rate:.3f} s, at least {preparation.min_seconds:g} s"
        )
    if np.abs(waveform).max() < SILENCE_PEAK:
        raise AudioFileError(f"silent: peak below {SILENCE_PEAK:g}")
    if preparation.level_in_dbfs is not None:
        waveform, gain = _levelled(waveform, rate, preparation.level_in_dbfs)
        notes.append(f"levelled: by {gain:+.1f} dB")
    waveform = np.ascontiguousarray(waveform, dtype=np.float32)
    return Sound(waveform, rate, rate, samples.shape[1], _digest(clip.path), tuple(notes))


def at_rate(sound: Sound, rate: int, preparation: Preparation) -> Sound:
    """Convert to an embedder's rate (soxr, very high quality), where the preparation allows it.

    Raises:
        AudioFileError: another rate, and conversion was not asked for ("sampling rate: ...").
    """
    if sound.rate == rate:
        return sound
    if not preparation.resample:
        raise AudioFileError(
            f"sampling rate: {sound.rate} Hz, not {rate} Hz; give --resample to convert"
        )
    soxr: Any = importlib.import_module("soxr")
    waveform = soxr.resample(sound.waveform, sound.rate, rate, quality="VHQ")
    if not waveform.size:
        raise AudioFileError(f"too short: nothing is left at {rate} Hz")
    notes = (*sound.notes, f"resampled: from {sound.rate} Hz to {rate} Hz")
    waveform = np.ascontiguousarray(waveform, dtype=np.float32)
    return Sound(waveform, rate, sound.file_rate, sound.channels, sound.sha256, notes)


def kind_of(reason: str) -> str:
    """Give the kind that a fault or note begins with."""
    return reason.partition(":")[0]


def _read_samples(clip: EvaluationClip, path: Path) -> tuple[NDArray[np.float32], int]:
    """Read all channels of the stretch: [S, C] and the file's rate."""
    soundfile: Any = importlib.import_module("soundfile")
    try:
        with soundfile.SoundFile(str(path)) as file:
            first = round(clip.start_in_s * file.samplerate)
            left = max(file.frames - first, 0)
            wanted = left
            if clip.duration_in_s is not None:
                wanted = round(clip.duration_in_s * file.samplerate)
            # a manifest gives seconds with 3 decimals
            if left == 0 or wanted == 0 or wanted > left + 0.001 * file.samplerate:
                raise AudioFileError(
                    f"too short: {left / file.samplerate:.3f} s from {clip.start_in_s:g} s on; "
                    f"{wanted / file.samplerate:.3f} s asked for"
                )
            file.seek(first)
            return file.read(wanted, dtype="float32", always_2d=True), file.samplerate
    except (soundfile.SoundFileError, OSError) as error:
        raise AudioFileError(f"unreadable: {error}") from None


def _levelled(
    waveform: NDArray[np.float32], rate: int, level: float
) -> tuple[NDArray[np.float32], float]:
    """Scale to an active level in dBFS, or less where the peak would pass 0.95; give the gain."""
    from soundleap.audio.loudness import PEAK, active_rms

    rms, peak = active_rms(waveform, block=max(1, rate // 20)), float(np.abs(waveform).max())
    gain = min(10.0 ** (level / 20.0) / rms, PEAK / peak)
    return waveform * np.float32(gain), 20.0 * float(np.log10(gain))


def _digest(path: Path) -> str:
    status = path.stat()
    return _digest_of(path, status.st_size, status.st_mtime_ns)


@functools.lru_cache(maxsize=64)  # the stretches of one file follow each other
def _digest_of(path: Path, size: int, changed: int) -> str:
    return file_sha256(path)
