"""Times of a loaded model, stage by stage."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from soundleap.bench.machine import peak_rss_in_bytes, reset_peak_rss
from soundleap.bench.report import STAGES, Case, Spread
from soundleap.generator import Generator as SoundGenerator
from soundleap.requests import Request


def measure_case(generator: SoundGenerator, requests: Sequence[Request], runs: int) -> Case:
    """Run requests of equal settings as one batch: once to warm up, then `runs` times measured.

    Args:
        generator: its `max_batch_size` must hold all the requests.
        requests: of one network, step count and duration.
        runs: at least 1.
    """
    device = generator.pipeline.device
    generator.generate(requests)
    scope = reset_peak_rss()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    samples: defaultdict[str, list[float]] = defaultdict(list)
    for _ in range(runs):
        for stage, seconds in time_stages(generator, requests).items():
            samples[stage].append(seconds)
    sample = generator.pipeline.check(requests[:1])[0]
    sound_in_s = sum(request.duration_in_s for request in requests)
    return Case(
        network=sample.network,
        num_inference_steps=sample.num_inference_steps,
        batch_size=len(requests),
        duration_in_s=sample.duration_in_s,
        seconds={stage: Spread.of(samples[stage]) for stage in STAGES},
        real_time_factor=Spread.of([total / sound_in_s for total in samples["total"]]),
        peak_rss_in_bytes=peak_rss_in_bytes(),
        peak_rss_scope=scope,
        peak_cuda_in_bytes=(
            torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None
        ),
    )


def time_stages(generator: SoundGenerator, requests: Sequence[Request]) -> dict[str, float]:
    """Run requests once and give the seconds of each of `STAGES`.

    The generator counts the vocoder as part of the codec; here they are told apart.
    """
    device = generator.pipeline.device
    with timed_module(generator.pipeline.codec.vocoder, device) as vocoder:
        start = _now(device)
        results = generator.generate(requests)
        total = _now(device) - start
    seconds = {
        stage: sum(result.seconds[stage] for result in results)
        for stage in ("text", "network", "codec")
    }
    seconds["vocoder"] = sum(vocoder)
    seconds["codec"] -= seconds["vocoder"]
    return {**seconds, "total": total}


@contextmanager
def timed_module(module: nn.Module, device: torch.device) -> Generator[list[float]]:
    """Give a list that the seconds of each call of a module are appended to inside the block."""
    starts: list[float] = []
    seconds: list[float] = []

    def begin(*_: Any) -> None:
        starts.append(_now(device))

    def end(*_: Any) -> None:
        seconds.append(_now(device) - starts.pop())

    hooks = (module.register_forward_pre_hook(begin), module.register_forward_hook(end))
    try:
        yield seconds
    finally:
        for hook in hooks:
            hook.remove()


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
