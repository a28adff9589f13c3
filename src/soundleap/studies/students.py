"""What the solver's error does to a student: small distillations at equal cost, then a measure.

Every way trains from the teacher's copy with the same seeds, data, noise and learning rate (flat,
so that a short run is the beginning of a long one). A student is judged by how far its one-step
answer is from the end of the teacher's own flow, from the same noise, on held-out prompts.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from soundleap.diffusion import sample_generators, sampling_timesteps
from soundleap.errors import InputError, check_range, unknown_name
from soundleap.studies.cells import Cells
from soundleap.studies.ground import Ground, circumstances, rms
from soundleap.training.distillation import DistillationSettings, DistillationStory
from soundleap.training.loop import train
from soundleap.training.settings import load_settings

if TYPE_CHECKING:
    from soundleap.models.seams import Network

PRESET = "default-distill-far"


@dataclass(frozen=True)
class Way:
    """How the teacher crosses an interval of the coarse grid.

    Attributes:
        solver: its name.
        solver_steps: how many steps m.
        calls: of the guided teacher for one interval.
    """

    solver: str
    solver_steps: int
    calls: int


WAYS: dict[str, Way] = {
    "jump": Way("ddim", 1, 1),
    "heun": Way("heun", 1, 2),
    "walk": Way("ddim", 4, 4),
}
"""One DDIM step, one Heun step, four DDIM steps."""


@dataclass(frozen=True)
class StudentsPlan:
    """What is trained and how it is judged.

    Attributes:
        cache: folder of a latent cache to train on.
        iterations: n; the ways run so far that either iterations or teacher calls are equal: walk
            n, heun n and 2n, jump n, 2n and 4n.
        batch_size: latent vectors an iteration.
        skip_points: grid points that an interval crosses, of 50.
        reference_steps: DPM-Solver++ steps of the teacher's whole flow.
        ways: of `WAYS`.
    """

    cache: str
    iterations: int = 80
    batch_size: int = 640
    skip_points: int = 10
    reference_steps: int = 100
    ways: tuple[str, ...] = tuple(WAYS)

    def __post_init__(self) -> None:
        check_range("iterations", self.iterations, 1, 1_000_000)
        check_range("reference_steps", self.reference_steps, 2, 1000)
        for way in self.ways:
            if way not in WAYS:
                raise unknown_name("way", way, WAYS)

    def stops(self) -> list[tuple[str, int]]:
        """List ways and iterations at which a student is kept, the cheap ones first."""
        most = max(WAYS[way].calls for way in self.ways)
        factors = [(way, f) for way in self.ways for f in (1, 2, 4) if f * WAYS[way].calls <= most]
        factors.sort(key=lambda stop: stop[1])
        return [(way, factor * self.iterations) for way, factor in factors]


def study_students(
    ground: Ground, plan: StudentsPlan, folder: str | Path, *, progress: bool = True
) -> dict[str, Any]:
    """Distill the students that are missing and judge all of them; the same call resumes.

    Args:
        ground: the model, held-out prompts, guidance scale and seeds of the judgement.
        plan: what is trained.
        folder: of the study; students and runs are kept in it.
        progress: whether to show a bar.

    Returns:
        The result, as JSON values: `rows` with way, iterations, teacher calls and queries, seconds,
        and the distance to the teacher's flow with its standard error over prompts.

    Raises:
        InputError: for a model that can't be distilled here, or a folder of another study.
    """
    root = Path(folder)
    cells = Cells(root, {"study": "students", **ground.facts(), **_plain(plan)})
    teacher = _teacher_file(ground)
    reference, check = teacher_ends(ground, plan.reference_steps, root)
    untrained = {"way": "none", "iterations": 0, "teacher_calls": 0}
    rows = [untrained | cells("untrained", lambda: _untrained(ground, teacher, reference))]
    for way, iterations in plan.stops():
        path = root / "students" / f"{way}-{iterations}.safetensors"
        if not path.exists():
            _distill(ground, plan, root, way, iterations, teacher, progress=progress)

        def judged(path: Path = path) -> dict[str, Any]:
            from soundleap.models.registry import load_network

            return judge(ground, load_network(path), reference)

        calls = WAYS[way].calls * iterations
        row = {"way": way, "iterations": iterations, "teacher_calls": calls}
        rows.append(row | cells(f"{way}-{iterations}", judged))
    if "student" in ground.pipeline.manifest.networks:
        own = ground.pipeline.network("student")
        shipped = {"way": "the model's own student", "iterations": None, "teacher_calls": None}
        rows.append(shipped | cells("own", lambda: judge(ground, own, reference)))
    told = {"reference_check": check, "reference_rms": rms(reference)}
    return {"study": "students", **ground.facts(), **_plain(plan), **told, **circumstances(),
            "rows": rows}  # fmt: skip


def settings_of(
    ground: Ground, plan: StudentsPlan, root: Path, way: str, iterations: int, teacher: Path
) -> DistillationSettings:
    """Give the settings of one run: a preset, changed as `soundleap distill` would."""
    parts = ground.pipeline.manifest.parts
    chosen = WAYS[way]
    values: dict[str, Any] = {
        "run_dir": f"'{root / 'runs' / way}'",
        "cache": f"'{plan.cache}'",
        "teacher": f"'{teacher}'",
        "codec": f"'{ground.pipeline.bundle.folder / parts.codec.file}'",
        "vocoder": "null",
        "start": "null",
        "prediction": ground.pipeline.manifest.sampling.prediction,
        "solver": chosen.solver,
        "solver_steps": chosen.solver_steps,
        "skip_points": plan.skip_points,
        "batch_size": plan.batch_size,
        "iterations": iterations,
        "decay_share": 0.0,
        "warmup_iterations": 10,
        "preview_prompts": "[]",
        "threads": 1,
    }
    return load_settings(DistillationSettings, PRESET, [f"{k}={v}" for k, v in values.items()])


def _distill(
    ground: Ground,
    plan: StudentsPlan,
    root: Path,
    way: str,
    iterations: int,
    teacher: Path,
    *,
    progress: bool,
) -> None:
    settings = settings_of(ground, plan, root, way, iterations, teacher)
    threads = torch.get_num_threads()
    try:
        end = train(DistillationStory(settings, progress=progress), progress=progress)
    finally:
        torch.set_num_threads(threads)
    if end.interrupted:
        raise KeyboardInterrupt
    target = root / "students" / f"{way}-{iterations}.safetensors"
    target.parent.mkdir(exist_ok=True)
    partial = target.with_suffix(".partial")
    shutil.copyfile(end.folder / "student.safetensors", partial)
    partial.replace(target)


@torch.no_grad()
def judge(ground: Ground, network: Network, reference: Tensor) -> dict[str, Any]:
    """Measure how far a student's one-step answers are from the end of the teacher's flow.

    Args:
        ground: the prompts and the seeds of their noise.
        network: a student with guidance as an input.
        reference: ``[items, ...]`` the teacher's ends from the same noise.

    Returns:
        `distance`: RMS over items and latents; `each`: RMS of every item.
    """
    sampler, _ = ground.sampler("student", network)
    top = torch.tensor([sampler.schedule.t_max], dtype=torch.float64)
    each: list[float] = []
    for index, seed in enumerate(ground.seeds()):
        ours = sampler.student(ground.conditions(index), top, sample_generators([seed]))
        each.append(rms(ours[0] - reference[index]))
    mean = sum(value**2 for value in each) / len(each)
    return {"distance": mean**0.5, "each": each}


@torch.no_grad()
def teacher_ends(ground: Ground, steps: int, root: Path) -> tuple[Tensor, float]:
    """Follow the teacher finely from each item's noise, once: kept in ``reference.safetensors``.

    Args:
        ground: prompts, guidance scale and seeds.
        steps: of DPM-Solver++ over the whole flow.
        root: folder that keeps the ends.

    Returns:
        The ends ``[items, ...]``, and the RMS of what half the steps change.
    """
    path = root / "reference.safetensors"
    if not path.exists():
        sampler, _ = ground.sampler("teacher")
        ends: dict[str, Tensor] = {}
        for name, count in (("fine", steps), ("half", steps // 2)):
            times = sampling_timesteps(sampler.schedule, count)
            ends[name] = torch.cat([
                sampler.teacher(ground.conditions(i), times, "dpmpp_2m", sample_generators([seed]))
                for i, seed in enumerate(ground.seeds())
            ])  # fmt: skip
        partial = path.with_suffix(".partial")
        save_file(ends, partial)
        partial.replace(path)
    loaded = load_file(path)
    return loaded["fine"], rms(loaded["fine"] - loaded["half"])


def _untrained(ground: Ground, teacher: Path, reference: Tensor) -> dict[str, Any]:
    from dataclasses import replace

    from soundleap.models.registry import load_network
    from soundleap.training.distillation import student_from

    network: Any = load_network(teacher)
    return judge(ground, student_from(network, replace(network.config, guided=True)), reference)


def _teacher_file(ground: Ground) -> Path:
    manifest = ground.pipeline.manifest
    part = manifest.parts.teacher
    if part is None or manifest.kind != "default-family":
        raise InputError(
            f"model {manifest.name} is of kind {manifest.kind}; students are distilled here from "
            "models of the default family with a teacher"
        )
    return ground.pipeline.bundle.folder / part.file


def _plain(plan: StudentsPlan) -> Mapping[str, Any]:
    from dataclasses import asdict

    return {**asdict(plan), "ways": list(plan.ways)}
