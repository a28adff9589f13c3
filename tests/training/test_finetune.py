"""Fine-tuning on own sounds at toy width: every family, resuming, and the command."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from own_sounds_folder import write_sounds_folder

from soundleap.bundle import Bundle
from soundleap.cli.main import main
from soundleap.data.own_sounds import digest_sounds, find_sounds, read_sounds
from soundleap.debug import write_untrained_bundle
from soundleap.models.lora import read_adapter
from soundleap.pipeline import TextToAudio
from soundleap.training.finetune import FinetuneStory
from soundleap.training.finetune_settings import FinetuneSettings
from soundleap.training.loop import train
from soundleap.training.lora import lora_layers, pairs_of
from soundleap.untrained import write_untrained_family


@pytest.fixture(scope="module")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sounds_folder(tmp_path_factory.mktemp("own") / "tones")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return write_untrained_bundle(tmp_path_factory.mktemp("model") / "model")


def settings_for(bundle: Bundle, sounds: Path, folder: Path, **changes: object) -> FinetuneSettings:
    values: dict[str, object] = {
        "model": str(bundle.folder),
        "base": getattr(bundle.manifest.parts, bundle.manifest.networks[0]).sha256,
        "sounds": str(sounds),
        "sounds_sha256": digest_sounds(find_sounds(sounds)),
        "adapter": str(folder / "a.safetensors"),
        "name": "a",
        "run_dir": str(folder / "a.run"),
        "rank": 2,
        "iterations": 4,
        "teacher_iterations": 2,
        "batch_size": 2,
        "variants": 1,
        "keep_items": 2,
        "preview_prompts": ("tone",),
        **changes,
    }
    return FinetuneSettings(**values)  # pyright: ignore[reportArgumentType]


def finetuned(bundle: Bundle, settings: FinetuneSettings) -> FinetuneStory:
    clips = read_sounds(find_sounds(settings.sounds), bundle.manifest.sampling_rate)
    story = FinetuneStory(settings, clips, progress=False)
    train(story, progress=False)
    return story


@pytest.mark.parametrize("family", ["consistencytta", "audiolcm", "make-an-audio-2"])
def test_every_family_learns_and_makes_other_sounds(
    family: str, sounds: Path, tmp_path: Path
) -> None:
    bundle = write_untrained_family(tmp_path / "model", family)
    teachers = {"make-an-audio-2": 2}.get(family, 1)
    settings = settings_for(
        bundle, sounds, tmp_path, iterations=2, teacher_iterations=teachers, batch_size=1
    )
    finetuned(bundle, settings)
    adapter = read_adapter(settings.adapter)
    assert adapter.info.part == bundle.manifest.networks[0]
    assert any(bool(pair.b.any()) for pair in adapter.layers.values())
    plain, changed = (
        TextToAudio(bundle, adapters=adapters)("tone", seed=1, num_inference_steps=2).audios[0]
        for adapters in ([], [settings.adapter])
    )
    assert not np.array_equal(plain, changed)


def test_a_resumed_run_equals_a_straight_one_through_both_phases(
    bundle: Bundle, sounds: Path, tmp_path: Path
) -> None:
    whole = settings_for(bundle, sounds, tmp_path / "whole")
    finetuned(bundle, whole)
    for stop in (1, 2, 3, 4):  # in the first phase, between the two, in the second
        cut = settings_for(bundle, sounds, tmp_path / "cut")
        story = FinetuneStory(
            cut, read_sounds(find_sounds(sounds), bundle.manifest.sampling_rate), progress=False
        )
        stopped = replace(cut, max_minutes=1e-9 if stop < 4 else None)
        story.settings = stopped  # ends after one step
        end = train(story, progress=False)
        assert end.iteration == stop
    straight, resumed = read_adapter(whole.adapter), read_adapter(tmp_path / "cut/a.safetensors")
    assert straight.layers.keys() == resumed.layers.keys()
    for name, pair in straight.layers.items():
        assert torch.equal(pair.a, resumed.layers[name].a)
        assert torch.equal(pair.b, resumed.layers[name].b)


def test_without_a_teacher_the_true_sounds_teach(
    bundle: Bundle, sounds: Path, tmp_path: Path
) -> None:
    import json

    from soundleap.bundle_schema import MANIFEST_NAME

    path = bundle.folder.with_name("alone")
    if not path.exists():
        path.mkdir()
        for file in bundle.folder.iterdir():
            (path / file.name).write_bytes(file.read_bytes())
        values = json.loads((path / MANIFEST_NAME).read_text())
        values["parts"]["teacher"] = None
        (path / MANIFEST_NAME).write_text(json.dumps(values))
    alone = Bundle(path)
    settings = settings_for(alone, sounds, tmp_path, iterations=2, teacher_iterations=0, keep=0.0)
    finetuned(alone, settings)
    assert any(bool(pair.b.any()) for pair in read_adapter(settings.adapter).layers.values())


def test_parts_of_a_step_add_up_to_the_whole(bundle: Bundle, sounds: Path, tmp_path: Path) -> None:
    story = FinetuneStory(
        settings_for(bundle, sounds, tmp_path, accumulation=3),
        read_sounds(find_sounds(sounds), bundle.manifest.sampling_rate),
        progress=False,
    )
    batch, draws = story.drawn(0, torch.Generator().manual_seed(0))
    count = len(batch) + 2
    whole = story.losses("teacher", batch, draws, slice(0, count))["loss"]
    parts = [story.losses("teacher", batch, draws, slice(i, i + 1))["loss"] for i in range(count)]
    torch.testing.assert_close(torch.cat(parts), whole, rtol=0.05, atol=0.02)  # in bfloat16
    own = len(batch)
    alone = story.losses("teacher", batch, replace(draws, kept=None), slice(0, own))["loss"]
    torch.testing.assert_close(whole[:own], alone * count / own, rtol=0.05, atol=0.02)


def test_others_are_held_where_they_were_and_the_student_begins_as_the_teacher_ended(
    bundle: Bundle, sounds: Path, tmp_path: Path
) -> None:
    story = FinetuneStory(
        settings_for(bundle, sounds, tmp_path, mixed_precision="no"),
        read_sounds(find_sounds(sounds), bundle.manifest.sampling_rate),
        progress=False,
    )
    batch, draws = story.drawn(0, torch.Generator().manual_seed(0))
    own = len(batch)
    items = slice(own, own + 2)
    assert float(story.losses("teacher", batch, draws, items)["loss"].detach().abs().max()) < 1e-6
    generator = torch.Generator().manual_seed(1)
    for layer in lora_layers(story.networks["teacher"]).values():
        weight = layer.lora_B["default"].weight
        weight.data = 0.3 * torch.randn(weight.shape, generator=generator)
    assert float(story.losses("teacher", batch, draws, items)["loss"].detach().min()) > 1e-5
    learned = pairs_of(story.networks["teacher"])
    story.step(2, torch.Generator().manual_seed(2))  # the student's first
    begun = pairs_of(story.networks["student"])
    for name in learned.keys() & begun.keys():
        torch.testing.assert_close(begun[name].b, learned[name].b, rtol=0, atol=0.01)


def test_the_command_makes_an_adapter_that_generate_uses(
    bundle: Bundle, sounds: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "tones.safetensors"
    command = ["finetune", str(sounds), "--model", str(bundle.folder), "-o", str(out), "-q"]
    command += ["--rank", "2", "--iterations", "2"]
    assert main(command) == 0
    adapter = read_adapter(out)
    assert adapter.info.captions == ("tone",)
    assert adapter.info.provenance["clips"] == 5
    assert (tmp_path / "tones.run" / "stats.jsonl").exists()
    assert main(["show", str(out)]) == 0
    assert "untrained" in capsys.readouterr().out
    made = ["generate", "tone", "--model", str(bundle.folder), "--adapter", f"{out}:0.8", "-q"]
    assert main([*made, "--duration", "0.5", "-o", str(tmp_path / "a.wav")]) == 0
    assert main(command) == 0  # nothing is left to do
    assert main([*command, "--rank", "3"]) == 2
    assert "rank: 2 -> 3" in capsys.readouterr().err
    (tmp_path / "other.safetensors").touch()
    assert main([*command, "-o", str(tmp_path / "other.safetensors")]) == 2
    assert "other.safetensors exists" in capsys.readouterr().err
