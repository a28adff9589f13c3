"""What the parts of a model have in common, whatever family they come from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from soundleap.audio.mel import MelConfig
from soundleap.diffusion.denoisers import Prediction
from soundleap.models.text import TextStates


class NetworkConfig(Protocol):
    """What every denoising network's configuration tells."""

    @property
    def channels(self) -> int:
        """Channels C of the latents."""
        ...

    @property
    def text_dim(self) -> int:
        """Width D of the text states."""
        ...

    @property
    def guided(self) -> bool:
        """Whether the guidance scale is an input."""
        ...

    @property
    def prediction(self) -> Prediction:
        """What the output means."""
        ...


@runtime_checkable
class Network(Protocol):
    """A denoising network; see `DiT.forward` for its call.

    Attributes:
        mixed_lengths: whether sounds of different lengths can share a batch.
        guidance_input: how the names of the guidance input's parameters begin.
    """

    mixed_lengths: bool
    guidance_input: tuple[str, ...]

    @property
    def config(self) -> NetworkConfig:
        """Sizes."""
        ...

    def __call__(self, x_t: Tensor, t: Tensor, **conditions: Any) -> Tensor:
        """Predict from noisy latents ``[B, C, ...]`` at timesteps ``[B]``."""
        ...

    def to(self, device: torch.device) -> Any:
        """Move to a device."""
        ...

    def checkpoint_gradients(self, on: bool = True) -> None:
        """Keep less in memory in training and compute it again on the way back, or not."""
        ...


class LatentConfig(Protocol):
    """What every latent codec's configuration tells."""

    @property
    def channels(self) -> int:
        """Channels C of the latents."""
        ...

    @property
    def patch_frames(self) -> int:
        """Mel frames that one latent vector covers."""
        ...


@runtime_checkable
class LatentCodec(Protocol):
    """A codec between mel ``[B, M, F]`` and latents ``[B, C, F / patch_frames, ...]``.

    Attributes:
        draws_noise: whether decoding fills gaps with noise that it is given.
    """

    draws_noise: bool

    @property
    def config(self) -> LatentConfig:
        """Sizes."""
        ...

    def latent_shape(self, length: int) -> tuple[int, ...]:
        """Give the shape of one sample's latents, `length` along time."""
        ...

    def encode(self, mel: Tensor) -> Tensor:
        """Map ``[B, M, F]`` to latents."""
        ...

    def decode(self, latents: Tensor, noise: Tensor | None = None) -> Tensor:
        """Map back; `noise` (white, shaped like the result) feeds what the latents left out."""
        ...


class VocoderConfig(Protocol):
    """What every vocoder's configuration tells."""

    @property
    def mel(self) -> MelConfig:
        """The front-end that it inverts."""
        ...


@runtime_checkable
class Vocoder(Protocol):
    """Mel ``[B, M, F]`` to waveform ``[B, S]``, S at least F times the hop.

    Attributes:
        draws_phase: whether it starts from a phase that it is given.
    """

    draws_phase: bool

    @property
    def config(self) -> VocoderConfig:
        """Sizes."""
        ...

    def __call__(self, mel: Tensor, initial_phase: Tensor | None = None) -> Tensor:
        """Make the waveform; `initial_phase` is ``[B, K, F]`` in radians."""
        ...


@runtime_checkable
class Text(Protocol):
    """A text encoder: prompts in, token states out.

    Attributes:
        structured: whether it also reads structured captions.
        FILES: names of the files of its folder.
    """

    structured: bool
    FILES: tuple[str, ...]

    @classmethod
    def from_folder(cls, folder: Path) -> Text:
        """Load an encoder."""
        ...

    @property
    def dim(self) -> int:
        """Width D of the states."""
        ...

    @property
    def max_tokens(self) -> int:
        """Longest prompt in tokens."""
        ...

    def tokens(self, prompt: str) -> list[str]:
        """Cut a prompt into tokens."""
        ...

    def encode(
        self, prompts: Sequence[str], struct_prompts: Sequence[str] | None = None
    ) -> TextStates:
        """Encode prompts; the empty string is the unconditional prompt."""
        ...

    def to(self, device: torch.device | str) -> Any:
        """Move the states to a device; returns itself."""
        ...
