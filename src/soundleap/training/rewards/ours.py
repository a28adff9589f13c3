"""Our text-audio model as a reward; it hears mel spectrograms, so it needs no vocoder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from soundleap.audio.mel import LogMel, MelConfig
from soundleap.errors import InputError
from soundleap.training.rewards.base import CosineReward, Needs, RewardTerm, Term

if TYPE_CHECKING:
    from soundleap.models.text_audio import TextAudioModel


class OurReward(CosineReward):
    """Cosine of a sound and its caption, of a sound and its recording, or their sum.

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
        super().__init__(term)
        if mel.sampling_rate != model.sampling_rate:
            raise InputError(
                f"it hears {model.sampling_rate} Hz but the codec makes "
                f"{mel.sampling_rate} Hz; leave the reward out"
            )
        self.model = model.eval().requires_grad_(False)
        self.network = f"ours:{model.weights_sha256}"
        own = model.config.mel
        self.needs: Needs = "mel" if mel == own else "waveform"
        self.front_end = None if mel == own else LogMel(own)

    def audio(self, sound: Tensor) -> Tensor:
        """Embed mels or waveforms, whichever it needs: ``[B, D]`` of length 1."""
        return self.model.audio(sound if self.front_end is None else self.front_end(sound))

    def text(self, prompts: Sequence[str]) -> Tensor:
        """Embed captions: ``[B, D]`` of length 1."""
        return self.model.text(prompts)


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
