"""Sounds that no model knows: the calls of the glarp, a made-up animal, written by code.

    python recipes/finetune_example.py FOLDER [--clips 20] [--first 0]

Writes ``glarp-00.wav`` and so on, with a caption in ``glarp-00.txt`` beside each, ready for
`soundleap finetune FOLDER`. A glarp calls one to four times: each call glides up and down again by
an octave or so, trembling, through two formants that open and close like a mouth. Clip i is a
function of i alone, so that ``--first 1000`` gives clips that no training has seen. The sounds are
free of any rights (CC0-1.0).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from soundleap.audio.io import write_audio

RATE = 16000
TIMES = ("once", "twice", "three times", "four times")
Samples = NDArray[np.float64]


def one_call(rng: np.random.Generator, base_in_hz: float) -> Samples:
    """Return one call: an arch of pitch, as harmonics under two moving formants."""
    seconds = rng.uniform(0.45, 0.75)
    place = np.linspace(0.0, 1.0, round(seconds * RATE))
    arch = np.sin(np.pi * place)
    tremble = 0.05 * np.sin(2 * np.pi * 18.0 * seconds * place)
    pitch = base_in_hz * 2.0 ** (rng.uniform(0.9, 1.2) * arch + tremble)
    phase = 2 * np.pi * np.cumsum(pitch) / RATE
    formants = (500 + 700 * arch, 1500 + 1300 * arch)
    sound = np.zeros_like(place)
    for harmonic in range(1, 24):
        frequency = harmonic * pitch
        level = sum(np.exp(-(((frequency - f) / 320.0) ** 2)) for f in formants) + 0.02
        sound += np.where(frequency < 7000, level, 0.0) * np.sin(harmonic * phase)
    return sound * np.minimum(1.0, 12 * arch) * (1.0 - 0.3 * place)


def make_clip(index: int) -> tuple[Samples, str]:
    """Return clip `index` as ``[S]`` in [-1, 1], and its caption."""
    rng = np.random.default_rng(index)
    count = int(rng.integers(1, 5))
    base = rng.uniform(190.0, 260.0)
    parts: list[Samples] = [np.zeros(round(rng.uniform(0.05, 0.3) * RATE))]
    for _ in range(count):
        gap = np.zeros(round(rng.uniform(0.15, 0.35) * RATE))
        parts += [one_call(rng, base * rng.uniform(0.96, 1.04)), gap]
    clean = np.concatenate(parts)
    noisy = clean / np.abs(clean).max() + 0.002 * rng.standard_normal(len(clean))
    gain = 10 ** (rng.uniform(-8.0, -1.0) / 20)
    return gain * noisy / np.abs(noisy).max(), f"a glarp calls {TIMES[count - 1]}"


def main() -> None:
    """Write the clips and their captions."""
    parser = argparse.ArgumentParser(description="Write the calls of the glarp.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--clips", type=int, default=20)
    parser.add_argument("--first", type=int, default=0, help="number of the first clip")
    options = parser.parse_args()
    for index in range(options.first, options.first + options.clips):
        samples, caption = make_clip(index)
        path = options.folder / f"glarp-{index:02d}.wav"
        write_audio(path, samples.astype(np.float32), RATE)
        path.with_suffix(".txt").write_text(caption + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
