"""Settings of glibc's allocator under which training gives no memory back between steps.

By default glibc maps every large tensor anew and unmaps it when it is freed, so each step pays
again for zeroed pages: about a third of the CPU time of training. The settings are read when a
process begins, so the command starts itself once more with them.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

MALLOC = {
    "MALLOC_MMAP_MAX_": "0",  # large blocks come from the heap
    "MALLOC_TRIM_THRESHOLD_": "17179869184",  # whose top goes back above 16 GiB only
    "MALLOC_TOP_PAD_": "268435456",  # and which grows by 256 MiB at a time
}
"""Variables that glibc reads (mallopt(3)); those that are set already are left alone."""
KEEP = "SOUNDLEAP_KEEP_MALLOC"
"""Set to 1 to leave the allocator as it is."""


def wanted_environment(environment: Mapping[str, str], platform: str) -> dict[str, str] | None:
    """Return the environment to start again with, or None where nothing is to be changed."""
    missing = [name for name in MALLOC if name not in environment]
    if platform != "linux" or environment.get(KEEP) == "1" or not missing:
        return None
    return {**environment, **{name: MALLOC[name] for name in missing}}


def keep_freed_memory() -> None:
    """Start the `soundleap` command again with `MALLOC`, once; in any other program do nothing."""
    if Path(sys.argv[0]).name != "soundleap":
        return
    environment = wanted_environment(os.environ, sys.platform)
    if environment is not None:
        sys.stdout.flush()
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)
