"""Folders of short sounds with captions, for tests of fine-tuning."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile


def write_sounds_folder(folder: Path, *, count: int = 5, rate: int = 16000) -> Path:
    """Write falling tones of 0.4 to 0.8 s as ``tone-N.wav``."""
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        time = np.arange(round((0.4 + 0.1 * i) * rate)) / rate
        tone = 0.3 * np.sin(2 * np.pi * (900 - 200 * time + 40 * i) * time)
        soundfile.write(folder / f"tone-{i}.wav", tone.astype(np.float32), rate)
    return folder
