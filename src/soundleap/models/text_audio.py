"""Soundleap's own text-audio model: sounds and captions as vectors of one space.

The text tower is the frozen MiniLM that ships with the package and a trained projection; the audio
tower is small and differentiable, so that the model can judge, search and reward.
`training.clap` trains it; the shipped weights are opened by `TextAudioModel.default`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import normalize

from soundleap.audio.loudness import normalise_level
from soundleap.audio.mel import LogMel
from soundleap.errors import BundleError, InputError, NotFiniteError
from soundleap.models.skip_init import SkipInit
from soundleap.models.store import load_state, read_config, save_module
from soundleap.models.text import TextEncoder
from soundleap.models.text_audio_towers import AudioTower, TextAudioConfig, TextProjection

DEFAULT_FOLDER = Path(__file__).parent.parent / "assets" / "text_audio"
WEIGHTS = "model.safetensors"
WINDOW_IN_S = 10.0
FloatArray = NDArray[np.floating[Any]]


class TextAudioModel(nn.Module):
    """Two towers into one space of unit vectors; the dot product of two is their likeness.

    Attributes:
        config: sizes.
        front_end: waveform ``[B, S]`` to ``mel [B, M, F]``.
        scale_log: logarithm of the factor before the softmax in training.
        licence: of the weights, as an SPDX expression.
        weights_sha256: of the file that the weights come from; empty for a new model.
        window: what is heard of a sound, in words.
    """

    licence = "CC-BY-4.0"
    window = f"all of it; beyond {WINDOW_IN_S:g} s the mean over windows of {WINDOW_IN_S:g} s"

    def __init__(self, config: TextAudioConfig) -> None:
        """Make a model with random weights; `from_folder` and `default` open trained ones."""
        super().__init__()
        self.config = config
        self.front_end = LogMel(config.mel)
        self.audio_tower = AudioTower(config)
        self.text_projection = TextProjection(config)
        self.scale_log = nn.Parameter(torch.tensor(2.66))  # 1 / 0.07, as in CLIP
        self.weights_sha256 = ""
        self._encoder: TextEncoder | None = None

    @classmethod
    def default(cls) -> TextAudioModel:
        """Open the model that ships with Soundleap."""
        return cls.from_folder(DEFAULT_FOLDER)

    @classmethod
    def from_folder(cls, folder: str | Path) -> TextAudioModel:
        """Open ``model.safetensors`` in a folder, frozen and in float32.

        Raises:
            BundleError: if the file is missing, damaged, or holds something else.
        """
        path = Path(folder) / WEIGHTS
        if not path.is_file():
            raise BundleError(f"{folder} holds no {WEIGHTS}; `soundleap train clap` writes one")
        with SkipInit():
            model = cls(TextAudioConfig.from_header(read_config(path)))
        load_state(path, model)
        model.weights_sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        return model.eval().requires_grad_(False)

    def save(self, path: Path) -> None:
        """Write weights (float16) and configuration as one safetensors file."""
        save_module(path, self, self.config.header(), torch.float16)

    @property
    def sampling_rate(self) -> int:
        """In Hz, of every waveform here."""
        return self.config.mel.sampling_rate

    @property
    def dim(self) -> int:
        """Numbers D of a vector."""
        return self.config.dim

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.scale_log.device

    @property
    def encoder(self) -> TextEncoder:
        """The frozen text encoder, opened when it is first needed.

        Raises:
            BundleError: if the model was trained on text states of another width.
        """
        if self._encoder is None:
            encoder = TextEncoder.default()
            if encoder.dim != self.config.text_dim:
                raise BundleError(
                    f"the model reads text states of {self.config.text_dim} numbers, "
                    f"but the encoder gives {encoder.dim}"
                )
            self._encoder = encoder
        return self._encoder.to(self.device)

    def mel(self, waveform: Tensor) -> Tensor:
        """Give the log-mel ``[B, M, F]`` of ``waveform [B, S]``.

        Sounds that are shorter than one transform are followed by silence up to its length.
        """
        missing = max(0, self.config.mel.n_fft - waveform.shape[-1])
        return self.front_end(nn.functional.pad(waveform, (0, missing)))

    def audio(self, mel: Tensor, mask: Tensor | None = None) -> Tensor:
        """Map sounds to unit vectors ``[B, D]``; differentiable in the mel.

        A common gain changes nothing but what lies below the mel's floor.

        Args:
            mel: ``[B, M, F]`` log10-mel as `mel` gives it, F from 1.
            mask: ``[B, F]`` bool, True at frames, at least one each; None: nothing is padded.

        Raises:
            InputError: for another shape.
        """
        n_mels = self.config.mel.n_mels
        if mel.ndim != 3 or mel.shape[1] != n_mels or not mel.shape[2]:
            raise InputError(f"mel is {tuple(mel.shape)}; needed: [B, {n_mels}, F] with F from 1")
        if mask is None:
            mask = torch.ones(len(mel), mel.shape[2], dtype=torch.bool, device=mel.device)
        elif mask.shape != (len(mel), mel.shape[2]):
            needed = [len(mel), mel.shape[2]]
            raise InputError(f"mask is {tuple(mask.shape)}; needed: {needed}, as the mel")
        return self.audio_tower(mel, mask)

    def text(self, prompts: Sequence[str]) -> Tensor:
        """Map texts to unit vectors ``[B, D]``; raises as `TextEncoder.encode`."""
        return self.text_projection(self.pooled(prompts))

    def pooled(self, prompts: Sequence[str]) -> Tensor:
        """Give what the projection reads: mean text states of length 1, ``[B, E]``."""
        return self.encoder.pooled(self.encoder.encode(prompts))

    def score(
        self, waveforms: Tensor, prompts: Sequence[str], mask: Tensor | None = None
    ) -> Tensor:
        """Say how well sounds fit their texts: ``[B]``, -1 to 1; differentiable in the waveforms.

        Args:
            waveforms: ``[B, S]`` float32 at `sampling_rate`.
            prompts: B texts.
            mask: ``[B, F]`` over mel frames (S // hop_length); None: nothing is padded.

        Raises:
            InputError: if there is not one text for each sound.
        """
        if waveforms.ndim != 2 or len(waveforms) != len(prompts):
            raise InputError(
                f"waveforms is {tuple(waveforms.shape)} for {len(prompts)} prompts; "
                "needed: [B, S] with one prompt each"
            )
        return (self.audio(self.mel(waveforms), mask) * self.text(prompts)).sum(-1)

    @torch.no_grad()
    def embed_audio(self, waveform: FloatArray) -> NDArray[np.float32]:
        """Embed one mono waveform ``[S]`` at `sampling_rate`: ``[D]``, length 1.

        Raises:
            InputError: if it is not [S] with S from 1.
            NotFiniteError: if it holds NaN or infinity.
        """
        if waveform.ndim != 1 or not waveform.size:
            raise InputError(f"waveform is {waveform.shape}; needed: [S] with S from 1")
        if not np.isfinite(waveform).all():
            raise NotFiniteError("waveform holds NaN or infinity")
        levelled = torch.from_numpy(normalise_level(waveform.astype(np.float32)))
        size = round(WINDOW_IN_S * self.sampling_rate)
        vectors = [
            self.audio(self.mel(part[None].to(self.device))) for part in levelled.split(size)
        ]
        shares = torch.tensor([[min(size, len(part))] for part in levelled.split(size)])
        joined = (torch.cat(vectors) * shares.to(self.device)).sum(0)
        return normalize(joined, dim=0).cpu().numpy()

    @torch.no_grad()
    def embed_text(self, captions: Sequence[str]) -> NDArray[np.float32]:
        """Embed captions: ``[n, D]``, rows of length 1; raises as `TextEncoder.encode`."""
        return self.text(captions).cpu().numpy()
