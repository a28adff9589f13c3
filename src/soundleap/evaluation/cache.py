"""Embeddings on disk, by the content they were computed from."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from soundleap.evaluation.clips import EvaluationClip
from soundleap.evaluation.embedders.base import ClipFeatures, FloatArray
from soundleap.evaluation.record import EmbedderInfo
from soundleap.evaluation.record_io import write_atomically
from soundleap.evaluation.settings import Preparation, settings_hash

VERSION = 1
"""Part of every key; raised when the same key would mean other numbers."""


def default_cache() -> Path:
    """Give the folder for embeddings: `soundleap/evaluation` in the user's cache folder."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "soundleap" / "evaluation"


def clip_key(
    sha256: str, clip: EvaluationClip, preparation: Preparation, info: EmbedderInfo
) -> str:
    """Name the features of a clip by everything they depend on.

    That is the content of the file, the stretch, its cut and level, and the embedder with its
    weights; names and places of files play no part, nor do settings that only refuse clips.
    """
    return settings_hash(
        {
            "version": VERSION,
            "file": sha256,
            "start": clip.start_in_s,
            "seconds": clip.duration_in_s,
            "cut": preparation.max_seconds,
            "level": preparation.level_in_dbfs,
            "resampler": preparation.resampler,
            **_embedder(info),
        }
    )


def caption_key(caption: str, info: EmbedderInfo) -> str:
    """Name the embedding of a caption by its text and the embedder."""
    text = hashlib.sha256(caption.encode()).hexdigest()
    return settings_hash({"version": VERSION, "caption": text, **_embedder(info)})


def _embedder(info: EmbedderInfo) -> dict[str, str]:
    return {
        "embedder": info.name,
        "weights": info.weights_sha256,
        "window": info.window,
        "layer": info.layer,
    }


class FeatureCache:
    """A folder of features: `EMBEDDER/xx/KEY.safetensors`, each written whole or not at all.

    Several processes may share it. A file that can't be read counts as missing.

    Args:
        folder: created when the first entry is written.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def path(self, embedder: str, key: str) -> Path:
        """Place of an entry."""
        return self.folder / embedder / key[:2] / f"{key}.safetensors"

    def get(self, embedder: str, key: str) -> ClipFeatures | None:
        """Read an entry; None if it is not there or damaged."""
        try:
            with safe_open(self.path(embedder, key), framework="numpy") as file:
                embeds = file.get_tensor("embeds")
                logits = file.get_tensor("logits") if "logits" in file.keys() else None
                notes = json.loads((file.metadata() or {}).get("notes", "[]"))
        except (OSError, SafetensorError):
            return None
        return ClipFeatures(embeds, logits, tuple(notes))

    def put(self, embedder: str, key: str, features: ClipFeatures) -> None:
        """Write an entry."""
        arrays = {"embeds": np.ascontiguousarray(features.embeds, dtype=np.float32)}
        if features.logits is not None:
            arrays["logits"] = np.ascontiguousarray(features.logits, dtype=np.float32)
        path = self.path(embedder, key)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, save(arrays, metadata={"notes": json.dumps(features.notes)}))

    def clip(self, embedder: str, key: str, compute: Callable[[], ClipFeatures]) -> ClipFeatures:
        """Read an entry, or compute and write it.

        Both ways give the same numbers to the bit.
        """
        found = self.get(embedder, key)
        if found is None:
            found = compute()
            self.put(embedder, key, found)
        return found

    def captions(
        self, info: EmbedderInfo, captions: list[str], embed: Callable[[list[str]], FloatArray]
    ) -> FloatArray:
        """Give the embeddings of captions [n, D], computing those that are missing one by one.

        One by one, because a caption's vector must not depend on its neighbours' lengths.
        """
        name = f"{info.name}-text"

        def one(caption: str) -> FloatArray:
            key = caption_key(caption, info)
            return self.clip(name, key, lambda: ClipFeatures(embed([caption]))).embeds

        return np.concatenate([one(caption) for caption in captions])
