"""Measure a model on held-out clips: the protocol `soundleap-heldout`.

    python recipes/evaluate_model.py MANIFEST [MANIFEST ...] --model BUNDLE --output DIR \
        [--systems teacher:25 student:1 student:2 student:4] [--clips 400]

For every held-out clip of 0.5 to 10 s (longer ones are cut at 10 s) one of its captions is drawn
with a fixed seed; the model makes a sound of the same length from it. Generated sounds and real
clips, both at a level of -20 dBFS, are compared by the Fréchet distance of YAMNet embeddings and by
how many of the ESC-10 prompts are recognised; the real clips' own accuracy is printed beside it.
The two halves of the real set against each other give the floor of the distance.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from pathlib import Path
from typing import Any

import soundfile
import torch

from soundleap.audio.loudness import normalise_level
from soundleap.data.captions import read_captions
from soundleap.data.pool import AudioPool
from soundleap.evaluation.embedders.yamnet import YamnetEmbedder
from soundleap.evaluation.record import EvaluationRecord
from soundleap.evaluation.record_io import write_record
from soundleap.evaluation.report import write_report
from soundleap.evaluation.run import evaluate
from soundleap.evaluation.settings import EvaluationSettings
from soundleap.evaluation.tags import ESC10_ALIASES
from soundleap.generator import Generator
from soundleap.requests import Request

RATE = 16000
FD = ("fd", "fd-pca64")
SYSTEMS = ["teacher:25", "student:1", "student:2", "student:4"]


def esc10_labels() -> dict[tuple[str, ...], str]:
    """Return the ESC-10 class for the captions of each class, from the reviewed table."""
    rows = read_captions().values()
    return {r.captions: ESC10_ALIASES.get(r.stem, r.stem) for r in rows if r.source == "esc10"}


def write_set(folder: Path, rows: list[dict[str, Any]], waveforms: list[Any]) -> Path:
    """Write levelled WAV files and their manifest."""
    folder.mkdir(parents=True, exist_ok=True)
    for row, waveform in zip(rows, waveforms, strict=True):
        soundfile.write(folder / row["file"], normalise_level(waveform), RATE, subtype="PCM_16")
    path = folder / "manifest.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def reference_set(
    manifests: list[str], folder: Path, clips: int
) -> tuple[Path, list[dict[str, Any]]]:
    """Write the real held-out clips; return their manifest and rows."""
    pool = AudioPool(manifests, split="heldout", sampling_rate=RATE, progress=False)
    order = torch.randperm(len(pool.clips), generator=torch.Generator().manual_seed(0)).tolist()
    rng = random.Random(0)
    labels = esc10_labels()
    rows, waveforms = [], []
    for index in order[:clips]:
        clip, waveform = pool.clips[index].clip, pool.waveform(index)[: 10 * RATE].numpy()
        if len(waveform) < RATE // 2:
            continue
        row: dict[str, Any] = {
            "id": clip.id,
            "file": f"{clip.id}.wav",
            "start": 0.0,
            "seconds": len(waveform) / RATE,
            "prompt": rng.choice(clip.captions),
        }
        if clip.source == "esc10":
            row["label"] = labels[clip.captions]
        rows.append(row)
        waveforms.append(waveform)
    return write_set(folder, rows, waveforms), rows


def generate_set(
    generator: Generator,
    rows: list[dict[str, Any]],
    network: str,
    steps: int,
    folder: Path,
    guidance: float | None,
) -> tuple[Path, float]:
    """Make a sound for every row; return the manifest and seconds of work per second of sound."""
    requests = [
        Request(
            row["prompt"],
            duration_in_s=row["seconds"],
            num_inference_steps=steps,
            seed=seed,
            network=network,
            guidance_scale=guidance,
        )
        for seed, row in enumerate(rows)
    ]
    start = time.perf_counter()
    results = generator.generate(requests)
    factor = (time.perf_counter() - start) / sum(row["seconds"] for row in rows)
    return write_set(folder, rows, [result.waveform[0] for result in results]), factor


def evaluate_system(
    generator: Generator,
    rows: list[dict[str, Any]],
    system: str,
    reference: Path,
    embedder: YamnetEmbedder,
    guidance: float | None,
) -> str:
    """Generate and judge one system, e.g. "student:2"; return its row of the table."""
    network, _, steps = system.partition(":")
    folder = reference.parent.parent / system.replace(":", "-")
    generated, factor = generate_set(generator, rows, network, int(steps), folder, guidance)
    settings = EvaluationSettings(label_set="esc10")
    about = {"name": system, "num_inference_steps": int(steps), "seconds_per_second": factor}
    record = evaluate(generated, reference, settings, embedders=[embedder], system=about)
    write_record(record, folder / "report")
    write_report(record, folder / "report")
    told = ""
    ours, real = (record.metric(f"accuracy-{role}") for role in ("generated", "reference"))
    if ours and real:
        told = f"{ours.details['correct']}/{ours.generated_count} = {100 * ours.value:.0f} %"
        told += f" (real {100 * real.value:.0f} %)"
    full, projected = distances(record)
    return f"| {system} | {full:.1f} | {projected:.1f} | {told} | {factor:.3f} |"


def distances(record: EvaluationRecord) -> list[float]:
    """Return the Fréchet distances: over all dimensions, on 64 components."""
    found = [record.metric(name) for name in FD]
    return [float("nan") if value is None else value.value for value in found]


def main() -> None:
    """Evaluate the systems asked for and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("manifests", nargs="+")
    parser.add_argument("--model")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--systems", nargs="+", default=SYSTEMS)
    parser.add_argument("--clips", type=int, default=10_000)
    parser.add_argument("--guidance", type=float)
    arguments = parser.parse_args()
    folder = arguments.output / "reference"
    reference, rows = reference_set(arguments.manifests, folder, arguments.clips)
    halves = [write_rows(folder / f"half-{i}.jsonl", rows[i::2]) for i in (0, 1)]
    embedder = YamnetEmbedder()
    floor = distances(evaluate(*halves, EvaluationSettings(metrics=FD), embedders=[embedder]))
    table = [
        "| system | FD (1024) | FD (64 PCs) | ESC-10 prompts recognised | seconds per second |",
        "|---|---|---|---|---|",
        f"| real, half against half | {floor[0]:.1f} | {floor[1]:.1f} | | |",
    ]
    print("\n".join(table), flush=True)
    generator = Generator(arguments.model)
    for system in arguments.systems:
        table.append(
            evaluate_system(generator, rows, system, reference, embedder, arguments.guidance)
        )
        print(table[-1], flush=True)
    (arguments.output / "table.md").write_text("\n".join(table) + "\n", encoding="utf-8")


def write_rows(path: Path, rows: list[dict[str, Any]]) -> Path:
    """Write manifest rows."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


if __name__ == "__main__":
    main()
