"""How well sounds fit their captions: cosine and retrieval in a space of sounds and texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from soundleap.errors import InputError
from soundleap.evaluation.features import Features, FloatArray, IntArray

BLOCK = 1024


@dataclass(frozen=True)
class CaptionFit:
    """Scores of clips against captions; all arrays are [clips].

    Attributes:
        cosines: of each clip and its own caption, -1 to 1.
        text_ranks: rank, from 1, of the clip among all clips for its caption.
        audio_ranks: rank, from 1, of the caption among all different captions for its clip.
        captions: number of different captions.
    """

    cosines: FloatArray
    text_ranks: IntArray
    audio_ranks: IntArray
    captions: int


def caption_fit(sounds: Features, texts: FloatArray, captions: Sequence[str]) -> CaptionFit:
    """Compare clips with their captions.

    Clips of the very same caption are not held against each other: for a caption, only clips of
    other captions count as wrong, and every caption stands once among the candidates for a clip. A
    candidate that is exactly as near as the right one does not push it down.

    Args:
        sounds: one row a clip, of length 1.
        texts: the embeddings of the clips' captions, [clips, D], of length 1.
        captions: the captions themselves, one a clip.

    Raises:
        InputError: the counts differ.
    """
    if not len(sounds.rows) == sounds.clips == len(texts) == len(captions):
        raise InputError(
            f"{len(sounds.rows)} rows of {sounds.clips} clips, {len(texts)} texts, "
            f"{len(captions)} captions; must be equal"
        )
    _, first, group = np.unique(np.array(captions), return_index=True, return_inverse=True)
    once = np.zeros(sounds.clips, dtype=bool)
    once[first] = True
    own = own_cosines(sounds, texts)
    text_ranks, audio_ranks = (np.ones(sounds.clips, dtype=int) for _ in range(2))
    for here, x in sounds.blocks(BLOCK):
        for start in range(0, sounds.clips, BLOCK):
            there = slice(start, start + BLOCK)
            similar = x @ _rows(texts, there).T  # [clips here, captions there]
            wrong = group[here, None] != group[None, there]
            audio_ranks[here] += ((similar > own[here, None]) & wrong & once[there]).sum(axis=1)
            text_ranks[there] += ((similar > own[None, there]) & wrong).sum(axis=0)
    return CaptionFit(own, text_ranks, audio_ranks, len(first))


def own_cosines(sounds: Features, texts: FloatArray) -> FloatArray:
    """Cosine of each clip and its own caption, [clips]."""
    return np.concatenate([(x * _rows(texts, at)).sum(axis=1) for at, x in sounds.blocks(BLOCK)])


def _rows(texts: FloatArray, place: slice) -> FloatArray:
    return np.asarray(texts[place], dtype=np.float64)
