"""The server on Ray Serve: one front that speaks HTTP, and replicas that make sounds.

The front is the application of `soundleap.server` with its routes, queue, limits and jobs; only its
workers are others: each hands a sound to the deployment `SoundModel`, which gathers what
arrives at once with ``serve.batch`` and is scaled by Ray. See ``deploy/ray_serve.yaml``.
"""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, fields
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from soundleap.cluster.remote import Answer, RemoteModel
from soundleap.errors import InputError, NotFiniteError, check_range, unknown_name
from soundleap.requests import Request
from soundleap.server.app import create_app
from soundleap.server.settings import ServerSettings
from soundleap.server.worker import Made

if TYPE_CHECKING:
    from fastapi import FastAPI


@dataclass(frozen=True)
class ServeOptions:
    """What the deployment file may set under ``args``.

    Attributes:
        model: name, folder or hub id, which every machine must be able to open.
        device: see `Generator`.
        dtype: see `Generator`.
        threads: torch's threads in each replica.
        max_batch_size: most sounds that a replica makes at once; 1 on a CPU.
        batch_wait_in_s: how long a replica waits for more sounds.
        lanes: most sounds that are handed to the replicas at once; what comes on top waits in the
            front's queue, which is fair between clients.
        max_queue: see `ServerSettings`.
        api_key_file: see `ServerSettings`; on the front's machine.
    """

    model: str = "default"
    device: str = "auto"
    dtype: str | None = None
    threads: int = 1
    max_batch_size: int = 1
    batch_wait_in_s: float = 0.005
    lanes: int = 32
    max_queue: int = 256
    api_key_file: str | None = None

    @classmethod
    def read(cls, values: dict[str, Any]) -> ServeOptions:
        """Read a deployment file's ``args``.

        Raises:
            InputError: for an unknown name or a number out of range.
        """
        known = [field.name for field in fields(cls)]
        for name in values:
            if name not in known:
                raise unknown_name("argument", name, known)
        options = cls(**values)
        ranges = (("threads", 1, 1024), ("max_batch_size", 1, 1024), ("batch_wait_in_s", 0, 1),
                  ("lanes", 1, 4096))  # fmt: skip
        for name, low, high in ranges:
            check_range(name, getattr(options, name), low, high)
        return options

    def server(self) -> ServerSettings:
        """Give the front's settings."""
        return ServerSettings(
            models=(self.model,),
            max_queue=self.max_queue,
            max_queue_per_client=max(1, self.max_queue // 2),
            api_key_file=Path(self.api_key_file) if self.api_key_file else None,
        )


class Replica:
    """One model that answers lists of requests; knows nothing of Ray."""

    def __init__(self, options: ServeOptions) -> None:
        """Load the model and make one sound, so that the first client does not wait for it."""
        from soundleap.generator import Generator

        self.threads = options.threads
        self.generator = Generator(
            options.model,
            device=options.device,
            dtype=options.dtype,
            max_batch_size=options.max_batch_size,
        )
        self.generator.warm_up()

    def facts(self) -> dict[str, Any]:
        """Say what the front wants to know; an answer means that sounds can be asked for."""
        return {"device": self.generator.pipeline.device.type, "max_batch_size": 1}

    def answers(self, requests: Sequence[Request]) -> list[Answer]:
        """Make sounds at once; after a failure each on its own, so that only the culprit fails."""
        import torch

        torch.set_num_threads(self.threads)  # holds for the thread that calls it only
        try:
            results = self.generator.generate(requests)
        except Exception as error:
            if len(requests) > 1:
                return [self.answers([request])[0] for request in requests]
            return [_fault(error)]
        return [
            ("sound", Made(r.waveform, r.sampling_rate, r.metadata, r.seconds)) for r in results
        ]


class SoundModel(Replica):
    """The deployment that makes sounds, in batches of what arrives at once."""

    def __init__(self, options: ServeOptions) -> None:
        """Load the model."""
        super().__init__(options)
        gather = import_module("ray.serve").batch(
            max_batch_size=options.max_batch_size, batch_wait_timeout_s=options.batch_wait_in_s
        )
        self._gathered: Any = gather(self._make_all)

    async def make(self, values: dict[str, Any]) -> Answer:
        """Make one sound.

        Args:
            values: the fields of a `Request`.
        """
        return await self._gathered(Request(**values))

    async def _make_all(self, requests: list[Request]) -> list[Answer]:
        """Make what has arrived; off the event loop, so that the replica stays reachable."""
        return await asyncio.to_thread(self.answers, requests)


class Front:
    """The deployment that speaks HTTP; it loads no model."""

    def __init__(self, options: ServeOptions, replicas: Any) -> None:
        """Keep what the application is built from."""
        self.options = options
        self.replicas = replicas

    def __serve_build_asgi_app__(self) -> FastAPI:  # the name is Ray's
        """Give the application."""
        return front_app(self.options, self.replicas)


def front_app(options: ServeOptions, replicas: Any) -> FastAPI:
    """Make the server's application with replicas in place of its workers.

    Args:
        options: from the deployment file.
        replicas: handle of `SoundModel`: ``replicas.make.remote(values)`` can be awaited and
            cancelled.
    """
    app = create_app(options.server())
    service = app.state.service
    service.models = {
        id: RemoteModel(model, options.lanes, replicas) for id, model in service.models.items()
    }
    return app


def build(args: dict[str, Any]) -> Any:
    """Build the application for ``serve run`` and ``serve deploy``.

    Args:
        args: see `ServeOptions`. How many replicas there are, and on what, is in the deployment
            file under ``deployments``.

    Raises:
        InputError: for an argument that is not allowed.
    """
    serve = import_module("ray.serve")
    options = ServeOptions.read(args)
    model = serve.deployment(SoundModel, name="SoundModel").bind(options)
    front = serve.deployment(serve.ingress()(Front), name="Front")
    return front.bind(options, model)


def _fault(error: Exception) -> Answer:
    if isinstance(error, InputError):
        return "invalid_value", str(error)
    if isinstance(error, NotFiniteError):
        return "not_finite", str(error)
    if isinstance(error, MemoryError) or "out of memory" in str(error):
        return "out_of_memory", "there is not enough memory for this sound"
    return "internal", "".join(traceback.format_tb(error.__traceback__)) + type(error).__name__
