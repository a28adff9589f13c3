"""Blind listening tests: a page in one file that plays two systems against each other.

Listeners hear both sounds of a caption in random order at one level, and choose. Names of systems
and clips are sealed in the page until the last answer: that hides them from eyes and habits, not
from somebody who reads the page's code to cheat.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from soundleap.audio.io import encode_audio, write_bytes
from soundleap.errors import InputError, check_range
from soundleap.evaluation.listen_page import SealedTrial, Trial, listening_page
from soundleap.evaluation.listen_pairs import Level, Pair, match_levels, pair_sounds
from soundleap.evaluation.protocols.make import SYSTEM_FILE
from soundleap.evaluation.report_sounds import BYTES_IN_A_MEGABYTE, sound_url

QUESTION = "Which sound do you prefer for this caption?"
QUESTION_WITHOUT_CAPTION = "Which sound do you prefer?"
FORMATS = ("flac", "mp3", "wav")
MAX_SEED = 2**32 - 1
LENGTH_TOLERANCE_IN_S = 0.1


@dataclass(frozen=True)
class ListeningTest:
    """What was made.

    Attributes:
        page: the file.
        page_id: name of this design in results.
        trials: how many.
        seed: of order and sides.
        names: of the two systems.
        unpaired: ids that only one system has; they are left out.
        lengths_differ: ids of trials whose sounds differ in length by more than 0.1 s.
        megabytes: size of the page.
    """

    page: Path
    page_id: str
    trials: int
    seed: int
    names: tuple[str, str]
    unpaired: tuple[str, ...]
    lengths_differ: tuple[str, ...]
    megabytes: float


def make_listening_test(
    one: str | Path,
    two: str | Path,
    page: str | Path,
    *,
    names: tuple[str, str] | None = None,
    trials: int | None = None,
    seed: int = 0,
    question: str | None = None,
    format: str = "flac",
    megabytes: float = 200.0,
    overwrite: bool = False,
) -> ListeningTest:
    """Write a listening page for two systems.

    Args:
        one: folder or manifest of the first system's sounds.
        two: of the second's; sounds of the same name or id are paired.
        page: the HTML file.
        names: of the systems, different; None takes the folders' names.
        trials: how many pairs are heard, chosen at random; None takes all.
        seed: of the choice, the order of trials and the side of each system, 0 to 2^32 - 1.
        question: that listeners answer.
        format: of the sounds in the page: flac and wav are lossless, mp3 is small.
        megabytes: largest page, 0.1 to 2000.
        overwrite: replace the file.

    Raises:
        InputError: for a value that is not allowed, no pairs, or a page that gets too large.
        AudioFileError: a sound can't be read, or the page can't be written.
    """
    pairs, unpaired = pair_sounds(one, two)
    named = _check_names(names or _folder_names(one, two))
    check_range("seed", seed, 0, MAX_SEED)
    check_range("megabytes", megabytes, 0.1, 2000, "MB")
    if trials is not None:
        check_range("trials", trials, 1, len(pairs))
    if format not in FORMATS:
        raise InputError(f"format is {format!r}; allowed: {', '.join(FORMATS)}")
    chosen = _choose(pairs, trials, seed)
    design = [[pair.id, swapped] for pair, swapped in chosen]
    page_id = _hash(json.dumps([seed, *named, design]))
    made, sealed, different = _make_trials(chosen, named, page_id, format, megabytes)
    asked = question or (QUESTION if any(t.prompt for t in made) else QUESTION_WITHOUT_CAPTION)
    data = listening_page(made, sealed, page_id=page_id, seed=seed, question=asked).encode()
    write_bytes(Path(page), data, overwrite=overwrite)
    return ListeningTest(
        page=Path(page),
        page_id=page_id,
        trials=len(made),
        seed=seed,
        names=named,
        unpaired=tuple(unpaired),
        lengths_differ=tuple(different),
        megabytes=len(data) / BYTES_IN_A_MEGABYTE,
    )


def _choose(pairs: Sequence[Pair], count: int | None, seed: int) -> list[tuple[Pair, bool]]:
    """Draw pairs and their order; each system is first in half of the trials (one more if odd)."""
    rng = random.Random(seed)
    chosen = rng.sample(list(pairs), len(pairs) if count is None else count)
    odd = rng.random() < 0.5
    sides = [bool(i % 2) != odd for i in range(len(chosen))]
    rng.shuffle(sides)
    return list(zip(chosen, sides, strict=True))


def _make_trials(
    chosen: Sequence[tuple[Pair, bool]],
    names: tuple[str, str],
    page_id: str,
    format: str,
    megabytes: float,
) -> tuple[list[Trial], list[SealedTrial], list[str]]:
    made: list[Trial] = []
    sealed: list[SealedTrial] = []
    different: list[str] = []
    size = 0
    for number, (pair, swapped) in enumerate(chosen):
        sounds = match_levels(pair)
        if abs(_seconds(sounds[0]) - _seconds(sounds[1])) > LENGTH_TOLERANCE_IN_S:
            different.append(pair.id)
        order = (1, 0) if swapped else (0, 1)
        urls = tuple(_url(sounds[i], format) for i in order)
        size += sum(map(len, urls))
        if size > megabytes * BYTES_IN_A_MEGABYTE:
            raise InputError(
                f"the page would pass {megabytes:g} MB at trial {number + 1} of {len(chosen)}; "
                "give fewer trials, format mp3, or a higher limit"
            )
        made.append(Trial(pair.prompt or "", urls))
        sealed.append(SealedTrial(pair.id, tuple(names[i] for i in order)))
    return made, sealed, different


def _url(sound: Level, format: str) -> str:
    return sound_url(encode_audio(sound.waveform, sound.sampling_rate, format), format)


def _seconds(sound: Level) -> float:
    return sound.waveform.shape[1] / sound.sampling_rate


def _folder_names(one: str | Path, two: str | Path) -> tuple[str, str]:
    """Name systems as their `system.json` does, or after their folders as far up as it takes."""
    paths = [Path(place).resolve() for place in (one, two)]
    folders = [path if path.is_dir() else path.parent for path in paths]
    told = [_told_name(folder) for folder in folders]
    if told[0] and told[1] and told[0] != told[1]:
        return told[0], told[1]
    parts = [folder.parts for folder in folders]
    for depth in range(1, max(map(len, parts)) + 1):
        names = ("/".join(parts[0][-depth:]), "/".join(parts[1][-depth:]))
        if names[0] != names[1]:
            return names
    return paths[0].name, paths[1].name


def _told_name(folder: Path) -> str | None:
    try:
        name = json.loads((folder / SYSTEM_FILE).read_text("utf-8")).get("name")
    except (OSError, ValueError, AttributeError):
        return None
    return str(name) if name else None


def _check_names(names: tuple[str, str]) -> tuple[str, str]:
    if names[0] == names[1] or not all(name.strip() for name in names) or "tie" in names:
        raise InputError(
            f"names are {names[0]!r} and {names[1]!r}; allowed: two different ones, not 'tie'"
        )
    return names


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]
