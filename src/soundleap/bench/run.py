"""The whole measurement."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from soundleap._version import __version__
from soundleap.bench.report import BenchReport
from soundleap.bench.settings import BenchSettings
from soundleap.errors import SoundleapError
from soundleap.resolve import open_model


def run_bench(settings: BenchSettings) -> BenchReport:
    """Measure a model: new processes first, while this one is idle and small, then warm cases.

    Raises:
        InputError: for a value that is not allowed, before any work.
        BundleError: if the model is missing, damaged or made by a newer version.
        SoundleapError: if the command fails in a new process.
    """
    if settings.family is None:
        return _measure(settings)
    with tempfile.TemporaryDirectory(prefix="soundleap-bench-") as folder:
        model = Path(folder) / settings.family
        _write_untrained(settings.family, model)
        return _measure(replace(settings, family=None, model=str(model)))


def _write_untrained(family: str, folder: Path) -> None:
    """Write a model of published size in a process of its own, whose memory goes with it."""
    command = [sys.executable, "-m", "soundleap.untrained", family, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SoundleapError(f"can't write a model of {family}: {done.stderr.strip()[-500:]}")


def _measure(settings: BenchSettings) -> BenchReport:
    bundle = open_model(settings.model)
    manifest = bundle.manifest
    settings.check(manifest)
    from soundleap.bench.cold import measure_cold_start
    from soundleap.bench.machine import describe_machine, use_threads
    from soundleap.bench.warm import measure_case
    from soundleap.device import find_device
    from soundleap.generator import Generator
    from soundleap.pipeline import TextToAudio

    device = find_device(settings.device)
    all_steps = settings.steps_for(manifest)
    with use_threads(settings.threads):
        machine = describe_machine(device)
        cold = measure_cold_start(settings, all_steps[0]) if settings.cold else None
        generator = Generator(
            TextToAudio(
                bundle, device=device, dtype=settings.dtype, low_memory=settings.low_memory
            ),
            max_batch_size=max(settings.batch_sizes),
        )
        cases = [
            measure_case(generator, settings.requests(steps, size), settings.runs)
            for steps in all_steps
            for size in settings.batch_sizes
        ]
    return BenchReport(
        soundleap_version=__version__,
        model=manifest.name,
        model_version=manifest.version,
        model_fingerprint=manifest.fingerprint,
        runs=settings.runs,
        machine=machine,
        cases=cases,
        cold_start=cold,
    )
