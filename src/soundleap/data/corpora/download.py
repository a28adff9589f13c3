"""Download one file: resumed where the server allows it, complete or not there at all."""

from __future__ import annotations

import hashlib
import http.client
import os
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tqdm import tqdm

from soundleap.errors import InputError, SoundleapError

_CHUNK = 1 << 20
_TIMEOUT_IN_S = 60.0
_SCHEMES = ("https", "http", "file")


class DownloadError(SoundleapError):
    """A file could not be fetched; what has arrived is kept for the next try."""


def download(url: str, path: Path, *, max_bytes: int, progress: bool = True) -> None:
    """Bring a file from a URL to ``path`` through ``path.partial``.

    A partial file of an earlier try is continued if the server names the same version of the file
    (its ETag); otherwise it starts anew.

    Args:
        url: https, http or file.
        path: where it goes.
        max_bytes: a larger file is refused.
        progress: show a progress bar.

    Raises:
        InputError: if the URL is of another kind.
        DownloadError: if it can't be fetched, breaks off, or is too large.
    """
    if urlsplit(url).scheme not in _SCHEMES:
        raise InputError(f"url {url!r}: must start with one of {', '.join(_SCHEMES)}")
    path.parent.mkdir(parents=True, exist_ok=True)
    partial, tag = _beside(path, ".partial"), _beside(path, ".etag")
    request = urllib.request.Request(url, headers={"User-Agent": "soundleap"})
    if partial.exists() and tag.exists():
        request.add_header("Range", f"bytes={partial.stat().st_size}-")
        request.add_header("If-Range", tag.read_text("utf-8"))
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_IN_S) as response:
            _receive(response, partial, tag, max_bytes=max_bytes, progress=progress)
    except urllib.error.HTTPError as error:
        if error.code == 416:  # the partial file does not fit the one on the server
            partial.unlink()
        raise DownloadError(f"{url}: {error.code} {error.reason}") from error
    except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
        raise DownloadError(f"{url}: {error}") from error
    os.replace(partial, path)
    tag.unlink(missing_ok=True)


def sha256_of(path: Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _receive(response: Any, partial: Path, tag: Path, *, max_bytes: int, progress: bool) -> None:
    resumed = response.status == 206  # None for file:
    got = partial.stat().st_size if resumed else 0
    length: str | None = response.headers.get("Content-Length")
    expected = got + int(length) if length else None
    if expected is not None and expected > max_bytes:
        raise DownloadError(f"{response.url}: {expected} bytes; allowed: {max_bytes}")
    etag: str = response.headers.get("ETag", "")
    # A weak tag may stand for files that differ in bytes.
    if etag and not etag.startswith("W/"):
        tag.write_text(etag, "utf-8")
    else:
        tag.unlink(missing_ok=True)
    bar = tqdm(
        total=expected,
        initial=got,
        unit="B",
        unit_scale=True,
        desc=partial.name.removesuffix(".partial"),
        disable=not progress,
    )
    with partial.open("ab" if resumed else "wb") as file, bar:
        while chunk := response.read(_CHUNK):
            got += len(chunk)
            if got > max_bytes:
                raise DownloadError(f"{response.url}: more than {max_bytes} bytes")
            file.write(chunk)
            bar.update(len(chunk))
    if expected is not None and got != expected:
        raise DownloadError(f"{response.url}: broke off after {got} of {expected} bytes")


def _beside(path: Path, ending: str) -> Path:
    return path.with_name(path.name + ending)
