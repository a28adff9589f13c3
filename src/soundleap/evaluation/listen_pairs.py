"""Which sounds are heard against each other, and at what level."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from soundleap.audio.loudness import PEAK, TARGET_RMS_DB, active_rms
from soundleap.audio.metadata import read_metadata
from soundleap.errors import AudioFileError, InputError
from soundleap.evaluation.clips import EvaluationClip, list_clips

BLOCK_IN_S = 0.05


@dataclass(frozen=True)
class Pair:
    """The sounds of two systems for one caption.

    Attributes:
        id: name that both sounds share.
        prompt: the caption; None if neither side tells one.
        clips: the sound of the first and of the second system.
    """

    id: str
    prompt: str | None
    clips: tuple[EvaluationClip, EvaluationClip]


@dataclass(frozen=True)
class Level:
    """Samples at the level at which they are heard.

    Attributes:
        waveform: [C, S] float32.
        sampling_rate: in Hz.
    """

    waveform: NDArray[np.float32]
    sampling_rate: int


def pair_sounds(one: str | Path, two: str | Path) -> tuple[list[Pair], list[str]]:
    """Pair the sounds of two folders or manifests by their names or ids.

    A caption comes from the manifest, or from what Soundleap wrote into the file.

    Returns:
        Pairs sorted by id, and the ids that only one side has.

    Raises:
        InputError: no pair at all, an id twice on a side, or two captions for one id.
    """
    sides = [_by_id(source) for source in (one, two)]
    shared = sorted(sides[0].keys() & sides[1].keys())
    if not shared:
        first = [next(iter(side)) for side in sides]
        raise InputError(
            f"{one} and {two} have no sound of the same name (for example {first[0]!r} and "
            f"{first[1]!r}); sounds are paired by file name or by the ids of manifests"
        )
    pairs = [_pair(name, sides[0][name], sides[1][name]) for name in shared]
    return pairs, sorted(sides[0].keys() ^ sides[1].keys())


def _by_id(source: str | Path) -> Mapping[str, EvaluationClip]:
    clips = list_clips(source)
    faulty = next((clip for clip in clips if clip.fault is not None), None)
    if faulty is not None:
        raise InputError(f"{source}: {faulty.id!r} can't be used: {faulty.fault}")
    return {clip.id: clip for clip in clips}


def _pair(name: str, one: EvaluationClip, two: EvaluationClip) -> Pair:
    captions = {text for text in map(_caption, (one, two)) if text}
    if len(captions) > 1:
        raise InputError(f"{name!r} has two captions: {' and '.join(map(repr, sorted(captions)))}")
    return Pair(name, next(iter(captions), None), (one, two))


def _caption(clip: EvaluationClip) -> str | None:
    if clip.prompt:
        return clip.prompt
    if clip.path is None:
        return None
    try:
        return str(read_metadata(clip.path).get("prompt") or "") or None
    except AudioFileError:
        return None


def match_levels(pair: Pair) -> tuple[Level, Level]:
    """Read both sounds and bring them to one level.

    Each is scaled to an active level of -20 dBFS, or less where its peak would pass 0.95; then the
    louder one is scaled down to the other. If only one has several channels, they are averaged.

    Raises:
        AudioFileError: a sound can't be read, is empty, silent or not finite.
    """
    one, two = (_read(clip) for clip in pair.clips)
    if len(one.waveform) != len(two.waveform):
        one, two = (_mono(sound) for sound in (one, two))
    levels = [min(10 ** (TARGET_RMS_DB / 20), PEAK * _rms(s) / _peak(s)) for s in (one, two)]
    target = min(levels)
    return _scale(one, target / _rms(one)), _scale(two, target / _rms(two))


def _read(clip: EvaluationClip) -> Level:
    import soundfile

    try:
        with soundfile.SoundFile(str(clip.path)) as file:
            rate: int = file.samplerate
            file.seek(round(clip.start_in_s * rate))
            frames = -1 if clip.duration_in_s is None else round(clip.duration_in_s * rate)
            data = file.read(frames, dtype="float32", always_2d=True)
    except (soundfile.SoundFileError, OSError) as error:
        raise AudioFileError(f"can't read {clip.path}: {error}") from None
    samples = np.asarray(data, dtype=np.float32)
    if samples.size == 0 or not np.isfinite(samples).all() or not samples.any():
        raise AudioFileError(f"{clip.path} is empty, silent or holds NaN")
    return Level(samples.T, rate)


def _mono(sound: Level) -> Level:
    return Level(sound.waveform.mean(axis=0, keepdims=True), sound.sampling_rate)


def _rms(sound: Level) -> float:
    """Active level over all channels together."""
    power = np.square(sound.waveform, dtype=np.float64).mean(axis=0)
    block = max(1, round(BLOCK_IN_S * sound.sampling_rate))
    return active_rms(np.sqrt(power).astype(np.float32), block)


def _peak(sound: Level) -> float:
    return float(np.abs(sound.waveform).max())


def _scale(sound: Level, gain: float) -> Level:
    scaled = np.clip(sound.waveform * gain, -1.0, 1.0).astype(np.float32)
    return Level(scaled, sound.sampling_rate)
