"""Short pieces of music: draw the parameters, write the score, say exactly what it is."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from soundleap.data.rendering.composing import (
    PROGRESSIONS,
    Note,
    Song,
    arpeggio,
    bass_line,
    block_chords,
    long_notes,
    melody,
    oom_pah,
    repeated_note,
    scale_run,
)
from soundleap.data.rendering.fluidsynth import Part, Score
from soundleap.data.rendering.grooves import GROOVES, PERCUSSION, beat
from soundleap.data.rendering.instruments import (
    DRUM_KITS,
    INSTRUMENTS,
    Instrument,
    with_article,
)
from soundleap.data.rendering.music_captions import (
    drums_captions,
    ensemble_captions,
    key_name,
    solo_captions,
)
from soundleap.data.rendering.styles import ENSEMBLES, Ensemble

SHARES = {"solo": 0.52, "ensemble": 0.33, "drums": 0.15}
TEMPOS = {"slow": (56, 80), "medium tempo": (92, 116), "fast": (132, 176)}
"""Beats a minute that a tempo word stands for; the gaps between keep the words exact."""
_RELEASE_IN_S = 0.9
_LONGEST_IN_S = 10.0


@dataclass(frozen=True)
class Piece:
    """A score with what is known about it; `instruments` are plain names, `key` may be empty."""

    score: Score
    captions: tuple[str, ...]
    form: str
    instruments: tuple[str, ...]
    tempo: str
    key: str


def compose(rng: random.Random) -> Piece:
    """Draw one piece of 2 to 10 seconds: solo, ensemble or drums."""
    kind = rng.choices(list(SHARES), weights=list(SHARES.values()))[0]
    return {"solo": _solo, "ensemble": _ensemble, "drums": _drums}[kind](rng)


def _song(rng: random.Random, *, beats: int, mode: str | None, tempo: str) -> Song:
    bpm = rng.randint(*TEMPOS[tempo])
    mode = mode or rng.choice(("major", "minor"))
    wanted = rng.choice((3.5, 5.0, 7.0, 9.1, 9.1, 9.1))
    bars = max(2, int(wanted / (beats * 60 / bpm)))
    return Song(bpm, beats, rng.randrange(12), mode, bars, rng.choice(PROGRESSIONS[mode]))


def _score(song: Song, parts: list[Part]) -> Score:
    played = song.bars * song.beats * 60 / song.bpm
    return Score(tuple(parts), song.bpm, round(min(played + _RELEASE_IN_S, _LONGEST_IN_S), 3))


def _part(instrument: Instrument, notes: list[Note]) -> Part:
    return Part(instrument.program, tuple(notes))


Line = Callable[[random.Random, Song, Instrument], list[Note]]


def _two_hands(rng: random.Random, song: Song, instrument: Instrument) -> list[Note]:
    chords = oom_pah(rng, song, instrument)
    return [*chords, *melody(rng, song, instrument, level=100)]


def _tune_and_chords(rng: random.Random, song: Song, instrument: Instrument) -> list[Note]:
    chords = block_chords(rng, song, instrument, (0.0,), level=66)
    return [*chords, *melody(rng, song, instrument, level=100)]


def _strum(rng: random.Random, song: Song, instrument: Instrument) -> list[Note]:
    return block_chords(rng, song, instrument, tuple(float(b) for b in range(song.beats)))


_LINES: dict[str, Line] = {
    "melody": melody,
    "arpeggio": lambda rng, song, who: arpeggio(rng, song, who, rng.choice((0.5, 0.25, 0.5))),
    "rising scale": lambda rng, song, who: scale_run(rng, song, who, False),
    "falling scale": lambda rng, song, who: scale_run(rng, song, who, True),
    "series of long notes": long_notes,
    "repeated note": repeated_note,
    "bass line": lambda rng, song, who: bass_line(
        rng, song, who, rng.choice(("roots", "eighths", "octaves", "walking"))
    ),
    "chord progression": lambda rng, song, who: block_chords(rng, song, who, (0.0,)),
    "series of repeated chords": _strum,
    "melody with chords": _tune_and_chords,
    "waltz": _two_hands,
    "march": _two_hands,
}
_SINGLE = ("melody",) * 5 + (
    "arpeggio", "rising scale", "falling scale", "series of long notes", "repeated note",
)  # fmt: skip
_POLYPHONIC = (
    "melody", "melody", "arpeggio", "arpeggio", "rising scale", "falling scale",
    "chord progression", "chord progression", "series of repeated chords", "melody with chords",
    "melody with chords", "waltz", "march",
)  # fmt: skip


_HELD_FORMS = ("series of long notes", "chord progression")
_SHORT_SOUNDS = ("xylophone", "marimba", "banjo", "pizzicato strings", "kalimba", "koto")
"""These die away too fast for held notes and slow tempos."""


def _solo(rng: random.Random) -> Piece:
    who = rng.choice(list(INSTRUMENTS.values()))
    lines = _POLYPHONIC if who.chords else _SINGLE
    form = rng.choice(
        ("bass line", "bass line", "melody") if who.family == "low pitched" else lines
    )
    if who.name in _SHORT_SOUNDS and form in _HELD_FORMS:
        form = "melody"
    tempo = rng.choice(list(TEMPOS)[who.name in _SHORT_SOUNDS :])
    mode = rng.choice(("major", "minor"))
    song = _song(rng, beats=3 if form == "waltz" else 4, mode=mode, tempo=tempo)
    key = key_name(song.tonic, mode)
    captions = solo_captions(rng, who, form=form, tempo=tempo, song=song, key=key)
    score = _score(song, [_part(who, _LINES[form](rng, song, who))])
    return Piece(score, captions, form, (who.name,), tempo, key)


def _ensemble(rng: random.Random) -> Piece:
    name = rng.choice(list(ENSEMBLES))
    style: Ensemble = ENSEMBLES[name]
    tempo = rng.choice(style.tempos)
    song = _song(rng, beats=style.beats, mode=rng.choice(style.modes), tempo=tempo)
    lead, chords, bass = (
        INSTRUMENTS[rng.choice(names)] if names else None
        for names in (style.leads, style.chords, style.basses)
    )
    parts: list[Part] = []
    names: list[str] = []
    if lead:
        parts.append(_part(lead, melody(rng, song, lead, level=100)))
        names.append(lead.name)
    if chords:
        line = _accompaniment(rng, song, chords, style.figure)
        parts.append(_part(chords, line))
        names += [chords.name] if chords.name not in names else []
    if bass:
        parts.append(_part(bass, bass_line(rng, song, bass, rng.choice(style.bass_patterns))))
        names.append(bass.name)
    if style.groove:
        notes = beat(rng, GROOVES[style.groove], song.bars, level=88)
        parts.append(Part(DRUM_KITS[style.kit], tuple(notes), drums=True))
        names.append("drums")
    key = key_name(song.tonic, song.mode)
    captions = ensemble_captions(rng, name, names, tempo=tempo, song=song, key=key)
    return Piece(_score(song, parts), captions, name, tuple(names), tempo, key)


def _accompaniment(rng: random.Random, song: Song, who: Instrument, figure: str) -> list[Note]:
    if figure == "arpeggio":
        return arpeggio(rng, song, who, 0.5)
    if figure == "oom-pah":
        return oom_pah(rng, song, who)
    hits = {"held": (0.0,), "beats": tuple(float(b) for b in range(song.beats))}
    hits |= {"offbeat": (0.5, 1.5, 2.5, 3.5), "push": (0.0, 1.5, 2.5)}
    return block_chords(rng, song, who, hits[figure], level=74)


def _drums(rng: random.Random) -> Piece:
    tempo = rng.choice(list(TEMPOS))
    if tempo == "slow" or rng.random() < 0.5:
        form, kit = rng.choice(list(GROOVES)), rng.choice(list(DRUM_KITS))
        groove, kit_words, program = GROOVES[form], f"{with_article(kit)}", DRUM_KITS[kit]
    else:
        kit_words = rng.choice(list(PERCUSSION))
        groove, form, program = PERCUSSION[kit_words], "rhythm", 0
    song = _song(rng, beats=groove.beats, mode="major", tempo=tempo)
    part = Part(program, tuple(beat(rng, groove, song.bars)), drums=True)
    bare = kit_words.removeprefix("a ").removeprefix("an ")
    captions = drums_captions(rng, kit_words, bare, form=form, tempo=tempo, bpm=song.bpm)
    return Piece(_score(song, [part]), captions, form, (bare,), tempo, "")
