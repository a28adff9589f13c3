"""From clips to features in the cache: the part of an evaluation that can be sharded."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from soundleap.errors import AudioFileError, check_range
from soundleap.evaluation.cache import FeatureCache, clip_key
from soundleap.evaluation.clips import EvaluationClip
from soundleap.evaluation.embedders.base import Embedder, Tagger, TextEmbedder
from soundleap.evaluation.record import ClipRow, EmbedderInfo, clip_row
from soundleap.evaluation.settings import Preparation
from soundleap.evaluation.sounds import Sound, at_rate, read_sound


@dataclass(frozen=True)
class Entry:
    """A clip and where its features are.

    Attributes:
        row: what is known about it so far.
        keys: embedder -> key of its features in the cache.
    """

    row: ClipRow
    keys: Mapping[str, str]

    def to_dict(self) -> dict[str, Any]:
        """Give plain data for a line of JSON."""
        return {"row": dataclasses.asdict(self.row), "keys": dict(self.keys)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Entry:
        """Read what `to_dict` gave."""
        return cls(clip_row(data["row"]), dict(data["keys"]))


@dataclass(frozen=True)
class Shard:
    """Part `index` of `count`, from 1: every count-th clip of either side."""

    index: int = 1
    count: int = 1

    def __post_init__(self) -> None:
        check_range("shard count", self.count, 1, 100_000)
        check_range("shard index", self.index, 1, self.count)

    def has(self, position: int) -> bool:
        """Whether the clip at a position of the sorted list belongs to it."""
        return position % self.count == self.index - 1


def collect(
    role: str,
    clips: Sequence[EvaluationClip],
    embedders: Sequence[Embedder],
    preparation: Preparation,
    cache: FeatureCache,
    shard: Shard | None = None,
    on_clip: Callable[[str, str], None] | None = None,
) -> Iterator[Entry]:
    """Read clips one by one and see that their features are in the cache.

    Their captions are embedded too, where an embedder can.

    Args:
        role: "generated" or "reference".
        clips: sorted by id.
        embedders: open embedders.
        preparation: what is done to every clip.
        cache: where features are.
        shard: the part to do; None does all.
        on_clip: called with role and id before a clip is read.
    """
    part = shard or Shard()
    for position, clip in enumerate(clips):
        if not part.has(position):
            continue
        if on_clip:
            on_clip(role, clip.id)
        yield _entry(role, clip, embedders, preparation, cache)


def _entry(
    role: str,
    clip: EvaluationClip,
    embedders: Sequence[Embedder],
    preparation: Preparation,
    cache: FeatureCache,
) -> Entry:
    row = ClipRow(
        role=role,
        id=clip.id,
        file=clip.file,
        path=None if clip.path is None else str(clip.path.resolve()),
        start_in_s=clip.start_in_s,
        duration_in_s=clip.duration_in_s,
        prompt=clip.prompt,
        label=clip.label,
    )
    try:
        sound = read_sound(clip, preparation)
    except AudioFileError as error:
        return Entry(dataclasses.replace(row, fault=str(error)), {})
    keys: dict[str, str] = {}
    notes, refused = list(sound.notes), dict[str, str]()
    for embedder in embedders:
        name = embedder.info.name
        try:
            keys[name], said = _features(embedder, sound, clip, preparation, cache)
            notes += said
        except AudioFileError as error:
            refused[name] = str(error)
        if clip.prompt and embedder.info.has_text:
            _embed_caption(embedder, clip.prompt, cache)
    heard = dataclasses.replace(
        row,
        seconds=sound.seconds if keys else 0.0,
        sampling_rate=sound.file_rate,
        channels=sound.channels,
        sha256=sound.sha256,
        notes=tuple(dict.fromkeys(notes)),
        fault=None if keys else next(iter(refused.values())),
        refused=refused,
    )
    return Entry(heard, keys)


def _features(
    embedder: Embedder,
    sound: Sound,
    clip: EvaluationClip,
    preparation: Preparation,
    cache: FeatureCache,
) -> tuple[str, list[str]]:
    """See that a clip's features are in the cache; return their key and notes."""
    info = embedder.info
    key = clip_key(sound.sha256, clip, preparation, info)
    fitting = at_rate(sound, info.sampling_rate, preparation)
    features = cache.clip(info.name, key, lambda: embedder.analyse(fitting.waveform))
    if not np.isfinite(features.embeds).all():
        raise AudioFileError(f"not finite: {info.name} gave NaN or infinity")
    padding = [f"filled up: {info.name}, {note}" for note in features.notes]
    return key, [*fitting.notes[len(sound.notes) :], *padding]


def _embed_caption(embedder: Embedder, caption: str, cache: FeatureCache) -> None:
    if isinstance(embedder, TextEmbedder):
        cache.captions(embedder.info, [caption], embedder.embed_text)


def class_names(embedders: Sequence[Embedder]) -> dict[str, tuple[str, ...]]:
    """Give the names of each tagger's classes; taggers that don't name them are left out."""
    named = {e.info.name: e.class_names for e in embedders if isinstance(e, Tagger)}
    return {name: tuple(names) for name, names in named.items() if names}


def infos(embedders: Sequence[Embedder]) -> tuple[EmbedderInfo, ...]:
    """Describe the embedders, in order."""
    return tuple(embedder.info for embedder in embedders)
