"""Measure what an adapter changes: at its own captions, and at other prompts.

    python recipes/finetune_measure.py ADAPTER HELDOUT --picture OUT.png [--model default]

HELDOUT is a folder of sounds of the same kind with captions, which training has not seen (as
``finetune_example.py --first 1000`` writes them). Printed as JSON, for the model with and without
the adapter: the Fréchet distance of YAMNet embeddings (12 principal components of the held-out
ones) between the held-out sounds and as many made from their captions, at 1, 2 and 4 steps; the
distance between real sounds ("floor", with ``--train FOLDER``); and, at prompts that have nothing
to do with it, how far the mel spectrograms move with the adapter, as a share of how far they move
with another seed. The picture shows, from top to bottom, sounds before, after, and held-out ones.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from soundleap.audio.io import write_bytes
from soundleap.audio.mel import LogMel, MelConfig
from soundleap.audio.picture import HIGHEST, LOWEST, colourise, encode_png
from soundleap.data.own_sounds import find_sounds, read_sounds
from soundleap.evaluation.embedders.yamnet import YamnetEmbedder
from soundleap.evaluation.frechet import frechet
from soundleap.generator import Generator, Request

OTHERS = (
    "a cow moos", "a woman speaks", "a flute melody", "heavy rain on a roof", "a kick drum",
    "sheep bleat", "a laser gun fires", "fire crackles", "a bird chirps several times",
    "an alarm clock beeps", "fast piano music", "a motorcycle passes", "a toilet flushes",
    "someone sneezes", "a hen clucks", "a string orchestra plays",
)  # fmt: skip
COMPONENTS, SECONDS, SHOWN, FRAMES = 12, 3.0, 3, 190
Samples = NDArray[np.float32]


def embed(sounds: list[Samples]) -> NDArray[np.float64]:
    """Return mean YAMNet embeddings ``[n, D]`` of sounds scaled to a peak of 0.9."""
    yamnet = YamnetEmbedder()
    scaled = [sound * (0.9 / max(1e-6, float(np.abs(sound).max()))) for sound in sounds]
    return np.array([yamnet.analyse(sound).embeds.mean(0) for sound in scaled])


def frechet_to(real: NDArray[np.float64], made: NDArray[np.float64]) -> float:
    """Return the Fréchet distance in the real ones' first principal components."""
    return frechet(made, real, components=COMPONENTS).distance


def make(generator: Generator, prompts: list[str], steps: int, first_seed: int) -> list[Samples]:
    """Make a sound of three seconds for every prompt."""
    requests = [
        Request(prompt, num_inference_steps=steps, duration_in_s=SECONDS, seed=first_seed + i)
        for i, prompt in enumerate(prompts)
    ]
    return [result.waveform[0] for result in generator.generate(requests)]


def mel_of(sound: Samples) -> Samples:
    """Return the log-mel spectrogram ``[M, F]``."""
    config = MelConfig()
    waveform = torch.from_numpy(sound)[None]
    padded = torch.nn.functional.pad(waveform, (0, -waveform.shape[1] % config.hop_length))
    return LogMel(config)(padded)[0].numpy()


def drift(before: Generator, after: Generator) -> float:
    """Return how far other prompts' sounds move, as a share of what another seed does."""
    base, moved, other = (
        make(generator, list(OTHERS), 2, seed)
        for generator, seed in ((before, 100), (after, 100), (before, 300))
    )
    return far(base, moved) / far(base, other)


def far(some: list[Samples], others: list[Samples]) -> float:
    """Return the mean absolute difference of log-mel spectrograms."""
    pairs = zip(some, others, strict=True)
    return float(np.mean([np.abs(mel_of(a) - mel_of(b)).mean() for a, b in pairs]))


def picture(rows: list[list[Samples]]) -> bytes:
    """Draw spectrograms in rows as a PNG."""
    lines: list[Samples] = []
    for row in rows:
        tiles: list[Samples] = []
        for sound in row:
            mel = mel_of(sound)[::-1, :FRAMES]
            value = (mel - LOWEST) / (HIGHEST - LOWEST)
            value = np.pad(value, ((0, 0), (0, FRAMES - mel.shape[1])))
            tiles.append(np.pad(value, 2, constant_values=1.0))
        lines.append(np.concatenate(tiles, axis=1))
    return encode_png(colourise(np.concatenate(lines, axis=0)))


def main() -> None:
    """Measure and draw."""
    parser = argparse.ArgumentParser(description="Measure what an adapter changes.")
    parser.add_argument("adapter", type=Path)
    parser.add_argument("heldout", type=Path)
    parser.add_argument("--train", type=Path)
    parser.add_argument("--picture", type=Path)
    parser.add_argument("--model", default="default")
    options = parser.parse_args()
    before = Generator(options.model)
    after = Generator(options.model, adapters=[options.adapter])
    rate = before.pipeline.manifest.sampling_rate
    clips = read_sounds(find_sounds(options.heldout), rate)
    prompts, real = [clip.captions[0] for clip in clips], [clip.samples for clip in clips]
    truth = embed(real)
    report: dict[str, float] = {}
    if options.train is not None:
        seen = read_sounds(find_sounds(options.train), rate)
        report["floor"] = frechet_to(truth, embed([clip.samples for clip in seen]))
    rows: list[list[Samples]] = []
    for name, generator in (("before", before), ("after", after)):
        for steps in (1, 2, 4):
            made = make(generator, prompts, steps, 0)
            report[f"{name}_{steps}"] = frechet_to(truth, embed(made))
            if steps == 2:
                rows.append(made[:SHOWN])
    report["drift_of_others"] = drift(before, after)
    if options.picture is not None:
        write_bytes(options.picture, picture([*rows, real[:SHOWN]]), overwrite=True)
    print(json.dumps({name: round(value, 2) for name, value in report.items()}, indent=1))


if __name__ == "__main__":
    main()
