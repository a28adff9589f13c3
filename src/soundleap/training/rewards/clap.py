"""LAION-CLAP as a reward: it hears waveforms, resampled to 48 kHz.

With term=both and weight 0.1 it is that of ConsistencyTTA's third stage, but for the recording,
which is the sound of its latents here. Source: Bai et al., ConsistencyTTA (2024), section 3.3; Wu
et al., LAION-CLAP (2023).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from soundleap.audio.mel import MelConfig
from soundleap.audio.sinc_resample import sinc_resample
from soundleap.errors import InputError
from soundleap.evaluation.embedders.clap import (
    SAMPLING_RATE,
    embed_captions,
    embed_mels,
    load_clap,
)
from soundleap.training.rewards.base import CosineReward, Needs, RewardTerm, Term
from soundleap.training.rewards.clap_frontend import ClapFrontEnd


class ClapReward(CosineReward):
    """Cosine of a sound and its caption, of a sound and its recording, or their sum.

    Args:
        model: transformers' `ClapModel` with loaded weights.
        tokenizer: `tokenizers.Tokenizer` of RoBERTa, set to cut and pad; None where captions play
            no part.
        weights_sha256: of the model's file.
        term: what is compared.
        sampling_rate: of the waveforms, in Hz.

    Raises:
        InputError: if captions are to be compared and there is no tokenizer.
    """

    name = "clap"
    needs: Needs = "waveform"

    def __init__(
        self, model: Any, tokenizer: Any, weights_sha256: str, term: Term, sampling_rate: int
    ) -> None:
        super().__init__(term)
        if tokenizer is None and term != "audio":
            raise InputError(f"term={term} needs RoBERTa's tokenizer.json beside the weights")
        self.model = model.eval().requires_grad_(False)
        self.network = f"clap:{weights_sha256}"
        self.sampling_rate = sampling_rate
        self.front_end = ClapFrontEnd(fusion=bool(model.config.audio_config.enable_fusion))
        self._tokenizer: Any = tokenizer

    def audio(self, sound: Tensor) -> Tensor:
        """Embed waveforms ``[B, S]``: ``[B, D]`` of length 1."""
        samples = sinc_resample(sound, self.sampling_rate, SAMPLING_RATE)
        return embed_mels(self.model, self.front_end(samples))

    def text(self, prompts: Sequence[str]) -> Tensor:
        """Embed captions: ``[B, D]`` of length 1; cut after 77 tokens."""
        return embed_captions(self.model, self._tokenizer, prompts)


def open_clap(term: RewardTerm, mel: MelConfig) -> ClapReward:
    """Open CLAP from a folder in transformers' layout or from LAION's ``.pt`` file.

    Raises:
        InputError: nothing there, or no tokenizer.
        BundleError: it does not fit.
        SoundleapError: transformers is not installed.
    """
    if term.weights is None:
        raise InputError("reward clap needs weights=PATH (Soundleap never downloads them)")
    model, tokenizer, info = load_clap(term.weights)
    return ClapReward(model, tokenizer, info.weights_sha256, term.term, mel.sampling_rate)
