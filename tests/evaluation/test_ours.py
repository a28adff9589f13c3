from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from soundleap.errors import BundleError, InputError
from soundleap.evaluation.embedders import open_embedder
from soundleap.evaluation.embedders.base import TextEmbedder
from soundleap.evaluation.embedders.ours import OurEmbedder


class Model:
    sampling_rate = 16000
    dim = 3
    licence = "Apache-2.0"
    weights_sha256 = "a" * 64
    window = "whole clip"

    def embed_audio(self, waveform: np.ndarray) -> np.ndarray:
        return np.array([waveform.sum(), 1.0, 2.0])

    def embed_text(self, captions: Sequence[str]) -> np.ndarray:
        return np.array([[len(c), 1.0, 0.0] for c in captions])


def test_our_model_is_marked_as_ours_and_gives_unit_vectors():
    embedder = OurEmbedder(Model())
    assert isinstance(embedder, TextEmbedder)
    assert embedder.info.ours
    assert "not an independent judge" in embedder.info.description
    found = embedder.analyse(np.ones(4, np.float32)).embeds
    assert found == pytest.approx(np.array([[4, 1, 2]]) / np.sqrt(21))
    assert np.linalg.norm(embedder.embed_text(["rain"]), axis=1) == pytest.approx(1)


def test_the_shipped_model_is_the_default(tmp_path):
    embedder = open_embedder("ours", None)
    assert embedder.info.licence == "CC-BY-4.0"
    assert len(embedder.info.weights_sha256) == 64
    assert embedder.embed_text(["rain"]).shape == (1, embedder.info.dimensions)
    with pytest.raises(InputError, match="its model's folder, or none"):
        open_embedder("ours", str(tmp_path / "none"))
    with pytest.raises(BundleError, match=r"holds no model\.safetensors"):
        open_embedder("ours", str(tmp_path))
