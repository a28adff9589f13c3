"""Ensemble styles: who may play what in them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Ensemble:
    """A style as choices: names of instruments, tempo words, modes and figures of its players."""

    leads: tuple[str, ...] = ()
    chords: tuple[str, ...] = ()
    basses: tuple[str, ...] = ()
    figure: str = "held"
    bass_patterns: tuple[str, ...] = ("roots",)
    groove: str = ""
    kit: str = "drum kit"
    beats: int = 4
    tempos: tuple[str, ...] = ("slow", "medium tempo", "fast")
    modes: tuple[str, ...] = ("major", "minor")


_BAND_BASS = ("electric bass",)
_EASY = ("slow", "medium tempo")
_LIVELY = ("medium tempo", "fast")
ENSEMBLES: dict[str, Ensemble] = {
    "pop music": Ensemble(
        ("electric guitar", "piano", "synth lead", "saxophone", "flute"),
        ("electric piano", "piano", "acoustic guitar", "synth pad"),
        _BAND_BASS, "push", ("eighths", "roots"), "pop beat", tempos=_LIVELY,
    ),
    "rock music": Ensemble(
        ("electric guitar", "distortion guitar", "hammond organ"),
        ("distortion guitar", "electric guitar"),
        _BAND_BASS, "push", ("eighths",), "rock beat", "rock drum kit", tempos=_LIVELY,
    ),
    "metal music": Ensemble(
        ("distortion guitar",), ("distortion guitar",), _BAND_BASS, "beats", ("eighths",),
        "metal beat", "rock drum kit", tempos=("fast",), modes=("minor",),
    ),
    "ballad": Ensemble(
        ("violin", "flute", "oboe", "saxophone", "cello", "clarinet"),
        ("piano", "harp", "acoustic guitar"), figure="arpeggio", tempos=("slow",),
    ),
    "waltz": Ensemble(
        ("violin", "accordion", "clarinet", "flute", "trumpet"),
        ("piano", "accordion", "strings"), figure="oom-pah", beats=3, tempos=_LIVELY,
    ),
    "march": Ensemble(
        ("trumpet", "piccolo", "french horn", "brass section", "trombone"),
        ("brass section",), ("tuba",), "beats", ("roots",), "march beat",
        tempos=("medium tempo",), modes=("major",),
    ),
    "techno music": Ensemble(
        ("synth lead", "square wave synth"), ("synth pad",), ("synth bass",), "held", ("octaves",),
        "techno beat", "electronic drum kit", tempos=("fast",), modes=("minor",),
    ),
    "disco music": Ensemble(
        ("strings", "brass section", "electric guitar"), ("electric piano",), ("slap bass",),
        "offbeat", ("octaves",), "disco beat", tempos=("medium tempo",),
    ),
    "hip hop music": Ensemble(
        ("electric piano", "flute", "vibraphone"), ("synth pad",), ("synth bass",), "held",
        ("roots",), "hip hop beat", "drum machine", tempos=_EASY, modes=("minor",),
    ),
    "blues music": Ensemble(
        ("electric guitar", "harmonica", "saxophone", "piano"), ("piano", "hammond organ"),
        ("electric bass", "double bass"), "beats", ("walking",), "swing beat",
        tempos=_EASY, modes=("blues",),
    ),
    "jazz music": Ensemble(
        ("saxophone", "muted trumpet", "vibraphone", "trombone", "clarinet"),
        ("piano", "electric piano"), ("double bass",), "push", ("walking",), "swing beat",
        "brushed drum kit", tempos=_LIVELY,
    ),
    "bossa nova music": Ensemble(
        ("flute", "saxophone", "vibraphone"), ("acoustic guitar",), ("double bass",), "push",
        ("roots",), "bossa nova beat", "jazz drum kit", tempos=("medium tempo",),
    ),
    "folk music": Ensemble(
        ("violin", "accordion", "harmonica", "recorder", "banjo"),
        ("acoustic guitar", "steel string guitar"), figure="beats", tempos=_LIVELY,
    ),
    "country music": Ensemble(
        ("banjo", "steel string guitar", "harmonica", "violin"), ("steel string guitar",),
        ("double bass",), "oom-pah", ("roots",), tempos=("fast",), modes=("major",),
    ),
    "orchestral music": Ensemble(
        ("french horn", "oboe", "violin", "flute", "trumpet", "cello"), ("strings",),
        ("timpani",), "held", ("roots",),
    ),
    "chamber music": Ensemble(
        ("violin", "viola", "flute", "oboe", "clarinet"), ("harpsichord", "piano", "strings"),
        ("cello", "bassoon"), "beats", ("roots", "walking"),
    ),
    "church music": Ensemble(
        ("choir", "trumpet"), ("church organ",), figure="held", tempos=("slow",),
    ),
    "lullaby": Ensemble(
        ("music box", "celesta", "glockenspiel", "flute"), ("harp", "celesta", "music box"),
        figure="arpeggio", tempos=("slow",), modes=("major",), beats=3,
    ),
    "ambient music": Ensemble(
        ("choir", "vibraphone", "pan flute", "electric piano"), ("synth pad",), figure="held",
        tempos=("slow",),
    ),
    "caribbean music": Ensemble(
        ("steel drums", "marimba"), ("electric guitar", "marimba"), _BAND_BASS, "offbeat",
        ("roots",), "bossa nova beat", tempos=("medium tempo",), modes=("major",),
    ),
    "video game music": Ensemble(
        ("square wave synth",), ("synth lead",), ("synth bass",), "arpeggio", ("octaves",),
        "disco beat", "electronic drum kit", tempos=("fast",),
    ),
}  # fmt: skip
"""Ensemble styles by the noun that captions use for them."""
