"""What an evaluation found, as plain data: numbers with intervals, clips and origin."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from soundleap.errors import InputError

FORMAT_VERSION = 1


def _mapping() -> dict[str, Any]:
    return {}


@dataclass(frozen=True)
class MetricValue:
    """One number.

    Attributes:
        metric: name, e.g. "fd" (`metrics.METRICS` lists all).
        embedder: name of the embedder, see `EvaluationRecord.embedders`.
        value: the number.
        low: lower end of the interval; None where none was computed.
        high: upper end.
        better: "lower" or "higher".
        generated_count: clips of the generated set that entered; 0 where the side plays no part.
        reference_count: the same of the reference set.
        details: what else was found on the way (rows, dimensions, bandwidth, points of a fit);
            `interval` says how the interval was made.
        warnings: sentences that belong beside the number.
    """

    metric: str
    embedder: str
    value: float
    low: float | None
    high: float | None
    better: str
    generated_count: int
    reference_count: int
    details: Mapping[str, Any] = field(default_factory=_mapping)
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class EmbedderInfo:
    """What an embedder is and hears.

    Attributes:
        name: identifier, e.g. "yamnet-w8a8".
        description: one sentence.
        sampling_rate: in Hz, of the sound it is given.
        resampler: how other rates are converted.
        window: the stretches it hears, and what happens to shorter and longer clips.
        layer: which layer's values are the embedding.
        dimensions: D.
        rows_per: "patch" (several rows a clip) or "clip" (one).
        licence: of the weights.
        weights_sha256: of the weights' file.
        source: where the architecture and the weights come from.
        ours: True for Soundleap's own model, which must be marked as such wherever it is used.
        classes: number of classes it scores; None if it is no tagger.
        has_text: whether it embeds captions too.
    """

    name: str
    description: str
    sampling_rate: int
    resampler: str
    window: str
    layer: str
    dimensions: int
    rows_per: str
    licence: str
    weights_sha256: str
    source: str
    ours: bool = False
    classes: int | None = None
    has_text: bool = False


@dataclass(frozen=True)
class ClipRow:
    """What happened to one clip.

    Attributes:
        role: "generated" or "reference".
        id: name by which sets are matched.
        file: as the folder or the manifest names it.
        path: where it was; None if unknown.
        start_in_s: beginning of the stretch.
        duration_in_s: length asked for; None for the whole file.
        seconds: length that was heard; 0 if the clip was refused.
        prompt: its caption.
        label: its true class.
        sampling_rate: of the file, in Hz.
        channels: of the file.
        sha256: of the file.
        notes: what was done to the sound.
        fault: why no embedder could use it; None if it was used.
        refused: embedder -> why this one could not use it.
        scores: "metric embedder" -> the clip's own value.
        predicted: class chosen by the tags, with a label set.
        tags: the three likeliest classes of the first tagger.
        paired: whether the other set has a usable clip of this id.
    """

    role: str
    id: str
    file: str
    path: str | None = None
    start_in_s: float = 0.0
    duration_in_s: float | None = None
    seconds: float = 0.0
    prompt: str | None = None
    label: str | None = None
    sampling_rate: int | None = None
    channels: int | None = None
    sha256: str | None = None
    notes: tuple[str, ...] = ()
    fault: str | None = None
    refused: Mapping[str, str] = field(default_factory=_mapping)
    scores: Mapping[str, float] = field(default_factory=_mapping)
    predicted: str | None = None
    tags: tuple[str, ...] = ()
    paired: bool = False


@dataclass(frozen=True)
class SetCounts:
    """Totals of one set of clips.

    Attributes:
        role: "generated" or "reference".
        listed: clips found.
        used: clips that at least one embedder used.
        skipped: kind of reason -> clips that none used.
        changed: kind of change -> clips.
        seconds: total length heard.
        rows: embedder -> feature rows.
        unpaired: used clips without a usable clip of the same id on the other side.
        without_caption: used clips without a caption.
        unlabelled: used clips without a label, though a label set was given.
    """

    role: str
    listed: int
    used: int
    skipped: Mapping[str, int]
    changed: Mapping[str, int]
    seconds: float
    rows: Mapping[str, int]
    unpaired: int = 0
    without_caption: int = 0
    unlabelled: int = 0


@dataclass(frozen=True)
class Confusion:
    """Counts of predicted classes (columns) for each true class (rows) of a set."""

    role: str
    embedder: str
    labels: tuple[str, ...]
    rows: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class ProtocolStamp:
    """Which protocol fixed the settings: its name, its SHA-256 and what it says."""

    name: str
    hash: str
    details: Mapping[str, Any] = field(default_factory=_mapping)


@dataclass(frozen=True)
class EvaluationRecord:
    """Everything an evaluation found.

    Attributes:
        system: what was judged: `name`, and what the caller tells (steps, speed).
        metrics: the numbers.
        embedders: what they were computed with.
        sets: totals of the generated and the reference set.
        confusion: tables of the label set, if one was given.
        protocol: what fixed the settings, if anything did.
        settings: all settings.
        settings_hash: SHA-256 over them.
        seconds: stage -> seconds of work.
        hardware: what it ran on.
        versions: of the packages.
        command: the command line, if there was one.
        clips: one entry a clip, those that were refused included.
        not_computed: "metric embedder" -> why a number that was asked for, or would belong here,
            is not there.
        format_version: of the written form.
    """

    system: Mapping[str, Any]
    metrics: tuple[MetricValue, ...]
    embedders: tuple[EmbedderInfo, ...]
    sets: tuple[SetCounts, ...]
    confusion: tuple[Confusion, ...]
    protocol: ProtocolStamp | None
    settings: Mapping[str, Any]
    settings_hash: str
    seconds: Mapping[str, float]
    hardware: Mapping[str, str]
    versions: Mapping[str, str]
    command: str | None = None
    clips: tuple[ClipRow, ...] = ()
    not_computed: Mapping[str, str] = field(default_factory=_mapping)
    format_version: int = FORMAT_VERSION

    def metric(self, name: str, embedder: str | None = None) -> MetricValue | None:
        """Find a number by its metric and embedder (None: the first); None if it is not there."""
        for value in self.metrics:
            if value.metric == name and embedder in (None, value.embedder):
                return value
        return None

    def to_json(self, *, clips: bool = True) -> str:
        """Write everything as JSON; `clips=False` leaves the per-clip rows out."""
        data = dataclasses.asdict(self)
        if not clips:
            del data["clips"]
        return json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> EvaluationRecord:
        """Read what `to_json` wrote.

        Raises:
            InputError: not JSON, not a record, or written by a newer version.
        """
        try:
            data = json.loads(text)
        except ValueError as error:
            raise InputError(f"not JSON: {error}") from None
        if not isinstance(data, dict) or data.get("format_version") != FORMAT_VERSION:
            raise InputError(f"not an evaluation record of format {FORMAT_VERSION}")
        try:
            return _record(data)
        except (TypeError, KeyError, AttributeError) as error:
            raise InputError(f"not an evaluation record: {error}") from None


def clip_row(data: Mapping[str, Any]) -> ClipRow:
    """Make a row from one line of `clips.jsonl`."""
    return ClipRow(**_tuples(data, "notes", "tags"))


def _record(data: dict[str, Any]) -> EvaluationRecord:
    protocol = data["protocol"]
    values: dict[str, Any] = {
        **data,
        "metrics": tuple(MetricValue(**_tuples(m, "warnings")) for m in data["metrics"]),
        "embedders": tuple(EmbedderInfo(**e) for e in data["embedders"]),
        "sets": tuple(SetCounts(**s) for s in data["sets"]),
        "confusion": tuple(_confusion(c) for c in data["confusion"]),
        "protocol": None if protocol is None else ProtocolStamp(**protocol),
        "clips": tuple(clip_row(c) for c in data.get("clips", ())),
    }
    return EvaluationRecord(**values)


def _confusion(data: Mapping[str, Any]) -> Confusion:
    rows = tuple(tuple(row) for row in data["rows"])
    return Confusion(data["role"], data["embedder"], tuple(data["labels"]), rows)


def _tuples(data: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {**data, **{name: tuple(data[name]) for name in names if name in data}}
