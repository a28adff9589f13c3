"""Measure what mel, latent codec and vocoder each cost, on held-out clips.

    python recipes/evaluate_codec.py MANIFEST CODEC VOCODER --output DIR [--clips 269]

Every chain starts from the same held-out clips and is compared with them:

- ``mel + Griffin-Lim``: the true mel, phase by 32 iterations, no weights;
- ``mel + vocoder``: the true mel through the trained vocoder;
- ``codec + Griffin-Lim`` and ``codec + vocoder``: the mel through the latent codec first.

Reported: log-spectral distance and mel error against the clip itself, Fréchet distance between
YAMNet embeddings of the set and of the real clips (64 principal components), and ESC-10 tag
accuracy of the clips from ESC-10 (null where there is none).
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from evaluate_model import esc10_labels
from torch import Tensor

from soundleap.audio.mel import LogMel, MelConfig
from soundleap.data.pool import AudioPool
from soundleap.evaluation.embedders.yamnet import YamnetEmbedder
from soundleap.evaluation.frechet import frechet
from soundleap.evaluation.spectral import log_spectral_distance, mel_l1
from soundleap.evaluation.tags import ESC10, TagClassifier, tag_accuracy
from soundleap.models.istft_vocoder import ISTFTVocoder, ISTFTVocoderConfig
from soundleap.models.patch_pca import PatchPCA, PatchPCAConfig
from soundleap.models.store import load_state, read_config

Chain = Callable[[Tensor, torch.Generator], Tensor]


def make_chains(codec: PatchPCA, vocoder_path: Path) -> dict[str, Chain]:
    """Return the chains, each from a waveform ``[1, S]`` to another."""
    front_end = LogMel(MelConfig())
    vocoder = ISTFTVocoder(ISTFTVocoderConfig(**_vocoder_config(vocoder_path)))
    load_state(vocoder_path, vocoder)
    plain = ISTFTVocoder(replace(vocoder.config, phase_iterations=32, phase_momentum=0.0))

    def synthesise(network: ISTFTVocoder, mel: Tensor, generator: torch.Generator) -> Tensor:
        phase = torch.rand(1, 513, mel.shape[2], generator=generator) * 2 * math.pi
        return network(mel, phase)

    def coded(waveform: Tensor, generator: torch.Generator) -> Tensor:
        mel = front_end(waveform)
        return codec.decode(codec.encode(mel), torch.randn(mel.shape, generator=generator))

    return {
        "mel + Griffin-Lim": lambda w, g: synthesise(plain, front_end(w), g),
        "mel + vocoder": lambda w, g: synthesise(vocoder, front_end(w), g),
        "codec + Griffin-Lim": lambda w, g: synthesise(plain, coded(w, g), g),
        "codec + vocoder": lambda w, g: synthesise(vocoder, coded(w, g), g),
    }


def _vocoder_config(path: Path) -> dict[str, object]:
    values = read_config(path)
    return {**values, "mel": MelConfig(**values["mel"])}


@torch.no_grad()
def main() -> None:
    """Run the chains and write a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("manifest")
    parser.add_argument("codec", type=Path)
    parser.add_argument("vocoder", type=Path)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--clips", type=int, default=10_000)
    arguments = parser.parse_args()
    codec = PatchPCA(PatchPCAConfig(**read_config(arguments.codec)))
    load_state(arguments.codec, codec)
    pool = AudioPool([arguments.manifest], split="heldout", sampling_rate=16000, progress=False)
    embedder = YamnetEmbedder()
    step = 256 * codec.config.patch_frames
    classifier = TagClassifier(ESC10, embedder.class_names)
    order = torch.randperm(len(pool.clips), generator=torch.Generator().manual_seed(0)).tolist()
    order = order[: arguments.clips]
    originals = [pool.waveform(i)[None] for i in order]
    originals = [torch.nn.functional.pad(w, (0, -w.shape[1] % step)) for w in originals]
    entries = [pool.clips[i].clip for i in order]
    known = esc10_labels()
    labels = [known[c.captions] if c.source == "esc10" else None for c in entries]
    chains: dict[str, Chain] = {"real": lambda w, g: w, **make_chains(codec, arguments.vocoder)}
    real: list[np.ndarray] = []
    rows = []
    for name, chain in chains.items():
        made = [
            chain(w, torch.Generator().manual_seed(i))[0].numpy() for i, w in enumerate(originals)
        ]
        features = [embedder.analyse(w) for w in made]
        real = real or [f.embeds for f in features]
        pairs = [
            (classifier.predict(f.tags), label)
            for f, label in zip(features, labels, strict=True)
            if label
        ]
        both = [(m, w[0].numpy()) for m, w in zip(made, originals, strict=True)]
        rows.append(
            {
                "chain": name,
                "lsd_db": float(np.mean([log_spectral_distance(m, w) for m, w in both])),
                "mel_l1": float(np.mean([mel_l1(m, w) for m, w in both])),
                "fd64": frechet([f.embeds for f in features], real, components=64).distance,
                "esc10": tag_accuracy(*zip(*pairs, strict=True)).accuracy if pairs else None,
            }
        )
        print(json.dumps(rows[-1]), flush=True)
    arguments.output.mkdir(parents=True, exist_ok=True)
    (arguments.output / "codec.json").write_text(
        json.dumps(rows, indent=1) + "\n", encoding="utf-8"
    )


if __name__ == "__main__":
    main()
