"""The latent codecs that Soundleap trains, by the kind that their files name."""

from __future__ import annotations

from pathlib import Path

from soundleap.errors import BundleError
from soundleap.models.patch_pca import PatchPCA
from soundleap.models.registry import load_latent_codec as load_any_latent_codec
from soundleap.models.vae1d import VAE1d

AnyLatentCodec = PatchPCA | VAE1d


def load_latent_codec(path: Path) -> AnyLatentCodec:
    """Load a latent codec that Soundleap trained, float32 on the CPU, not to be trained.

    Args:
        path: safetensors file with its configuration in the header.

    Raises:
        BundleError: if it can't be read, is of an unknown kind, or does not fit its configuration.
    """
    codec = load_any_latent_codec(path)
    if not isinstance(codec, AnyLatentCodec):
        raise BundleError(f"{path} holds a {type(codec).__name__}; training takes its own codecs")
    return codec
