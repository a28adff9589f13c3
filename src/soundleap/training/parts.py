"""Parts of the default family, loaded from the files that training writes."""

from __future__ import annotations

from pathlib import Path

from soundleap.audio.mel import MelConfig
from soundleap.errors import BundleError
from soundleap.models.dit import DiT, DiTConfig
from soundleap.models.istft_vocoder import ISTFTVocoder, ISTFTVocoderConfig
from soundleap.models.store import load_state, read_config


def load_vocoder(path: Path) -> ISTFTVocoder:
    """Load a vocoder.

    Raises:
        BundleError: if the file can't be read or does not fit.
    """
    values = read_config(path)
    values["mel"] = MelConfig(**values["mel"])
    vocoder = ISTFTVocoder(ISTFTVocoderConfig(**values))
    load_state(path, vocoder)
    return vocoder


def load_dit(path: Path) -> DiT:
    """Load a transformer.

    Raises:
        BundleError: if the file can't be read, does not fit, or holds a network of another kind.
    """
    values = read_config(path)
    kind = values.pop("kind", "dit")
    if kind != "dit":
        raise BundleError(f"{path} holds a network of kind {kind}; training takes kind dit so far")
    network = DiT(DiTConfig(**values))
    load_state(path, network)
    return network
