"""What a server is started with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from soundleap.errors import InputError, check_range, unknown_name
from soundleap.ranking import MAX_BEST_OF

WorkerKind = Literal["process", "thread"]
"""Where sounds are made: in processes of their own, or in threads of the server's process."""


@dataclass(frozen=True)
class ServerSettings:
    """Settings of a server.

    Attributes:
        models: names, folders or hub ids; the first one answers requests that name none.
        workers: of each model; each holds a copy of it.
        worker_kind: "process" survives a crash of a worker; "thread" starts faster and shares
            memory, for tests and for hosts that run processes of their own.
        device: "auto" takes a CUDA device where there is one, else the CPU.
        dtype: "float32" (None) or "bfloat16".
        low_memory: keep in memory only the part at work.
        adapters: files and weights, merged into the first model.
        max_batch_size: most sounds made at once; None takes 1 on a CPU, else 8.
        batch_window_in_s: how long to wait for more sounds that can share a batch.
        max_queue: most sounds that wait, for each model.
        max_queue_per_client: most of them from one key or address.
        max_takes: most sounds of one job.
        max_best_of: most tries of a sound, of which the one that fits its prompt best is kept.
        max_audio_in_s: most seconds of sound of one job, duration x count x tries.
        max_body_bytes: largest JSON body.
        max_upload_bytes: largest sound file that is sent for its settings.
        body_timeout_in_s: longest wait for a request's body.
        queue_timeout_in_s: longest wait of a direct request before it is begun; jobs wait on.
        timeout_in_s: longest time that a batch may take.
        drain_timeout_in_s: longest wait at the end for work that is running.
        results_kept_in_s: how long a finished job is kept.
        results_kept_bytes: how much sound finished jobs hold; the oldest ones go first.
        api_key_file: a key a line; None lets everybody in.
        rate_limit: POST requests a minute for each key or address; None for no limit.
        cors_origins: web origins that may read answers; none by default.
        allowed_hosts: names that the server answers to; ("*",) for any.
        log_prompts: write prompts into the log.
    """

    models: tuple[str, ...] = ("default",)
    workers: int = 1
    worker_kind: WorkerKind = "process"
    device: str = "auto"
    dtype: str | None = None
    low_memory: bool = False
    adapters: tuple[tuple[Path, float], ...] = ()
    max_batch_size: int | None = None
    batch_window_in_s: float = 0.005
    max_queue: int = 64
    max_queue_per_client: int = 32
    max_takes: int = 16
    max_best_of: int = 8
    max_audio_in_s: float = 300.0
    max_body_bytes: int = 64 * 1024
    max_upload_bytes: int = 32 * 1024 * 1024
    body_timeout_in_s: float = 30.0
    queue_timeout_in_s: float = 60.0
    timeout_in_s: float = 300.0
    drain_timeout_in_s: float = 60.0
    results_kept_in_s: float = 3600.0
    results_kept_bytes: int = 256 * 1024 * 1024
    api_key_file: Path | None = None
    rate_limit: float | None = None
    cors_origins: tuple[str, ...] = ()
    allowed_hosts: tuple[str, ...] = ("*",)
    log_prompts: bool = False

    def __post_init__(self) -> None:
        """Check every value.

        Raises:
            InputError: naming the first value that is not allowed, and what is.
        """
        if not self.models:
            raise InputError("models is empty; give at least one")
        if self.worker_kind not in get_args(WorkerKind):
            raise unknown_name("worker_kind", self.worker_kind, get_args(WorkerKind))
        for name, (low, high, unit) in _RANGES.items():
            value = getattr(self, name)
            if value is not None:
                check_range(name, value, low, high, unit)


_DAY_IN_S = 86400.0
_GIB = 1024**3
_RANGES: dict[str, tuple[float, float, str]] = {
    "workers": (1, 256, ""),
    "max_batch_size": (1, 1024, ""),
    "batch_window_in_s": (0.0, 1.0, "s"),
    "max_queue": (1, 100_000, ""),
    "max_queue_per_client": (1, 100_000, ""),
    "max_takes": (1, 1000, ""),
    "max_best_of": (1, MAX_BEST_OF, ""),
    "max_audio_in_s": (1.0, 100_000.0, "s"),
    "max_body_bytes": (1024, _GIB, "bytes"),
    "max_upload_bytes": (1024, _GIB, "bytes"),
    "body_timeout_in_s": (0.1, 3600.0, "s"),
    "queue_timeout_in_s": (0.01, _DAY_IN_S, "s"),
    "timeout_in_s": (0.01, _DAY_IN_S, "s"),
    "drain_timeout_in_s": (0.0, _DAY_IN_S, "s"),
    "results_kept_in_s": (0.1, 30 * _DAY_IN_S, "s"),
    "results_kept_bytes": (0, 1024 * _GIB, "bytes"),
    "rate_limit": (0.1, 1e6, "requests a minute"),
}
