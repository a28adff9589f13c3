"""Captions without recordings as a latent source."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from soundleap.data.captions_only import AT_LEAST, LENGTHS, CaptionsOnly, read_captions_only
from soundleap.data.manifest import Clip, write_manifest
from soundleap.data.source import LatentSource
from soundleap.errors import InputError
from soundleap.models.text import TextEncoder
from soundleap.training.batches import Batches


def source(*captions: str, **changes: object) -> CaptionsOnly:
    values = {"vector_shape": (4,), "lengths": (5, 40), "seed": 3, **changes}
    return CaptionsOnly(captions, TextEncoder.default(), progress=False, **values)  # type: ignore[arg-type]


def test_captions_of_a_text_file_and_of_a_manifest(tmp_path: Path) -> None:
    text = tmp_path / "captions.txt"
    text.write_text("rain\n\n  a dog barks \nrain\n", encoding="utf-8")
    assert read_captions_only(text) == ["rain", "a dog barks"]
    clips = [
        Clip(f"c{i}", f"{i}.wav", 0.0, 1.0, (f"sound {i}", "rain"), "s", "CC0-1.0", "me", split,
             "event")
        for i, split in enumerate(("train", "heldout", "train"))
    ]  # fmt: skip
    write_manifest(clips, tmp_path / "clips.jsonl")
    assert read_captions_only(tmp_path / "clips.jsonl") == ["sound 0", "rain", "sound 2"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("none.txt", None, "can't read captions"),
        ("none.jsonl", None, "can't read captions"),
        (
            "rows.jsonl",
            b'{"captions": 3}\n\nrain\n',
            "2 faults:\n  line 1: captions: .*array\n  line 3: ",
        ),
        ("empty.txt", b" \n", "holds no caption"),
        ("binary.txt", b"\xff\xfe\x00", "can't read captions"),
    ],
)
def test_files_without_captions(
    tmp_path: Path, name: str, content: bytes | None, message: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_captions_only(tmp_path / name)


def test_it_is_a_latent_source() -> None:
    captions: LatentSource = source("rain", "a dog barks", "wind")
    assert len(captions.lengths) == len(captions.captions) >= AT_LEAST
    lengths = captions.lengths.unique()
    assert len(lengths) == LENGTHS
    assert (int(lengths[0]), int(lengths[-1])) == (5, 40)
    x_0, mask = captions.latents([0, 1, 2], 41)
    assert x_0.shape == (3, 4, 41)
    assert not x_0.any()
    assert torch.equal(mask.sum(1), captions.lengths[:3])
    assert captions.words([captions.empty, *captions.captions[1]]) == ["", "a dog barks"]
    found = captions.text([captions.captions[1][0]])
    expected = TextEncoder.default().encode(["a dog barks"])
    torch.testing.assert_close(found.embeds, expected.embeds, rtol=1e-3, atol=1e-3)
    assert torch.equal(source("rain", "a dog barks", "wind").lengths, captions.lengths)
    high = source("rain", vector_shape=(4, 6), lengths=(8, 8))
    assert high.latents([0])[0].shape == (1, 4, 8, 6)


def test_batches_of_captions() -> None:
    batches = Batches(source("rain", "wind"), tokens=300, seed=0, drop_text=0.5)
    batch = batches(0, torch.Generator().manual_seed(0))
    assert set(batch.words) <= {"rain", "wind", ""}
    assert batch.mask is not None
    assert batch.x_0.shape[2] == batch.mask.shape[1]
