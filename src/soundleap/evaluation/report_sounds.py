"""Sounds inside pages: read as they were judged, encoded, and kept within a size."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from soundleap.audio.io import encode_audio
from soundleap.audio.loudness import normalise_level
from soundleap.errors import AudioFileError
from soundleap.evaluation.record import ClipRow

MIME = {"mp3": "audio/mpeg", "flac": "audio/flac", "wav": "audio/wav", "opus": "audio/ogg"}
BYTES_IN_A_MEGABYTE = 1e6


@dataclass(frozen=True)
class PageSound:
    """Samples for a page.

    Attributes:
        waveform: [S] float32, peak at most 1.
        sampling_rate: in Hz.
    """

    waveform: NDArray[np.float32]
    sampling_rate: int


@dataclass
class SoundBudget:
    """How much sound a page may hold, and what had to be left out.

    Attributes:
        megabytes: limit of all sounds as they stand in the page.
        spent: bytes so far.
        left_out: sounds that did not fit.
        missing: sounds whose file could not be read any more, with the reason.
    """

    megabytes: float
    spent: int = 0
    left_out: int = 0
    missing: dict[str, str] = field(default_factory=dict[str, str])

    def url(self, sound: PageSound, format: str) -> str | None:
        """Encode a sound as a data URL; None if it does not fit any more."""
        data = encode_audio(sound.waveform, sound.sampling_rate, format)
        url = sound_url(data, format)
        if self.spent + len(url) > self.megabytes * BYTES_IN_A_MEGABYTE:
            self.left_out += 1
            return None
        self.spent += len(url)
        return url


def read_sound(
    path: str | Path,
    *,
    start_in_s: float = 0.0,
    seconds: float | None = None,
    level: bool = False,
) -> PageSound:
    """Read a stretch of a file, channels averaged.

    Args:
        path: any format that libsndfile reads.
        start_in_s: where it starts.
        seconds: how long it is; None reads to the end.
        level: scale to the level of `normalise_level`; else only a peak above 1 is scaled down.

    Raises:
        AudioFileError: it can't be read, is empty or not finite.
    """
    import soundfile

    try:
        with soundfile.SoundFile(str(path)) as file:
            rate: int = file.samplerate
            file.seek(round(start_in_s * rate))
            frames = -1 if seconds is None else round(seconds * rate)
            waveform = file.read(frames, dtype="float32", always_2d=True).mean(axis=1)
    except (soundfile.SoundFileError, OSError) as error:
        raise AudioFileError(f"can't read {path}: {error}") from None
    if waveform.size == 0 or not np.isfinite(waveform).all():
        raise AudioFileError(f"{path} holds no samples, or NaN")
    if level:
        return PageSound(normalise_level(waveform), rate)
    peak = float(np.abs(waveform).max())
    return PageSound(waveform if peak <= 1 else np.clip(waveform / peak, -1, 1), rate)


def read_clip(clip: ClipRow, *, level: bool = False) -> PageSound:
    """Read what was judged of a clip; raises `AudioFileError` as `read_sound`."""
    if clip.path is None:
        raise AudioFileError(f"where {clip.file} is was not recorded")
    return read_sound(
        clip.path, start_in_s=clip.start_in_s, seconds=clip.seconds or None, level=level
    )


def sound_url(data: bytes, format: str) -> str:
    """Write an encoded sound as a data URL; `format` is a key of `MIME`."""
    return f"data:{MIME[format]};base64," + base64.b64encode(data).decode()


def page_format(sampling_rate: int) -> str:
    """Choose MP3, which every browser plays, or WAV for rates that MP3 does not know."""
    known = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
    return "mp3" if sampling_rate in known else "wav"
