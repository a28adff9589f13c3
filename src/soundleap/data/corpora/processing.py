"""From an original sound file to the clips cut from it: the same steps for every collection."""

from __future__ import annotations

import re
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any, cast

from soundleap.errors import AudioFileError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Samples = npt.NDArray[np.float32]

SAMPLING_RATE = 16_000
SILENCE = 1e-3
"""-60 dBFS: quieter samples at either end are trimmed."""
KEPT_IN_S = 0.02
"""Silence that is kept at either end."""
OFFSET = 2e-3
"""Median from which a constant offset is subtracted."""
LONGEST_IN_S = 12.0

_MPEG_FRAME = re.compile(rb"\xff[\xe2-\xff]")


@dataclass(frozen=True)
class Cut:
    """Which part of a trimmed original is a clip; a start of None means the first 12 s."""

    start: float | None
    seconds: float


def read_original(content: bytes) -> Samples:
    """Decode a sound file and bring it to 16 kHz mono without offset, trimmed: ``[S]`` float32.

    Raises:
        AudioFileError: if it can't be decoded, holds NaN or is silent throughout.
    """
    import numpy as np
    import soxr  # pyright: ignore[reportMissingTypeStubs]

    samples, rate = _decode(content)
    mono = samples.mean(axis=1)
    if not len(mono) or not np.isfinite(mono).all():
        raise AudioFileError("holds no samples, or NaN or infinite ones")
    if rate != SAMPLING_RATE:
        mono = cast("Samples", soxr.resample(mono, rate, SAMPLING_RATE))
    # The median, not the mean: a short loud bang has a mean without having an offset.
    offset = np.float32(np.median(mono))
    return trim(mono - offset if abs(offset) > OFFSET else mono)


def trim(samples: Samples) -> Samples:
    """Cut silence off both ends, keeping 20 ms of it.

    Raises:
        AudioFileError: if there is nothing but silence.
    """
    import numpy as np

    loud = np.flatnonzero(np.abs(samples) > SILENCE)
    if not len(loud):
        raise AudioFileError("silent")
    kept = round(KEPT_IN_S * SAMPLING_RATE)
    return samples[max(int(loud[0]) - kept, 0) : int(loud[-1]) + 1 + kept]


def cut_clip(samples: Samples, cut: Cut) -> Samples:
    """Cut a clip out of a trimmed original; scaled down only if it exceeds full scale.

    Raises:
        AudioFileError: if the original ends before the clip starts.
    """
    import numpy as np

    start = round((cut.start or 0.0) * SAMPLING_RATE)
    length = round((LONGEST_IN_S if cut.start is None else cut.seconds) * SAMPLING_RATE)
    clip = samples[start : start + length]
    if not len(clip):
        raise AudioFileError(f"ends before {cut.start:g} s, where the clip starts")
    peak = np.abs(clip).max()
    return clip / peak if peak > 1.0 else clip


def _decode(content: bytes) -> tuple[Samples, int]:
    import soundfile  # pyright: ignore[reportMissingTypeStubs]

    for candidate in (content, _from_first_frame(content)):
        try:
            found: Any = soundfile.read(BytesIO(candidate), dtype="float32", always_2d=True)
            return found
        except (soundfile.LibsndfileError, RuntimeError, ValueError) as problem:
            error = problem
    raise AudioFileError(f"can't be decoded ({error})")  # pyright: ignore[reportPossiblyUnbound]


def _from_first_frame(content: bytes) -> bytes:
    """Some MP3 files have a tag of wrong length, over which the decoder stumbles."""
    match = _MPEG_FRAME.search(content) if content[:3] == b"ID3" else None
    return content[match.start() :] if match else content
