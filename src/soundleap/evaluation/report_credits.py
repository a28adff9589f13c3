"""Who made the recordings in a page: licences ask for the name beside the sound."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from soundleap.evaluation.record import EvaluationRecord
from soundleap.evaluation.report_page import paragraph, table


@dataclass(frozen=True)
class Credit:
    """Author, licence and page of a recording."""

    author: str
    licence: str
    url: str


def recording_credits(record: EvaluationRecord) -> Mapping[str, Credit]:
    """Credits by id of the recordings of `soundleap-heldout`; nothing is known of other lists."""
    from soundleap.evaluation.protocols.heldout import heldout_protocol

    protocol = heldout_protocol()
    told = record.protocol.details.get("list_hash") if record.protocol else None
    if told != protocol.list_hash:
        return {}
    return {
        clip.reference or clip.id: Credit(clip.author or "", clip.licence or "", clip.url or "")
        for clip in protocol.clips
    }


def credits_table(credits: Mapping[str, Credit], shown: Collection[str]) -> str:
    """Make the table of the recordings that are in a page; empty if none has a credit."""
    rows = [
        [name, credits[name].author, credits[name].licence, credits[name].url]
        for name in sorted(shown)
        if name in credits
    ]
    if not rows:
        return ""
    note = "The recordings were mixed to mono, cut, levelled and encoded for this page."
    header = ["recording", "author", "licence", "page"]
    return table("Recordings in this page", header, rows) + paragraph(note, "quiet")
