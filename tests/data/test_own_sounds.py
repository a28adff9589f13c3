"""Own sounds: captions from files beside, from names and from manifests, and clear words."""

from __future__ import annotations

import json
import random
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

from soundleap.data.own_examples import ExampleShape, vary
from soundleap.data.own_sounds import (
    OwnClip,
    caption_of_name,
    digest_sounds,
    find_sounds,
    read_sounds,
)
from soundleap.errors import InputError


def write(folder: Path, *names: str, rate: int = 16000) -> Path:
    folder.mkdir(exist_ok=True)
    for name in names:
        tone = 0.2 * np.sin(np.arange(rate // 2) / 9.0)
        soundfile.write(folder / name, tone.astype(np.float32), rate)
    return folder


def six(folder: Path) -> Path:
    return write(folder, *(f"my-Doorbell_{i:02d}.wav" for i in range(6)))


def test_names_are_captions_where_there_is_no_text(tmp_path: Path) -> None:
    found = find_sounds(six(tmp_path / "own"))
    assert {sound.captions for sound in found} == {("my doorbell",)}
    assert caption_of_name(Path("0001.wav")) is None
    assert caption_of_name(Path("03 Ã¼ber-Klang.wav")) is not None


def test_hidden_files_are_passed_over(tmp_path: Path) -> None:
    folder = six(tmp_path / "own")
    (folder / "._my-Doorbell_00.wav").write_bytes(b"left by another system")
    assert len(find_sounds(folder)) == 6


def test_files_beside_are_captions_a_line_each(tmp_path: Path) -> None:
    folder = six(tmp_path / "own")
    for i in range(6):
        (folder / f"my-Doorbell_{i:02d}.txt").write_text(f"a bell {i}\n\nding dong\n")
    assert find_sounds(folder)[1].captions == ("a bell 1", "ding dong")
    (folder / "my-Doorbell_02.txt").unlink()
    (folder / "my-Doorbell_03.txt").write_text("\n")
    with pytest.raises(InputError) as error:
        find_sounds(folder)
    assert "my-Doorbell_02.wav has no caption" in str(error.value)
    assert "my-Doorbell_03.txt is empty" in str(error.value)


def test_names_that_say_nothing_are_named(tmp_path: Path) -> None:
    folder = write(six(tmp_path / "own"), "007.wav")
    with pytest.raises(InputError, match=r"007\.wav says nothing by its name; .* into 007\.txt"):
        find_sounds(folder)


def test_too_few_are_named_and_counted(tmp_path: Path) -> None:
    folder = write(tmp_path / "own", "one bell.wav", "two bells.wav")
    with pytest.raises(InputError, match=r"has 2 sounds \(one bell\.wav, two bells\.wav\); at le"):
        find_sounds(folder)
    with pytest.raises(InputError, match=r"neither a folder nor a \.jsonl manifest"):
        find_sounds(tmp_path / "nothing")


def test_all_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    folder = six(tmp_path / "own")
    (folder / "broken bell.wav").write_bytes(b"RIFF nonsense")
    soundfile.write(folder / "silent bell.wav", np.zeros(16000), 16000)
    soundfile.write(folder / "short bell.wav", np.full(100, 0.5), 16000)
    with pytest.raises(InputError) as error:
        read_sounds(find_sounds(folder), 16000)
    for words in ("broken bell.wav: can't be read", "silent bell.wav: silence", "shorter than 0.1"):
        assert words in str(error.value)


def test_other_rates_are_resampled(tmp_path: Path) -> None:
    folder = write(tmp_path / "own", *(f"bell {i}.wav" for i in range(5)), rate=44100)
    clips = read_sounds(find_sounds(folder), 16000)
    assert {len(clip.samples) for clip in clips} == {8000}
    assert clips[0].samples.dtype == np.float32
    tone = 0.2 * np.sin(np.arange(8000) * 44100 / 16000 / 9.0)
    np.testing.assert_allclose(clips[0].samples[500:-500], tone[500:-500], atol=1e-3)


def test_manifests_give_stretches_and_captions(tmp_path: Path) -> None:
    folder = six(tmp_path / "own")
    rows = [
        {"file": f"my-Doorbell_{i:02d}.wav", "caption": "ding", "start": 0.1, "seconds": 0.2}
        for i in range(6)
    ]
    manifest = folder / "sounds.jsonl"
    manifest.write_text("\n".join(map(json.dumps, rows)))
    clips = read_sounds(find_sounds(manifest), 16000)
    assert {len(clip.samples) for clip in clips} == {3200}
    rows[1]["caption"], rows[2]["sart"] = "", 1
    manifest.write_text("\n".join(map(json.dumps, rows)) + "\nno json")
    with pytest.raises(InputError) as error:
        find_sounds(manifest)
    for words in ("line 2: my-Doorbell_01.wav has no caption", "line 3: unknown sart", "line 7: "):
        assert words in str(error.value)


def test_examples_of_a_sound_begin_later_and_softer() -> None:
    clip = OwnClip(np.full(8000, 0.3, dtype=np.float32), ("a hum",))
    codec = SimpleNamespace(sampling_rate=16000, samples_per_latent=2048, fixed_length=None)
    shape = ExampleShape(10.0, whole_seconds=False)
    made = [vary(clip, codec, shape, i, random.Random(i)) for i in range(6)]  # pyright: ignore
    starts = [int(x.nonzero()[0]) for x in made]
    assert starts[0] == 0
    assert all(0 < start < 2048 for start in starts[1:])
    assert len(set(starts)) == 6
    assert len({round(float(x.abs().max()), 5) for x in made}) == 6
    assert all(len(x) % 2048 == 0 for x in made)


def test_the_digest_follows_files_and_captions(tmp_path: Path) -> None:
    folder = six(tmp_path / "own")
    before = digest_sounds(find_sounds(folder))
    assert digest_sounds(find_sounds(folder)) == before
    (folder / "my-Doorbell_00.wav").rename(folder / "another.wav")
    assert digest_sounds(find_sounds(folder)) != before
