"""The latent codecs, by the kind that their files name."""

from __future__ import annotations

from pathlib import Path

from soundleap.errors import BundleError
from soundleap.models.patch_pca import PatchPCA, PatchPCAConfig
from soundleap.models.skip_init import SkipInit
from soundleap.models.store import load_state, read_config
from soundleap.models.vae1d import VAE1d, VAE1dConfig

AnyLatentCodec = PatchPCA | VAE1d
LATENT_CODECS = {"patch_pca": (PatchPCAConfig, PatchPCA), "vae1d": (VAE1dConfig, VAE1d)}
"""Configuration and class of each kind; a file that names none holds a `PatchPCA`."""


def load_latent_codec(path: Path) -> AnyLatentCodec:
    """Load a latent codec of whatever kind, float32 on the CPU, not to be trained.

    Args:
        path: safetensors file with its configuration in the header.

    Raises:
        BundleError: if it can't be read, is of an unknown kind, or does not fit its configuration.
    """
    values = read_config(path)
    kind = values.pop("kind", "patch_pca")
    if kind not in LATENT_CODECS:
        raise BundleError(
            f"{path} holds a latent codec of kind {kind!r}; known: {', '.join(LATENT_CODECS)}"
        )
    make_config, make_codec = LATENT_CODECS[kind]
    try:
        config = make_config(**values)
    except (TypeError, ValueError) as error:
        raise BundleError(f"{path} carries a configuration that does not fit: {error}") from None
    with SkipInit():
        codec = make_codec(config)  # pyright: ignore[reportArgumentType]
    load_state(path, codec)
    return codec.eval().requires_grad_(False)
