from __future__ import annotations

import math

import pytest
import torch

from soundleap.audio.mel import LogMel, MelConfig
from soundleap.errors import InputError
from soundleap.models.codec import Codec
from soundleap.models.istft_vocoder import ISTFTVocoder, ISTFTVocoderConfig
from soundleap.models.patch_pca import PatchPCA, PatchPCAConfig


@pytest.fixture(scope="module")
def codec() -> Codec:
    """Components are the identity, so that the latent codec loses nothing."""
    latent = PatchPCA(PatchPCAConfig(channels=640))
    latent.components.copy_(torch.eye(640))
    latent.residual_weights[-1] = -3.0
    latent.residual_filter[2, 3] = 1.0
    vocoder = ISTFTVocoder(ISTFTVocoderConfig(width=8, blocks=1)).requires_grad_(False)
    return Codec(LogMel(MelConfig()), latent, vocoder)


def test_a_latent_vector_covers_128_ms(codec: Codec) -> None:
    assert codec.sampling_rate == 16000
    assert codec.samples_per_latent == 2048
    lengths = [codec.latents_length(seconds) for seconds in (0.128, 0.129, 5.0, 10.0)]
    assert lengths == [1, 2, 40, 79]
    assert codec.samples_length(5.0) == 80000


def test_encode_takes_whole_latents_only(codec: Codec) -> None:
    waveform = torch.randn(2, 1, 5000, generator=torch.Generator().manual_seed(0))
    with pytest.raises(InputError, match=r"waveform is \(2, 1, 5000\).*multiple of 2048"):
        codec.encode(waveform)
    padded = codec.pad(waveform)
    assert padded.shape == (2, 1, 6144)
    assert torch.equal(padded[..., :5000], waveform)
    assert not padded[..., 5000:].any()
    assert codec.encode(padded).shape == (2, 640, 3)
    assert torch.equal(codec.pad(padded), padded)


@pytest.mark.parametrize("shape", [(1, 2, 2048), (1, 2048), (1, 1, 0)])
def test_encode_refuses_other_shapes(codec: Codec, shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="needed"):
        codec.encode(torch.zeros(shape))


def test_decode_draws_noise_then_phase(codec: Codec) -> None:
    waveform = torch.randn(1, 1, 4096, generator=torch.Generator().manual_seed(0))
    latents = codec.encode(waveform)
    decoded = codec.decode(latents, [torch.Generator().manual_seed(7)])
    generator = torch.Generator().manual_seed(7)
    noise = torch.randn(80, 16, generator=generator)
    phase = 2 * math.pi * torch.rand(513, 16, generator=generator)
    mel = codec.latent.decode(latents, noise[None])
    assert torch.equal(decoded[:, 0], codec.vocoder(mel, phase[None]))


def test_padding_and_neighbours_change_nothing(codec: Codec) -> None:
    latents = 0.5 * torch.randn(3, 640, 4, generator=torch.Generator().manual_seed(1)) - 2.0
    lengths, seeds = [4, 2, 4], [5, 6, 7]
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    together = codec.decode(latents, generators, lengths)
    assert together.shape == (3, 1, 4 * 2048)
    assert not together[1, :, 2 * 2048 :].any()
    for i, (length, seed) in enumerate(zip(lengths, seeds, strict=True)):
        alone = codec.decode(latents[i : i + 1, :, :length], [torch.Generator().manual_seed(seed)])
        torch.testing.assert_close(
            together[i : i + 1, :, : length * 2048], alone, atol=1e-5, rtol=1e-4
        )


def test_decode_checks_its_lists(codec: Codec) -> None:
    latents = torch.zeros(2, 640, 3)
    generators = [torch.Generator(), torch.Generator()]
    with pytest.raises(InputError, match="1 generators and 2 lengths for 2 samples"):
        codec.decode(latents, generators[:1])
    with pytest.raises(InputError, match=r"lengths are \[3, 4\]; allowed: 1 to 3"):
        codec.decode(latents, generators, [3, 4])


def test_parts_must_share_mel_settings() -> None:
    vocoder = ISTFTVocoder(ISTFTVocoderConfig(mel=MelConfig(n_mels=64), width=8, blocks=1))
    with pytest.raises(InputError, match="n_mels=64"):
        Codec(LogMel(MelConfig()), PatchPCA(PatchPCAConfig()), vocoder)
