"""A small embedder with classes and texts, for tests of what stands around embedders."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from soundleap.evaluation.embedders.base import ClipFeatures, check_waveform, pad_to
from soundleap.evaluation.record import EmbedderInfo
from soundleap.evaluation.tags import ESC10

CLASSES = tuple(name for names in ESC10.values() for name in names)
INFO = EmbedderInfo(
    name="toy",
    description="band energies",
    sampling_rate=16000,
    resampler="soxr VHQ",
    window="0.25 s patches, shorter clips padded",
    layer="log energies",
    dimensions=6,
    rows_per="patch",
    licence="Apache-2.0",
    weights_sha256="0" * 64,
    source="tests",
    classes=len(CLASSES),
    has_text=True,
)
PATCH = 4000


class ToyEmbedder:
    """Log energies of six bands every 0.25 s; the classes that ESC-10 is mapped to."""

    def __init__(self, name: str = "toy", rate: int = 16000) -> None:
        self.info = replace(INFO, name=name, sampling_rate=rate)
        self.class_names = CLASSES
        self.calls = 0

    def analyse(self, waveform: np.ndarray) -> ClipFeatures:
        check_waveform(waveform)
        self.calls += 1
        padded, notes = pad_to(waveform, PATCH, self.info.sampling_rate)
        patches = padded[: len(padded) // PATCH * PATCH].reshape(-1, PATCH)
        power = np.abs(np.fft.rfft(patches))[:, 1:1981].reshape(len(patches), 6, 330)
        embeds = np.log((power**2).mean(axis=2) + 1e-9).astype(np.float32)
        return ClipFeatures(embeds, np.tile(embeds, 5)[:, : len(CLASSES)], notes)

    def embed_text(self, captions: Sequence[str]) -> np.ndarray:
        rows = []
        for caption in captions:
            seed = int.from_bytes(hashlib.sha256(caption.encode()).digest()[:4], "big")
            rows.append(np.random.default_rng(seed).standard_normal(6))
        made = np.array(rows)
        return (made / np.linalg.norm(made, axis=1, keepdims=True)).astype(np.float32)
