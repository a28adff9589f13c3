"""A list of sounds on a Ray cluster: actors with a `Generator` each, results to the driver.

The driver alone writes files and manifest, so that a sound that is made twice, since an actor died
before its answer arrived, is kept once, and no machine but the driver's needs the folder.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from importlib import import_module
from typing import Any

from soundleap.errors import InputError, NotFiniteError, SoundleapError
from soundleap.requests import Request, Sample

BLOCK_SIZE = 8
"""Sounds that go to an actor at once; what is lost with it and made again elsewhere."""
MAX_BLOCKS = 5000
OBJECT_STORE_BYTES = 200 * 1024 * 1024
"""Of a cluster that is started here; blocks of finished sounds pass through it."""
LOOPBACK_ONLY = ("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
"""Whatever its name says: with 0 a cluster that is started here listens on 127.0.0.1 only, on Linux
too; by default Ray listens on every address, and asking for the node address 127.0.0.1 does not
change that (seen with Ray 2.60)."""


@dataclass(frozen=True)
class RayOptions:
    """How actors are made.

    Attributes:
        model: name, folder or hub id, which every machine must be able to open.
        workers: actors, each with a copy of the model.
        threads: torch's threads, and the CPUs that are reserved, of each.
        gpus: GPUs that are reserved for each.
        address: of a running cluster ("auto" finds it); None uses one that this process is
            connected to, or starts one on this machine.
        device: see `Generator`.
        dtype: see `Generator`.
    """

    model: str | None = None
    workers: int = 1
    threads: int = 1
    gpus: float = 0.0
    address: str | None = None
    device: str = "auto"
    dtype: str | None = None


class SoundMaker:
    """An actor of the pool: rows of requests in, rows of sound files out."""

    def __init__(self, options: RayOptions, audio_format: str) -> None:
        """Load the model."""
        import torch

        from soundleap.generator import Generator

        torch.set_num_threads(options.threads)
        self.format = audio_format
        self.generator = Generator(options.model, device=options.device, dtype=options.dtype)

    def __call__(self, batch: dict[str, Any]) -> Iterator[dict[str, list[Any]]]:
        """Give each sound as soon as it is made: its position, and its bytes or an error."""
        from soundleap.offline.folder import encoded

        positions = [int(position) for position in batch["position"]]
        requests = [Request(**json.loads(text)) for text in batch["request"]]
        left = set(positions)
        try:
            for i, result in self.generator.stream(requests):
                left.discard(positions[i])
                yield _row(positions[i], data=encoded(result, self.format, True))
        except SoundleapError as error:
            kind = type(error).__name__
            for position in sorted(left):
                yield _row(position, error=f"{kind}: {error}")


def make(
    samples: Mapping[int, Sample], audio_format: str, options: RayOptions
) -> Iterator[tuple[int, bytes]]:
    """Make sounds on a cluster and give each one's position and file once, in any order.

    An actor or a machine that dies is replaced and its rows are made again.

    Args:
        samples: checked, by position.
        audio_format: see `write_audio`.
        options: how actors are made.

    Raises:
        InputError: if Ray is not installed, or a prompt is too long for the text encoder.
        NotFiniteError: if the model gives NaN, after everything else was given.
        SoundleapError: if the cluster gives less than it was asked for.
    """
    ray, data = _connect(options)
    rows = [
        {"position": position, "request": json.dumps(asdict(sample))}
        for position, sample in samples.items()
    ]
    data.DataContext.get_current().enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    blocks = max(-(-len(rows) // BLOCK_SIZE), min(len(rows), 4 * options.workers))
    made = data.from_items(rows, override_num_blocks=min(MAX_BLOCKS, blocks)).map_batches(
        SoundMaker,
        fn_constructor_args=(options, audio_format),
        compute=data.ActorPoolStrategy(size=options.workers, max_tasks_in_flight_per_actor=2),
        batch_size=None,
        num_cpus=options.threads,
        num_gpus=options.gpus or None,
    )
    left, errors = set(samples), list[str]()
    for row in _rows(ray, made):
        position = int(row["position"])
        if position not in left:
            continue
        left.discard(position)
        if row["error"]:
            errors.append(str(row["error"]))
        else:
            yield position, bytes(row["data"])
    _check(left, errors)


def _rows(ray: Any, made: Any) -> Iterator[dict[str, Any]]:
    try:
        yield from made.iter_rows()
    except ray.exceptions.RayError as error:
        last = str(error).strip().rpartition("\n")[2]
        raise SoundleapError(
            f"the cluster has failed: {type(error).__name__}: {last}; repeat the command to go on"
        ) from error


def _check(left: set[int], errors: list[str]) -> None:
    if errors:
        kind, _, message = errors[0].partition(": ")
        known = {"InputError": InputError, "NotFiniteError": NotFiniteError}
        more = f" (and {len(errors) - 1} more that failed)" if len(errors) > 1 else ""
        raise known.get(kind, SoundleapError)(f"{message}{more}")
    if left:
        raise SoundleapError(
            f"the cluster has not answered {len(left)} sounds; repeat the command to go on"
        )


def _connect(options: RayOptions) -> tuple[Any, Any]:
    if not options.address:
        os.environ.setdefault(*LOOPBACK_ONLY)  # Ray reads it when it is imported
    try:
        ray, data = import_module("ray"), import_module("ray.data")
    except ModuleNotFoundError as error:
        raise InputError(
            f"{error.name} is not installed; this needs `pip install 'soundleap[ray]'`"
        ) from None
    if not ray.is_initialized():
        own: dict[str, Any] = {
            "include_dashboard": False,
            "object_store_memory": OBJECT_STORE_BYTES,
        }
        try:
            ray.init(
                address=options.address or "local",
                log_to_driver=False,
                logging_level="ERROR",
                **({} if options.address else own),
            )
        except ConnectionError as error:
            raise InputError(f"address is {options.address!r}: {error}") from None
    _check_room(ray, options)
    return ray, data


def _check_room(ray: Any, options: RayOptions) -> None:
    """Refuse what a cluster can't ever start; it would wait for ever."""
    has = ray.cluster_resources()
    for name, each in (("CPU", options.threads), ("GPU", options.gpus)):
        if options.workers * each > has.get(name, 0):
            raise InputError(
                f"workers is {options.workers} with {each:g} {name} each; the cluster has "
                f"{has.get(name, 0):g} {name}: take fewer workers or add machines"
            )


def _row(position: int, data: bytes = b"", error: str = "") -> dict[str, list[Any]]:
    return {"position": [position], "data": [data], "error": [error]}
