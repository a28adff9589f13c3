"""A real but untrained model, for trying out tools without weights: it makes noises."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from soundleap.audio.mel import LogMel, MelConfig
from soundleap.bundle import Bundle
from soundleap.bundle_schema import Description, Sampling
from soundleap.bundle_writer import BundleParts, save_bundle
from soundleap.models.codec import Codec
from soundleap.models.dit import DiT, DiTConfig
from soundleap.models.istft_vocoder import ISTFTVocoder, ISTFTVocoderConfig
from soundleap.models.patch_pca import PatchPCA, PatchPCAConfig


def write_untrained_bundle(folder: str | Path, *, seed: int = 0) -> Bundle:
    """Write a model folder of a few hundred kilobytes: every part is real, small and random.

    Args:
        folder: must not exist yet, or be empty.
        seed: another seed gives another model.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        teacher, student = (
            DiT(DiTConfig(channels=16, width=32, blocks=2, heads=2, guided=guided))
            for guided in (False, True)
        )
        vocoder = ISTFTVocoder(ISTFTVocoderConfig(width=16, blocks=1))
    for module in (teacher, student, vocoder):
        _randomise(module, generator)
    codec = Codec(LogMel(MelConfig()), _random_latent_codec(generator), vocoder)
    description = Description(
        name="untrained",
        version="0",
        licence="CC0-1.0",
        sampling=Sampling(grid=tuple(range(19, 1000, 20))),
        provenance={"weights": f"random, seed {seed}"},
    )
    return save_bundle(folder, BundleParts(codec, student, teacher), description)


@torch.no_grad()
def _randomise(module: nn.Module, generator: torch.Generator) -> None:
    for parameter in module.parameters():
        spread = 0.5 * parameter.shape[-1] ** -0.5 if parameter.ndim > 1 else 0.1
        parameter.add_(spread * torch.randn(parameter.shape, generator=generator))


def _random_latent_codec(generator: torch.Generator) -> PatchPCA:
    codec = PatchPCA(PatchPCAConfig(channels=16))
    size = codec.components.shape[1]
    codec.mean.fill_(-2.5)
    codec.components.copy_(torch.linalg.qr(torch.randn(size, 16, generator=generator)).Q.T)
    codec.scale.fill_(2.0)
    codec.residual_weights[-1] = -4.0
    codec.residual_filter[2, 3] = 1.0
    return codec
