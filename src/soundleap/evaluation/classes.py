"""Metrics over a tagger's classes: divergence of pairs, and the inception score."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from soundleap.errors import InputError
from soundleap.evaluation.features import Features, FloatArray, IntArray

KL_OFFSET = 1e-6
SPLITS, SPLIT_SEED = 10, 2020


def softmax(logits: FloatArray) -> FloatArray:
    """Probabilities of logits [n, classes], in float64."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True, initial=-np.inf))
    return powers / powers.sum(axis=-1, keepdims=True)


def divergences(generated: Features, reference: Features, pairs: IntArray) -> FloatArray:
    """Kullback-Leibler divergence of the classes of each pair, [pairs], in nats.

    ``sum_c p_ref (ln p_ref - ln(p_gen + 1e-6))`` with p the softmax of a clip's logits, averaged
    over its patches; from the reference to the generated clip, as `audioldm_eval` computes "KL
    (softmax)".

    Args:
        generated: logits, one row a clip.
        reference: logits, one row a clip.
        pairs: rows that belong together, [pairs, 2]: of the generated, of the reference set.
    """
    values = np.empty(len(pairs))
    for start in range(0, len(pairs), 1024):
        place = slice(start, start + 1024)
        ours = softmax(np.asarray(generated.rows[pairs[place, 0]], dtype=np.float64))
        theirs = softmax(np.asarray(reference.rows[pairs[place, 1]], dtype=np.float64))
        logs = np.log(np.maximum(theirs, 1e-300)) - np.log(ours + KL_OFFSET)
        values[place] = (theirs * logs).sum(axis=1)
    return values


@dataclass(frozen=True)
class InceptionScore:
    """Inception score, from 1 to the number of classes.

    Attributes:
        value: over all clips together.
        draws: of the resampled sets, [draws]; empty without weights.
        split_mean: mean over ten parts of the set, as published; None below 10 clips.
        split_std: their standard deviation.
    """

    value: float
    draws: FloatArray
    split_mean: float | None
    split_std: float | None


def inception_score(logits: Features, weights: IntArray | None = None) -> InceptionScore:
    """Compute ``exp(mean_i KL(p(c | i) || p(c)))`` over clips i, in one pass.

    The ten parts are cut from a permutation with seed 2020, as in `audioldm_eval`.

    Source: Salimans et al. 2016, "Improved techniques for training GANs", section 4.

    Args:
        logits: one row a clip.
        weights: how often each clip counts in each resampled set, [clips, draws].

    Raises:
        InputError: several rows a clip.
    """
    count = logits.clips
    if len(logits.rows) != count:
        raise InputError("the inception score needs one row of logits a clip")
    columns = np.ones((count, 1))
    if weights is not None:
        columns = np.concatenate([columns, weights.astype(float)], axis=1)
    parts = 0 if count < SPLITS else SPLITS
    if parts:
        columns = np.concatenate([columns, _parts(count)], axis=1)
    marginal, entropy = np.zeros((columns.shape[1], logits.dimensions)), 0.0
    for place, rows in logits.blocks():
        p = softmax(rows)
        inner = (p * np.log(np.maximum(p, 1e-300))).sum(axis=1)
        marginal += columns[place].T @ p
        entropy = entropy + columns[place].T @ inner
    totals = columns.sum(axis=0)
    marginal /= totals[:, None]
    outer = (marginal * np.log(np.maximum(marginal, 1e-300))).sum(axis=1)
    scores = np.exp(entropy / totals - outer)
    split = scores[len(scores) - parts :]
    mean, std = (float(split.mean()), float(split.std())) if parts else (None, None)
    return InceptionScore(float(scores[0]), scores[1 : len(scores) - parts], mean, std)


def _parts(count: int) -> FloatArray:
    """Columns of 0 and 1 that mark the ten parts, [count, 10]."""
    order = np.random.RandomState(SPLIT_SEED).permutation(count)
    columns = np.zeros((count, SPLITS))
    for part in range(SPLITS):
        columns[order[part * count // SPLITS : (part + 1) * count // SPLITS], part] = 1
    return columns
