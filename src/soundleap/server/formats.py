"""From a waveform to the bytes of an answer."""

from __future__ import annotations

import io
import re
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from soundleap.audio.io import encode_audio
from soundleap.audio.metadata import pack
from soundleap.audio.ogg import fixed_serial
from soundleap.errors import AudioFileError
from soundleap.output import scale_down
from soundleap.server.worker import Made

Container = Literal["wav", "flac", "ogg", "opus", "mp3", "pcm", "ulaw", "alaw"]

MEDIA_TYPES: dict[str, str] = {
    "wav": "audio/wav",
    "flac": "audio/flac",
    "ogg": "audio/ogg",
    "opus": "audio/ogg; codecs=opus",
    "mp3": "audio/mpeg",
    "pcm": "audio/pcm",
    "ulaw": "audio/basic",
    "alaw": "audio/x-alaw-basic",
}
OUTPUT_FORMATS = (
    "mp3_22050_32", "mp3_24000_48", "mp3_44100_32", "mp3_44100_64", "mp3_44100_96",
    "mp3_44100_128", "mp3_44100_192", "opus_48000_32", "opus_48000_64", "opus_48000_96",
    "opus_48000_128", "opus_48000_192", "pcm_8000", "pcm_16000", "pcm_22050", "pcm_24000",
    "pcm_32000", "pcm_44100", "pcm_48000", "wav_8000", "wav_16000", "wav_22050", "wav_24000",
    "wav_32000", "wav_44100", "wav_48000", "ulaw_8000", "alaw_8000",
)  # fmt: skip
"""Formats that ElevenLabs names: container, sampling rate, and for some kilobits a second."""

_MPEG_RANGES = {True: (320.0, 32.0), False: (160.0, 8.0)}
"""Kilobits a second at libsndfile's compression levels 0 and 1: from 32 kHz on, and below."""
_OPUS_RANGE = (256.0, 6.0)


@dataclass(frozen=True)
class AudioFormat:
    """How a sound is sent.

    Attributes:
        container: the kind of file; pcm, ulaw and alaw are bare samples.
        sampling_rate: in Hz; None keeps the model's.
        kilobits: a second, for mp3 and opus; None takes libsndfile's default.
    """

    container: Container
    sampling_rate: int | None = None
    kilobits: int | None = None


@dataclass(frozen=True)
class Encoded:
    """A sound as it is sent.

    Attributes:
        data: the bytes.
        media_type: for the Content-Type header.
        sampling_rate: of the bytes, in Hz.
    """

    data: bytes
    media_type: str
    sampling_rate: int


def parse_output_format(name: str) -> AudioFormat:
    """Read a name out of `OUTPUT_FORMATS`."""
    found = re.fullmatch(r"([a-z0-9]+)_(\d+)(?:_(\d+))?", name)
    assert found is not None, name
    container, rate, kilobits = found.groups()
    return AudioFormat(container, int(rate), int(kilobits) if kilobits else None)  # pyright: ignore[reportArgumentType]


def encode(made: Made, wanted: AudioFormat) -> Encoded:
    """Encode a sound with its metadata; resamples only if another rate is asked for.

    Raises:
        AudioFileError: if the format can't hold this sampling rate.
    """
    if wanted.sampling_rate not in (None, made.sampling_rate):
        made = resampled(made, wanted.sampling_rate)
    rate, media_type = made.sampling_rate, MEDIA_TYPES[wanted.container]
    if wanted.container == "pcm":
        media_type = f"{media_type};rate={rate};encoding=signed-int;bits=16"
        return Encoded(_encode(made, "RAW", "PCM_16"), media_type, rate)
    if wanted.container in ("ulaw", "alaw"):
        return Encoded(_encode(made, "RAW", wanted.container.upper()), media_type, rate)
    if wanted.kilobits is None:
        data = encode_audio(made.waveform, rate, wanted.container, made.metadata)
    else:
        data = _encode_at(made, wanted)
    return Encoded(data, media_type, rate)


def resampled(made: Made, sampling_rate: int) -> Made:
    """Resample a sound (soxr, very high quality); its metadata says so.

    A peak that passes 1 scales the sound down, and the `gain` in the metadata with it.
    """
    import soxr

    moved = soxr.resample(made.waveform.T, made.sampling_rate, sampling_rate, quality="VHQ")
    waveform, gain = scale_down(np.ascontiguousarray(moved.T, dtype=np.float32))
    metadata: dict[str, Any] = {
        **made.metadata,
        "gain": made.metadata.get("gain", 1.0) * gain,
        "resampled_from_hz": made.sampling_rate,
    }
    return replace(made, waveform=waveform, sampling_rate=sampling_rate, metadata=metadata)


def _encode_at(made: Made, wanted: AudioFormat) -> bytes:
    """Encode at a number of kilobits a second."""
    assert wanted.kilobits is not None
    if wanted.container == "mp3":
        high, low = _MPEG_RANGES[made.sampling_rate >= 32000]
        level = min(0.9999, (high - wanted.kilobits) / (high - low))
        return _encode(
            made, "MP3", "MPEG_LAYER_III", compression_level=level, bitrate_mode="CONSTANT"
        )
    high, low = _OPUS_RANGE
    level = (high - wanted.kilobits) / (high - low)
    return fixed_serial(_encode(made, "OGG", "OPUS", compression_level=level))


def _encode(made: Made, container: str, subtype: str, **how: Any) -> bytes:
    import soundfile

    samples = made.waveform.T
    buffer = io.BytesIO()
    rate = made.sampling_rate
    try:
        with soundfile.SoundFile(
            buffer, "w", rate, samples.shape[1], subtype, format=container, **how
        ) as sound:
            if container != "RAW":
                sound.comment = pack(made.metadata)
            sound.write(samples)
    except soundfile.SoundFileError as error:
        raise AudioFileError(f"can't encode {subtype} at {rate} Hz: {error}") from None
    return buffer.getvalue()
