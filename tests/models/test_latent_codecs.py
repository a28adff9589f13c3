"""Both latent codecs behind one door."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pytest
import torch

from soundleap.audio.mel import LogMel, MelConfig
from soundleap.bundle import Bundle
from soundleap.bundle_schema import Description, Sampling
from soundleap.bundle_writer import BundleParts, save_bundle
from soundleap.errors import BundleError
from soundleap.models.codec import Codec, LatentCodec
from soundleap.models.dit import DiT, DiTConfig
from soundleap.models.istft_vocoder import ISTFTVocoder, ISTFTVocoderConfig
from soundleap.models.latent_codecs import AnyLatentCodec, load_latent_codec
from soundleap.models.patch_pca import PatchPCA, PatchPCAConfig, fit_patch_pca
from soundleap.models.store import read_config, save_module
from soundleap.models.vae1d import VAE1d, VAE1dConfig

KINDS = ["patch_pca", "vae1d"]


def make_codec(kind: str) -> AnyLatentCodec:
    generator = torch.Generator().manual_seed(3)
    mels = [torch.randn(80, 256, generator=generator) - 2.5 for _ in range(2)]
    if kind == "patch_pca":
        return fit_patch_pca(PatchPCAConfig(channels=16), mels)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        vae = VAE1d(VAE1dConfig(channels=16, width=16, blocks=1))
    vae.fit_input(torch.stack(mels))
    vae.fit_scale(torch.stack(mels))
    return vae.eval().requires_grad_(False)


def make_vocoder() -> ISTFTVocoder:
    return ISTFTVocoder(ISTFTVocoderConfig(width=16, blocks=1, phase_iterations=1))


@pytest.mark.parametrize("kind", KINDS)
def test_save_then_load_is_the_same_codec(kind: str, tmp_path: Path) -> None:
    codec, path = make_codec(kind), tmp_path / "codec.safetensors"
    save_module(path, codec, asdict(codec.config))
    loaded = load_latent_codec(path)
    assert type(loaded) is type(codec)
    assert loaded.config == codec.config
    mel = torch.randn(2, 80, 24, generator=torch.Generator().manual_seed(0))
    noise = torch.randn(mel.shape, generator=torch.Generator().manual_seed(1))
    latents = codec.encode(mel)
    assert torch.equal(loaded.encode(mel), latents)
    assert torch.equal(loaded.decode(latents, noise), codec.decode(latents, noise))
    assert not any(parameter.requires_grad for parameter in loaded.parameters())
    assert not loaded.training


def test_loading_draws_no_random_numbers(tmp_path: Path) -> None:
    codec, path = make_codec("vae1d"), tmp_path / "codec.safetensors"
    save_module(path, codec, asdict(codec.config))
    before = torch.get_rng_state()
    load_latent_codec(path)
    assert torch.equal(torch.get_rng_state(), before)


def test_files_tell_their_kind(tmp_path: Path) -> None:
    path = tmp_path / "codec.safetensors"
    vae, pca = make_codec("vae1d"), make_codec("patch_pca")
    save_module(path, vae, asdict(vae.config))
    assert read_config(path)["kind"] == "vae1d"
    for named in ({}, {"kind": "patch_pca"}):
        save_module(path, pca, {**asdict(pca.config), **named})
        assert isinstance(load_latent_codec(path), PatchPCA)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"kind": "vae9d"}, "kind 'vae9d'; known: patch_pca, vae1d"),
        ({"kind": "vae1d", "breadth": 3}, "does not fit: .*breadth"),
        ({"kind": "vae1d", "patch_frames": 3}, "does not fit: patch_frames is 3"),
        ({"kind": "vae1d", "width": 8, "channels": 2}, "mis-shaped"),
        ({"channels": 16}, "does not fit: missing"),
    ],
)
def test_files_that_do_not_fit_are_refused(config: dict, message: str, tmp_path: Path) -> None:
    path = tmp_path / "codec.safetensors"
    save_module(path, make_codec("vae1d"), config)
    with pytest.raises(BundleError, match=message):
        load_latent_codec(path)


@pytest.mark.parametrize("kind", KINDS)
def test_runs_inside_the_codec(kind: str) -> None:
    latent: LatentCodec = make_codec(kind)
    codec = Codec(LogMel(MelConfig()), latent, make_vocoder()).eval()
    unit = codec.samples_per_latent
    waveform = torch.randn(2, 1, 3 * unit, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        latents = codec.encode(waveform)
        generators = [torch.Generator().manual_seed(i) for i in range(2)]
        sounds = codec.decode(latents, generators)
    assert latents.shape == (2, codec.channels, 3)
    assert sounds.shape == waveform.shape
    assert torch.isfinite(sounds).all()


@pytest.mark.parametrize("kind", KINDS)
def test_a_bundle_brings_it_back(kind: str, tmp_path: Path) -> None:
    latent = make_codec(kind)
    codec = Codec(LogMel(MelConfig()), latent, make_vocoder()).eval()
    student = DiT(DiTConfig(channels=16, width=32, blocks=1, heads=2, guided=True))
    about = Description(
        name="x", version="0", licence="CC0-1.0", sampling=Sampling(grid=tuple(range(19, 1000, 20)))
    )
    folder = save_bundle(tmp_path / "model", BundleParts(codec, student), about).folder
    loaded = Bundle(folder).load_codec().latent
    assert isinstance(loaded, type(latent))
    mel = torch.randn(1, 80, 16, generator=torch.Generator().manual_seed(0))
    assert torch.equal(loaded.encode(mel), latent.encode(mel))
