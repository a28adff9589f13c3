"""Features of one side and one embedder, from the cache into files that are read in blocks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from soundleap.errors import SoundleapError
from soundleap.evaluation.cache import FeatureCache, caption_key
from soundleap.evaluation.collect import Entry
from soundleap.evaluation.embedders.base import ClipFeatures
from soundleap.evaluation.features import Features, FeatureWriter, FloatArray
from soundleap.evaluation.record import EmbedderInfo

FILES = ("rows", "vectors", "logits", "tags", "spoken", "texts")


@dataclass(frozen=True)
class Table:
    """All that the metrics need of one side and one embedder; clips are sorted by id.

    Attributes:
        ids: of the clips that this embedder used.
        rows: all feature rows.
        vectors: their mean for each clip.
        logits: mean over patches, one row a clip; None if it is no tagger.
        tags: scores in [0, 1], averaged over patches; None if it is no tagger.
        captioned: ids of the clips with a caption.
        captions: those captions.
        spoken: vectors of those clips; None if it has no text side or no clip has a caption.
        texts: embeddings of those captions; None where `spoken` is.
    """

    ids: tuple[str, ...]
    rows: Features
    vectors: Features
    logits: Features | None
    tags: Features | None
    captioned: tuple[str, ...]
    captions: tuple[str, ...]
    spoken: Features | None
    texts: Features | None


def build_table(
    entries: Sequence[Entry], info: EmbedderInfo, cache: FeatureCache, folder: Path
) -> Table | None:
    """Write the features of one side's clips into files under `folder` and map them.

    Args:
        entries: of one side, sorted by id.
        info: the embedder.
        cache: where the features are.
        folder: for the files; it must stay while the table is used.

    Returns:
        The table, or None if no clip could be used.

    Raises:
        SoundleapError: features are not in the cache any more.
    """
    used = [entry for entry in entries if info.name in entry.keys]
    if not used:
        return None
    writers = {name: FeatureWriter(folder / name) for name in FILES}
    captioned: list[str] = []
    captions: list[str] = []
    for entry in used:
        found = _found(cache.get(info.name, entry.keys[info.name]), entry.row.id, info.name)
        vector = found.embeds.mean(axis=0, keepdims=True, dtype=np.float64)
        writers["rows"].add(found.embeds)
        writers["vectors"].add(vector)
        if found.logits is not None:
            writers["logits"].add(found.logits.mean(axis=0, keepdims=True, dtype=np.float64))
            writers["tags"].add(found.tags.mean(axis=0, keepdims=True, dtype=np.float64))
        if entry.row.prompt and info.has_text:
            writers["spoken"].add(vector)
            writers["texts"].add(_text(entry.row.prompt, info, cache))
            captioned.append(entry.row.id)
            captions.append(entry.row.prompt)
    made = {name: writer.finish() for name, writer in writers.items()}
    rows, vectors = made["rows"], made["vectors"]
    if rows is None or vectors is None:
        return None
    return Table(
        ids=tuple(entry.row.id for entry in used),
        rows=rows,
        vectors=vectors,
        logits=made["logits"],
        tags=made["tags"],
        captioned=tuple(captioned),
        captions=tuple(captions),
        spoken=made["spoken"],
        texts=made["texts"],
    )


def _text(caption: str, info: EmbedderInfo, cache: FeatureCache) -> FloatArray:
    found = cache.get(f"{info.name}-text", caption_key(caption, info))
    return _found(found, caption, info.name).embeds


def _found(features: ClipFeatures | None, name: str, embedder: str) -> ClipFeatures:
    if features is None:
        raise SoundleapError(
            f"the features of {name!r} from {embedder} are not in the cache; run the evaluation "
            "(or this shard) again with the same cache"
        )
    return features
