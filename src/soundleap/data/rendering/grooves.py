"""Drum patterns, one bar each, as steps of General MIDI percussion."""

from __future__ import annotations

import random
from dataclasses import dataclass

from soundleap.data.rendering.composing import Note

KICK, SNARE, CLOSED, OPEN, RIDE, CRASH, CLAP, STICK = 36, 38, 42, 46, 51, 49, 39, 37


@dataclass(frozen=True)
class Groove:
    """A bar of percussion: pitch to steps ("x" loud, "o" soft, "." rest), all equally long."""

    beats: int
    steps: dict[int, str]
    swing: bool = False


GROOVES: dict[str, Groove] = {
    "rock beat": Groove(
        4, {KICK: "x.......x.x.....", SNARE: "....x.......x...", CLOSED: "x.o.x.o.x.o.x.o."}
    ),
    "pop beat": Groove(
        4, {KICK: "x.....x.x.......", SNARE: "....x.......x..o", CLOSED: "xoxoxoxoxoxoxoxo"}
    ),
    "disco beat": Groove(
        4, {KICK: "x...x...x...x...", SNARE: "....x.......x...", OPEN: "..x...x...x...x."}
    ),
    "techno beat": Groove(
        4, {KICK: "x...x...x...x...", CLAP: "....x.......x...", CLOSED: "o.xoo.xoo.xoo.xo"}
    ),
    "hip hop beat": Groove(
        4, {KICK: "x..x......xx....", SNARE: "....x.......x...", CLOSED: "x.x.x.x.x.x.x.xo"}
    ),
    "metal beat": Groove(
        4, {KICK: "xxxxxxxxxxxxxxxx", SNARE: "....x.......x...", CRASH: "x...x...x...x..."}
    ),
    "swing beat": Groove(4, {RIDE: "x..x.ox..x.o", KICK: "o.....o.....", 44: "...x.....x.."}, True),
    "bossa nova beat": Groove(
        4, {KICK: "x..ox..ox..ox..o", STICK: "x..x..x...x..x..", CLOSED: "oooooooooooooooo"}
    ),
    "march beat": Groove(
        4, {KICK: "x.......x.......", SNARE: "x.xxx.x.x.xxxoxo", CRASH: "x..............."}
    ),
    "waltz beat": Groove(3, {KICK: "x.....", STICK: "..x.x.", CLOSED: "x.x.x."}),
    "tom-tom beat": Groove(
        4, {41: "x.......x..x....", 45: "...x..x.......x.", 50: "....x.......x.x."}
    ),
}
"""Beats of a whole drum kit by plain name."""

PERCUSSION: dict[str, Groove] = {
    "hand claps": Groove(4, {CLAP: "x...x...x...x.x."}),
    "a tambourine": Groove(4, {54: "x.o.x.o.x.o.x.o."}),
    "a cowbell": Groove(4, {56: "x...x...x..x.x.."}),
    "bongos": Groove(4, {60: "x.xx..x.x.xx..x.", 61: "...." + "x...." + "..x" + "x..."}),
    "congas": Groove(4, {63: "....x.xx....x.xx", 64: "x.......x..x....", 62: "..x.......x....."}),
    "maracas": Groove(4, {70: "xoxoxoxoxoxoxoxo"}),
    "a snare drum": Groove(4, {SNARE: "x.oox.oox.x.xooo"}),
    "a bass drum": Groove(4, {KICK: "x...x...x...x..."}),
    "a hi-hat": Groove(4, {CLOSED: "x.o.x.o.x.o.", OPEN: "............x..."}),
    "cymbal crashes": Groove(4, {CRASH: "x.......x......."}),
    "a ride cymbal": Groove(4, {RIDE: "x...x.o.x...x.o."}),
    "claves": Groove(4, {75: "x..x..x...x.x..."}),
    "wood blocks": Groove(4, {76: "x...x.x.x...x.x.", 77: "..x.....", }),
    "a triangle": Groove(4, {81: "x...x...x...x..."}),
    "timbales": Groove(4, {65: "x..x..x.x.......", 66: "..........x.x.xx"}),
}  # fmt: skip
"""Beats of one percussion instrument, by its name with article."""


def beat(rng: random.Random, groove: Groove, bars: int, level: int = 96) -> list[Note]:
    """Repeat a groove for a number of bars, with small differences of loudness."""
    notes: list[Note] = []
    for pitch, steps in groove.steps.items():
        per_beat = {True: 3, False: 4 if groove.beats == 4 else 2}[groove.swing]
        for bar in range(bars):
            for k, mark in enumerate(steps):
                if mark != ".":
                    soft = 28 if mark == "o" else 0
                    velocity = max(20, min(124, level - soft + rng.randint(-8, 8)))
                    notes.append(Note(bar * groove.beats + k / per_beat, 0.24, pitch, velocity))
    return notes
