"""Work in a new process of this interpreter."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence

from soundleap.errors import SoundleapError


def run_python(arguments: Sequence[str], environment: Mapping[str, str], what: str) -> str:
    """Run this interpreter and give what it printed.

    Args:
        arguments: of the interpreter.
        environment: all of the new process's.
        what: it is, for the error.

    Raises:
        SoundleapError: if it fails, with its last line.
    """
    done = subprocess.run(
        [sys.executable, *arguments],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    if done.returncode:
        last = (done.stderr.strip() or "it printed no error").splitlines()[-1]
        raise SoundleapError(f"{what} failed with status {done.returncode}: {last}")
    return done.stdout
