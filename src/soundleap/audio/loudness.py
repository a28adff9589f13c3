"""Level of a waveform, and the one normalisation that training data goes through."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

TARGET_RMS_DB = -20.0
PEAK = 0.95


def active_rms(samples: NDArray[np.float32], block: int = 800, gate_db: float = -40.0) -> float:
    """Return the root mean square of the blocks that are within `gate_db` of the loudest block.

    Args:
        samples: ``[S]``.
        block: samples a block (50 ms at 16 kHz).
        gate_db: quieter blocks than this below the loudest do not count.
    """
    count = max(1, len(samples) // block)
    blocks = samples[: count * block].reshape(count, -1)
    power = np.square(blocks, dtype=np.float64).mean(axis=1)
    loud = power[power >= power.max() * 10.0 ** (gate_db / 10.0)]
    return float(np.sqrt(loud.mean()))


def normalise_level(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scale to an active level of -20 dBFS, or less where the peak would pass 0.95.

    Silence is returned as it is.
    """
    rms, peak = active_rms(samples), float(np.abs(samples).max())
    if rms == 0.0:
        return samples
    gain = min(10.0 ** (TARGET_RMS_DB / 20.0) / rms, PEAK / peak)
    return (samples * gain).astype(np.float32)
