"""Decoding with gradients: deterministic, each item by itself, cheaper in memory but the same."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from soundleap.audio.mel import MelConfig
from soundleap.models.autoencoder1d import Autoencoder1d, Autoencoder1dConfig
from soundleap.models.istft_vocoder import ISTFTVocoder, ISTFTVocoderConfig
from soundleap.models.patch_pca import PatchPCA, PatchPCAConfig
from soundleap.models.seams import LatentCodec
from soundleap.models.vae1d import VAE1d, VAE1dConfig
from soundleap.models.vae2d import VAE2d, VAE2dConfig
from soundleap.training.decoding import SoundDecoder

MEL = MelConfig(n_fft=64, hop_length=16, n_mels=16, sampling_rate=4000, f_max_in_hz=2000)
LENGTHS = [6, 3, 6]
MASK = torch.arange(6) < torch.tensor(LENGTHS)[:, None]


def patch_pca() -> PatchPCA:
    codec = PatchPCA(PatchPCAConfig(n_mels=16, patch_frames=2, channels=4))
    torch.manual_seed(0)
    codec.components.normal_(std=0.2)
    return codec


def codec_of(kind: str) -> LatentCodec:
    torch.manual_seed(0)
    if kind == "patch_pca":
        return patch_pca()
    if kind == "vae1d":
        return VAE1d(VAE1dConfig(n_mels=16, patch_frames=2, channels=4, width=8, blocks=1))
    if kind == "autoencoder1d":
        return Autoencoder1d(Autoencoder1dConfig(
            n_mels=16, channels=4, inner_channels=4, width=32, multipliers=(1, 2), blocks=1,
        ))  # fmt: skip
    return VAE2d(VAE2dConfig(
        channels=4, n_mels=16, block_out_channels=(8, 8), layers_per_block=1, norm_num_groups=4,
        fixed_length=None,
    ))  # fmt: skip


def vocoder() -> ISTFTVocoder:
    torch.manual_seed(1)
    return ISTFTVocoder(ISTFTVocoderConfig(mel=MEL, width=16, blocks=1, phase_iterations=2))


def latents(codec: LatentCodec) -> Tensor:
    shape = codec.latent_shape(6)
    return torch.randn(3, *shape, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("kind", ["patch_pca", "vae1d", "autoencoder1d", "vae2d"])
def test_every_item_is_decoded_as_if_alone(kind: str) -> None:
    codec = codec_of(kind)
    decoder, z = SoundDecoder(codec, vocoder()), latents(codec)
    for decode, unit in ((decoder.mel, 2), (decoder.waveform, 2 * MEL.hop_length)):
        together = decode(z, MASK)
        assert together.shape[-1] == 6 * unit
        for i, length in enumerate(LENGTHS):
            alone = decode(z[i : i + 1, :, :length], None)[0]
            own, scale = together[i, ..., : length * unit], float(alone.abs().max())
            torch.testing.assert_close(own / scale, alone / scale, atol=3e-5, rtol=0)
            assert not together[i, ..., length * unit :].any()
    torch.testing.assert_close(decoder.waveform(z), decoder.waveform(z), rtol=0, atol=0)


@pytest.mark.parametrize("kind", ["patch_pca", "vae2d"])
def test_checkpoints_change_neither_values_nor_gradients(kind: str) -> None:
    codec = codec_of(kind)
    z, found = latents(codec), []
    for recompute in (True, False):
        decoder = SoundDecoder(codec, vocoder(), recompute=recompute)
        own = z.clone().requires_grad_()
        sound = decoder.waveform(own, MASK)
        sound.square().mean().backward()
        assert own.grad is not None
        assert float(own.grad.abs().max()) > 0
        found.append((sound.detach(), own.grad))
        assert not own.grad.transpose(1, 2)[~MASK].any()
    torch.testing.assert_close(found[0], found[1], rtol=1e-5, atol=1e-7)


def test_gradients_of_the_vocoder_are_those_of_its_magnitudes() -> None:
    """With the first phase kept the whole vocoder is smooth: gradients equal differences."""
    torch.manual_seed(1)
    part = ISTFTVocoder(ISTFTVocoderConfig(mel=MEL, width=8, blocks=1, phase_iterations=0)).double()
    mel = torch.randn(1, 16, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    phase = (
        torch.rand(1, 33, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(4)) * 6
    )
    weights = torch.randn(128, dtype=torch.float64, generator=torch.Generator().manual_seed(5))

    def loss(x: Tensor) -> Tensor:
        return (part(x, phase)[0] * weights).sum()

    own = mel.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(loss(own), own)
    for place in ((0, 3, 2), (0, 12, 5)):
        step = torch.zeros_like(mel)
        step[place] = 1e-5
        slope = (loss(mel + step) - loss(mel - step)) / 2e-5
        torch.testing.assert_close(gradient[place], slope, rtol=1e-5, atol=1e-8)
