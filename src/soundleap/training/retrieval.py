"""Retrieval on held-out clips: does the caption find its sound, and the sound its caption?"""

from __future__ import annotations

import random
from pathlib import Path

import torch
from torch import Tensor

from soundleap.data.mels import MelSet, pooled_texts
from soundleap.data.padding import pad_rows
from soundleap.models.text_audio import WINDOW_IN_S, TextAudioModel

RANKS = (1, 5, 10)
AT_ONCE = 32


def recalls(likeness: Tensor, relevant: Tensor) -> dict[str, float]:
    """Give recall at 1, 5 and 10 in both directions, 0 to 1.

    Args:
        likeness: ``[N, T]`` of N sounds and T texts.
        relevant: ``[N, T]`` bool; a query counts as answered if one of the first k is relevant.
    """
    found: dict[str, float] = {}
    for name, scores, right in (
        ("text_to_audio", likeness.T, relevant.T),
        ("audio_to_text", likeness, relevant),
    ):
        for k in RANKS:
            top = scores.topk(min(k, scores.shape[1]), dim=1).indices
            found[f"{name}_r{k}"] = float(right.gather(1, top).any(1).float().mean())
    return found


class Heldout:
    """Held-out clips, each with one of its captions, drawn with a fixed seed.

    Clips are heard up to 10 s. A sound is right for every caption that it has.
    """

    def __init__(self, clips: MelSet, cache: Path, *, progress: bool = True) -> None:
        """Draw the captions; their text states are kept in the folder `cache`."""
        rng = random.Random(0)
        texts = list(dict.fromkeys(rng.choice(clip.captions) for clip in clips.clips))
        self.clips = clips
        self.pooled = pooled_texts(cache, texts, progress=progress)
        own = [set(clip.captions) for clip in clips.clips]
        self.relevant = torch.tensor([[text in captions for text in texts] for captions in own])

    @torch.no_grad()
    def judge(self, model: TextAudioModel) -> dict[str, float]:
        """Measure a model's retrieval among all clips."""
        texts = model.text_projection(self.pooled.to(model.device)).cpu()
        found = recalls(embed_clips(model, self.clips) @ texts.T, self.relevant)
        return {"clips": len(self.clips), "texts": len(texts), **found}


@torch.no_grad()
def embed_clips(model: TextAudioModel, clips: MelSet) -> Tensor:
    """Give the vectors of all clips, heard up to 10 s: ``[N, D]``."""
    config = model.config.mel
    most = round(WINDOW_IN_S * config.sampling_rate / config.hop_length)
    vectors = torch.zeros(len(clips), model.dim)
    order = sorted(range(len(clips)), key=clips.frames)
    for start in range(0, len(order), AT_ONCE):
        rows = order[start : start + AT_ONCE]
        mel, mask = pad_rows([clips.mel(i)[:, :most].T for i in rows])
        device = model.device
        vectors[rows] = model.audio(mel.transpose(1, 2).to(device), mask.to(device)).cpu()
    return vectors
