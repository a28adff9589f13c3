"""Safetensors files written one tensor after another, so that a large one needs little memory."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, NamedTuple

import torch
from torch import Tensor

from soundleap.bundle_schema import FileHash
from soundleap.errors import BundleError

_NAMES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
_PIECE = 1 << 22
"""Numbers that are converted, checked and written at once."""


class _Entry(NamedTuple):
    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype

    @property
    def size(self) -> int:
        return torch.Size(self.shape).numel() * self.dtype.itemsize


def write_tensors(
    path: Path,
    tensors: Mapping[str, Tensor],
    config: Mapping[str, Any] | None = None,
    *,
    dtype: torch.dtype | None = None,
    exact: Collection[str] = (),
    written: Callable[[int], None] | None = None,
) -> FileHash:
    """Write a safetensors file; it appears whole or not at all.

    Shapes are read first and numbers after, one tensor at a time: tensors may be views of a mapped
    file, or be made when the mapping is asked for them (it is asked twice for each).

    Args:
        path: where to; replaced if it exists.
        tensors: by name.
        config: stored as JSON in the header, where `read_config` finds it; None stores none.
        dtype: for floating-point tensors; None keeps theirs.
        exact: names of tensors that keep their type.
        written: called with the number of bytes after every piece.

    Returns:
        The file's hash and size, measured while writing.

    Raises:
        BundleError: if a tensor is not finite as it is to be stored, is of a type that safetensors
            does not know, changes between the two readings, or the file can't be written (a full
            disk, say).
    """
    entries = _entries(tensors, dtype, exact)
    head = _header(entries, config)
    partial = path.with_name(path.name + ".partial")
    try:
        with partial.open("wb") as file:
            digest, size = _write(file, head, entries, tensors, written)
        partial.replace(path)
    except OSError as error:
        raise BundleError(f"can't write {path}: {error.strerror}") from None
    finally:
        partial.unlink(missing_ok=True)
    return FileHash(sha256=digest, bytes=size)


def stored_size(
    tensors: Mapping[str, Tensor], dtype: torch.dtype | None = None, exact: Collection[str] = ()
) -> int:
    """Give the bytes that the numbers of these tensors will take in a file."""
    return sum(entry.size for entry in _entries(tensors, dtype, exact))


def _entries(
    tensors: Mapping[str, Tensor], dtype: torch.dtype | None, exact: Collection[str]
) -> list[_Entry]:
    entries: list[_Entry] = []
    for name in tensors:
        tensor = tensors[name]
        change = dtype is not None and tensor.is_floating_point() and name not in exact
        kept = dtype if change and dtype is not None else tensor.dtype
        if kept not in _NAMES:
            raise BundleError(f"can't store tensor {name}: it is {kept}")
        entries.append(_Entry(name, tuple(tensor.shape), kept))
    # Wide numbers first keeps every tensor aligned to its numbers' width.
    return sorted(entries, key=lambda entry: (-entry.dtype.itemsize, entry.name))


def _header(entries: list[_Entry], config: Mapping[str, Any] | None) -> bytes:
    record: dict[str, Any] = {}
    if config is not None:
        record["__metadata__"] = {"config": json.dumps(config)}
    place = 0
    for entry in entries:
        record[entry.name] = {
            "dtype": _NAMES[entry.dtype],
            "shape": list(entry.shape),
            "data_offsets": [place, place + entry.size],
        }
        place += entry.size
    text = json.dumps(record, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _write(
    file: IO[bytes],
    head: bytes,
    entries: list[_Entry],
    tensors: Mapping[str, Tensor],
    written: Callable[[int], None] | None,
) -> tuple[str, int]:
    digest, size = hashlib.sha256(), 0

    def put(data: bytes | memoryview) -> None:
        nonlocal size
        file.write(data)
        digest.update(data)
        size += len(data)
        if written is not None:
            written(len(data))

    put(head)
    for entry in entries:
        tensor = tensors[entry.name]
        if tuple(tensor.shape) != entry.shape:
            raise BundleError(f"tensor {entry.name} changed its shape while it was written")
        for piece in _pieces(tensor):
            put(_bytes(entry, piece))
    return digest.hexdigest(), size


def _pieces(tensor: Tensor) -> Iterator[Tensor]:
    if not tensor.numel():
        return iter(())
    # A mapped file may hold its numbers at any address; a copy is aligned.
    odd = tensor.data_ptr() % tensor.dtype.itemsize
    whole = tensor.detach().clone() if odd else tensor.detach().contiguous()
    return iter(whole.reshape(-1).split(_PIECE))


def _bytes(entry: _Entry, piece: Tensor) -> memoryview:
    result = piece.to(entry.dtype)
    if result.is_floating_point() and not bool(torch.isfinite(result).all()):
        if bool(torch.isfinite(piece).all()):
            raise BundleError(
                f"tensor {entry.name} holds numbers too large for {entry.dtype}; use float32"
            )
        raise BundleError(f"tensor {entry.name} holds NaN or infinity: the source is damaged")
    return result.view(torch.uint8).numpy().data
