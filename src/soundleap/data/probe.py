"""Look into one sound file and say what is wrong with it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy.typing as npt

SILENCE_PEAK = 1e-4
"""Largest absolute sample (-80 dBFS) of what counts as silence."""

LENGTH_TOLERANCE_IN_S = 0.01
"""How far a stretch may reach beyond the end: manifests round to milliseconds."""


@dataclass(frozen=True)
class Probe:
    """What a stretch of a sound file holds.

    Attributes:
        seconds: length of the stretch that could be read.
        sampling_rate: in Hz.
        peak: largest absolute sample, 1 is full scale; 0 where it could not be read.
        fault: what is wrong, or None.
    """

    seconds: float
    sampling_rate: int
    peak: float
    fault: str | None


def probe_audio(path: Path, *, start: float = 0.0, seconds: float | None = None) -> Probe:
    """Decode a stretch of a file and report its length, peak and fault.

    Args:
        path: any file that libsndfile reads.
        start: beginning of the stretch in seconds.
        seconds: its length; None reads to the end.
    """
    import soundfile  # pyright: ignore[reportMissingTypeStubs]

    try:
        with soundfile.SoundFile(path) as file:
            return _probe_open_file(file, start, seconds)
    except (soundfile.LibsndfileError, OSError, RuntimeError) as error:
        return Probe(0.0, 0, 0.0, f"can't be read as audio ({_first_line(error)})")


def _probe_open_file(file: Any, start: float, seconds: float | None) -> Probe:
    import numpy as np

    rate: int = file.samplerate
    length = file.frames / rate
    end = length if seconds is None else start + seconds
    if end > length + LENGTH_TOLERANCE_IN_S:
        fault = f"start + seconds is {end:g} s but the file ends at {length:g} s"
        return Probe(length, rate, 0.0, fault)
    file.seek(round(start * rate))
    samples: npt.NDArray[np.float32] = file.read(round((end - start) * rate), dtype="float32")
    read_seconds = len(samples) / rate
    if not len(samples):
        return Probe(0.0, rate, 0.0, "no samples")
    if not np.isfinite(samples).all():
        return Probe(read_seconds, rate, 0.0, "NaN or infinite samples")
    peak = float(np.abs(samples).max())
    fault = f"silence (peak {peak:g} is below {SILENCE_PEAK:g})" if peak < SILENCE_PEAK else None
    return Probe(read_seconds, rate, peak, fault)


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
