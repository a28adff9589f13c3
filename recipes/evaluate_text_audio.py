"""Measure the text-audio model on held-out clips: retrieval and ESC-10 without training on labels.

    python recipes/evaluate_text_audio.py MANIFEST [MANIFEST ...] [--folder FOLDER] [--model BUNDLE]

Retrieval is among all held-out clips, each with one of its captions, drawn with a fixed seed; a
sound is right for every caption that it has. ESC-10 classes are told by the mean of their
captions' vectors. Both are measured on the clips as they are and after the codec and the vocoder
of a model folder, which is what rewards and `--best-of` hear. Prints JSON.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch

from soundleap.audio.mel import LogMel
from soundleap.bundle import Bundle
from soundleap.data.captions import read_captions
from soundleap.data.mels import MelSet
from soundleap.data.pool import AudioPool
from soundleap.models.codec import Codec
from soundleap.models.text_audio import TextAudioModel
from soundleap.resolve import open_model
from soundleap.training.retrieval import Heldout, embed_clips

MOST_IN_S = 10


def as_mels(pool: AudioPool, front_end: LogMel, codec: Codec | None) -> MelSet:
    """Give the clips' first 10 s as mels, after a round trip where a codec is given."""
    mels = []
    for index in range(len(pool.clips)):
        waveform = pool.waveform(index)[None, None, : MOST_IN_S * pool.sampling_rate]
        if codec is not None:
            generator = torch.Generator().manual_seed(index)
            waveform = codec.decode(codec.encode(codec.pad(waveform)), [generator])
        mels.append(front_end(waveform[:, 0])[0].T.half())
    starts = torch.tensor([0, *(len(mel) for mel in mels)]).cumsum(0)
    return MelSet(tuple(entry.clip for entry in pool.clips), torch.cat(mels), starts)


def esc10_accuracy(model: TextAudioModel, clips: MelSet) -> dict[str, float]:
    """Give the share of held-out ESC-10 clips whose class is the nearest of the ten."""
    classes = [row.captions for row in read_captions().values() if row.source == "esc10"]
    texts = np.stack([model.embed_text(captions).mean(0) for captions in classes])
    texts /= np.linalg.norm(texts, axis=1, keepdims=True)
    own = [i for i, clip in enumerate(clips.clips) if clip.source == "esc10"]
    found = (embed_clips(model, clips)[own].numpy() @ texts.T).argmax(1)
    right = [classes[k] == clips.clips[i].captions for i, k in zip(own, found, strict=True)]
    return {"esc10_clips": len(own), "esc10_accuracy": float(np.mean(right))}


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("manifests", nargs="+")
    parser.add_argument("--folder", type=Path, help="of another text-audio model")
    parser.add_argument("--model", help="folder whose codec and vocoder are heard")
    parser.add_argument("--cache", type=Path, default=Path("text-audio-cache"))
    options = parser.parse_args()
    model = (
        TextAudioModel.default()
        if options.folder is None
        else TextAudioModel.from_folder(options.folder)
    )
    pool = AudioPool(
        options.manifests, split="heldout", sampling_rate=model.sampling_rate, progress=False
    )
    bundle: Bundle = open_model(options.model)
    report = {"weights_sha256": model.weights_sha256}
    for name, codec in (("real", None), ("codec_and_vocoder", bundle.load_codec())):
        clips = as_mels(pool, model.front_end, codec)
        judged = Heldout(clips, options.cache, progress=False).judge(model)
        report[name] = {**judged, **esc10_accuracy(model, clips)}
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
