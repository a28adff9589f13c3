"""Read chosen files out of archives, in memory.

Nothing is ever unpacked to the disk: a file is read only if its name is asked for, links and
devices are passed over, and sizes are limited, so that a hostile archive can write nowhere and
can't fill the memory.
"""

from __future__ import annotations

import gzip
import lzma
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import IO

from soundleap.errors import InputError

MAX_MEMBER_BYTES = 300_000_000
"""Largest single file that is read from an archive."""

Member = tuple[str, bytes]
Wanted = Callable[[str], bool]


def read_members(path: Path, wanted: Wanted) -> Iterator[Member]:
    """Yield ``(name, content)`` of the regular files of an archive whose name is wanted.

    Args:
        path: a tar (plain or compressed), zip or Debian package.
        wanted: decides by the full name inside the archive.

    Raises:
        InputError: if the archive is damaged, of another kind, or a file in it is too large.
    """
    try:
        with path.open("rb") as file:
            yield from _read_open(file, path.name, wanted)
    except (
        tarfile.TarError,
        zipfile.BadZipFile,
        lzma.LZMAError,
        zlib.error,
        EOFError,
        OSError,
    ) as error:
        raise InputError(
            f"{path.name} can't be read as an archive ({error}): delete it to download it again"
        ) from error


def _read_open(file: IO[bytes], name: str, wanted: Wanted) -> Iterator[Member]:
    magic = file.read(8)
    file.seek(0)
    if magic == b"!<arch>\n":
        yield from _read_tar(_data_of_debian_package(file), wanted)
    elif magic[:4] == b"PK\x03\x04":
        yield from _read_zip(file, wanted)
    else:
        yield from _read_tar(file, wanted)


def _read_tar(file: IO[bytes], wanted: Wanted) -> Iterator[Member]:
    with tarfile.open(fileobj=file) as archive:
        for member in archive:
            name = member.name.removeprefix("./")
            if member.isreg() and wanted(name):
                _check_size(name, member.size)
                content = archive.extractfile(member)
                assert content is not None
                yield name, content.read()


def _read_zip(file: IO[bytes], wanted: Wanted) -> Iterator[Member]:
    with zipfile.ZipFile(file) as archive:
        for member in archive.infolist():
            if not member.is_dir() and wanted(member.filename):
                _check_size(member.filename, member.file_size)
                yield member.filename, archive.read(member)


def _data_of_debian_package(file: IO[bytes]) -> IO[bytes]:
    """Find ``data.tar.*`` in an ar archive: 60-byte headers, contents padded to even lengths."""
    file.seek(8)
    while len(header := file.read(60)) == 60:
        if not header[48:58].strip().isdigit():
            break
        size = int(header[48:58])
        if header.startswith(b"data.tar"):
            return BytesIO(file.read(size))
        file.seek(size + size % 2, 1)
    raise InputError("the Debian package holds no data.tar")


def _check_size(name: str, size: int) -> None:
    if size > MAX_MEMBER_BYTES:
        raise InputError(f"{name} is {size} bytes; allowed: {MAX_MEMBER_BYTES}")


_GROUP_HEADER, _GROUP_ENTRY, _MAX_GROUP_DEPTH = 204, 316, 16


def read_clonk_group(content: bytes, prefix: str) -> Iterator[Member]:
    """Yield the files of a Clonk group file (``.ocg``), names below ``prefix``.

    A group file is a gzip stream with other magic bytes around a table of entries (name, is it a
    group itself, size, offset) and their contents; its header is scrambled.

    Raises:
        InputError: if it is damaged.
    """
    if content[:2] == b"\x1e\x8c":
        try:
            with gzip.open(BytesIO(b"\x1f\x8b" + content[2:])) as stream:
                content = stream.read(MAX_MEMBER_BYTES + 1)
        except (OSError, EOFError, zlib.error) as error:
            raise InputError(f"{prefix} is damaged ({error})") from error
        _check_size(prefix, len(content))
    yield from _read_group(memoryview(content), prefix, 0)


def _read_group(content: memoryview, prefix: str, depth: int) -> Iterator[Member]:
    header = bytearray(byte ^ 237 for byte in content[:_GROUP_HEADER])
    for i in range(0, len(header) - 2, 3):
        header[i], header[i + 2] = header[i + 2], header[i]
    if not header.startswith(b"RedWolf Design GrpFolder") or depth > _MAX_GROUP_DEPTH:
        raise InputError(f"{prefix} is no group file")
    (count,) = struct.unpack_from("<i", header, 36)
    start = _GROUP_HEADER + count * _GROUP_ENTRY
    if count < 0 or start > len(content):
        raise InputError(f"{prefix} is damaged: {count} entries do not fit into it")
    for i in range(count):
        entry = content[_GROUP_HEADER + i * _GROUP_ENTRY :][:_GROUP_ENTRY]
        name = bytes(entry[:260]).split(b"\0")[0].decode("utf-8", "replace")
        is_group, size, _, offset = struct.unpack_from("<4i", entry, 264)
        body = content[start + offset : start + offset + size]
        if min(size, offset) < 0 or len(body) != size:
            raise InputError(f"{prefix}/{name} is damaged: it ends beyond the file")
        if is_group:
            yield from _read_group(body, f"{prefix}/{name}", depth + 1)
        else:
            yield f"{prefix}/{name}", bytes(body)


def read_sound_catalogue(content: bytes, prefix: str) -> Iterator[Member]:
    """Yield the sounds of an OpenTTD catalogue (``.cat``) as ``prefix#number``.

    The file starts with pairs of offset (highest bit: newer format) and length, little endian; at
    each offset stand the length of a title, the title, and a WAV file.

    Raises:
        InputError: if it is damaged.
    """
    if len(content) < 8:
        raise InputError(f"{prefix} is damaged: {len(content)} bytes")
    table_bytes = struct.unpack_from("<I", content)[0] & 0x7FFFFFFF
    if table_bytes % 8 or table_bytes > len(content):
        raise InputError(f"{prefix} is damaged: no table of sounds")
    for number in range(table_bytes // 8):
        offset, size = struct.unpack_from("<2I", content, 8 * number)
        offset &= 0x7FFFFFFF
        if offset >= len(content):
            raise InputError(f"{prefix}#{number} is damaged: it lies beyond the file")
        wav = offset + 1 + content[offset]
        yield f"{prefix}#{number}", content[wav : wav + size]
