"""Facts about the machine, and the memory that this process takes."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import torch

from soundleap.bench.report import Machine

PeakScope = Literal["case", "process"]

_CPU_INFO = Path("/proc/cpuinfo")
_STATUS = Path("/proc/self/status")
_CLEAR_REFS = Path("/proc/self/clear_refs")
_RESET_PEAK = "5"  # proc(5): sets the peak resident size to the present one


def describe_machine(device: torch.device) -> Machine:
    """Collect the facts that a measurement needs beside it."""
    affinity = getattr(os, "sched_getaffinity", None)  # absent on macOS and Windows
    cores = os.cpu_count() or 1
    cuda = device.type == "cuda"
    return Machine(
        cpu=cpu_name(),
        cores=cores,
        usable_cores=cores if affinity is None else len(affinity(0)),
        memory_in_bytes=_memory_in_bytes(),
        load_before=_load(),
        platform=f"{platform.system()} {platform.machine()}",
        python=platform.python_version(),
        torch=str(torch.__version__),
        threads=torch.get_num_threads(),
        device=device.type,
        device_name=torch.cuda.get_device_name(device) if cuda else None,
    )


def cpu_name() -> str:
    """Give the processor's name, or its architecture where the system tells no more."""
    if _CPU_INFO.exists():
        for line in _CPU_INFO.read_text(encoding="utf-8", errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name" and value.strip():
                return value.strip()
    return platform.processor() or platform.machine()


def reset_peak_rss() -> PeakScope:
    """Start a new peak of the resident memory; "process" where the system can't."""
    try:
        _CLEAR_REFS.write_text(_RESET_PEAK, encoding="ascii")
    except OSError:
        return "process"
    return "case"


def peak_rss_in_bytes() -> int | None:
    """Give the peak of the resident memory since the last reset; None where it can't be read."""
    if _STATUS.exists():
        for line in _STATUS.read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    if sys.platform == "win32":
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


@contextmanager
def use_threads(threads: int | None) -> Generator[None]:
    """Let torch use so many threads inside the block; None changes nothing."""
    before = torch.get_num_threads()
    torch.set_num_threads(before if threads is None else threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _memory_in_bytes() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return None


def _load() -> float | None:
    try:
        return os.getloadavg()[0]
    except (AttributeError, OSError):
        return None
