"""Sounds of held-out captions, and what independent judges say about them."""

from __future__ import annotations

import dataclasses
import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from soundleap.errors import InputError, check_range
from soundleap.evaluation.protocols import load_protocol
from soundleap.evaluation.protocols.make import make_sounds
from soundleap.evaluation.run import evaluate
from soundleap.evaluation.settings import EvaluationSettings
from soundleap.generator import Generator
from soundleap.pipeline import TextToAudio
from soundleap.requests import Request

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from soundleap.evaluation.protocols.definition import EvaluationProtocol

PROTOCOL = "soundleap-heldout"
QUICK = ("fd",)
WITH_INTERVALS = ("fd-pca64", "accuracy")
RECORDED = {"accuracy": "accuracy-generated"}
"""Names in an evaluation's record, where they differ."""


def part_of_protocol(clips: int | None) -> EvaluationProtocol:
    """Give the held-out protocol, or so many of its clips, evenly spread over the list.

    Raises:
        InputError: for more clips than there are, or less than 2.
    """
    whole = load_protocol(PROTOCOL)
    if clips is None:
        return whole
    count = len(whole.clips)
    check_range("clips", clips, 2, count)
    picked = tuple(whole.clips[i * count // clips] for i in range(clips))
    return whole.model_copy(update={"clips": picked, "name": f"{PROTOCOL}, {clips} of {count}"})


@dataclasses.dataclass(frozen=True)
class Judges:
    """Makes the sounds of a way of asking, and judges them.

    Attributes:
        pipeline: the loaded model.
        protocol: captions, lengths and how sounds are prepared.
        sounds: folder with a folder for every system.
        reference: manifest of the real recordings; None: sounds are made and not judged.
        bootstrap: draws for the intervals of "fd-pca64" and "accuracy".
        cache: folder of features; None takes the user's.
    """

    pipeline: TextToAudio
    protocol: EvaluationProtocol
    sounds: Path
    reference: Path | None
    bootstrap: int = 100
    cache: Path | None = None

    def __post_init__(self) -> None:
        if self.reference is not None:
            self.protocol.check_reference(self.reference)

    def facts(self) -> dict[str, Any]:
        """What results depend on, as JSON values."""
        return {
            "protocol": self.protocol.name,
            "protocol_hash": self.protocol.hash,
            "judged": self.reference is not None,
            "bootstrap": self.bootstrap,
        }

    def __call__(self, name: str, request: Request, seed: int) -> dict[str, Any]:
        """Make the sounds that are missing, one for every clip, and judge them.

        Returns:
            `seconds` (median work a sound), `seconds_per_second`, and where they are judged `fd`,
            `fd-pca64` and `accuracy`: value, low and high.
        """
        folder = self.sounds / name
        report = make_sounds(
            self.protocol, folder, Generator(self.pipeline), common=request, seed=seed, name=name
        )
        seconds = statistics.median(row["work_seconds"] for row in manifest_rows(folder))
        told = {"seconds": seconds, "seconds_per_second": report.seconds_per_second}
        return told | self._numbers(folder) if self.reference is not None else told

    def _numbers(self, folder: Path) -> dict[str, Any]:
        numbers: dict[str, Any] = {}
        for metrics, draws in ((QUICK, 0), (WITH_INTERVALS, self.bootstrap)):
            settings = EvaluationSettings(
                embedders=self.protocol.embedders,
                metrics=metrics,
                label_set=self.protocol.label_set if "accuracy" in metrics else None,
                preparation=self.protocol.preparation,
                bootstrap=draws,
            )
            matching = self.protocol.matching
            if settings.label_set is None:
                matching = dataclasses.replace(matching, labels=None)
            record = evaluate(
                folder, self.reference or folder, settings, matching=matching, cache=self.cache
            )
            for metric in metrics:
                found = record.metric(RECORDED.get(metric, metric))
                if found is not None:
                    numbers[metric] = {
                        "value": found.value, "low": found.low, "high": found.high,
                        "clips": found.generated_count,
                    }  # fmt: skip
        return numbers


def manifest_rows(folder: Path) -> list[dict[str, Any]]:
    """Read the rows of a folder that `make_sounds` filled."""
    text = (folder / "manifest.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.split("\n") if line.strip()]


def clip_vectors(folder: Path, protocol: EvaluationProtocol) -> NDArray[np.float64]:
    """Embed every sound of a system: ``[clips, D]``, means over a clip, in the protocol's order."""
    import numpy as np

    from soundleap.evaluation.clips import list_clips
    from soundleap.evaluation.embedders import open_embedder
    from soundleap.evaluation.sounds import at_rate, read_sound

    embedder = open_embedder(protocol.embedders[0])
    clips = {clip.id: clip for clip in list_clips(folder)}
    rows: list[Any] = []
    for clip_id in protocol.ids:
        if clip_id not in clips:
            raise InputError(f"{folder} has no sound for {clip_id!r}; run the same command again")
        sound = read_sound(clips[clip_id], protocol.preparation)
        heard = at_rate(sound, embedder.info.sampling_rate, protocol.preparation)
        rows.append(embedder.analyse(heard.waveform).embeds.mean(axis=0))
    return np.stack(rows).astype(np.float64)


def agreement(vectors: Mapping[str, NDArray[np.float64]]) -> list[dict[str, Any]]:
    """Compare systems pair by pair: mean cosine of the same clip's vectors, and of other clips'."""
    import numpy as np

    names = list(vectors)
    mean = np.mean([rows.mean(axis=0) for rows in vectors.values()], axis=0)
    unit = {name: _unit(rows - mean) for name, rows in vectors.items()}
    pairs: list[dict[str, Any]] = []
    for i, first in enumerate(names):
        for second in names[i + 1 :]:
            table = unit[first] @ unit[second].T
            count = len(table)
            others = (table.sum() - np.trace(table)) / (count * (count - 1))
            pairs.append({"pair": [first, second], "cosine": float(np.trace(table)) / count,
                          "other_clips": float(others)})  # fmt: skip
    return pairs


def _unit(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    import numpy as np

    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def check_names(what: str, values: Sequence[float]) -> None:
    """Refuse an empty list, and repeated values.

    Raises:
        InputError: with the name and the values.
    """
    if not values or len(set(values)) != len(values):
        raise InputError(f"{what} are {list(values)}; give one or more, once each")
