"""Cards of clips in a report: caption, value, players and spectrograms of a sound and its model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from soundleap.errors import AudioFileError
from soundleap.evaluation.record import ClipRow, EvaluationRecord
from soundleap.evaluation.report_credits import credits_table, recording_credits
from soundleap.evaluation.report_page import escape, paragraph
from soundleap.evaluation.report_pictures import picture_url
from soundleap.evaluation.report_sounds import PageSound, SoundBudget, page_format, read_clip
from soundleap.evaluation.report_values import number, used

WORDS = {"generated": "generated", "reference": "recording"}


class CardMaker:
    """Makes cards of clips; sounds count against one budget for the whole page.

    Args:
        record: the evaluation.
        budget: of the page's sounds.
        level: whether the evaluation levelled sounds; then players do too.
        words: what the sides are called, where not as in `WORDS`.
    """

    def __init__(
        self,
        record: EvaluationRecord,
        budget: SoundBudget,
        *,
        level: bool,
        words: Mapping[str, str] = WORDS,
    ) -> None:
        self.budget = budget
        self.level = level
        self._words = {**WORDS, **words}
        self._references = {clip.id: clip for clip in used(record, "reference")}
        self._credits = recording_credits(record)
        self._made: dict[tuple[str, str], str] = {}

    def cards(self, clips: Sequence[ClipRow], key: str | None) -> str:
        """Make a list of cards.

        Args:
            clips: generated clips.
            key: per-clip value to show, if any.
        """
        rows = "\n".join(f"<li>{self._card(clip, key)}</li>" for clip in clips)
        return f'<ul class="cards">\n{rows}\n</ul>' if rows else ""

    def has(self, clip: ClipRow) -> bool:
        """Whether a clip was shown already."""
        return (clip.role, clip.id) in self._made

    def credits(self) -> str:
        """Make the table of who made the recordings that were shown, as far as that is known."""
        shown = [clip_id for role, clip_id in self._made if role == "reference"]
        return credits_table(self._credits, shown)

    def sound(self, clip: ClipRow) -> str:
        """Make picture and player of one clip."""
        return self._figure(clip, clip.prompt or clip.id)

    def recording(self, clip: ClipRow) -> str:
        """Make picture and player of the recording that belongs to a generated clip, if any."""
        found = self._reference(clip)
        return "" if found is None else self._figure(found, clip.prompt or clip.id)

    def _card(self, clip: ClipRow, key: str | None) -> str:
        title = clip.prompt or clip.id
        parts = [f"<h3>{escape(title)}</h3>"]
        if clip.prompt:
            parts.append(paragraph(clip.id, "quiet"))
        if key is not None and key in clip.scores:
            parts.append(paragraph(f"{key}: {number(clip.scores[key])}"))
        if clip.tags:
            parts.append(paragraph("heard: " + ", ".join(clip.tags), "quiet"))
        return "\n".join([*parts, self.sound(clip), self.recording(clip)])

    def _reference(self, clip: ClipRow) -> ClipRow | None:
        """Find the recording of the same id, or of the id without its `-c1` (several captions)."""
        shared = clip.id.rpartition("-c")[0]
        return self._references.get(clip.id) or self._references.get(shared)

    def _figure(self, clip: ClipRow, title: str) -> str:
        place = (clip.role, clip.id)
        if place not in self._made:
            self._made[place] = self._make_figure(clip, title)
        return self._made[place]

    def _make_figure(self, clip: ClipRow, title: str) -> str:
        word = self._words.get(clip.role, clip.role)
        try:
            sound = read_clip(clip, level=self.level)
        except AudioFileError as error:
            self.budget.missing[f"{word} {clip.id}"] = str(error)
            return paragraph(f"{word}: the sound is not there any more", "quiet")
        words = _described(sound, word)
        alt = f"Spectrogram of {title!r}, {words}"
        credit = self._credits.get(clip.id) if clip.role == "reference" else None
        if credit is not None:
            words += f", by {credit.author}, {credit.licence}"
        picture = picture_url(sound.waveform, sound.sampling_rate)
        return (
            f'<figure><img src="{picture}" alt="{escape(alt)}" width="240" height="96">'
            f"<figcaption>{escape(words)}</figcaption>{self._player(sound, word, title)}</figure>"
        )

    def _player(self, sound: PageSound, word: str, title: str) -> str:
        url = self.budget.url(sound, page_format(sound.sampling_rate))
        if url is None:
            return paragraph("no player: the page's limit of sound is reached", "quiet")
        name = escape(f"{title}, {word}")
        return f'<audio controls preload="metadata" aria-label="{name}" src="{url}"></audio>'


def _described(sound: PageSound, word: str) -> str:
    seconds = sound.waveform.size / sound.sampling_rate
    return f"{word}, {seconds:.1f} s, 0 to {sound.sampling_rate / 2000:g} kHz"


def levelled(settings: Mapping[str, object]) -> bool:
    """Whether an evaluation's settings scaled every sound to one level."""
    preparation = settings.get("preparation")
    return isinstance(preparation, Mapping) and preparation.get("level_in_dbfs") is not None
