"""Small evaluations with real sound files, for the tests of reports and comparisons."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import soundfile

from soundleap.evaluation.record import (
    ClipRow,
    Confusion,
    EmbedderInfo,
    EvaluationRecord,
    MetricValue,
    ProtocolStamp,
    SetCounts,
)

YAMNET = EmbedderInfo(
    *("yamnet", "toy", 16000, "soxr VHQ", "0.96 s", "pool", 1024, "patch", "Apache-2.0", "ab" * 32),
    source="nowhere",
    classes=521,
)
OURS = replace(YAMNET, name="ours", ours=True, has_text=True, weights_sha256="cd" * 32)
STAMP = ProtocolStamp("toy <list>", "f4285c07246f" + "0" * 52, {"clips": 4, "notes": ["x & y"]})
PROMPTS = ("rain <b>", "a dog", 'a "bell"', "wind")


def write_sounds(folder: Path, seed: int) -> list[Path]:
    folder.mkdir(parents=True)
    paths = [folder / f"clip-{i}.wav" for i in range(len(PROMPTS))]
    for i, path in enumerate(paths):
        noise = np.random.default_rng(seed + i).standard_normal(8000) * 0.1
        soundfile.write(path, noise, 16000)
    return paths


def rows(role: str, paths: list[Path], scores: tuple[float, ...]) -> list[ClipRow]:
    return [
        ClipRow(
            role,
            path.stem,
            path.name,
            str(path),
            seconds=0.5,
            prompt=prompt,
            sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
            scores={"text-score ours": score, "kl yamnet": 1 - score} if scores else {},
            tags=("Noise",),
            paired=True,
        )
        for path, prompt, score in zip(paths, PROMPTS, scores or (0.0,) * 4, strict=True)
    ]


def make_record(root: Path, name: str, *, fd: float = 20.0, steps: int = 1) -> EvaluationRecord:
    """Write sounds below `root` (recordings once) and give an evaluation of them."""
    reference = root / "recordings"
    recordings = sorted(reference.iterdir()) if reference.is_dir() else write_sounds(reference, 50)
    generated = write_sounds(root / name, steps)
    told = {"interval": "bootstrap 95 %"}
    return EvaluationRecord(
        system={"name": name, "num_inference_steps": steps, "seconds_per_second": 0.02 * steps},
        metrics=(
            MetricValue("fd", "yamnet", fd, fd - 1, fd + 1, "lower", 4, 4, told, ("few rows",)),
            MetricValue("text-score", "ours", 0.4, None, None, "higher", 4, 0),
            MetricValue("accuracy-reference", "yamnet", 0.9, 0.8, 0.95, "higher", 0, 4),
        ),
        embedders=(YAMNET, OURS),
        sets=(
            SetCounts("generated", 5, 4, {"silent": 1}, {"cut": 2}, 2.0, {"yamnet": 4}),
            SetCounts("reference", 4, 4, {}, {}, 2.0, {"yamnet": 4}),
        ),
        confusion=(Confusion("generated", "yamnet", ("dog", "rain"), ((1, 0), (1, 2))),),
        protocol=STAMP,
        settings={"bootstrap": 100, "seed": 0, "nearest": 5, "preparation": {"resample": True}},
        settings_hash="ee" * 32,
        seconds={"yamnet": 1.5},
        hardware={"cpu": "toy processor"},
        versions={"soundleap": "0.0"},
        command="soundleap evaluate <x>",
        clips=(
            *rows("generated", generated, (0.1, 0.4, 0.3, 0.2)),
            *rows("reference", recordings, ()),
            ClipRow("generated", "clip|9", "clip-9.wav", fault="silent: peak <0.0001"),
        ),
        not_computed={"kad yamnet": "too few rows"},
    )
