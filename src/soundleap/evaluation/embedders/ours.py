"""The place of Soundleap's own text-audio model among the embedders.

Whatever it is used for must say so: a model's maker should not be its only judge. `info.ours` is
True, and reports mark its numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from soundleap.errors import InputError
from soundleap.evaluation.embedders.base import (
    RESAMPLER,
    ClipFeatures,
    FloatArray,
    check_waveform,
)
from soundleap.evaluation.record import EmbedderInfo


class TextAudio(Protocol):
    """What a text-audio model offers.

    Attributes:
        licence: of its weights.
        weights_sha256: of its file.
        window: what it hears of a clip, in words.
    """

    licence: str
    weights_sha256: str
    window: str

    @property
    def sampling_rate(self) -> int:
        """In Hz, of the sound it is given."""
        ...

    @property
    def dim(self) -> int:
        """Numbers D of a vector."""
        ...

    def embed_audio(self, waveform: FloatArray) -> FloatArray:
        """Embed a mono waveform [S]: [D]."""
        ...

    def embed_text(self, captions: Sequence[str]) -> FloatArray:
        """Embed captions: [n, D]."""
        ...


class OurEmbedder:
    """A `TextAudio` as an embedder, marked as ours; vectors are scaled to length 1."""

    def __init__(self, model: TextAudio) -> None:
        self._model = model
        self.info = EmbedderInfo(
            name="ours",
            description="Soundleap's own text-audio model (ours: not an independent judge)",
            sampling_rate=model.sampling_rate,
            resampler=RESAMPLER,
            window=model.window,
            layer="projection, length 1",
            dimensions=model.dim,
            rows_per="clip",
            licence=model.licence,
            weights_sha256=model.weights_sha256,
            source="Soundleap",
            ours=True,
            has_text=True,
        )

    def analyse(self, waveform: FloatArray) -> ClipFeatures:
        """Embed a mono waveform [S]: [1, D]; raises as `Embedder.analyse`."""
        check_waveform(waveform)
        return ClipFeatures(_unit(np.asarray(self._model.embed_audio(waveform))[None]))

    def embed_text(self, captions: Sequence[str]) -> FloatArray:
        """Embed captions: [n, D] float32, rows of length 1."""
        return _unit(np.asarray(self._model.embed_text(captions)))


def _unit(rows: FloatArray) -> FloatArray:
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)


def open_ours(weights: str | None, device: str) -> OurEmbedder:
    """Open our model from its folder; None takes the one that ships with the package.

    Raises:
        InputError: if `weights` is no folder.
        BundleError: if the model is missing or damaged.
    """
    if weights is not None and not Path(weights).is_dir():
        raise InputError(f"weights is {weights!r}; ours takes its model's folder, or none")
    from soundleap.models.text_audio import TextAudioModel

    model = TextAudioModel.default() if weights is None else TextAudioModel.from_folder(weights)
    return OurEmbedder(model)
