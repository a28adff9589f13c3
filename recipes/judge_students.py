"""How far students' one-step answers are from their teacher's flow.

    python recipes/judge_students.py FOLDER STUDENT.safetensors ... [--prompts 24]

From the same noise and for the same held-out captions (4 s, the model's guidance scale), the answer
of each student is compared with the end of the default teacher's own flow (100 steps of
DPM-Solver++, kept in FOLDER): RMS over items and latents, as `soundleap study students` does. The
first student is the one that the others' paired differences (mean and standard error over
captions) refer to; give the shipped one for a beginning.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from soundleap.models.registry import load_network
from soundleap.studies.ground import held_out_prompts, open_ground
from soundleap.studies.students import judge, teacher_ends


def main() -> None:
    """Judge every student and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("students", nargs="+", type=Path)
    parser.add_argument("--prompts", type=int, default=24)
    arguments = parser.parse_args()
    prompts = held_out_prompts(arguments.prompts)
    ground = open_ground(None, ["teacher"], prompts, duration_in_s=4.0, guidance_scale=None, seed=0)
    arguments.folder.mkdir(parents=True, exist_ok=True)
    ends, _ = teacher_ends(ground, 100, arguments.folder)
    print("| student | distance | difference |\n|---|---|---|")
    first: torch.Tensor | None = None
    for path in arguments.students:
        result = judge(ground, load_network(path), ends)
        each = torch.tensor(result["each"])
        first = each if first is None else first
        apart = each - first
        error = float(apart.std()) / len(apart) ** 0.5
        print(f"| {path} | {result['distance']:.3f} | {float(apart.mean()):+.3f} ± {error:.3f} |")


if __name__ == "__main__":
    main()
