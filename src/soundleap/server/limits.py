"""Who may ask, and how often."""

from __future__ import annotations

import hashlib
import hmac
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from soundleap.errors import InputError

MIN_KEY_LENGTH = 16
MAX_CLIENTS = 10_000
"""Most clients whose rate is remembered; the ones longest unseen are forgotten."""


class Keys:
    """API keys, held as hashes only."""

    def __init__(self, keys: Iterable[str]) -> None:
        """Hash the keys."""
        self._digests = [_digest(key) for key in keys]

    @classmethod
    def from_file(cls, path: Path) -> Keys:
        """Read a key a line; blank lines and lines that begin with ``#`` do not count.

        Raises:
            InputError: if the file can't be read, holds no key, or one that is short or not ASCII.
        """
        try:
            lines = path.read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"can't read api_key_file {path}: {error}") from None
        keys: list[str] = []
        for number, line in enumerate(lines, 1):
            key = line.strip()
            if not key or key.startswith("#"):
                continue
            if len(key) < MIN_KEY_LENGTH or not key.isascii() or " " in key:
                raise InputError(
                    f"{path}, line {number}: a key has {MIN_KEY_LENGTH} ASCII characters or more, "
                    "and no spaces; make one with `openssl rand -hex 24`"
                )
            keys.append(key)
        if not keys:
            raise InputError(f"api_key_file {path} holds no key")
        return cls(keys)

    def owner(self, key: str) -> str | None:
        """Give a name for the holder of a key, which does not tell the key; None for a wrong one.

        Every stored hash is compared, each in constant time.
        """
        digest = _digest(key)
        matches = [hmac.compare_digest(digest, known) for known in self._digests]
        return f"key-{digest[:12]}" if any(matches) else None


def presented_key(headers: Mapping[str, str]) -> str | None:
    """Find the key in a request's headers: ``Authorization: Bearer KEY`` or ``xi-api-key: KEY``."""
    scheme, _, key = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and key.strip():
        return key.strip()
    return headers.get("xi-api-key") or None


class RateLimiter:
    """A bucket of requests for each client, which fills steadily.

    Args:
        per_minute: requests a minute; a bucket holds as many, so that short bursts pass.
        clock: seconds that never go back.
    """

    def __init__(self, per_minute: float, clock: Callable[[], float] = time.monotonic) -> None:
        """Start with full buckets."""
        self.per_minute = per_minute
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # level, time

    def wait(self, client: str) -> float:
        """Count a request; gives 0.0 if it may pass, else the seconds until one may."""
        now, size = self._clock(), max(1.0, self.per_minute)
        level, seen = self._buckets.pop(client, (size, now))
        level = min(size, level + (now - seen) * self.per_minute / 60.0)
        passes = level >= 1.0
        self._buckets[client] = (level - 1.0 if passes else level, now)
        if len(self._buckets) > MAX_CLIENTS:
            self._buckets.popitem(last=False)
        return 0.0 if passes else (1.0 - level) * 60.0 / self.per_minute


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()
