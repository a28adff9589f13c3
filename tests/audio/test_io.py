from __future__ import annotations

import resource
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from soundleap.audio.io import encode_audio, read_audio, write_audio
from soundleap.audio.metadata import MAX_BYTES, pack, read_metadata, unpack
from soundleap.audio.names import FORMATS
from soundleap.errors import AudioFileError, InputError

RATE = 16000
METADATA: dict[str, Any] = {"prompt": "Regen auf Blech – 雨 🌧", "seed": 2**64 - 1, "gain": 1.0}


@pytest.fixture
def tone() -> np.ndarray:
    return (0.5 * np.sin(np.arange(RATE) * 0.2))[None].astype(np.float32)


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_keeps_sound_and_metadata(tmp_path: Path, tone: np.ndarray, name: str) -> None:
    path = write_audio(tmp_path / f"new/tone.{name}", tone, RATE, metadata=METADATA)
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    assert read_metadata(path) == METADATA
    samples = read_audio(path, sampling_rate=RATE)
    assert abs(len(samples) - RATE) <= (0 if name in ("wav", "flac", "ogg", "opus") else 2400)
    assert np.sqrt(np.mean(samples**2)) == pytest.approx(0.5 / np.sqrt(2), rel=0.05)
    if name in ("wav", "flac"):
        np.testing.assert_allclose(samples, tone[0], atol=2**-15)


@pytest.mark.parametrize("name", FORMATS)
def test_the_longest_metadata_fits_every_format(
    tmp_path: Path, tone: np.ndarray, name: str
) -> None:
    metadata = {"prompt": "x" * (MAX_BYTES - len(pack({"prompt": ""})))}
    assert len(pack(metadata)) == MAX_BYTES
    path = write_audio(tmp_path / f"tone.{name}", tone, RATE, metadata=metadata)
    assert read_metadata(path) == metadata
    with pytest.raises(InputError, match=f"metadata is {MAX_BYTES + 1} bytes"):
        pack({"prompt": metadata["prompt"] + "x"})


def test_two_longest_prompts_fit() -> None:
    pack({"prompt": "🌧" * 1000, "negative_prompt": "🌧" * 1000, **{str(i): 0.1 for i in range(99)}})


def test_channels_and_plain_samples(tmp_path: Path, tone: np.ndarray) -> None:
    stereo = np.concatenate([tone, -tone])
    write_audio(tmp_path / "stereo.wav", stereo, RATE)
    assert np.abs(read_audio(tmp_path / "stereo.wav", sampling_rate=RATE)).max() < 2**-14
    write_audio(tmp_path / "plain", tone[0], RATE, format="FLAC")
    np.testing.assert_allclose(
        read_audio(tmp_path / "plain", sampling_rate=RATE), tone[0], atol=2**-15
    )


@pytest.mark.parametrize(
    ("name", "wanted", "message"),
    [
        ("tone.wave", None, "unknown format 'wave'; did you mean 'wav'"),
        ("tone", None, "has no ending; add one of: wav, flac, ogg, opus, mp3"),
        ("tone.wav", "flac", "ends in .wav but format is flac"),
        ("tone.wav", "aiff", "unknown format 'aiff'"),
    ],
)
def test_formats_are_checked(
    tmp_path: Path, tone: np.ndarray, name: str, wanted: str | None, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        write_audio(tmp_path / name, tone, RATE, format=wanted)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("waveform", "message"),
    [
        (np.full((1, 9), 1.01, np.float32), "peak of 1.01; allowed: up to 1"),
        (np.full((1, 9), np.nan, np.float32), "peak of nan"),
        (np.zeros((1, 0), np.float32), "not empty"),
        (np.zeros((1, 1, 9), np.float32), "needed: "),
    ],
)
def test_waveforms_are_checked(tmp_path: Path, waveform: np.ndarray, message: str) -> None:
    with pytest.raises(InputError, match=message):
        write_audio(tmp_path / "tone.wav", waveform, RATE)
    assert list(tmp_path.iterdir()) == []


def test_full_scale_is_kept(tmp_path: Path) -> None:
    extremes = np.array([[1.0, -1.0, 0.0]], dtype=np.float32)
    write_audio(tmp_path / "full.wav", extremes, RATE)
    np.testing.assert_allclose(
        read_audio(tmp_path / "full.wav", sampling_rate=RATE), extremes[0], atol=2**-14
    )


def test_a_rate_that_the_format_lacks(tmp_path: Path, tone: np.ndarray) -> None:
    with pytest.raises(AudioFileError, match="can't encode opus at 11025 Hz"):
        write_audio(tmp_path / "tone.opus", tone, 11025)
    assert list(tmp_path.iterdir()) == []


def test_an_existing_file_is_kept(tmp_path: Path, tone: np.ndarray) -> None:
    path = tmp_path / "tone.wav"
    path.write_text("mine")
    with pytest.raises(InputError, match="exists"):
        write_audio(path, tone, RATE)
    assert path.read_text() == "mine"
    write_audio(path, tone, RATE, overwrite=True)
    assert len(read_audio(path, sampling_rate=RATE)) == RATE


def test_a_full_disk_leaves_nothing(tmp_path: Path, tone: np.ndarray) -> None:
    kept = tmp_path / "kept.wav"
    write_audio(kept, tone, RATE)
    before = kept.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, hard))
    try:
        for path in (kept, tmp_path / "new.wav"):
            with pytest.raises(AudioFileError, match=f"can't write .*{path.name}: File too large"):
                write_audio(path, tone, RATE, overwrite=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [path.name for path in tmp_path.iterdir()] == ["kept.wav"]
    assert kept.read_bytes() == before


def test_a_folder_that_is_a_file(tmp_path: Path, tone: np.ndarray) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(AudioFileError, match="can't write"):
        write_audio(tmp_path / "file" / "tone.wav", tone, RATE)
    assert (tmp_path / "file").read_text() == "mine"


def test_files_without_metadata(tmp_path: Path, tone: np.ndarray) -> None:
    for name in ("tone.wav", "tone.flac"):
        path = write_audio(tmp_path / name, tone, RATE)
        with pytest.raises(AudioFileError, match="carries no Soundleap metadata"):
            read_metadata(path)


@pytest.mark.parametrize(
    "data", [b"", b"RIFF", b"RIFF\0\0\0\0WAVELIST\xff\0\0\0INFOICMT", b"noise"]
)
def test_damaged_files_have_no_metadata(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "bad.wav").write_bytes(data)
    with pytest.raises(AudioFileError, match=r"bad.wav"):
        read_metadata(tmp_path / "bad.wav")
    with pytest.raises(AudioFileError, match="No such file"):
        read_metadata(tmp_path / "missing.wav")


@pytest.mark.parametrize("comment", ["", "plain", "[1]", '{"other": 1}', '{"soundleap": 5}'])
def test_other_comments_are_not_metadata(comment: str) -> None:
    assert unpack(comment) is None


def test_formats_in_any_letters(tone: np.ndarray) -> None:
    assert encode_audio(tone, RATE, ".WAV") == encode_audio(tone, RATE, "wav")
    with pytest.raises(InputError, match="unknown format 'wave'"):
        encode_audio(tone, RATE, "wave")
