"""What pipelines and generators give back."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from soundleap.audio.io import write_audio
from soundleap.audio.names import check_writable, plan_paths


@dataclass(frozen=True)
class AudioOutput:
    """Generated sounds.

    Attributes:
        audios: one ``[C, S] float32`` array in [-1, 1] for each sample, prompt by prompt.
        sampling_rate: in Hz.
        seeds: the seed of each sample.
        metadata: what each sample was made with, as it is written into files.
    """

    audios: list[NDArray[np.float32]]
    sampling_rate: int
    seeds: list[int]
    metadata: list[dict[str, Any]]

    def save(
        self, output: str | Path, *, format: str | None = None, overwrite: bool = False
    ) -> list[Path]:
        """Write all sounds with their metadata.

        Args:
            output: a file for one sound, a folder for any number (``0001-slug-seed.wav``).
            format: wav, flac, ogg, opus or mp3; None goes by the file's ending, wav in a folder.
            overwrite: replace files that are there.

        Returns:
            The files.

        Raises:
            InputError: for an unknown format, or a file that exists.
            AudioFileError: if a file can't be written.
        """
        sounds = [(str(entry["prompt"]), int(entry["seed"])) for entry in self.metadata]
        paths = plan_paths(output, sounds, format)
        check_writable(paths, overwrite=overwrite)
        for path, audio, entry in zip(paths, self.audios, self.metadata, strict=True):
            write_audio(
                path, audio, self.sampling_rate, format=format, metadata=entry, overwrite=overwrite
            )
        return paths


@dataclass(frozen=True)
class Result:
    """One sound.

    Attributes:
        waveform: ``[C, S] float32`` in [-1, 1].
        sampling_rate: in Hz.
        seed: the seed that was used.
        metadata: what the sound was made with.
        seconds: this sound's share of the time its batch spent in each stage: load, text, network,
            codec (latents to mel), vocoder.
    """

    waveform: NDArray[np.float32]
    sampling_rate: int
    seed: int
    metadata: dict[str, Any]
    seconds: dict[str, float]


def scale_down(audio: NDArray[np.float32]) -> tuple[NDArray[np.float32], float]:
    """Scale a sound to a peak of 1 if it exceeds that; returns the sound and the gain."""
    peak = float(np.abs(audio).max())
    if peak <= 1.0:
        return audio, 1.0
    gain = 1.0 / peak
    return np.clip(audio * np.float32(gain), -1.0, 1.0), gain  # the clip catches rounding only
