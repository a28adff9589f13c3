"""All the training waveforms in memory, as 16-bit samples at a common level."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from soundleap.audio.io import read_audio
from soundleap.audio.loudness import normalise_level
from soundleap.data.manifest import Clip, read_manifest
from soundleap.errors import AudioFileError, InputError

logger = logging.getLogger(__name__)
MIN_SAMPLES = 2048


@dataclass(frozen=True)
class PoolClip:
    """A clip and its samples."""

    clip: Clip
    samples: NDArray[np.int16]


class AudioPool:
    """Clips of one split, read from manifests.

    Attributes:
        clips: what could be read.
        skipped: one line for every clip that could not, also logged.
    """

    def __init__(
        self, manifests: Sequence[str], *, split: str, sampling_rate: int, progress: bool = True
    ):
        self.sampling_rate = sampling_rate
        self.clips: list[PoolClip] = []
        self.skipped: list[str] = []
        for manifest in manifests:
            wanted = [clip for clip in read_manifest(Path(manifest)) if clip.split == split]
            for clip in tqdm(wanted, desc=f"reading {manifest}", disable=not progress):
                self._add(clip, Path(manifest).parent)
        for line in self.skipped:
            logger.warning("skipped: %s", line)
        if not self.clips:
            raise InputError(f"no readable clip of split {split!r} in {', '.join(manifests)}")

    def _add(self, clip: Clip, folder: Path) -> None:
        try:
            samples = read_audio(
                folder / clip.file,
                sampling_rate=self.sampling_rate,
                start_in_s=clip.start,
                duration_in_s=clip.seconds,
            )
        except AudioFileError as error:
            self.skipped.append(f"{clip.id}: {error}")
            return
        if len(samples) < MIN_SAMPLES:
            self.skipped.append(f"{clip.id}: shorter than {MIN_SAMPLES} samples")
            return
        scaled = normalise_level(samples)
        self.clips.append(PoolClip(clip, np.round(scaled * 32767.0).astype(np.int16)))

    def waveform(self, index: int) -> Tensor:
        """Return clip `index` as ``[S] float32``."""
        return torch.from_numpy(self.clips[index].samples.astype(np.float32) / 32767.0)

    def crops(self, count: int, samples: int, generator: torch.Generator) -> Tensor:
        """Draw random crops ``[B, S]``; clips are weighted by length, short ones are looped."""
        lengths = [min(len(entry.samples), 8 * samples) ** 0.5 for entry in self.clips]
        picks = torch.multinomial(torch.tensor(lengths), count, True, generator=generator)
        return torch.stack([self._crop(int(i), samples, generator) for i in picks])

    def _crop(self, index: int, samples: int, generator: torch.Generator) -> Tensor:
        waveform = self.waveform(index)
        if len(waveform) < samples:
            waveform = waveform.repeat(-(-samples // len(waveform)))
        last = len(waveform) - samples
        start = int(torch.randint(last + 1, (), generator=generator))
        return waveform[start : start + samples]
