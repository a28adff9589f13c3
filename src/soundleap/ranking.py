"""Several tries of a sound, and the one that fits its text best.

Torch is imported when a `Ranker` is made, so that servers and the command line can ask what is
here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from soundleap.audio.io import at_rate
from soundleap.errors import InputError
from soundleap.output import Result
from soundleap.requests import Request, draw_seed

if TYPE_CHECKING:
    from soundleap.models.text_audio import TextAudioModel

MAX_BEST_OF = 16
MOST_TEXTS = 10_000
SHIPPED = Path(__file__).parent / "assets" / "text_audio" / "model.safetensors"


class Stream(Protocol):
    """What makes sounds: a `Generator`, or one of ONNX Runtime."""

    def stream(self, requests: Sequence[Request]) -> Iterator[tuple[int, Result]]:
        """Give each sound with its request's position."""
        ...


def available() -> bool:
    """Tell whether the text-audio model came with this installation."""
    return SHIPPED.is_file()


def check_best_of(best_of: int, most: int = MAX_BEST_OF) -> int:
    """Return a number of tries.

    Raises:
        InputError: if it is not a whole number from 1 to `most`.
    """
    if type(best_of) is not int or not 1 <= best_of <= most:
        raise InputError(f"best_of is {best_of!r}; allowed: 1 to {most}")
    return best_of


def candidate_seeds(seed: int, best_of: int) -> list[int]:
    """Give the seeds of a take's tries: its own, then numbers below 2^32 derived from it."""
    names = [f"soundleap best of, seed {seed}, try {k}" for k in range(1, best_of)]
    hashes = [hashlib.sha256(name.encode()).digest() for name in names]
    return [seed, *(int.from_bytes(value[:4], "big") for value in hashes)]


class Ranker:
    """Scores sounds by their text with a `TextAudioModel`, by default the one that ships.

    Args:
        model: the judge; None opens the one that comes with the package.

    Raises:
        BundleError: if there is none.
    """

    def __init__(self, model: TextAudioModel | None = None) -> None:
        from soundleap.models.text_audio import TextAudioModel

        self.model = TextAudioModel.default() if model is None else model
        self._texts: dict[str, NDArray[np.float32]] = {}

    def read(self, prompts: Sequence[str]) -> None:
        """Embed texts ahead.

        Raises:
            InputError: for one that is too long for the judge; says which.
        """
        new = [text for text in dict.fromkeys(prompts) if text not in self._texts]
        if new and len(self._texts) > MOST_TEXTS:
            self._texts.clear()  # those that are wanted again are read again
        if new:
            self._texts |= zip(new, self.model.embed_text(new), strict=True)

    def score(self, waveform: NDArray[np.float32], sampling_rate: int, prompt: str) -> float:
        """Say how well a sound ``[C, S]`` or ``[S]`` fits a text: -1 to 1, more is better."""
        self.read([prompt])
        mono = waveform.mean(0) if waveform.ndim == 2 else waveform
        heard = at_rate(mono, sampling_rate, self.model.sampling_rate)
        return float(self.model.embed_audio(heard) @ self._texts[prompt])


@dataclass
class Tries:
    """What is known of the tries of one take.

    Attributes:
        seed: of the take.
        scores: by try; None until it is made.
        kept: number of the best one so far, and the sound itself.
    """

    seed: int
    scores: list[float | None]
    kept: tuple[int, Any] | None = None

    @classmethod
    def of(cls, seed: int, best_of: int) -> Tries:
        """Begin with none made."""
        return cls(seed, [None] * best_of)

    def add(self, number: int, score: float, sound: Any) -> bool:
        """Note a try; returns whether all are made. Of equal ones the earliest is kept."""
        self.scores[number] = score
        best = None if self.kept is None else self.scores[self.kept[0]]
        if best is None or self.kept is None or (score, -number) > (best, -self.kept[0]):
            self.kept = (number, sound)
        return None not in self.scores

    def facts(self, judge: str) -> dict[str, Any]:
        """Give what a kept sound's metadata tells of the tries."""
        scores = [round(score, 4) for score in self.scores if score is not None]
        kept = 0 if self.kept is None else self.kept[0]
        return {
            "best_of": len(scores), "seed": self.seed, "try": kept + 1, "scores": scores,
            "judge": judge,
        }  # fmt: skip


def best_takes(
    generator: Stream, requests: Sequence[Request], best_of: int, ranker: Ranker | None = None
) -> Iterator[tuple[int, Result]]:
    """Make `best_of` tries of every request and give the one that fits its prompt best.

    Tries differ in their seeds (`candidate_seeds`). A kept sound's metadata holds its own seed, so
    that it can be made again by itself, and under ``ranking`` the scores of all tries.

    Args:
        generator: makes the sounds, in batches as it likes.
        requests: what to make; a missing seed is drawn.
        best_of: tries of each, 1 to 16.
        ranker: the judge; None takes the model that ships.

    Raises:
        InputError: for a value that is not allowed, or a prompt that is too long for the judge,
            before any work.
    """
    check_best_of(best_of)
    judge = Ranker() if ranker is None else ranker
    judge.read([request.prompt for request in requests])
    seeds = [draw_seed() if request.seed is None else request.seed for request in requests]
    tries = [
        replace(request, seed=own)
        for request, seed in zip(requests, seeds, strict=True)
        for own in candidate_seeds(seed, best_of)
    ]
    found = [Tries.of(seed, best_of) for seed in seeds]
    return _best(generator.stream(tries), requests, found, best_of, judge)


def _best(
    sounds: Iterator[tuple[int, Result]],
    requests: Sequence[Request],
    found: Sequence[Tries],
    best_of: int,
    judge: Ranker,
) -> Iterator[tuple[int, Result]]:
    for number, result in sounds:
        position, own = divmod(number, best_of)
        score = judge.score(result.waveform, result.sampling_rate, requests[position].prompt)
        if found[position].add(own, score, result):
            yield position, kept_result(found[position], judge.model.weights_sha256)


def kept_result(tries: Tries, judge: str) -> Any:
    """Give the best sound with the scores of all tries in its metadata, and let it go."""
    assert tries.kept is not None
    result = tries.kept[1]
    metadata = {**result.metadata, "ranking": tries.facts(judge)}
    tries.kept = (tries.kept[0], None)
    return replace(result, metadata=metadata)
