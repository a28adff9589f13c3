"""Training of the learnt latent codec, on a handful of tones."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
import yaml

from soundleap.cli.main import main
from soundleap.errors import InputError
from soundleap.models.latent_codecs import load_latent_codec
from soundleap.models.vae1d import VAE1d, VAE1dConfig
from soundleap.training.loop import generator_for, train
from soundleap.training.settings import as_dict, load_settings
from soundleap.training.vae import VAESettings, VAEStory, vae_loss

RATE = 16000


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("tones")
    time = np.arange(RATE) / RATE
    rows = []
    for i in range(6):
        name = f"{i}.wav"
        tone = (
            0.3 * np.sin(2 * math.pi * 220 * (i + 1) * time) * (1 + np.sin(2 * math.pi * 3 * time))
        )
        soundfile.write(folder / name, tone, RATE)
        rows.append(
            {
                "id": str(i),
                "file": name,
                "start": 0.0,
                "seconds": 1.0,
                "captions": ["a tone"],
                "source": "synthetic",
                "licence": "CC0-1.0",
                "author": "tests",
                "split": "heldout" if i > 3 else "train",
                "kind": "music",
            }
        )
    path = folder / "tones.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def make_settings(manifest: str, folder: Path, **changes: object) -> VAESettings:
    values = {
        "manifests": (manifest,),
        "run_dir": str(folder),
        "iterations": 4,
        "batch_size": 4,
        "channels": 8,
        "width": 24,
        "blocks": 1,
        "crop_frames": 16,
        "learning_rate": 3e-3,
        "warmup_iterations": 1,
        "mixed_precision": "no",
        **changes,
    }
    return VAESettings(**values)  # type: ignore[arg-type]


def test_loss_falls_on_a_toy_set(manifest: str, tmp_path: Path) -> None:
    story = VAEStory(make_settings(manifest, tmp_path), progress=False)
    losses = [float(story.step(i, generator_for(0, i))["mel_l1"]) for i in range(60)]
    assert sum(losses[-5:]) < 0.6 * sum(losses[:5])


def test_steps_repeat_and_move_the_average(manifest: str, tmp_path: Path) -> None:
    stories = [VAEStory(make_settings(manifest, tmp_path), progress=False) for _ in range(2)]
    before = {name: value.clone() for name, value in stories[0].average.state_dict().items()}
    first, second = (story.step(0, generator_for(0, 0)) for story in stories)
    assert first == second
    after = stories[0].average.state_dict()
    assert any(not torch.equal(before[name], after[name]) for name in before)
    mine, other = (story.vae.state_dict() for story in stories)
    assert all(torch.equal(mine[name], other[name]) for name in mine)


def test_making_a_story_leaves_the_global_generator_alone(manifest: str, tmp_path: Path) -> None:
    before = torch.get_rng_state()
    VAEStory(make_settings(manifest, tmp_path), progress=False)
    assert torch.equal(torch.get_rng_state(), before)


def test_run_exports_a_codec_of_unit_variance(manifest: str, tmp_path: Path) -> None:
    story = VAEStory(make_settings(manifest, tmp_path / "run"), progress=False)
    train(story, progress=False)
    folder = tmp_path / "run"
    codec = load_latent_codec(folder / "codec.safetensors")
    assert isinstance(codec, VAE1d)
    mel = story._mels(story.pool, 64, torch.Generator().manual_seed(0))
    assert float(codec.encode(mel).var(dim=(0, 2)).mean()) == pytest.approx(1.0, rel=1e-3)
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    assert report["heldout_mel_l1"] > 0
    sounds = {path.name for path in folder.glob("snapshot-000004/*.wav")}
    assert sounds == {f"{i}-{kind}.wav" for i in range(8) for kind in ("real", "codec")}


def test_modules_and_optimizers_are_the_whole_state(manifest: str, tmp_path: Path) -> None:
    first, second, third = (
        VAEStory(make_settings(manifest, tmp_path, seed=seed), progress=False) for seed in (0, 0, 1)
    )
    for i in range(4):
        first.step(i, generator_for(0, i))
        if i < 2:
            second.step(i, generator_for(0, i))
    for name, module in third.modules.items():
        module.load_state_dict(second.modules[name].state_dict())
    third.optimizers["vae"].load_state_dict(second.optimizers["vae"].state_dict())
    for i in (2, 3):
        third.step(i, generator_for(0, i))
    straight, resumed = first.average.state_dict(), third.average.state_dict()
    assert all(torch.equal(straight[name], resumed[name]) for name in straight)


def test_loss_is_the_stated_sum() -> None:
    vae = VAE1d(VAE1dConfig(n_mels=12, patch_frames=2, channels=3, width=8, blocks=1))
    vae.scale.fill_(2.0)
    mel, noise = torch.randn(3, 12, 8), torch.zeros(3, 3, 4)
    losses = vae_loss(vae, mel, noise, 0.5)
    torch.testing.assert_close(losses["loss"], losses["mel_l1"] + 0.5 * losses["divergence"])
    exact = (vae.decode(vae.encode(mel)) - mel).abs().mean(dim=(1, 2))  # no noise: the mean
    torch.testing.assert_close(losses["mel_l1"], exact)
    nats = vae.encode_distribution(mel).divergence()
    torch.testing.assert_close(losses["divergence"], nats / (12 * 8))


def test_all_bad_settings_are_named(tmp_path: Path) -> None:
    preset = tmp_path / "bad.yaml"
    preset.write_text(
        "stage: vae\nrun_dir: x\nmanifests: [m.jsonl]\npatch_frames: 6\ncrop_frames: 20\n"
        "kl_weight: -1\nema: 1.0\n",
        encoding="utf-8",
    )
    with pytest.raises(InputError) as caught:
        load_settings(VAESettings, str(preset))
    for part in ("powers of two", "crop_frames is 20", "kl_weight is -1", "ema is 1.0"):
        assert part in str(caught.value)


def test_train_codec_takes_presets_of_both_stages(capsys: pytest.CaptureFixture[str]) -> None:
    for preset, stage in (("learnt-vae", "vae"), ("default-codec", "codec")):
        assert main(["train", "codec", preset, "--dry-run"]) == 0
        assert yaml.safe_load(capsys.readouterr().out)["stage"] == stage
    assert main(["train", "codec", "default-vocoder", "--dry-run"]) == 2
    assert "is for `vocoder`" in capsys.readouterr().err


def test_train_codec_runs_the_learnt_one(manifest: str, tmp_path: Path) -> None:
    settings = as_dict(make_settings(manifest, tmp_path / "run", iterations=1))
    preset = tmp_path / "vae.yaml"
    preset.write_text(yaml.safe_dump({"stage": "vae", **settings}), encoding="utf-8")
    assert main(["train", "codec", str(preset), "--quiet"]) == 0
    assert isinstance(load_latent_codec(tmp_path / "run" / "codec.safetensors"), VAE1d)
