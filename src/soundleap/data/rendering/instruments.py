"""The instruments of the rendered music: plain names, General MIDI programs, playing ranges."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Instrument:
    """A pitched instrument: name, General MIDI program from 0, range in MIDI pitches, family.

    `chords` tells whether one player can play chords on it.
    """

    name: str
    program: int
    low: int
    high: int
    family: str
    chords: bool = False

    @property
    def phrase(self) -> str:
        """The name with its article: "a piano", "an accordion", "strings"."""
        return with_article(self.name)


PLURALS = ("strings", "pizzicato strings", "tubular bells", "steel drums", "timpani")


def with_article(words: str) -> str:
    """Put "a" or "an" before words that don't name one of the plural instruments."""
    return words if words in PLURALS else f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


KEYS = "keyboard"
_ROWS = (
    Instrument("piano", 0, 40, 88, KEYS, True),
    Instrument("electric piano", 4, 40, 84, KEYS, True),
    Instrument("harpsichord", 6, 45, 84, KEYS, True),
    Instrument("church organ", 19, 43, 84, KEYS, True),
    Instrument("hammond organ", 16, 45, 84, KEYS, True),
    Instrument("accordion", 21, 52, 86, "folk", True),
    Instrument("harmonica", 22, 60, 84, "folk", False),
    Instrument("acoustic guitar", 24, 42, 78, "guitar", True),
    Instrument("steel string guitar", 25, 42, 78, "guitar", True),
    Instrument("electric guitar", 27, 42, 80, "guitar", True),
    Instrument("distortion guitar", 30, 40, 76, "guitar", True),
    Instrument("double bass", 32, 28, 52, "low pitched", False),
    Instrument("electric bass", 33, 28, 52, "low pitched", False),
    Instrument("slap bass", 36, 28, 52, "low pitched", False),
    Instrument("synth bass", 38, 28, 52, "low pitched", False),
    Instrument("violin", 40, 57, 92, "string", False),
    Instrument("viola", 41, 50, 80, "string", False),
    Instrument("cello", 42, 38, 70, "string", False),
    Instrument("strings", 48, 45, 86, "string", True),
    Instrument("pizzicato strings", 45, 45, 84, "string", False),
    Instrument("harp", 46, 42, 88, "plucked string", True),
    Instrument("flute", 73, 62, 93, "woodwind", False),
    Instrument("piccolo", 72, 74, 102, "woodwind", False),
    Instrument("recorder", 74, 65, 90, "woodwind", False),
    Instrument("pan flute", 75, 62, 88, "woodwind", False),
    Instrument("clarinet", 71, 52, 84, "woodwind", False),
    Instrument("oboe", 68, 60, 86, "woodwind", False),
    Instrument("bassoon", 70, 36, 64, "woodwind", False),
    Instrument("saxophone", 65, 50, 80, "woodwind", False),
    Instrument("trumpet", 56, 56, 82, "brass", False),
    Instrument("muted trumpet", 59, 56, 82, "brass", False),
    Instrument("trombone", 57, 42, 70, "brass", False),
    Instrument("french horn", 60, 43, 74, "brass", False),
    Instrument("tuba", 58, 29, 54, "brass", False),
    Instrument("brass section", 61, 46, 80, "brass", True),
    Instrument("marimba", 12, 48, 88, "tuned percussion", True),
    Instrument("vibraphone", 11, 53, 88, "tuned percussion", True),
    Instrument("xylophone", 13, 65, 100, "tuned percussion", True),
    Instrument("glockenspiel", 9, 76, 103, "tuned percussion", True),
    Instrument("celesta", 8, 64, 100, "tuned percussion", True),
    Instrument("music box", 10, 64, 98, "tuned percussion", True),
    Instrument("tubular bells", 14, 60, 77, "tuned percussion", False),
    Instrument("timpani", 47, 40, 57, "percussion", False),
    Instrument("steel drums", 114, 55, 84, "tuned percussion", True),
    Instrument("choir", 52, 48, 79, "vocal", True),
    Instrument("banjo", 105, 50, 84, "plucked string", True),
    Instrument("sitar", 104, 48, 77, "plucked string", False),
    Instrument("koto", 107, 52, 84, "plucked string", False),
    Instrument("kalimba", 108, 55, 84, "plucked string", False),
    Instrument("bagpipe", 109, 58, 77, "folk", False),
    Instrument("synth lead", 81, 52, 84, "synthesizer", False),
    Instrument("square wave synth", 80, 52, 84, "synthesizer", False),
    Instrument("synth pad", 89, 48, 80, "synthesizer", True),
)
INSTRUMENTS: dict[str, Instrument] = {row.name: row for row in _ROWS}

DRUM_KITS: dict[str, int] = {
    "drum kit": 0,
    "rock drum kit": 16,
    "electronic drum kit": 24,
    "drum machine": 25,
    "jazz drum kit": 32,
    "brushed drum kit": 40,
}
"""Drum kits by plain name: the program of MIDI channel 10."""
