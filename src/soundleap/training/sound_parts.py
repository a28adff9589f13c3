"""The files between text and network and between network and sound: encoder, codec, vocoder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from soundleap.bundle import BUILTIN_TEXT
from soundleap.errors import InputError
from soundleap.models.registry import (
    LATENT_CODECS,
    load_latent_codec,
    load_vocoder,
    outline,
    text_class,
)

if TYPE_CHECKING:
    from soundleap.models.codec import Codec
    from soundleap.models.seams import Text, Vocoder


@dataclass(frozen=True, kw_only=True)
class SoundParts:
    """Parts around a network, found and not loaded.

    Attributes:
        codec: file of the latent codec; None where none is known.
        vocoder: file of the vocoder; None, or one that is not there yet, for Griffin-Lim.
        text: folder of the text encoder; None for the one that comes with the package.
    """

    codec: Path | None = None
    vocoder: Path | None = None
    text: Path | None = None

    @property
    def codec_config(self) -> Any:
        """Configuration of the latent codec; None where none is known."""
        if self.codec is None:
            return None
        with torch.device("meta"):
            return outline(self.codec, LATENT_CODECS).config

    def load_text(self) -> Text:
        """Load the text encoder.

        Raises:
            BundleError: if a file is missing or damaged.
        """
        folder = BUILTIN_TEXT if self.text is None else self.text
        return text_class(folder).from_folder(folder)

    def load_codec(self) -> Codec:
        """Load the codec, float32 on the CPU, not to be trained.

        Raises:
            InputError: if no codec is known, or it does not fit the vocoder.
            BundleError: if a file can't be read.
        """
        from soundleap.audio.mel import LogMel
        from soundleap.models.codec import Codec

        if self.codec is None:
            raise InputError("no codec is known; give codec= its file")
        latent = load_latent_codec(self.codec)
        vocoder = self._vocoder()
        return Codec(LogMel(vocoder.config.mel), latent, vocoder).eval().requires_grad_(False)

    def _vocoder(self) -> Vocoder:
        if self.vocoder is not None and self.vocoder.exists():
            return load_vocoder(self.vocoder)
        from soundleap.models.istft_vocoder import ISTFTVocoder, ISTFTVocoderConfig

        return ISTFTVocoder(ISTFTVocoderConfig())
