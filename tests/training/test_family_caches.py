"""Caches made with a model of any family, and what of them does not fit a teacher."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from toy_runs import Toy

from soundleap.data.captions_only import CaptionsOnly
from soundleap.data.latents import LatentCache, digest
from soundleap.errors import BundleError, InputError
from soundleap.training.cache import CacheSettings, encoder_of, make_cache
from soundleap.training.cache_parts import cache_parts
from soundleap.training.distillation import DistillationSettings, DistillationStory
from soundleap.training.distillation_checks import check_parts
from soundleap.training.teacher_parts import find_teacher
from soundleap.untrained import write_untrained_family

FAMILIES = ("tango", "make-an-audio-2")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    root = tmp_path_factory.mktemp("models")
    return {f: str(write_untrained_family(root / f, f, "tiny").folder) for f in FAMILIES}


def cache_settings(toy: Toy, run_dir: Path, model: str) -> CacheSettings:
    return CacheSettings(
        run_dir=str(run_dir), manifests=(toy.manifest,), model=model, variants={"*": 1},
        text_states="none",
    )  # fmt: skip


def encoder(model: str, multiple: int | None = None) -> Callable[[torch.Tensor], torch.Tensor]:
    parts = cache_parts(None, model, multiple)
    return encoder_of(parts.sound.load_codec(), parts)


def test_offset_and_peak_count_for_tango_no_more(models: dict[str, str]) -> None:
    sound = torch.sin(torch.arange(8000) / 7) + torch.cos(torch.arange(8000) / 31)
    for family, same in (("tango", True), ("make-an-audio-2", False)):
        encode = encoder(models[family])
        one, two = encode(0.2 * sound), encode(0.3 * sound + 0.1)
        assert torch.allclose(one, two, rtol=1e-3, atol=1e-3) == same, family


def test_lengths_of_a_cache(toy: Toy, models: dict[str, str], tmp_path: Path) -> None:
    settings = cache_settings(toy, tmp_path / "a", models["make-an-audio-2"])
    make_cache(settings, progress=False)
    assert (LatentCache(tmp_path / "a").lengths % 32 == 0).all()
    make_cache(replace(settings, run_dir=str(tmp_path / "b"), length_multiple=3), progress=False)
    lengths = LatentCache(tmp_path / "b").lengths
    assert (lengths % 3 == 0).all()
    assert (lengths % 32 != 0).any()
    make_cache(cache_settings(toy, tmp_path / "c", models["tango"]), progress=False)
    fixed = cache_parts(None, models["tango"], None).sound.codec_config.fixed_length
    assert set(LatentCache(tmp_path / "c").lengths.tolist()) == {fixed}
    with pytest.raises(InputError, match=r"length_multiple is 3, but .* latent vectors alone"):
        cache_parts(None, models["tango"], 3)


def test_what_a_cache_was_made_with_must_be_the_teachers(
    toy: Toy, models: dict[str, str], tmp_path: Path
) -> None:
    model = models["make-an-audio-2"]
    make_cache(cache_settings(toy, tmp_path / "cache", model), progress=False)
    settings = DistillationSettings(
        run_dir=str(tmp_path / "run"), cache=str(tmp_path / "cache"), teacher=model,
        mixed_precision="no", preview_prompts=(),
    )  # fmt: skip
    assert settings.prediction == "eps"  # as the teacher's
    DistillationStory(settings, progress=False)
    path = tmp_path / "cache" / "key.json"
    key = json.loads(path.read_text())
    path.write_text(json.dumps({**key, "codec": digest([Path(toy.codec)]), "text": "0" * 64}))
    with pytest.raises(InputError, match=r"from another codec than .* another text encoder than"):
        DistillationStory(settings, progress=False)


@pytest.mark.parametrize(
    ("family", "shape", "lengths", "message"),
    [
        ("tango", None, (3, 5), "of 3 to 5 latent vectors but the teacher's codec takes"),
        ("tango", (1,), (3, 3), "latent vectors"),
        ("make-an-audio-2", None, (9, 10**6), "of up to 1000000 latent vectors"),
        ("make-an-audio-2", (7,), (9, 9), "latent vectors"),
    ],
)
def test_a_source_that_does_not_fit_its_teacher(
    models: dict[str, str], family: str, shape: tuple[int, ...] | None, lengths: tuple[int, int],
    message: str,
) -> None:  # fmt: skip
    parts = find_teacher(models[family])
    codec = parts.load_codec()
    own = codec.latent.latent_shape(1)
    settings = DistillationSettings(run_dir="x", cache="x", teacher=models[family])
    source = CaptionsOnly(
        ["rain"], parts.load_text(), vector_shape=shape or (own[0], *own[2:]), lengths=lengths,
        seed=0, progress=False,
    )  # fmt: skip
    with pytest.raises(InputError, match=message):
        check_parts(settings, parts, source)


def test_teachers_that_are_none(models: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"teacher nowhere.safetensors does not exist"):
        find_teacher("nowhere.safetensors")
    folder = write_untrained_family(tmp_path / "guided", "audiolcm", "tiny").folder
    parts = find_teacher(str(folder / "student.safetensors"))
    assert parts.config.guided
    settings = DistillationSettings(
        run_dir="x", cache="x", teacher=parts.place, prediction="v", preview_prompts=()
    )
    source = CaptionsOnly(
        ["rain"], find_teacher(models["make-an-audio-2"]).load_text(),
        vector_shape=(parts.config.channels,), lengths=(4, 4), seed=0, progress=False,
    )  # fmt: skip
    with pytest.raises(InputError, match=r"predicts 'eps'; set .* is a student already"):
        check_parts(settings, parts, source)
