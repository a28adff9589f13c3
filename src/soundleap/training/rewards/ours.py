"""Our text-audio model as a reward; it hears mel spectrograms, so it needs no vocoder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from soundleap.audio.mel import LogMel, MelConfig
from soundleap.errors import InputError
from soundleap.training.rewards.base import Needs, RewardTerm, Term

if TYPE_CHECKING:
    from soundleap.models.text_audio import TextAudioModel


class OurReward(nn.Module):
    """Cosine of a sound and its caption, or of a sound and its recording.

    Args:
        model: the text-audio model.
        term: what is compared.
        mel: of the codec whose sounds are judged. Where it differs from the model's, the model
            hears waveforms.

    Raises:
        InputError: if the codec's sampling rate is not the model's.
    """

    name = "ours"

    def __init__(self, model: TextAudioModel, term: Term, mel: MelConfig) -> None:
        super().__init__()
        if mel.sampling_rate != model.sampling_rate:
            raise InputError(
                f"it hears {model.sampling_rate} Hz but the codec makes "
                f"{mel.sampling_rate} Hz; leave the reward out"
            )
        self.model = model.eval().requires_grad_(False)
        self.network = f"ours:{model.weights_sha256}"
        self.term: Term = term
        own = model.config.mel
        self.needs: Needs = "mel" if mel == own else "waveform"
        self.front_end = None if mel == own else LogMel(own)

    def forward(self, sound: Tensor, prompts: Sequence[str], reference: Tensor | None) -> Tensor:
        """Score sounds; see `Reward`."""
        heard = self._embed(sound)
        scores: list[Tensor] = []
        if self.term != "audio":
            scores.append((heard * self.model.text(prompts).to(heard)).sum(-1))
        if self.term != "text":
            if reference is None:
                raise InputError(f"term={self.term} needs the recordings")
            with torch.no_grad():
                aim = self._embed(reference)
            scores.append((heard * aim).sum(-1))
        return sum(scores[1:], scores[0])

    def _embed(self, sound: Tensor) -> Tensor:
        mel = sound if self.front_end is None else self.front_end(sound)
        return self.model.audio(mel)


def open_ours(term: RewardTerm, mel: MelConfig) -> OurReward:
    """Open the shipped model, or the one in a folder.

    Raises:
        BundleError: if it can't be read.
        InputError: see `OurReward`.
    """
    from soundleap.models.text_audio import TextAudioModel

    if term.weights is None:
        model = TextAudioModel.default()
    else:
        model = TextAudioModel.from_folder(Path(term.weights))
    return OurReward(model, term.term, mel)
