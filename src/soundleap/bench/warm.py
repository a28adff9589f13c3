"""Times of a loaded model, stage by stage."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence

import torch

from soundleap.bench.machine import peak_rss_in_bytes, reset_peak_rss
from soundleap.bench.report import STAGES, Case, Spread
from soundleap.generator import Generator as SoundGenerator
from soundleap.requests import Request


def measure_case(
    generator: SoundGenerator, requests: Sequence[Request], runs: int, warm_up: bool = True
) -> Case:
    """Run requests of equal settings as one batch: once to warm up, then `runs` times measured.

    Args:
        generator: its `max_batch_size` must hold all the requests.
        requests: of one network, step count and duration.
        runs: at least 1.
        warm_up: False leaves the first run out, where one takes minutes.
    """
    device = generator.pipeline.device
    if warm_up:
        generator.generate(requests)
    scope = reset_peak_rss()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    samples: defaultdict[str, list[float]] = defaultdict(list)
    for _ in range(runs):
        for stage, seconds in time_stages(generator, requests).items():
            samples[stage].append(seconds)
    sample = generator.pipeline.check(requests[:1])[0]
    sound_in_s = sum(request.duration_in_s or sample.duration_in_s for request in requests)
    return Case(
        network=sample.network,
        num_inference_steps=sample.num_inference_steps,
        batch_size=len(requests),
        duration_in_s=sample.duration_in_s,
        seconds={stage: Spread.of(samples[stage]) for stage in STAGES},
        cpu_seconds=Spread.of(samples["cpu"]),
        real_time_factor=Spread.of([total / sound_in_s for total in samples["total"]]),
        peak_rss_in_bytes=peak_rss_in_bytes(),
        peak_rss_scope=scope,
        peak_cuda_in_bytes=(
            torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None
        ),
    )


def time_stages(generator: SoundGenerator, requests: Sequence[Request]) -> dict[str, float]:
    """Run requests once and give the seconds of each of `STAGES`, and the processor time "cpu"."""
    device = generator.pipeline.device
    cpu, start = time.process_time(), _now(device)
    results = generator.generate(requests)
    total, cpu = _now(device) - start, time.process_time() - cpu
    seconds = {stage: sum(r.seconds.get(stage, 0.0) for r in results) for stage in STAGES[:-1]}
    return {**seconds, "total": total, "cpu": cpu}


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
