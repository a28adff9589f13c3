"""Captions of the rendered music: every word follows from the parameters of the piece."""

from __future__ import annotations

import random

from soundleap.data.rendering.composing import Song
from soundleap.data.rendering.instruments import PLURALS, Instrument, with_article

_MAJOR_KEYS = "c,d flat,d,e flat,e,f,f sharp,g,a flat,a,b flat,b".split(",")
_MINOR_KEYS = "c,c sharp,d,e flat,e,f,f sharp,g,g sharp,a,b flat,b".split(",")
_MOODS = {
    ("slow", "major"): ("calm", "peaceful", "gentle"),
    ("slow", "minor"): ("sad", "melancholic", "solemn"),
    ("medium tempo", "major"): ("pleasant", "bright", "happy"),
    ("medium tempo", "minor"): ("dark", "serious", "mysterious"),
    ("fast", "major"): ("cheerful", "upbeat", "lively"),
    ("fast", "minor"): ("dramatic", "energetic", "tense"),
}


def key_name(tonic: int, mode: str) -> str:
    """Name a key in words: 3, "major" gives "e flat major"."""
    names = _MINOR_KEYS if mode == "minor" else _MAJOR_KEYS
    return f"{names[tonic]} {mode}" if mode != "blues" else names[tonic]


def _pick(rng: random.Random, named: list[str], general: list[str]) -> tuple[str, ...]:
    """Take 4 to 6 different captions, at most two of them without the instrument."""
    total = rng.randint(4, 6)
    plain = rng.sample(general, min(len(general), rng.choice((1, 1, 2))))
    return tuple(rng.sample(named, min(len(named), total - len(plain))) + plain)


def solo_captions(
    rng: random.Random, who: Instrument, *, form: str, tempo: str, song: Song, key: str
) -> tuple[str, ...]:
    """Say what one instrument plays: 4 to 6 captions, most of them naming it."""
    sings = who.family == "vocal"
    verb = "sing" if sings else "play"
    verb_s = verb if who.name in PLURALS else f"{verb}s"
    mood = rng.choice(_MOODS[tempo, song.mode])
    a_mood, a_tempo = with_article(mood), with_article(tempo)
    named = [
        f"{who.phrase} {verb_s} {a_tempo} {form}",
        f"{who.phrase} {verb_s} {a_mood} {form} in {key}",
        f"solo {who.name}",
        f"{who.phrase}",
        f"the sound of {who.phrase} {verb}ing {with_article(form)}",
        f"{tempo} {_compact(form, who.name)} in {key}",
        f"{mood} {who.name} music",
        f"{with_article(form)} sung by {who.phrase}"
        if sings
        else f"someone plays {with_article(form)} on {who.phrase}",
        f"{who.name} {verb}ing at {song.bpm} bpm, {key}",
        f"{a_mood} {who.name} solo",
    ]
    general = [
        f"{tempo} {mood} {'choral' if sings else 'instrumental'} music",
        f"{with_article(form)} in {key}",
        f"{a_tempo} {form} at {song.bpm} bpm",
        f"{who.family} music",
        "music",
        "voices" if sings else f"one instrument plays {with_article(form)}",
    ]
    return _pick(rng, named, general)


def _compact(form: str, name: str) -> str:
    return {
        "series of long notes": f"long {name} notes",
        "repeated note": f"repeated {name} note",
        "series of repeated chords": f"repeated {name} chords",
        "chord progression": f"{name} chords",
        "melody with chords": f"{name} piece",
    }.get(form, f"{name} {form}".replace("bass bass", "bass"))


def ensemble_captions(
    rng: random.Random, style: str, names: list[str], *, tempo: str, song: Song, key: str
) -> tuple[str, ...]:
    """Say what several instruments play together in a style."""
    mode = "minor" if song.mode == "blues" else song.mode
    mood = rng.choice(_MOODS[tempo, mode]) if song.mode != "blues" else "laid back"
    listed = _listed(names)
    manner = "choral" if "choir" in names else "instrumental"
    article = style if style.endswith("music") else with_article(style)
    named = [
        f"{tempo} {style} with {listed} at {song.bpm} bpm",
        f"{mood} {style} played by {listed}",
        f"{listed} playing together",
        f"{article} with {names[0]} melody",
        f"{tempo} {style} in {key} with {listed}",
        f"{names[0]} melody over {_listed(names[1:]) or 'chords'}",
        f"{manner} {style} featuring {names[0]}",
    ]
    general = [
        f"{mood} {style}",
        f"{tempo} {style} at {song.bpm} bpm",
        f"{style} in {key}",
        f"{manner} {style}",
        f"{mood} {manner} music",
        "a small ensemble plays music",
    ]
    return _pick(rng, named, general)


def _listed(names: list[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else "".join(names)


def drums_captions(
    rng: random.Random, player: str, bare: str, *, form: str, tempo: str, bpm: int
) -> tuple[str, ...]:
    """Say what a drum kit or percussion instrument (with and without article) plays."""
    verb = "plays" if bare != player else "play"
    named = [
        f"{player} {verb} {with_article(tempo)} {form}",
        f"{player}",
        f"{tempo} {form} on {player}",
        f"{bare} at {bpm} bpm",
        f"{form} played with {player}, no other instruments",
        f"{bare} solo",
        f"the sound of {player}",
    ]
    general = [f"{with_article(tempo)} {form}", f"percussion at {bpm} bpm", "percussion"]
    drums = ["drums", f"drums playing {with_article(form)}"]
    general += drums if form != "rhythm" else ["a steady rhythm"]
    return _pick(rng, named, general)
