"""VGGish and PANNs: the architectures against published facts, and loading of files."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from soundleap.errors import BundleError, InputError
from soundleap.evaluation.embedders import open_embedder, panns, vggish
from soundleap.evaluation.embedders.base import Tagger
from soundleap.evaluation.embedders.networks import load_weights, read_weights
from soundleap.evaluation.embedders.panns import (
    CNN14_16K,
    CNN14_32K,
    Cnn14,
    PannsConfig,
    PannsEmbedder,
    panns_info,
)
from soundleap.evaluation.embedders.vggish import VggishEmbedder, VggishNetwork, vggish_patches

SMALL = replace(CNN14_16K, widths=(2, 2, 4, 4, 6, 8), classes=5)


def noise(samples: int) -> np.ndarray:
    return (0.1 * np.random.default_rng(0).standard_normal(samples)).astype(np.float32)


def parameters(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def test_full_size_networks_have_the_published_number_of_parameters():
    with torch.device("meta"):
        assert parameters(VggishNetwork()) == 72_141_184
    with torch.device("meta"):
        config = replace(CNN14_32K)
        blocks = nn.ModuleList(
            panns.ConvBlock(a, b) for a, b in zip((1, *config.widths), config.widths, strict=False)
        )
        heads = nn.ModuleList([nn.Linear(2048, 2048), nn.Linear(2048, 527), nn.BatchNorm2d(64)])
        assert parameters(blocks) + parameters(heads) == 80_753_615


def test_front_ends_are_the_published_ones():
    assert (CNN14_16K.n_fft, CNN14_16K.hop_length, CNN14_16K.f_max_in_hz) == (512, 160, 8000)
    assert (CNN14_32K.n_fft, CNN14_32K.hop_length, CNN14_32K.f_max_in_hz) == (1024, 320, 14000)
    network = Cnn14(SMALL)
    tone = torch.from_numpy(np.sin(2 * np.pi * 1000 * np.arange(16000) / 16000)).float()[None]
    mel = network.log_mel(tone)
    assert mel.shape == (1, 101, 64)
    # slaney's scale is linear up to 1 kHz: 15 mels of the 45.245 at 8 kHz, from 0.75 at 50 Hz
    band = (15 - 0.75) / (45.245 - 0.75) * 65 - 1
    assert abs(int(mel[0, 50].argmax()) - band) <= 1
    assert network.log_mel(torch.zeros(1, 16000)) == pytest.approx(-100)


def test_vggish_patches_do_not_overlap_and_short_clips_are_padded():
    patches, notes = vggish_patches(noise(160000))
    assert (patches.shape, notes) == ((10, 96, 64), ())
    patches, notes = vggish_patches(noise(4000))
    assert (patches.shape, notes) == ((1, 96, 64), ("zero-padded to 0.975 s",))
    assert vggish_patches(np.zeros(16000, np.float32))[0] == pytest.approx(np.log(0.01))


def test_vggish_reads_its_maps_in_the_order_time_mel_channel():
    torch.manual_seed(0)
    network = VggishNetwork((2, 2, 2, 2, 2, 3), hidden=4, dimensions=5).eval()
    patches = torch.randn(2, 96, 64)
    maps = network.features(patches[:, None])
    assert maps.shape == (2, 3, 6, 4)
    flat = torch.stack([m[:, t, f] for m in maps for t in range(6) for f in range(4)])
    assert torch.allclose(network.embeddings(flat.reshape(2, -1)), network(patches), atol=1e-6)


def test_vggish_patches_at_once_change_rounding_only():
    torch.manual_seed(1)
    network = VggishNetwork((2, 2, 2, 2, 2, 2), hidden=8)
    one, many = (VggishEmbedder(network, "", patches_at_once=n) for n in (1, 16))
    waveform = noise(64000)
    assert one.analyse(waveform).embeds == pytest.approx(many.analyse(waveform).embeds, abs=1e-5)
    assert one.analyse(waveform).embeds.shape == (4, one.info.dimensions)


def small_panns(config: PannsConfig = SMALL) -> PannsEmbedder:
    torch.manual_seed(2)
    return PannsEmbedder(Cnn14(config), panns_info("panns-cnn14-16k", config, ""), ())


def test_panns_hears_a_clip_whole_without_its_mean():
    embedder = small_panns()
    assert isinstance(embedder, Tagger)
    found = embedder.analyse(noise(50000))
    assert (found.embeds.shape, found.logits.shape, found.notes) == ((1, 8), (1, 5), ())
    assert (found.embeds >= 0).all()
    moved = embedder.analyse(noise(50000) + 0.2)
    assert moved.embeds == pytest.approx(found.embeds, abs=1e-4)
    assert embedder.analyse(noise(20000)).notes == ("zero-padded to 2 s",)


@pytest.mark.parametrize("wrapped", [True, False])
def test_files_of_published_names_are_loaded(tmp_path, wrapped: bool, monkeypatch):
    monkeypatch.setattr(panns, "CNN14_16K", SMALL)
    network = small_panns()._network
    state = dict(network.state_dict())
    state["spectrogram_extractor.stft.conv_real.weight"] = torch.zeros(257, 1, 512)
    state["logmel_extractor.melW"] = torch.zeros(257, 64)
    path = tmp_path / "Cnn14_16k.pth"
    torch.save({"iteration": 1, "model": state} if wrapped else state, path)
    embedder = open_embedder("panns-cnn14-16k", str(path))
    expected = small_panns().analyse(noise(40000))
    assert np.array_equal(embedder.analyse(noise(40000)).embeds, expected.embeds)
    assert len(embedder.info.weights_sha256) == 64


def test_vggish_file_may_hold_its_pca(tmp_path, monkeypatch):
    class Small(VggishNetwork):
        def __init__(self) -> None:
            super().__init__((2, 2, 2, 2, 2, 2), hidden=8)

    torch.manual_seed(3)
    state = {**Small().state_dict(), "pproc.pca_means": torch.zeros(128, 1)}
    save_file(state, tmp_path / "vggish.safetensors")
    monkeypatch.setattr(vggish, "VggishNetwork", Small)
    embedder = open_embedder("vggish", str(tmp_path / "vggish.safetensors"))
    assert embedder.analyse(noise(16000)).embeds.shape == (1, 128)


def test_files_that_do_not_fit_are_refused_by_name(tmp_path):
    network = nn.Linear(2, 3)
    state = {"weight": torch.zeros(3, 2), "extra": torch.zeros(1)}
    with pytest.raises(BundleError, match=r"missing 1: bias; unexpected 1: extra"):
        load_weights(network, state, "x.pth")
    with pytest.raises(BundleError, match="mis-shaped 1: bias is"):
        load_weights(network, {"weight": torch.zeros(3, 2), "bias": torch.zeros(2)}, "x.pth")
    load_weights(network, {**network.state_dict(), "extra": torch.zeros(1)}, "x", ["ext"])
    assert not network.weight.requires_grad
    with pytest.raises(InputError, match="is not a file"):
        read_weights(tmp_path / "none.pth")
    torch.save(["no tensors"], tmp_path / "list.pth")
    with pytest.raises(BundleError, match="holds no named tensors"):
        read_weights(tmp_path / "list.pth")
    (tmp_path / "bad.pth").write_bytes(b"nothing")
    with pytest.raises(BundleError, match="can't read"):
        read_weights(tmp_path / "bad.pth")


def test_files_are_never_executed(tmp_path):
    class Evil:
        def __reduce__(self):
            return (print, ("executed",))

    torch.save({"weight": torch.zeros(1), "evil": Evil()}, tmp_path / "evil.pth")
    with pytest.raises(BundleError, match="can't read"):
        read_weights(tmp_path / "evil.pth")


def test_names_and_missing_weights_are_told():
    with pytest.raises(InputError, match="did you mean 'vggish'"):
        open_embedder("vgish")
    with pytest.raises(InputError, match="give --weights vggish=PATH"):
        open_embedder("vggish")
    with pytest.raises(InputError, match="brings its own weights"):
        open_embedder("yamnet", "somewhere")
