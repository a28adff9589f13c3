from __future__ import annotations

import io
import time

import numpy as np
import pytest
import soundfile

from soundleap.audio.metadata import read_metadata
from soundleap.audio.ogg import checksum, fixed_serial
from soundleap.server.formats import (
    OUTPUT_FORMATS,
    AudioFormat,
    encode,
    parse_output_format,
    resampled,
)
from soundleap.server.worker import Made

RATE = 16000


@pytest.fixture(scope="module")
def made() -> Made:
    t = np.arange(RATE) / RATE
    tone = 0.25 * np.sin(2 * np.pi * 440 * t) + 0.01 * np.random.default_rng(0).normal(size=RATE)
    return Made(tone[None].astype(np.float32), RATE, {"seed": 7, "gain": 0.5}, {"text": 0.1})


@pytest.mark.parametrize("name", ["wav", "flac", "ogg", "opus", "mp3"])
def test_the_same_sound_gives_the_same_bytes(made: Made, name: str):
    first = encode(made, AudioFormat(name))  # pyright: ignore[reportArgumentType]
    time.sleep(0.01)
    second = encode(made, AudioFormat(name))  # pyright: ignore[reportArgumentType]

    assert first.data == second.data
    decoded, rate = soundfile.read(io.BytesIO(first.data))
    assert (rate, first.sampling_rate) == (RATE, RATE)
    assert len(decoded) == pytest.approx(RATE, abs=2000)


def test_an_ogg_stream_gets_a_fixed_serial_and_right_checksums(made: Made):
    buffer = io.BytesIO()
    with soundfile.SoundFile(buffer, "w", RATE, 1, "VORBIS", format="OGG") as file:
        file.write(made.waveform.T)
    drawn = buffer.getvalue()

    fixed = fixed_serial(drawn)

    assert fixed == fixed_serial(fixed)
    assert fixed[14:18] == b"\x01\0\0\0"
    assert fixed_serial(drawn, int.from_bytes(drawn[14:18], "little")) == drawn
    assert np.array_equal(
        soundfile.read(io.BytesIO(fixed))[0], soundfile.read(io.BytesIO(drawn))[0]
    )
    assert fixed_serial(b"RIFF") == b"RIFF"


def test_the_checksum_is_that_of_a_plain_division():
    data, value = bytes(range(40)), 0
    for byte in data:
        value ^= byte << 24
        for _ in range(8):
            value = ((value << 1) ^ (0x04C11DB7 if value & 0x80000000 else 0)) & 0xFFFFFFFF

    assert checksum(data) == value


@pytest.mark.parametrize("name", OUTPUT_FORMATS)
def test_every_output_format_has_the_rate_and_size_that_it_names(made: Made, name: str):
    container, rate, *kilobits = name.split("_")

    encoded = encode(made, parse_output_format(name))

    assert encoded.sampling_rate == int(rate)
    if container in ("pcm", "ulaw", "alaw"):
        width = 2 if container == "pcm" else 1
        assert len(encoded.data) == pytest.approx(int(rate) * width, abs=2)
        return
    info = soundfile.info(io.BytesIO(encoded.data))
    assert info.samplerate == int(rate)
    if kilobits and container == "mp3":
        assert 8 * len(encoded.data) / 1000 == pytest.approx(int(kilobits[0]), rel=0.15)


def test_pcm_is_16_bit_little_endian(made: Made):
    encoded = encode(made, AudioFormat("pcm"))

    samples = np.frombuffer(encoded.data, "<i2") / 32768.0
    assert np.abs(samples - made.waveform[0]).max() <= 1 / 32768
    assert encoded.media_type == "audio/pcm;rate=16000;encoding=signed-int;bits=16"


def test_resampling_is_said_in_the_metadata(made: Made, tmp_path):
    encoded = encode(made, AudioFormat("wav", 44100))

    file = tmp_path / "a.wav"
    file.write_bytes(encoded.data)
    assert read_metadata(file) == {"seed": 7, "gain": 0.5, "resampled_from_hz": RATE}
    assert soundfile.info(file).samplerate == 44100


def test_a_peak_that_resampling_makes_scales_the_sound_down():
    square = np.sign(np.sin(np.arange(RATE) * 0.3)).astype(np.float32)[None]

    moved = resampled(Made(square, RATE, {"gain": 0.5}, {}), 48000)

    assert float(np.abs(moved.waveform).max()) <= 1.0
    assert 0.3 < moved.metadata["gain"] < 0.5
