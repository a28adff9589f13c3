"""The files that weights come from: their hashes, and progress while they are read."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator, Iterable
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from soundleap.errors import BundleError

Watch = Callable[[str, int], AbstractContextManager[Callable[[int], None]]]
"""Shows progress: given a word and a number of bytes, a context whose function counts bytes."""

PUBLISHED = {
    "d4969266db56694d575a341491f0030b56a3a0693f41e2eda752a9745c2bf60d": "ConsistencyTTA.zip",
    "13655635777984b8bcbf1fb3acbfae6ef75f87101fb229ccb2117080803e0f69": (
        "ConsistencyTTA_CLAPFT.zip"
    ),
    "3a4292a1236a9beb669cb2e8c8947b21c007ff4c5f19ff43bfa9903df5ac9418": "LightweightLDM.zip",
    "a79eba873b614adf5a25daa9a958e254bc520100f4ccd44babda5fbb4cc565db": (
        "pytorch_model_main.bin of declare-lab/tango"
    ),
    "585e3eb5c590524a73ebfe01a263c598c581359f19c40dcdceb5ce8105ff69b7": "audiolcm.ckpt",
    "7621db6654b1a96398cf20edd6bc783ba8b7d4bc074e2ac42d609f0426480f19": "maa2.ckpt",
}
"""Published files by their SHA-256."""

_PIECE = 1 << 22


@contextmanager
def unwatched(word: str, size: int) -> Generator[Callable[[int], None]]:
    """Show no progress."""
    yield lambda count: None


def hash_sources(paths: Iterable[Path], watch: Watch) -> list[dict[str, Any]]:
    """Measure files, for the provenance.

    Returns:
        Of each: ``file`` (its name), ``bytes``, ``sha256``, and ``published``, the name of the
        published file that has this hash, where one has.

    Raises:
        BundleError: if one can't be read.
    """
    files = list(dict.fromkeys(paths))
    try:
        with watch("hashing", sum(path.stat().st_size for path in files)) as advance:
            return [_measure(path, advance) for path in files]
    except OSError as error:
        raise BundleError(f"can't read {error.filename}: {error.strerror}") from None


def _measure(path: Path, advance: Callable[[int], None]) -> dict[str, Any]:
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while data := file.read(_PIECE):
            digest.update(data)
            size += len(data)
            advance(len(data))
    record: dict[str, Any] = {"file": path.name, "bytes": size, "sha256": digest.hexdigest()}
    published = PUBLISHED.get(record["sha256"])
    return record if published is None else {**record, "published": published}
