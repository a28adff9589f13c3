"""Two small sets of clips, and what is compared of two records."""

from __future__ import annotations

import json

import numpy as np
import soundfile

from soundleap.evaluation.record import EvaluationRecord
from soundleap.evaluation.settings import EvaluationSettings
from soundleap.evaluation.tags import ESC10

RATE = 16000
QUICK = EvaluationSettings(bootstrap=12)


def sound(seed: int, seconds: float = 1.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    t = np.arange(round(seconds * RATE)) / RATE
    tone = np.sin(2 * np.pi * rng.uniform(100, 7000) * t)
    return 0.2 * tone * rng.uniform(0.2, 1) + 0.05 * rng.standard_normal(len(t))


def write_set(root, role: str, count: int, seed: int):
    folder = root / role
    folder.mkdir(parents=True)
    rows = []
    for i in range(count):
        name = f"clip-{i:02d}.wav"
        soundfile.write(folder / name, sound(seed + i), RATE)
        rows.append(
            {
                "file": name,
                "id": f"clip-{i:02d}",
                "prompt": f"sound {i % 9}",
                "label": list(ESC10)[i % 10],
            }
        )
    path = folder / "manifest.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def numbers(record: EvaluationRecord) -> dict:
    """All that must not depend on how the work was cut."""
    data = json.loads(record.to_json())
    for name in ("seconds", "command", "settings"):
        del data[name]
    return data
