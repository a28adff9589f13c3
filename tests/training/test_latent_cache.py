"""The latent cache: whole or refused, resumable, and rightly padded."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from toy_runs import Toy

from soundleap.data.latents import LatentCache
from soundleap.data.padding import pad_rows
from soundleap.data.text_states import StateStore, state_key, structured_captions
from soundleap.errors import InputError
from soundleap.models.latent_codecs import load_latent_codec
from soundleap.models.text import TextEncoder, TextStates
from soundleap.training.cache import CacheSettings, make_cache
from soundleap.training.settings import load_settings


@pytest.fixture
def copied(toy: Toy, tmp_path: Path) -> CacheSettings:
    folder = tmp_path / "cache"
    shutil.copytree(toy.cache, folder)
    settings = load_settings(CacheSettings, str(folder / "settings.yaml"))
    return replace(settings, run_dir=str(folder))


def test_counts(toy: Toy) -> None:
    cache = LatentCache(toy.cache)  # of 11 clips 6 tones are there twice, and 3 mixtures
    assert len(cache.lengths) == 6 * 2 + 5 + 3
    assert cache.vector_shape == (16,)
    assert all(captions for captions in cache.captions)


@pytest.mark.parametrize("name", ["latents-00000.safetensors", "text-00000.safetensors"])
def test_a_missing_shard_is_made_again_with_the_same_bytes(
    copied: CacheSettings, name: str
) -> None:
    path = Path(copied.run_dir) / name
    before = path.read_bytes()
    path.unlink()
    with pytest.raises(InputError, match=r"run `soundleap data cache` (first|again)"):
        LatentCache(copied.run_dir)
    make_cache(copied, progress=False)
    assert path.read_bytes() == before


def test_what_is_there_is_not_made_again(copied: CacheSettings) -> None:
    path = Path(copied.run_dir) / "latents-00000.safetensors"
    before = path.stat().st_mtime_ns
    make_cache(copied, progress=False)
    assert path.stat().st_mtime_ns == before


def test_another_key_is_refused(copied: CacheSettings) -> None:
    with pytest.raises(InputError, match="made from other plan, seed"):
        make_cache(replace(copied, seed=1, mixtures=2), progress=False)
    key = json.loads((Path(copied.run_dir) / "key.json").read_text())
    assert key["seed"] == 0


def test_latents_are_padded_and_masked(toy: Toy) -> None:
    cache = LatentCache(toy.cache)
    short, long = int(cache.lengths.argmin()), int(cache.lengths.argmax())
    latents, mask = cache.latents([short, long])
    assert mask.sum(1).tolist() == [int(cache.lengths[short]), int(cache.lengths[long])]
    assert latents.shape == (2, 16, mask.shape[1])
    assert (latents[0][:, ~mask[0]] == 0).all()
    alone, _ = cache.latents([short])
    torch.testing.assert_close(latents[:1, :, : alone.shape[2]], alone, rtol=0, atol=0)


def test_text_states_are_those_of_the_encoder(toy: Toy) -> None:
    cache = LatentCache(toy.cache)
    states = cache.text([cache.empty, cache.captions[0][0]])
    expected = TextEncoder.default().encode(["", "a tone of 200 hertz"])
    assert torch.equal(states.mask, expected.mask)
    assert states.mask[0].sum() == 2  # [CLS] and [SEP]
    assert (states.embeds[0, 2:] == 0).all()
    torch.testing.assert_close(states.embeds, expected.embeds, rtol=2e-3, atol=2e-3)


def test_latents_are_those_of_the_codec(toy: Toy) -> None:
    cache = LatentCache(toy.cache)
    latents, _ = cache.latents(range(len(cache.lengths)))
    codec = load_latent_codec(Path(toy.codec))
    assert latents.shape[1] == codec.config.channels
    assert 0.2 < float(latents.std()) < 3.0


def test_a_folder_without_latents(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no latents; run `soundleap data cache` first"):
        LatentCache(tmp_path)


def test_a_second_cache_encodes_no_caption_again(
    copied: CacheSettings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shared = str(tmp_path / "shared")
    one = replace(copied, run_dir=str(tmp_path / "one"), text_states=shared)
    first = make_cache(one, progress=False)
    assert first.captions_encoded == len(words_of(tmp_path / "one"))
    assert first.captions_reused == 0
    two = replace(one, run_dir=str(tmp_path / "two"), seed=5, mixtures=0)
    second = make_cache(two, progress=False)
    assert second.captions_encoded == len(words_of(tmp_path / "two") - words_of(tmp_path / "one"))
    assert second.captions_reused == len(words_of(tmp_path / "two")) - second.captions_encoded > 0
    assert make_cache(two, progress=False).captions_reused == 0  # nothing was missing
    states, others = (LatentCache(tmp_path / name) for name in ("one", "two"))
    for caption in sorted(words_of(tmp_path / "one") & words_of(tmp_path / "two")):
        a, b = (c.text([index_of(c, caption)]).embeds for c in (states, others))
        assert torch.equal(a, b), caption
    for path in Path(shared).rglob("*.safetensors"):
        path.write_bytes(path.read_bytes()[:100])
    three = replace(one, run_dir=str(tmp_path / "three"))
    assert make_cache(three, progress=False) == first
    assert "can't be read and are made anew" in caplog.text
    assert texts(tmp_path / "three") == texts(tmp_path / "one")


def test_text_states_are_not_shared_where_that_is_not_wanted(
    copied: CacheSettings, tmp_path: Path
) -> None:
    settings = replace(copied, run_dir=str(tmp_path / "a" / "cache"), text_states="none")
    assert make_cache(settings, progress=False).captions_reused == 0
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["cache"]


def test_states_are_kept_by_what_the_encoder_reads() -> None:
    keys = {
        state_key("rain", None),
        state_key("rain", ""),
        state_key("rain", "x"),
        state_key("", ""),
    }
    assert len(keys) == 4


def words_of(folder: Path) -> set[str]:
    cache = LatentCache(folder)
    return set(cache.words(range(len(cache._words))))


def index_of(cache: LatentCache, caption: str) -> int:
    return cache.words(range(len(cache._words))).index(caption)


def texts(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted(folder.glob("text-*.safetensors"))]


class Letters:
    """A text encoder that reads letters: of captions, or of their structured forms."""

    structured = True
    number = 1.0

    def encode(self, captions: Sequence[str], structured: Sequence[str] | None) -> TextStates:
        read = captions if structured is None else structured
        rows = [
            torch.tensor([[self.number], *([float(ord(letter))] for letter in text)])
            for text in read
        ]
        return TextStates(*pad_rows(rows))


def test_a_store_keeps_what_the_encoder_reads_if_it_is_finite(tmp_path: Path) -> None:
    captions, encoder = ["rain falls", "", "a dog barks"], Letters()
    encoder.number = math.nan
    StateStore(tmp_path, "of letters").states(captions, encoder)
    assert not list(tmp_path.rglob("*.safetensors"))
    encoder.number = 1.0
    made = StateStore(tmp_path, "of letters").states(captions, encoder)
    again = StateStore(tmp_path, "of letters")
    read = again.states(captions[::-1], encoder)
    assert (again.reused, again.made) == (3, 0)
    for caption, one, other in zip(captions, made, read[::-1], strict=True):
        (form,) = structured_captions(encoder, [caption]) or ()
        assert one[1:, 0].tolist() == [ord(letter) for letter in form]
        assert torch.equal(one, other)
