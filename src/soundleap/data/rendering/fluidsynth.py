"""Many short pieces through one run of FluidSynth, because loading the sound font is slow."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile  # pyright: ignore[reportMissingTypeStubs]
import soxr  # pyright: ignore[reportMissingTypeStubs]
from numpy.typing import NDArray

from soundleap.data.rendering.composing import Note
from soundleap.data.rendering.midi import (
    DRUM_CHANNEL,
    MidiEvent,
    control_event,
    midi_bytes,
    note_events,
    program_event,
)
from soundleap.errors import SoundleapError

SOUNDFONT = Path("/usr/share/sounds/sf2/FluidR3_GM.sf2")
_SYNTH_RATE = 48_000
_GAP_IN_S = 1.5
_TIMEOUT_IN_S = 900


@dataclass(frozen=True)
class Part:
    """One player: a General MIDI program (a kit's program for drums) and its notes in beats."""

    program: int
    notes: tuple[Note, ...]
    drums: bool = False


@dataclass(frozen=True)
class Score:
    """The parts of one piece, its tempo in beats a minute, and its length with the release."""

    parts: tuple[Part, ...]
    bpm: float
    duration_in_s: float


def fluidsynth_missing(soundfont: Path = SOUNDFONT) -> str | None:
    """Tell what is needed to render music and is not installed, or None."""
    if shutil.which("fluidsynth") is None:
        return "fluidsynth is not installed (Debian: apt install fluidsynth)"
    if not soundfont.is_file():
        return f"no sound font at {soundfont} (Debian: apt install fluid-soundfont-gm)"
    return None


def score_events(score: Score, offset_in_s: float) -> list[MidiEvent]:
    """Turn a score into MIDI messages that start at an offset and fall silent at its end."""
    events: list[MidiEvent] = []
    beat_in_s = 60.0 / score.bpm
    channels = [c for c in range(16) if c != DRUM_CHANNEL]
    for part in score.parts:
        channel = DRUM_CHANNEL if part.drums else channels.pop(0)
        events.append(program_event(channel, part.program, offset_in_s))
        for note in part.notes:
            start = offset_in_s + note.start * beat_in_s
            events += note_events(
                channel, note.pitch, note.velocity, start, note.length * beat_in_s
            )
    end = offset_in_s + score.duration_in_s + 0.1
    return [*events, *(control_event(c, 120, 0, end) for c in range(16))]


def render_scores(
    scores: Sequence[Score], sampling_rate: int, soundfont: Path = SOUNDFONT
) -> list[NDArray[np.float32]]:
    """Render each score to mono float32 [S] at `sampling_rate`, unnormalised.

    Raises:
        SoundleapError: FluidSynth or the sound font is missing, or FluidSynth failed.
    """
    if reason := fluidsynth_missing(soundfont):
        raise SoundleapError(reason)
    offsets = [0.1]
    events: list[MidiEvent] = []
    for score in scores:
        events += score_events(score, offsets[-1])
        offsets.append(offsets[-1] + score.duration_in_s + _GAP_IN_S)
    events.append(control_event(0, 7, 100, offsets[-1]))
    waveform = _run(midi_bytes(events, offsets[-1]), soundfont)
    cuts: list[NDArray[np.float32]] = []
    for score, offset in zip(scores, offsets, strict=False):
        first = round(offset * _SYNTH_RATE)
        cut = waveform[first : first + round(score.duration_in_s * _SYNTH_RATE)]
        cuts.append(soxr.resample(cut, _SYNTH_RATE, sampling_rate).astype(np.float32))
    return cuts


def _run(midi: bytes, soundfont: Path) -> NDArray[np.float32]:
    with tempfile.TemporaryDirectory(prefix="soundleap-") as folder:
        source, target = Path(folder, "pieces.mid"), Path(folder, "pieces.wav")
        source.write_bytes(midi)
        command = ["fluidsynth", "-ni", "-q", "-T", "wav", "-O", "float", "-g", "0.5"]
        command += ["-C", "0", "-r", str(_SYNTH_RATE), "-F", str(target)]
        done = subprocess.run(  # an argument list, no shell
            [*command, str(soundfont), str(source)],
            capture_output=True, text=True, timeout=_TIMEOUT_IN_S, check=False,
        )  # fmt: skip
        if done.returncode or not target.is_file():
            raise SoundleapError(f"fluidsynth failed: {done.stderr.strip()[-300:]}")
        stereo, _ = soundfile.read(target, dtype="float32", always_2d=True)
    return stereo.mean(axis=1)
