"""What lies in a run's folder: snapshots with their sounds, held-out numbers, checkpoints."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_SNAPSHOT = re.compile(r"^snapshot-(\d+)(?:-(.+))?$")
_NUMBERED = re.compile(r"^(\d+)-")


@dataclass(frozen=True)
class Sound:
    """A sound of a snapshot.

    Attributes:
        iteration: of the snapshot.
        way: what distinguishes the snapshot's folder from others of its iteration, in words, e.g.
            ``"2 steps"``; empty where there is one only.
        title: the prompt, or the words of the file's name.
        path: of the WAV file.
        picture: of its spectrogram, if there is one.
    """

    iteration: int
    way: str
    title: str
    path: Path
    picture: Path | None

    @property
    def label(self) -> str:
        """A name that is the same in every snapshot."""
        return f"{self.title} ({self.way})" if self.way else self.title

    @property
    def sampling_rate(self) -> int:
        """In Hz."""
        import soundfile

        return int(soundfile.info(str(self.path)).samplerate)


def sounds_of(
    folder: Path, iteration: int | None = None, prompts: Sequence[str] = ()
) -> list[Sound]:
    """List the sounds of a run's snapshots, by iteration, way and name.

    Args:
        folder: of the run.
        iteration: of one snapshot; None lists all.
        prompts: titles of the files whose names begin with a number, ``0-`` being the first's.
    """
    found: list[Sound] = []
    for place in folder.glob("snapshot-*"):
        match = _SNAPSHOT.match(place.name)
        if match is None or not place.is_dir():
            continue
        number, way = int(match.group(1)), (match.group(2) or "").replace("-", " ")
        if iteration is None or number == iteration:
            found += [_sound(path, number, way, prompts) for path in place.glob("*.wav")]
    return sorted(found, key=lambda sound: (sound.iteration, sound.way, sound.path.name))


def _sound(path: Path, iteration: int, way: str, prompts: Sequence[str]) -> Sound:
    picture = path.with_suffix(".png")
    return Sound(
        iteration=iteration,
        way="1 step" if way == "1 steps" else way,
        title=_title(path.stem, prompts),
        path=path,
        picture=picture if picture.exists() else None,
    )


def _title(name: str, prompts: Sequence[str]) -> str:
    match = _NUMBERED.match(name)
    number = len(prompts) if match is None else int(match.group(1))
    return prompts[number] if number < len(prompts) else name.replace("-", " ")


def heldout_numbers(folder: Path) -> list[tuple[int, float]]:
    """Read ``heldout.tsv``: iterations and losses; where one occurs twice the later line counts."""
    path = folder / "heldout.tsv"
    numbers: dict[int, float] = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        iteration, _, value = line.partition("\t")
        try:
            numbers[int(iteration)] = float(value)
        except ValueError:  # the unfinished line of a process that was killed
            continue
    return sorted(numbers.items())
