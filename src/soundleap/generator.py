"""Lists of requests in, sounds out: what the command line, servers and clusters call."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from soundleap.adapters import AdapterSource
from soundleap.bundle_schema import NetworkName
from soundleap.errors import check_range
from soundleap.output import Result
from soundleap.pipeline import TextToAudio
from soundleap.requests import Request, Sample

__all__ = ["Generator", "Request", "Result"]

DEFAULT_BATCH_SIZES = {"cpu": 1}
"""By kind of device: on a CPU batches save no time, and one by one a sample is exact to the bit."""
OTHER_BATCH_SIZE = 8


class Generator:
    """A loaded model that serves requests in batches."""

    def __init__(
        self,
        source: str | Path | TextToAudio | None = None,
        *,
        device: str = "auto",
        dtype: str | None = None,
        max_batch_size: int | None = None,
        low_memory: bool = False,
        adapters: Iterable[AdapterSource] = (),
    ) -> None:
        """Load a model.

        Args:
            source: as for `TextToAudio.from_pretrained`, or a loaded pipeline (which keeps its own
                device, dtype and adapters).
            device: "auto" takes a CUDA device where there is one, else the CPU.
            dtype: "float32" (None) or "bfloat16"; see `TextToAudio`.
            max_batch_size: most samples that are made at once; None takes 1 on a CPU, else 8.
            low_memory: keep in memory only the part at work; see `TextToAudio`.
            adapters: see `TextToAudio.load_adapters`.

        Raises:
            InputError: for a value that is not allowed.
            BundleError: if the model is missing, damaged or made by a newer version.
        """
        if max_batch_size is not None:
            check_range("max_batch_size", max_batch_size, 1, 1024)
        self.pipeline = (
            source
            if isinstance(source, TextToAudio)
            else TextToAudio.from_pretrained(
                source, device=device, dtype=dtype, low_memory=low_memory, adapters=adapters
            )
        )
        kind = self.pipeline.device.type
        self.max_batch_size = max_batch_size or DEFAULT_BATCH_SIZES.get(kind, OTHER_BATCH_SIZE)

    def warm_up(self, network: NetworkName | None = None) -> None:
        """Make one shortest sound, so that the first request does not pay for loading.

        Args:
            network: "student" or "teacher"; None warms up what the model has, student first.
        """
        manifest = self.pipeline.manifest
        request = Request(
            "warm up",
            duration_in_s=manifest.sampling.min_duration_in_s,
            num_inference_steps=1,
            seed=0,
            network=network or manifest.networks[0],
        )
        self.generate([request])

    def generate(self, requests: Sequence[Request]) -> list[Result]:
        """Make a sound for every request, in their order.

        Raises:
            InputError: for the first request that is not allowed, before any work.
            NotFiniteError: if the model gives NaN or infinity.
        """
        found = dict(self.stream(requests))
        return [found[i] for i in range(len(requests))]

    def stream(self, requests: Sequence[Request]) -> Iterator[tuple[int, Result]]:
        """Give each sound with its request's position as soon as its batch is done.

        Requests that share network, steps, the presence of a negative prompt and the way of
        sampling are batched, so positions do not always rise.

        Raises:
            InputError: for the first request that is not allowed, before any work.
            NotFiniteError: if the model gives NaN or infinity.
        """
        return self._run(self.pipeline.check(requests))

    def _run(self, samples: Sequence[Sample]) -> Iterator[tuple[int, Result]]:
        for rows in batches(samples, self.max_batch_size):
            audios, metadata, seconds = self.pipeline.run([samples[i] for i in rows])
            share = {stage: value / len(rows) for stage, value in seconds.items()}
            for i, audio, entry in zip(rows, audios, metadata, strict=True):
                rate = self.pipeline.manifest.sampling_rate
                yield i, Result(audio, rate, samples[i].seed, entry, dict(share))


def batches(samples: Sequence[Sample], max_batch_size: int) -> list[list[int]]:
    """Group the positions of samples that can run together, longest sounds first in a group.

    Groups come in the order of their first sample.
    """
    groups: defaultdict[tuple[Any, ...], list[int]] = defaultdict(list)
    for i, sample in enumerate(samples):
        key = (
            sample.network,
            sample.num_inference_steps,
            bool(sample.negative_prompt),
            sample.guidance_scale_post > 1,
            sample.solver,
            sample.compat,
        )
        groups[key].append(i)
    cut: list[list[int]] = []
    for rows in groups.values():
        rows.sort(key=lambda i: -samples[i].duration_in_s)  # stable: little padding in a batch
        cut += [rows[i : i + max_batch_size] for i in range(0, len(rows), max_batch_size)]
    return cut
