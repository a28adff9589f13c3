"""What a protocol is: the list of clips, the one caption of each, and how sounds are prepared.

Two numbers may be compared only if they were measured under the same protocol; its hash stands
beside every number. The hash covers everything that can change a number (ids, captions, lengths,
labels, preparation, embedders, metrics) and nothing that can't (name, title, notes, authors).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator

from soundleap.audio.io import write_bytes
from soundleap.bundle_schema import Strict
from soundleap.errors import InputError
from soundleap.evaluation.protocols.reference import check_split
from soundleap.evaluation.record import ProtocolStamp
from soundleap.evaluation.settings import Matching, Preparation

FORMAT_VERSION = 1
RESAMPLER: Literal["soxr VHQ"] = "soxr VHQ"

_YOUTUBE = re.compile(r"Y?([\w-]{11})(?:_\d+(?:\.\d+)?){0,2}(-c\d+)?", re.ASCII)

Text = Annotated[str, Field(min_length=1, pattern=r"\S")]
Seconds = Annotated[float, Field(gt=0, le=24 * 3600)]


class ProtocolClip(Strict):
    """One sound that a system has to make.

    Attributes:
        id: name of the generated sound.
        caption: the one sentence; None only in protocols of folders without captions.
        seconds: how long a sound to make.
        reference: id of the recording beside it; None: the same as `id`.
        label: true class, for the accuracy of tags.
        source: collection of the recording (not hashed).
        licence: SPDX identifier of the recording (not hashed).
        author: who made the recording (not hashed).
        url: page of the recording, or of its collection (not hashed).
    """

    id: Text
    caption: Text | None
    seconds: Seconds
    reference: Text | None = None
    label: Text | None = None
    source: Text | None = None
    licence: Text | None = None
    author: Text | None = None
    url: Text | None = None


class AudioRule(Strict):
    """What is done to every sound, generated or real, before it is judged.

    Attributes:
        resampler: how a file's rate becomes an embedder's rate, in one step.
        channels: how channels become one.
        max_seconds: longer sounds are cut here; None keeps all.
        min_seconds: shorter sounds are refused and listed.
        level_in_dbfs: active level that sounds are scaled to (`audio.loudness`); None leaves them.
    """

    resampler: Literal["soxr VHQ"] = RESAMPLER
    channels: Literal["mean"] = "mean"
    max_seconds: Seconds | None = None
    min_seconds: Annotated[float, Field(ge=0, le=3600)] = 0.0
    level_in_dbfs: Annotated[float, Field(ge=-60, le=0)] | None = None


class EvaluationProtocol(Strict):
    """A pinned way to evaluate.

    Attributes:
        format_version: of the JSON form.
        name: short name (not hashed).
        title: what it is (not hashed).
        caption_rule: how the caption was chosen (not hashed; the captions are).
        notes: where the list comes from and what to know (not hashed).
        naming: "plain": sounds are named by their id; "youtube": also by the forms in which
            AudioCaps is passed on (`YID`, `ID_START`, `YID_START_END`).
        audio: preparation of every sound.
        embedders: which embedders judge.
        metrics: which metrics; None: all that the embedders and the data allow.
        label_set: name of the label set for tag accuracy, if any.
        clips: the list.
    """

    format_version: Literal[1] = FORMAT_VERSION
    name: Text
    title: str = ""
    caption_rule: str = ""
    notes: tuple[str, ...] = ()
    naming: Literal["plain", "youtube"] = "plain"
    audio: AudioRule = AudioRule()
    embedders: Annotated[tuple[Text, ...], Field(min_length=1)]
    metrics: tuple[Text, ...] | None = None
    label_set: Text | None = None
    clips: Annotated[tuple[ProtocolClip, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _check_ids(self) -> EvaluationProtocol:
        twice = [name for name, count in Counter(c.id for c in self.clips).items() if count > 1]
        if twice:
            raise ValueError(f"clip {twice[0]!r} is there twice ({len(twice)} such ids)")
        return self

    @cached_property
    def ids(self) -> tuple[str, ...]:
        """Ids of the sounds to make, in the order of the list."""
        return tuple(clip.id for clip in self.clips)

    @cached_property
    def captions(self) -> Mapping[str, str]:
        """Caption of each id that has one."""
        return {clip.id: clip.caption for clip in self.clips if clip.caption is not None}

    @cached_property
    def labels(self) -> Mapping[str, str]:
        """True class of each id that has one."""
        return {clip.id: clip.label for clip in self.clips if clip.label is not None}

    @cached_property
    def references(self) -> Mapping[str, str]:
        """Id of the recording that belongs to each id."""
        return {clip.id: clip.reference or clip.id for clip in self.clips}

    @cached_property
    def hash(self) -> str:
        """SHA-256 of all that can change a number, in hexadecimal."""
        return sha256_of({**self._settings(), "clips": [_pinned(clip) for clip in self.clips]})

    @cached_property
    def list_hash(self) -> str:
        """SHA-256 of ids, captions and references alone: the same list under other settings."""
        return sha256_of([[c.id, c.caption, c.reference or c.id] for c in self.clips])

    @property
    def preparation(self) -> Preparation:
        """What is done to every sound, as `evaluation.run.evaluate` takes it."""
        rule = self.audio
        return Preparation(
            resample=True,
            max_seconds=rule.max_seconds,
            min_seconds=rule.min_seconds,
            level_in_dbfs=rule.level_in_dbfs,
            resampler=rule.resampler,
        )

    @property
    def matching(self) -> Matching:
        """Which files belong to the evaluation and to each other."""
        return Matching(self.ids, self.captions, self.labels, self.references, self.resolve)

    def stamp(self) -> ProtocolStamp:
        """Give name, hash and details for a record."""
        return ProtocolStamp(self.name, self.hash, self.details())

    def seconds_of(self, clip_id: str) -> float:
        """Length of the sound to make for an id; raises `KeyError` for one not in the list."""
        return self._seconds[clip_id]

    @cached_property
    def _seconds(self) -> Mapping[str, float]:
        return {clip.id: clip.seconds for clip in self.clips}

    @cached_property
    def _known(self) -> frozenset[str]:
        return frozenset(self.ids) | frozenset(self.references.values())

    def resolve(self, name: str) -> str | None:
        """Find the id that a file's or manifest's name stands for; None: not in the protocol.

        Known are the id itself, also below folders, and with `naming` "youtube" the forms listed
        there. Nothing else is tried.
        """
        for form in (name, name.rsplit("/", 1)[-1]):
            if form in self._known:
                return form
        match = _YOUTUBE.fullmatch(name.rsplit("/", 1)[-1]) if self.naming == "youtube" else None
        found = match and match.group(1) + (match.group(2) or "")
        return found if found and found in self._known else None

    def check_reference(self, path: str | Path) -> None:
        """Refuse a reference manifest that has a clip of this list in its training part.

        Args:
            path: manifest, or a folder (whose `manifest.jsonl` is read if there is one).

        Raises:
            InputError: naming the first such clip.
        """
        check_split(frozenset(self.references.values()), Path(path), self.name)

    def with_embedders(self, names: Sequence[str]) -> EvaluationProtocol:
        """Judge the same list with other embedders: another protocol, so another hash."""
        if tuple(names) == self.embedders:
            return self
        values = self.model_dump(exclude={"clips"})
        values |= {"name": f"{self.name}+{'+'.join(names)}", "embedders": tuple(names)}
        return EvaluationProtocol(**values, clips=self.clips)

    def details(self) -> dict[str, Any]:
        """Give what a report has to say about the protocol, as plain JSON values."""
        return {
            "title": self.title,
            "clips": len(self.clips),
            "recordings": len(set(self.references.values())),
            "list_hash": self.list_hash,
            "caption_rule": self.caption_rule,
            "notes": list(self.notes),
            **self._settings(),
            "metrics": list(self.metrics or ["all that apply"]),
        }

    def to_json(self) -> str:
        """Write the protocol, one clip a line."""
        head = self.model_dump(mode="json", exclude={"clips"})
        lines = [json.dumps(_short(clip), ensure_ascii=False) for clip in self.clips]
        opening = json.dumps(head, ensure_ascii=False, indent=1).removesuffix("\n}")
        return opening + ',\n "clips": [\n  ' + ",\n  ".join(lines) + "\n ]\n}\n"

    def save(self, path: str | Path, *, overwrite: bool = False) -> None:
        """Write `to_json` into a file, whole or not at all; raises as `write_bytes`."""
        write_bytes(Path(path), self.to_json().encode(), overwrite=overwrite)

    @classmethod
    def from_json(cls, text: str, *, place: str = "protocol") -> EvaluationProtocol:
        """Read what `to_json` wrote.

        Raises:
            InputError: not such a protocol; all faults are named.
        """
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            faults = [f"{_place(f['loc'])}: {f['msg']}" for f in error.errors()[:10]]
            total = error.error_count()
            raise InputError(f"{place} has {total} faults: {'; '.join(faults)}") from None

    def _settings(self) -> dict[str, Any]:
        shown = {"format_version", "naming", "audio", "embedders", "metrics", "label_set"}
        return self.model_dump(mode="json", include=shown)


def sha256_of(value: Any) -> str:
    """SHA-256 of a JSON value in its canonical form (sorted keys, no spaces, UTF-8)."""
    text = json.dumps(
        value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False
    )
    return hashlib.sha256(text.encode()).hexdigest()


def _pinned(clip: ProtocolClip) -> list[Any]:
    return [clip.id, clip.caption, clip.seconds, clip.reference or clip.id, clip.label]


def _short(clip: ProtocolClip) -> dict[str, Any]:
    return clip.model_dump(mode="json", exclude_defaults=True) | {"caption": clip.caption}


def _place(location: Sequence[int | str]) -> str:
    return ".".join(str(part) for part in location) or "protocol"
