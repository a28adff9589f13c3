"""The whole measurement."""

from __future__ import annotations

from soundleap._version import __version__
from soundleap.bench.report import BenchReport
from soundleap.bench.settings import BenchSettings
from soundleap.resolve import open_model


def run_bench(settings: BenchSettings) -> BenchReport:
    """Measure a model: new processes first, while this one is idle and small, then warm cases.

    Raises:
        InputError: for a value that is not allowed, before any work.
        BundleError: if the model is missing, damaged or made by a newer version.
        SoundleapError: if the command fails in a new process.
    """
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
            TextToAudio(bundle, device=device), max_batch_size=max(settings.batch_sizes)
        )
        cases = [
            measure_case(generator, settings.requests(steps, size), settings.runs)
            for steps in all_steps
            for size in settings.batch_sizes
        ]
    return BenchReport(
        library_version=__version__,
        model=manifest.name,
        model_version=manifest.version,
        model_fingerprint=manifest.fingerprint,
        runs=settings.runs,
        machine=machine,
        cases=cases,
        cold_start=cold,
    )
