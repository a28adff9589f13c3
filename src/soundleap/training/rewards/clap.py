"""LAION-CLAP as a reward: it hears waveforms, resampled to 48 kHz.

With term=both and weight 0.1 it is that of ConsistencyTTA's third stage, but for the recording,
which is the sound of its latents here. Source: Bai et al., ConsistencyTTA (2024), section 3.3; Wu
et al., LAION-CLAP (2023).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from soundleap.audio.mel import MelConfig
from soundleap.audio.sinc_resample import sinc_resample
from soundleap.errors import InputError
from soundleap.training.rewards.base import Needs, RewardTerm, Term
from soundleap.training.rewards.clap_frontend import SAMPLING_RATE, ClapFrontEnd


class ClapReward(nn.Module):
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
        super().__init__()
        if tokenizer is None and term != "audio":
            raise InputError(f"term={term} needs RoBERTa's tokenizer.json beside the weights")
        self.model = model.eval().requires_grad_(False)
        self.network = f"clap:{weights_sha256}"
        self.term: Term = term
        self.sampling_rate = sampling_rate
        self.fusion = bool(model.config.audio_config.enable_fusion)
        self.front_end = ClapFrontEnd(fusion=self.fusion)
        self._tokenizer: Any = tokenizer

    def forward(self, sound: Tensor, prompts: Sequence[str], reference: Tensor | None) -> Tensor:
        """Score waveforms; see `Reward`."""
        heard = self.audio(sound)
        scores: list[Tensor] = []
        if self.term != "audio":
            scores.append((heard * self.text(prompts)).sum(-1))
        if self.term != "text":
            if reference is None:
                raise InputError(f"term={self.term} needs the recordings")
            with torch.no_grad():
                aim = self.audio(reference)
            scores.append((heard * aim).sum(-1))
        return sum(scores[1:], scores[0])

    def audio(self, waveform: Tensor) -> Tensor:
        """Embed waveforms ``[B, S]``: ``[B, D]`` of length 1."""
        samples = sinc_resample(waveform, self.sampling_rate, SAMPLING_RATE)
        options: dict[str, Any] = {}
        if self.fusion:
            options["is_longer"] = torch.zeros(
                len(samples), 1, dtype=torch.bool, device=samples.device
            )
        return _unit(self.model.get_audio_features(self.front_end(samples), **options))

    @torch.no_grad()
    def text(self, prompts: Sequence[str]) -> Tensor:
        """Embed captions: ``[B, D]`` of length 1; cut after 77 tokens."""
        encoded = self._tokenizer.encode_batch(list(prompts))
        device = next(self.model.parameters()).device
        ids = torch.tensor([e.ids for e in encoded], device=device)
        mask = torch.tensor([e.attention_mask for e in encoded], device=device)
        return _unit(self.model.get_text_features(ids, attention_mask=mask))


def _unit(found: Any) -> Tensor:
    """Unwrap transformers' answer (an object since version 5) and scale rows to length 1."""
    return functional.normalize(found if isinstance(found, Tensor) else found.pooler_output, dim=-1)


def open_clap(term: RewardTerm, mel: MelConfig) -> ClapReward:
    """Open CLAP from a folder in transformers' layout or from LAION's ``.pt`` file.

    Raises:
        InputError: nothing there, or no tokenizer.
        BundleError: it does not fit.
        SoundleapError: transformers is not installed.
    """
    from soundleap.evaluation.embedders.clap import load_clap

    if term.weights is None:
        raise InputError("reward clap needs weights=PATH (Soundleap never downloads them)")
    model, tokenizer, info = load_clap(term.weights)
    return ClapReward(model, tokenizer, info.weights_sha256, term.term, mel.sampling_rate)
