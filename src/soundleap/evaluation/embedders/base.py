"""The protocol that every embedder follows, and what it gives for a clip."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from soundleap.errors import InputError, NotFiniteError
from soundleap.evaluation.record import EmbedderInfo

FloatArray = NDArray[np.floating[Any]]
RESAMPLER = "soxr VHQ"


@dataclass(frozen=True)
class ClipFeatures:
    """What one pass over one clip gives.

    Attributes:
        embeds: [n, D] float32, one row a patch.
        logits: [n, classes] float32, before any sigmoid or softmax; None if it is no tagger.
        notes: what had to be done to the clip (padding), as sentences.
    """

    embeds: FloatArray
    logits: FloatArray | None = None
    notes: tuple[str, ...] = ()

    @property
    def tags(self) -> FloatArray:
        """Scores in [0, 1]: the sigmoid of the logits, [n, classes] float32.

        Raises:
            InputError: the embedder is no tagger.
        """
        if self.logits is None:
            raise InputError("this embedder gives no class scores; take a tagger, e.g. yamnet")
        return (0.5 + 0.5 * np.tanh(self.logits / 2)).astype(np.float32)


@runtime_checkable
class Embedder(Protocol):
    """Turns one clip into feature vectors; a clip's features never depend on other clips."""

    @property
    def info(self) -> EmbedderInfo:
        """What it is and hears."""
        ...

    def analyse(self, waveform: FloatArray) -> ClipFeatures:
        """Embed (and score) a mono waveform [S] float32 in [-1, 1] at `info.sampling_rate`.

        Raises:
            InputError: the waveform is not [S] with S >= 1.
            NotFiniteError: it holds NaN or infinity.
        """
        ...


@runtime_checkable
class Tagger(Embedder, Protocol):
    """An embedder that also names what it hears: `analyse` gives logits."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the logits."""
        ...


@runtime_checkable
class TextEmbedder(Embedder, Protocol):
    """An embedder that puts captions into the same space as sounds."""

    def embed_text(self, captions: Sequence[str]) -> FloatArray:
        """Embed captions: [len(captions), D] float32, rows of length 1."""
        ...


def check_waveform(waveform: FloatArray) -> None:
    """Refuse what no embedder takes.

    Raises:
        InputError: the waveform is not [S] with S >= 1.
        NotFiniteError: it holds NaN or infinity.
    """
    if waveform.ndim != 1 or waveform.size == 0:
        raise InputError(f"waveform has shape {list(waveform.shape)}; allowed: [S] with S >= 1")
    if not np.isfinite(waveform).all():
        raise NotFiniteError("waveform holds NaN or infinity; fix the clip or leave it out")


def pad_to(waveform: FloatArray, samples: int, rate: int) -> tuple[FloatArray, tuple[str, ...]]:
    """Append zeros up to `samples`; return the waveform and a note if any were needed."""
    missing = samples - waveform.shape[-1]
    if missing <= 0:
        return waveform, ()
    return np.pad(waveform, (0, missing)), (f"zero-padded to {samples / rate:g} s",)


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, in pieces of 1 MiB."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()
