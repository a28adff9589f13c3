"""Protocols over published lists. The lists are read from your copy: see `PUBLISHED`.

The captions of AudioCaps are under the MIT licence, MusicCaps under CC BY-SA 4.0, but no copy of
the test lists is part of this package. What the package knows are the facts that pin a list: how
many clips and captions it has, which ids tell one list from another, and the hash of what was read,
which two people can compare.

Source of the counts: the lists in the repositories of TANGO (886), ConsistencyTTA (882), MeanAudio
(957) and AudioCaps (975 test clips with five captions each); MusicCaps on Kaggle (5,521).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from soundleap.errors import InputError
from soundleap.evaluation.protocols.definition import (
    AudioRule,
    EvaluationProtocol,
    ProtocolClip,
)
from soundleap.evaluation.protocols.lists import ListRow, check_count

NOT_IN_882 = ("3IScngdQA4I", "FJkvAMLmejY", "kOYg4ZtKcAs", "AizmnCDlXos")
"""What TANGO's list has and ConsistencyTTA's has not."""

SECONDS = 10.0
AUDIO = AudioRule(max_seconds=SECONDS, min_seconds=1.0)
"""Cut after 10 s, level as it is, one resampling from the file to the embedder."""


@dataclass(frozen=True)
class PublishedList:
    """A list that is read from a copy of one's own.

    Attributes:
        title: what it is.
        file: which file to give.
        clips: how many recordings it has.
        caption_rule: how each clip's caption was chosen.
        select: turns the rows of the file into those of the list, or raises `InputError`.
        embedders: which embedders judge.
    """

    title: str
    file: str
    clips: int
    caption_rule: str
    select: Callable[[Sequence[ListRow]], list[ProtocolClip]]
    embedders: tuple[str, ...]


def make_protocol(name: str, rows: Sequence[ListRow]) -> EvaluationProtocol:
    """Make the protocol `name` (a key of `PUBLISHED`) from the rows of your copy of its list.

    Raises:
        InputError: counts or ids do not fit; the message names the file that would.
    """
    published = PUBLISHED[name]
    try:
        clips = published.select(rows)
    except InputError as error:
        raise InputError(f"{name}: {error} (the list is {published.file})") from None
    return EvaluationProtocol(
        name=name,
        title=published.title,
        caption_rule=published.caption_rule,
        notes=(f"List read from a copy of {published.file}; compare the list's hash.",),
        naming="youtube",
        audio=AUDIO,
        embedders=published.embedders,
        clips=tuple(clips),
    )


def _one_caption(clips: int) -> Callable[[Sequence[ListRow]], list[ProtocolClip]]:
    def select(rows: Sequence[ListRow]) -> list[ProtocolClip]:
        check_count(rows, clips, 1, f"needed: {clips} clips with one caption each")
        return _sorted(rows)

    return select


def _tango(rows: Sequence[ListRow]) -> list[ProtocolClip]:
    check_count(rows, 886, 1, "needed: 886 clips with one caption each")
    missing = [name for name in NOT_IN_882 if name not in {row.id for row in rows}]
    if missing:
        raise InputError(f"the list lacks {missing[0]!r}, which TANGO's list has")
    return _sorted(rows)


def _consistencytta(rows: Sequence[ListRow]) -> list[ProtocolClip]:
    """Take ConsistencyTTA's list as it is, or TANGO's less the four clips."""
    if len(rows) == 886:
        kept = {clip.id for clip in _tango(rows)}.difference(NOT_IN_882)
        return _sorted([row for row in rows if row.id in kept])
    check_count(rows, 882, 1, "needed: 882 clips with one caption each")
    extra = [row.id for row in rows if row.id in NOT_IN_882]
    if extra:
        raise InputError(f"the list has {extra[0]!r}, which ConsistencyTTA's list has not")
    return _sorted(rows)


def _five_captions(rows: Sequence[ListRow]) -> list[ProtocolClip]:
    check_count(rows, 975, 5, "needed: 975 clips with five captions each")
    seen: Counter[str] = Counter()
    clips: list[ProtocolClip] = []
    for row in rows:
        seen[row.id] += 1
        name = f"{row.id}-c{seen[row.id]}"
        clips.append(_clip(name, row.caption, reference=row.id))
    return sorted(clips, key=lambda clip: clip.id)


def _sorted(rows: Sequence[ListRow]) -> list[ProtocolClip]:
    return [_clip(row.id, row.caption) for row in sorted(rows, key=lambda row: row.id)]


def _clip(name: str, caption: str, reference: str | None = None) -> ProtocolClip:
    return ProtocolClip(id=name, caption=caption, seconds=SECONDS, reference=reference)


_AUDIOCAPS_EMBEDDERS = ("panns-cnn14-16k", "vggish", "clap")
_AS_LISTED = "the one caption of the list"

PUBLISHED = {
    "audiocaps-882": PublishedList(
        "AudioCaps test clips in ConsistencyTTA's list",
        "data/test_audiocaps_subset.json of Bai-YT/ConsistencyTTA (882 lines) or of "
        "declare-lab/tango (886 lines, less four clips)",
        882,
        _AS_LISTED,
        _consistencytta,
        _AUDIOCAPS_EMBEDDERS,
    ),
    "audiocaps-886": PublishedList(
        "AudioCaps test clips in TANGO's list",
        "data/test_audiocaps_subset.json of declare-lab/tango (886 lines)",
        886,
        _AS_LISTED,
        _tango,
        _AUDIOCAPS_EMBEDDERS,
    ),
    "audiocaps-957": PublishedList(
        "AudioCaps test clips in MeanAudio's list",
        "sets/test-audiocaps.tsv of xiquan-li/MeanAudio (957 rows; no rule derives it from the "
        "full test set)",
        957,
        _AS_LISTED,
        _one_caption(957),
        _AUDIOCAPS_EMBEDDERS,
    ),
    "audiocaps-975x5": PublishedList(
        "All AudioCaps test clips with all five captions",
        "dataset/test.csv of cdjkim/audiocaps (4,875 rows)",
        975,
        "every caption of the clip, a sound for each: ids end in -c1 to -c5 in the file's order",
        _five_captions,
        _AUDIOCAPS_EMBEDDERS,
    ),
    "musiccaps": PublishedList(
        "MusicCaps",
        "musiccaps-public.csv of MusicCaps (5,521 rows)",
        5521,
        _AS_LISTED,
        _one_caption(5521),
        ("vggish", "clap"),
    ),
}
"""Protocols whose list is read from your copy, by name."""
