"""Training of the text-audio model: loss in closed form, resumption, data, retrieval."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from toy_runs import COMMON, Toy, assert_same_run

from soundleap.audio.mel import LogMel, MelConfig
from soundleap.cli.main import main
from soundleap.data.mels import open_mels, pooled_texts
from soundleap.errors import InputError
from soundleap.models.text import TextEncoder
from soundleap.models.text_audio import WEIGHTS, TextAudioModel
from soundleap.models.text_audio_towers import TextAudioConfig
from soundleap.training.clap import ClapSettings, ClapStory, alike, contrastive_loss
from soundleap.training.clap_data import ClapData, draw_mixtures
from soundleap.training.loop import generator_for, train
from soundleap.training.mel_augment import (
    add_mels,
    change_colour,
    crop,
    hide,
    through_codec,
    together,
)
from soundleap.training.retrieval import embed_clips, recalls

SIZES: dict[str, Any] = {
    "stem": (4, 4, 4), "width": 16, "blocks": 1, "kernel": 3, "expansion": 2, "text_hidden": 16,
    "dim": 16,
}  # fmt: skip


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp("clap") / "cache")


def make_settings(toy: Toy, cache: str, run_dir: Path, **changes: Any) -> ClapSettings:
    values: dict[str, Any] = {
        **COMMON, **SIZES, "manifests": (toy.manifest,), "cache": cache, "codec": toy.codec,
        "iterations": 6, "batch_size": 8, "mixtures": 5, "min_frames": 32, "max_frames": 64,
    }  # fmt: skip
    return ClapSettings(run_dir=str(run_dir), **{**values, **changes})


def test_loss_of_two_items_in_closed_form() -> None:
    sounds = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    texts = torch.tensor([[1.0, 0.0], [math.sqrt(0.5), math.sqrt(0.5)]])
    loss = contrastive_loss(sounds, texts, torch.tensor(2.0), torch.eye(2))["loss"]
    a, c = 2.0, 2.0 * math.sqrt(0.5)  # logits: [[a, c], [0, c]]
    by_sound = [math.log1p(math.exp(c - a)), math.log1p(math.exp(-c))]
    by_text = [math.log1p(math.exp(-a)), math.log(2.0)]
    wanted = [0.5 * (x + y) for x, y in zip(by_sound, by_text, strict=True)]
    torch.testing.assert_close(loss, torch.tensor(wanted))


def test_equal_captions_are_not_told_apart() -> None:
    pooled = torch.nn.functional.normalize(
        torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.1]]), dim=1
    )
    likeness = alike(pooled, torch.tensor([0, 0, 1]), 0.05)
    assert likeness[0, 1] == 1.0  # the same group, however far the texts
    assert likeness[0, 2] == pytest.approx(math.exp((pooled[0] @ pooled[2] - 1) / 0.05), rel=1e-4)
    everything = torch.ones(3, 3)
    vectors = torch.eye(3)
    even = contrastive_loss(vectors, vectors, torch.tensor(0.0), everything)["loss"]
    torch.testing.assert_close(even, torch.full((3,), math.log(3.0)))


def test_a_resumed_run_equals_a_straight_one(toy: Toy, cache: str, tmp_path: Path) -> None:
    straight, halved = (make_settings(toy, cache, tmp_path / name) for name in ("a", "b"))
    story = ClapStory(straight, progress=False)
    assert train(story, progress=False).finished
    first = make_settings(toy, cache, tmp_path / "b", iterations=6, max_minutes=1e-9)
    assert not train(ClapStory(first, progress=False), progress=False).finished
    assert train(ClapStory(halved, progress=False), progress=False).finished
    assert_same_run(straight.run_dir, halved.run_dir)
    model = TextAudioModel.from_folder(straight.run_dir)
    assert model.dim == 16
    kept, average, last = (
        part.state_dict()["text_projection.straight.weight"]
        for part in (model, story.average, story.model)
    )
    assert torch.equal(kept, average.half().float())
    assert not torch.equal(kept, last.half().float())
    report = json.loads((tmp_path / "a" / "report.json").read_text())
    assert report["clips"] == 3
    assert 0 <= report["text_to_audio_r1"] <= 1


def test_a_toy_set_is_learnt(toy: Toy, cache: str, tmp_path: Path) -> None:
    changes = {"learning_rate": 5e-3, "codec": None, "mixture_share": 0.0, "batch_size": 11}
    story = ClapStory(make_settings(toy, cache, tmp_path, **changes), progress=False)
    losses = [float(story.step(i, generator_for(0, i))["loss"]) for i in range(50)]
    assert sum(losses[-5:]) < 0.7 * sum(losses[:5])


def test_a_step_can_be_looked_at(toy: Toy, cache: str, tmp_path: Path) -> None:
    story = ClapStory(make_settings(toy, cache, tmp_path), progress=False)
    found = story.inspect(3, generator_for(0, 3))
    assert found.tensors["batch.mel"].shape[0] == len(found.facts["captions"]) == 8
    heard = [
        ClapStory(
            make_settings(toy, cache, tmp_path, codec_share=share), progress=False
        ).inspect(3, generator_for(0, 3)).tensors["batch.mel"]
        for share in (0.0, 1.0)
    ]  # fmt: skip
    assert bool((heard[0] != heard[1]).any((1, 2)).all())


def test_the_command_trains_the_tiny_preset(toy: Toy, cache: str, tmp_path: Path) -> None:
    words = [f"run_dir={tmp_path}", f"cache={cache}", f"manifests=[{toy.manifest}]"]
    command = ["train", "clap", "tiny-clap", *words, f"codec={toy.codec}", "threads=1", "--quiet"]
    assert main(command) == 0
    assert (tmp_path / WEIGHTS).exists()


def test_every_fault_of_the_settings_is_told(toy: Toy, cache: str, tmp_path: Path) -> None:
    changes = {"codec_share": 2.0, "mixtures": -1, "min_frames": 90, "likeness": 0.0, "kernel": 2}
    with pytest.raises(Exception, match="kernel") as caught:
        make_settings(toy, cache, tmp_path, **changes)
    for name in changes:
        assert name in str(caught.value)


def test_mels_and_texts_are_computed_once(toy: Toy, tmp_path: Path) -> None:
    front_end = LogMel(MelConfig())
    first, again = (
        open_mels(tmp_path, [toy.manifest], "train", front_end, progress=False) for _ in range(2)
    )
    assert len(first) == 11
    assert first.clips == again.clips
    assert torch.equal(first.mels, again.mels)
    assert sum(first.frames(i) for i in range(len(first))) == len(first.mels)
    assert first.mel(3).shape == (80, first.frames(3))
    encoder, texts = TextEncoder.default(), ["rain", "a dog barks"]
    pooled = pooled_texts(tmp_path, texts, progress=False)
    torch.testing.assert_close(pooled, encoder.pooled(encoder.encode(texts)), rtol=0, atol=1e-3)
    assert len(list(tmp_path.glob("*.safetensors"))) == 2
    with pytest.raises(InputError, match="tokens"):
        pooled_texts(tmp_path, ["very " * 200], progress=False)


def test_batches_are_functions_of_their_generator(toy: Toy, cache: str) -> None:
    mels = open_mels(Path(cache), [toy.manifest], "train", LogMel(MelConfig()), progress=False)
    data = ClapData(mels, draw_mixtures(mels, 5, 0))
    one, same = (data.draw(8, 0.5, (32, 64), None, generator_for(0, 3)) for _ in range(2))
    assert torch.equal(one.mel, same.mel)
    assert torch.equal(one.texts, same.texts)
    assert one.mask.shape[1] % 8 == 0
    assert one.mel.shape == (8, 80, one.mask.shape[1])
    assert (one.groups[4:] < 0).all()  # half of them are mixtures, groups of their own
    words = [data.texts[int(i)] for i in one.texts]
    assert all(word in [m.caption for m in data.mixtures] for word in words[4:])


def test_two_equal_sounds_are_three_decibels_louder() -> None:
    mel = torch.randn(80, 5)
    torch.testing.assert_close(add_mels(mel, mel), mel + 0.5 * math.log10(2.0))


def test_the_second_sound_is_scaled_before_it_is_put_in() -> None:
    a, b = torch.randn(2, 80, 5, generator=generator_for(0, 0))
    mixed = together(a, b[:, :5], -20.0, generator_for(0, 0))
    torch.testing.assert_close(mixed, add_mels(a, b - 1.0))


def test_vectors_of_clips_are_those_of_each_alone(toy: Toy, cache: str) -> None:
    mels = open_mels(Path(cache), [toy.manifest], "train", LogMel(MelConfig()), progress=False)
    model = TextAudioModel(TextAudioConfig(**SIZES)).eval()
    alone = torch.cat([model.audio(mels.mel(i)[None]) for i in range(len(mels))])
    torch.testing.assert_close(embed_clips(model, mels), alone, rtol=1e-4, atol=1e-5)


def test_a_crop_is_a_part_and_prefers_what_is_loud() -> None:
    mel = torch.full((80, 100), -5.0)
    mel[:, 60:70] = 0.0
    generators = [generator_for(0, i) for i in range(40)]
    cut = [crop(mel, 20, generator) for generator in generators]
    assert {part.shape[1] for part in cut} == {20}
    heard = np.mean([float(part.max()) == 0.0 for part in cut])
    assert heard > 0.5  # of single places about 0.36 hold some of it
    assert crop(mel, 100, generators[0]) is mel


def test_changes_stay_within_their_bounds(toy: Toy) -> None:
    from soundleap.models.latent_codecs import load_latent_codec

    mel = torch.randn(6, 80, 16, generator=torch.Generator().manual_seed(0)) - 2.0
    coloured = change_colour(torch.full((6, 80, 16), -2.0), generator_for(0, 0))
    assert float((coloured + 2.0).abs().max()) <= 0.65
    codec = load_latent_codec(Path(toy.codec))
    assert through_codec(mel, codec, 0.0, generator_for(0, 1)) is mel
    decoded = through_codec(mel, codec, 1.0, generator_for(0, 1))
    assert bool((decoded != mel).any((1, 2)).all())
    hidden = hide(mel, torch.ones(6, 16, dtype=torch.bool), generator_for(0, 2))
    same = float((hidden == mel).float().mean())
    assert 0.4 < same < 1.0


def test_recalls_in_closed_form() -> None:
    likeness = torch.tensor([[0.9, 0.1, 0.0], [0.8, 0.2, 0.1], [0.1, 0.3, 0.2]])
    found = recalls(likeness, torch.eye(3, dtype=torch.bool))
    assert found["audio_to_text_r1"] == pytest.approx(1 / 3)
    assert found["text_to_audio_r1"] == pytest.approx(2 / 3)
    assert found["text_to_audio_r5"] == found["audio_to_text_r10"] == 1.0
