"""`soundleap-heldout`: the real recordings of the corpus that training never sees.

The list comes with the package (`soundleap-heldout.json`); the sounds are rebuilt by
`soundleap data fetch` and `soundleap data prepare` at their defaults, whose split puts exactly
these recordings aside. It is the split of `soundleap.data.splits` over the whole corpus, with
share 0.06 and seed 0. Samples are not hashed: recordings are rebuilt from the originals, and
decoders differ in the last bit; a report carries the hashes of the files that it used.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from importlib import resources

from soundleap.evaluation.protocols.definition import (
    AudioRule,
    EvaluationProtocol,
    ProtocolClip,
)

NAME = "soundleap-heldout"
HELDOUT_SHARE, SEED = 0.06, 0
MIN_SECONDS, MAX_SECONDS = 0.5, 10.0
TOLERANCE_IN_S = 0.1
"""By so much `data fetch` lets a clip's length differ."""
LEVEL_IN_DBFS = -20.0


def heldout_protocol() -> EvaluationProtocol:
    """Read the protocol that comes with the package."""
    file = resources.files("soundleap.evaluation.protocols") / f"{NAME}.json"
    return EvaluationProtocol.from_json(file.read_text("utf-8"), place=f"{NAME}.json")


def build_heldout_protocol() -> EvaluationProtocol:
    """Make the protocol anew from the tables of clips and captions that come with the package.

    Takes of one thing share their captions; the n-th of them (by id) gets the n-th caption, round
    and round, so that prompts differ as much as the table allows.
    """
    from soundleap.data.captions import DROP, caption_key, read_captions
    from soundleap.data.corpora.facts import read_facts
    from soundleap.data.splits import Origin, choose_heldout

    facts, table = read_facts(), read_captions()
    origins = [Origin(c.id, c.source, c.stem, c.label_words, c.source_url) for c in facts]
    heldout = choose_heldout(origins, heldout_share=HELDOUT_SHARE, seed=SEED)
    clips: list[ProtocolClip] = []
    takes: Counter[tuple[str, str]] = Counter()
    for clip in sorted(facts, key=lambda clip: clip.id):
        key = caption_key(clip.source, clip.stem, clip.label_words)
        row = table[key]
        if clip.id not in heldout or row.kind == DROP or clip.seconds < MIN_SECONDS:
            continue
        clips.append(
            ProtocolClip(
                id=clip.id,
                caption=row.captions[takes[key] % len(row.captions)],
                seconds=min(clip.seconds, MAX_SECONDS),
                label=_label(*key),
                source=clip.source,
                licence=clip.licence,
                author=clip.author,
                url=clip.source_url,
            )
        )
        takes[key] += 1
    return _protocol(clips)


def _label(source: str, name: str) -> str | None:
    from soundleap.evaluation.tags import ESC10_ALIASES

    return ESC10_ALIASES.get(name, name) if source == "esc10" else None


def _protocol(clips: Sequence[ProtocolClip]) -> EvaluationProtocol:
    return EvaluationProtocol(
        name=NAME,
        title="Real recordings of the corpus that training never sees",
        caption_rule="of the reviewed captions of a sound the n-th for its n-th take, in turn",
        notes=(
            "Sounds: `soundleap data fetch CORPUS`, then `soundleap data prepare CORPUS PREPARED`; "
            "give PREPARED/manifest.jsonl as reference.",
            f"Clips of {MIN_SECONDS:g} s and more; longer ones than {MAX_SECONDS:g} s are cut.",
            "Each clip names the author and the licence of its recording.",
        ),
        audio=AudioRule(
            max_seconds=MAX_SECONDS,
            min_seconds=MIN_SECONDS - TOLERANCE_IN_S,
            level_in_dbfs=LEVEL_IN_DBFS,
        ),
        embedders=("yamnet",),
        label_set="esc10",
        clips=tuple(clips),
    )
