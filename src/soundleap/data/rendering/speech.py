"""Spoken sentences through flite, with captions that say who speaks and how."""

from __future__ import annotations

import random
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile  # pyright: ignore[reportMissingTypeStubs]
import soxr  # pyright: ignore[reportMissingTypeStubs]
from numpy.typing import NDArray

from soundleap.data.rendering.rooms import reverberate, trim_silence
from soundleap.errors import SoundleapError

VOICES = {"awb": "man", "rms": "man", "kal16": "man", "slt": "woman"}
"""flite's voices and who they sound like."""
_PACES = {"slowly": 1.35, "": 1.0, "quickly": 0.78}
_LONGEST_IN_S = 10.0
_TIMEOUT_IN_S = 60
_OPENINGS = (
    "good morning", "excuse me", "listen", "well", "you know", "by the way", "to be honest",
    "last night", "this afternoon", "on monday", "a few days ago", "in the end", "as far as i know",
)  # fmt: skip
_SUBJECTS = (
    "my brother", "the teacher", "our neighbour", "the old captain", "a friend of mine", "she",
    "the driver", "nobody", "the whole family", "the doctor", "my grandmother", "the new student",
    "the baker", "everyone in the office", "the little girl", "their uncle",
)  # fmt: skip
_ACTIONS = (
    "bought a loaf of bread", "forgot the keys", "was waiting for the train", "opened the window",
    "wanted to see the garden", "took a picture of the bridge", "found an old letter",
    "made a pot of tea", "talked about the weather", "missed the last bus", "painted the fence",
    "cooked dinner for seven people", "walked along the river", "read a book about whales",
    "repaired the bicycle", "lost a glove", "called twice", "sang in the kitchen",
)  # fmt: skip
_PLACES = (
    "near the station", "at the market", "in the middle of the night", "before breakfast",
    "on the way home", "after the rain stopped", "behind the library", "at half past nine",
    "without saying a word", "in the small village", "for the first time", "by the sea",
)  # fmt: skip
_SHORT = (
    "hello, how are you today?", "could you close the door, please?", "what time is it?",
    "thank you very much.", "i will be back in ten minutes.", "that is a good idea.",
    "please leave a message after the tone.", "the next stop is the central station.",
    "welcome to the evening news.", "i have no idea.", "see you tomorrow.", "where is the exit?",
    "one, two, three, four, five.", "ladies and gentlemen, thank you for coming.",
    "would you like some coffee?", "do not forget your umbrella.",
)  # fmt: skip


@dataclass(frozen=True)
class Turn:
    """One utterance: flite's voice, the words, and how much longer than normal they last."""

    voice: str
    text: str
    stretch: float


@dataclass(frozen=True)
class Talk:
    """Utterances, said one after another or all at once, perhaps in a hall, with captions."""

    turns: tuple[Turn, ...]
    together: bool
    hall: bool
    captions: tuple[str, ...]


def sentence(rng: random.Random) -> str:
    """Draw an everyday sentence."""
    if rng.random() < 0.3:
        return rng.choice(_SHORT)
    words = f"{rng.choice(_SUBJECTS)} {rng.choice(_ACTIONS)} {rng.choice(_PLACES)}."
    return f"{rng.choice(_OPENINGS)}, {words}" if rng.random() < 0.5 else words


def plan_talk(rng: random.Random) -> Talk:
    """Draw a talk: mostly one speaker, sometimes a conversation or many voices at once."""
    kind = rng.choices((_one, _conversation, _crowd), weights=(0.75, 0.17, 0.08))[0]
    return kind(rng)


def _one(rng: random.Random) -> Talk:
    voice, pace = rng.choice(list(VOICES)), rng.choice(("", "", "", "slowly", "quickly"))
    hall = rng.random() < 0.15
    who, adjective = VOICES[voice], {"man": "male", "woman": "female"}[VOICES[voice]]
    turns = tuple(Turn(voice, sentence(rng), _PACES[pace]) for _ in range(rng.choice((1, 2, 2))))
    how = f" {pace}" if pace else ""
    where = " in a large hall" if hall else ""
    captions = [
        f"a {who} speaks{how}{where}",
        f"a {adjective} voice talking{how}",
        f"a {who} is talking{where}",
        f"a {who} says something in a calm voice",
        f"{adjective} speech",
        f"a {who} reads a sentence aloud",
        f"a single {who} speaking clearly",
    ]
    general = ["speech", "someone is speaking", f"a person talks{how}{where}"]
    general.append(f"a synthetic {adjective} voice speaks")
    chosen = rng.sample(captions, 4) + rng.sample(general, rng.choice((1, 2)))
    return Talk(turns, False, hall, tuple(chosen))


def _conversation(rng: random.Random) -> Talk:
    mixed = rng.random() < 0.7
    pair = ("slt", rng.choice(("awb", "rms", "kal16"))) if mixed else ("awb", "rms")
    first, second = rng.sample(pair, 2)
    turns = tuple(
        Turn(v, rng.choice(_SHORT) if k else sentence(rng), 1.0)
        for k, v in enumerate((first, second, first))
    )
    who = f"a {VOICES[first]} and a {VOICES[second]}" if mixed else "two men"
    captions = [
        f"{who} talk to each other", f"a conversation between {who}", f"{who} are speaking in turn",
        "two people have a conversation", "dialogue", "people talking",
    ]  # fmt: skip
    return Talk(turns, False, False, tuple(captions[:3] + rng.sample(captions[3:], 2)))


def _crowd(rng: random.Random) -> Talk:
    voices = [*VOICES, *rng.choices(list(VOICES), k=4)]
    turns = tuple(
        Turn(v, f"{sentence(rng)} {sentence(rng)}", rng.uniform(0.85, 1.2)) for v in voices
    )
    captions = [
        "many people talk at the same time", "a crowd of people chattering",
        "several voices talking over each other", "babble of voices in a room",
        "men and women are talking all at once",
    ]  # fmt: skip
    return Talk(turns, True, True, tuple(rng.sample(captions, 4)))


def flite_missing() -> str | None:
    """Tell what is needed to render speech and is not installed, or None."""
    if shutil.which("flite") is None:
        return "flite is not installed (Debian: apt install flite)"
    return None


def render_talk(rng: random.Random, talk: Talk, sampling_rate: int) -> NDArray[np.float32]:
    """Speak a talk: mono float32 [S], unnormalised, at most 10 s.

    Utterances that would pass the 10 s are left out; many voices at once are cut there.

    Raises:
        SoundleapError: flite is missing or failed, or the first utterance alone is too long.
    """
    if reason := flite_missing():
        raise SoundleapError(reason)
    spoken = [_speak(turn, sampling_rate) for turn in talk.turns]
    longest = round(_LONGEST_IN_S * sampling_rate)
    if talk.together:
        babble = _overlay(rng, spoken)
        return reverberate(rng, babble, sampling_rate, decay_in_s=0.6, wet=0.5)[:longest]
    hall_in_s = 1.6 if talk.hall else 0.0
    waveform = _join(rng, spoken, sampling_rate, longest - round(hall_in_s * sampling_rate))
    if talk.hall:
        return reverberate(rng, waveform, sampling_rate, decay_in_s=hall_in_s, wet=0.5)
    return waveform


def _speak(turn: Turn, sampling_rate: int) -> NDArray[np.float32]:
    with tempfile.TemporaryDirectory(prefix="soundleap-") as folder:
        target = Path(folder, "speech.wav")
        command = ["flite", "-voice", turn.voice, "--setf", f"duration_stretch={turn.stretch:.3f}"]
        done = subprocess.run(  # an argument list, no shell
            [*command, "-t", turn.text, "-o", str(target)],
            capture_output=True, text=True, timeout=_TIMEOUT_IN_S, check=False,
        )  # fmt: skip
        if done.returncode or not target.is_file():
            raise SoundleapError(f"flite failed: {done.stderr.strip()[-300:]}")
        samples, rate = soundfile.read(target, dtype="float32")
    waveform = np.asarray(samples, np.float32)
    if rate != sampling_rate:
        waveform = soxr.resample(waveform, rate, sampling_rate).astype(np.float32)
    return trim_silence(waveform, sampling_rate)


def _join(
    rng: random.Random, spoken: list[NDArray[np.float32]], sampling_rate: int, longest: int
) -> NDArray[np.float32]:
    if len(spoken[0]) > longest:
        raise SoundleapError(f"the first utterance lasts {len(spoken[0]) / sampling_rate:.1f} s")
    joined = spoken[0]
    for piece in spoken[1:]:
        pause = np.zeros(round(rng.uniform(0.15, 0.45) * sampling_rate), np.float32)
        if len(joined) + len(pause) + len(piece) > longest:
            break
        joined = np.concatenate([joined, pause, piece])
    return joined


def _overlay(rng: random.Random, spoken: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    mix = np.zeros(max(len(s) for s in spoken), np.float32)
    for piece in spoken:
        piece = piece / max(float(np.sqrt(np.mean(piece**2))), 1e-4) * rng.uniform(0.04, 0.1)
        mix += np.roll(np.pad(piece, (0, len(mix) - len(piece))), rng.randrange(len(mix)))
    return mix
