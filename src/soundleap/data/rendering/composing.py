"""Lines of short pieces, in beats: melodies, chords, arpeggios, bass lines and drum grooves."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import NamedTuple

from soundleap.data.rendering.instruments import Instrument


class Note(NamedTuple):
    """A note in beats: start, length, MIDI pitch and velocity (1 to 127)."""

    start: float
    length: float
    pitch: int
    velocity: int


SCALES: dict[str, tuple[int, ...]] = {
    "major": (0, 2, 4, 5, 7, 9, 11),
    "minor": (0, 2, 3, 5, 7, 8, 10),
    "blues": (0, 3, 5, 6, 7, 10),
}
PROGRESSIONS: dict[str, tuple[tuple[int, ...], ...]] = {
    "major": ((0, 4, 5, 3), (0, 5, 3, 4), (0, 3, 4, 0), (0, 3, 0, 4), (1, 4, 0, 0), (0, 2, 3, 4)),
    "minor": ((0, 5, 2, 6), (0, 3, 4, 0), (0, 6, 5, 6), (0, 3, 6, 2), (0, 5, 3, 4)),
    "blues": ((0, 3, 0, 4), (0, 0, 3, 0), (0, 3, 4, 3)),
}
_BLUES_ROOTS = {0: 0, 3: 5, 4: 7}
_CELLS: dict[int, tuple[tuple[float, ...], ...]] = {
    4: ((1, 1, 1, 1), (2, 1, 1), (1, 0.5, 0.5, 2), (0.5, 0.5, 1, 0.5, 0.5, 1), (1.5, 0.5, 1, 1),
        (0.5,) * 8, (1, 0.5, 0.5, 1, 0.5, 0.5), (3, 1)),
    3: ((1, 1, 1), (2, 1), (1.5, 0.5, 1), (1, 0.5, 0.5, 1), (0.5,) * 6, (1, 1, 0.5, 0.5)),
}  # fmt: skip


@dataclass(frozen=True)
class Song:
    """What the lines of a piece share; `chords` holds one scale degree a bar (0 is the tonic)."""

    bpm: int
    beats: int
    tonic: int
    mode: str
    bars: int
    chords: tuple[int, ...]

    def pitch(self, degree: int) -> int:
        """Semitones above the lowest C of a scale degree, octaves included."""
        scale = SCALES[self.mode]
        octave, step = divmod(degree, len(scale))
        return self.tonic + 12 * octave + scale[step]

    def chord(self, bar: int) -> list[int]:
        """Semitones above the lowest C of the chord tones of a bar, root first."""
        degree = self.chords[bar % len(self.chords)]
        if self.mode == "blues":
            return [self.tonic + _BLUES_ROOTS[degree] + step for step in (0, 4, 7, 10)]
        return [self.pitch(degree + step) for step in (0, 2, 4)]


def fold(pitch: int, low: int, high: int) -> int:
    """Move a pitch by octaves into [low, high], a range of an octave or more."""
    while pitch < low:
        pitch += 12
    while pitch > high:
        pitch -= 12
    return pitch


def _velocity(rng: random.Random, accent: bool, level: int) -> int:
    return max(20, min(120, level + (10 if accent else 0) + rng.randint(-8, 8)))


def _centre(instrument: Instrument, tonic: int) -> int:
    middle = (instrument.low + instrument.high) // 2 - 6
    return fold(tonic, middle - 6, middle + 6) - tonic


def melody(rng: random.Random, song: Song, instrument: Instrument, level: int = 92) -> list[Note]:
    """Write a tune: two motifs in the pattern AABA, moved along the chords, ending on the tonic."""
    motifs = [_motif(rng, song) for _ in range(2)]
    base = _centre(instrument, song.tonic)
    notes: list[Note] = []
    for bar in range(song.bars):
        lengths, steps = motifs[(0, 0, 1, 0)[bar % 4]]
        root = 0 if song.mode == "blues" else song.chords[bar % len(song.chords)]
        if bar == song.bars - 1 and song.bars > 1:
            lengths, steps, root = (1.0, song.beats - 1.0), (1, 0), 0
        at = float(bar * song.beats)
        for length, step in zip(lengths, steps, strict=True):
            pitch = fold(song.pitch(root + step) + base, instrument.low, instrument.high)
            accent = at % song.beats == 0
            notes.append(Note(at, length * 0.92, pitch, _velocity(rng, accent, level)))
            at += length
    return notes


def _motif(rng: random.Random, song: Song) -> tuple[tuple[float, ...], tuple[int, ...]]:
    lengths = rng.choice(_CELLS[song.beats])
    step = rng.choice((0, 2, 4))
    steps: list[int] = []
    for _ in lengths:
        steps.append(step)
        step = max(-3, min(8, step + rng.choice((-2, -1, -1, 1, 1, 2, 3))))
    return tuple(float(x) for x in lengths), tuple(steps)


def voicing(song: Song, bar: int, instrument: Instrument) -> list[int]:
    """Place the chord of a bar, close position, near the middle of the instrument's range."""
    low = max(instrument.low, min(55, instrument.high - 18))
    return sorted({fold(p, low, low + 14) for p in song.chord(bar)})


def block_chords(
    rng: random.Random, song: Song, instrument: Instrument, hits: tuple[float, ...], level: int = 78
) -> list[Note]:
    """Play the bar's chord at each beat of `hits`, each held until the next."""
    notes: list[Note] = []
    for bar in range(song.bars):
        ends = (*hits[1:], float(song.beats))
        for hit, end in zip(hits, ends, strict=True):
            velocity = _velocity(rng, hit == 0, level)
            for pitch in voicing(song, bar, instrument):
                start = bar * song.beats + hit
                notes.append(Note(start, (end - hit) * 0.92, pitch, velocity))
    return notes


def arpeggio(rng: random.Random, song: Song, instrument: Instrument, step: float) -> list[Note]:
    """Break the chords into single notes, `step` beats apart, in one of four orders."""
    order = rng.choice(("up", "down", "up and down", "alberti"))
    notes: list[Note] = []
    for bar in range(song.bars):
        tones = voicing(song, bar, instrument)
        tones = [*tones, fold(tones[0] + 12, instrument.low, instrument.high)]
        turns = {
            "up": tones,
            "down": tones[::-1],
            "up and down": tones + tones[-2:0:-1],
            "alberti": [tones[0], tones[2], tones[1], tones[2]],
        }[order]
        for k in range(round(song.beats / step)):
            velocity = _velocity(rng, k == 0, 84)
            pitch = turns[k % len(turns)]
            notes.append(Note(bar * song.beats + k * step, step * 1.3, pitch, velocity))
    return notes


def scale_run(rng: random.Random, song: Song, instrument: Instrument, falling: bool) -> list[Note]:
    """Run over the scale, rising or falling, half a beat a note, starting again when it ends."""
    base = _centre(instrument, song.tonic) - (0 if instrument.high - instrument.low < 30 else 12)
    total = song.bars * song.beats * 2
    span = 8 if total < 30 else 15
    notes: list[Note] = []
    for k in range(total):
        degree = span - 1 - k % span if falling else k % span
        pitch = fold(song.pitch(degree) + base, instrument.low, instrument.high)
        notes.append(Note(k * 0.5, 0.46, pitch, _velocity(rng, k % span == 0, 88)))
    return notes


def long_notes(rng: random.Random, song: Song, instrument: Instrument) -> list[Note]:
    """Hold one chord tone a bar."""
    notes: list[Note] = []
    for bar in range(song.bars):
        pitch = rng.choice(voicing(song, bar, instrument))
        velocity = _velocity(rng, True, 84)
        notes.append(Note(float(bar * song.beats), song.beats * 0.97, pitch, velocity))
    return notes


def repeated_note(rng: random.Random, song: Song, instrument: Instrument) -> list[Note]:
    """Play one pitch on every beat."""
    pitch = fold(song.tonic, (instrument.low + instrument.high) // 2 - 6, instrument.high)
    count = song.bars * song.beats
    return [Note(k, 0.85, pitch, _velocity(rng, k % song.beats == 0, 90)) for k in range(count)]


def bass_line(rng: random.Random, song: Song, instrument: Instrument, pattern: str) -> list[Note]:
    """Play the chords' low notes: "roots", "eighths", "octaves" or "walking"."""
    notes: list[Note] = []
    for bar in range(song.bars):
        chord = [fold(p, instrument.low, instrument.low + 14) for p in song.chord(bar)]
        root, third, fifth = chord[0], chord[1], chord[2]
        beats = song.beats
        line = {
            "roots": [(0.0, root, beats / 2), (beats / 2, fifth, beats / 2)],
            "eighths": [(k / 2, root, 0.5) for k in range(2 * beats)],
            "octaves": [(k / 2, root + 12 * (k % 2), 0.5) for k in range(2 * beats)],
            "walking": [(k, (root, third, fifth, third)[k], 1) for k in range(beats)],
        }[pattern]
        for at, pitch, length in line:
            velocity = _velocity(rng, at == 0, 94)
            notes.append(Note(bar * beats + at, length * 0.9, pitch, velocity))
    return notes


def oom_pah(rng: random.Random, song: Song, instrument: Instrument) -> list[Note]:
    """Accompany with a low root on the strong beats and chords on the others."""
    notes: list[Note] = []
    for bar in range(song.bars):
        chord = voicing(song, bar, instrument)
        for beat in range(song.beats):
            strong = beat == 0 or (song.beats == 4 and beat == 2)
            low = fold(song.chord(bar)[0], instrument.low, instrument.low + 12)
            for pitch in [low] if strong else chord:
                velocity = _velocity(rng, strong, 72)
                notes.append(Note(bar * song.beats + beat, 0.8, pitch, velocity))
    return notes
