"""Files of published weights, opened without running their code and without reading their numbers.

A torch file is a zip whose records lie in it as they are. Its structure is read with
``weights_only`` and without numbers (`FakeTensorMode`); then each tensor is made a view of the
mapped file. So a file of ten gigabytes costs no memory until a tensor is used, and `release` gives
that back.
"""

from __future__ import annotations

import io
import json
import mmap
import pickle
import re
import warnings
import zipfile
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
import torch
from torch import Tensor
from torch.serialization import get_unsafe_globals_in_checkpoint, safe_globals

from soundleap.errors import BundleError

STATE_NAMES = ("state_dict", "generator")
"""Where a file keeps its tensors, if it keeps something else beside them."""

_SCALARS = (np.float64, np.float32, np.int64, np.int32, np.bool_)
_PLAIN = (str, int, float, Tensor, np.generic)
_SAFETENSORS = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}


def allowed_globals() -> list[Any]:
    """List what a file may name beyond what torch's ``weights_only`` allows: numpy's scalars.

    Lightning keeps figures such as a best score as those, under the names of numpy 1 or 2.
    """
    scalar = np.float64(0).__reduce__()[0]
    names = [(scalar, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")]
    return [*names, (np.dtype, "numpy.dtype"), *(type(np.dtype(kind)) for kind in _SCALARS)]


class Checkpoint(Mapping[str, Tensor]):
    """Tensors by their published names; views of a mapped file, not to be changed in place.

    Attributes:
        path: the file.
        beside: what the file keeps beside its tensors, such as a ``scale_factor``.
    """

    def __init__(
        self, path: Path, tensors: Mapping[str, Tensor], beside: Mapping[str, Any], mapped: Any
    ) -> None:
        self.path = path
        self.beside = dict(beside)
        self._tensors = dict(tensors)
        self._mapped = mapped

    def __getitem__(self, name: str) -> Tensor:
        return self._tensors[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)

    def under(self, prefix: str) -> dict[str, Tensor]:
        """Give the tensors whose names begin with a prefix, without it."""
        return {
            name.removeprefix(prefix): tensor
            for name, tensor in self._tensors.items()
            if name.startswith(prefix)
        }

    def release(self) -> None:
        """Give back the memory of what was read; it is read again when it is needed again."""
        if self._mapped is not None and hasattr(mmap, "MADV_DONTNEED"):
            self._mapped.madvise(mmap.MADV_DONTNEED)


def open_checkpoint(path: Path, start: int = 0, size: int | None = None) -> Checkpoint:
    """Open a torch or safetensors file.

    Args:
        path: the file, or the file that it lies in.
        start: where it begins in `path`.
        size: its bytes; None for all that follow.

    Raises:
        BundleError: if it can't be read, is truncated, or names a Python class that is not in
            `allowed_globals` (all of them are named).
    """
    try:
        with path.open("rb") as file:
            whole = path.stat().st_size
            inner = _Slice(file, start, whole - start if size is None else size)
            beginning = inner.read(9)
            inner.seek(0)
            if beginning[:2] == b"PK":
                return _open_zip(path, inner)
            if beginning[8:] == b"{" and int.from_bytes(beginning[:8], "little") < inner.size:
                return _open_safetensors(path, inner)
            return _open_old(path, inner)
    except OSError as error:
        raise BundleError(f"can't read {path}: {error.strerror or error}") from None


class _Slice(io.RawIOBase):
    """A stretch of an open file, as a file."""

    def __init__(self, file: IO[bytes], start: int, size: int) -> None:
        self.file, self.start, self.size, self._at = file, start, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def close(self) -> None:
        """Stay open: a reader around it that is dropped must not end it."""

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = max(0, offset + (0, self._at, self.size)[whence])
        return self._at

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer)[: max(0, self.size - self._at)]
        self.file.seek(self.start + self._at)
        count = self.file.readinto(view)  # pyright: ignore[reportAttributeAccessIssue]
        self._at += count
        return count

    def map(self) -> mmap.mmap:
        """Map all of the underlying file."""
        return mmap.mmap(self.file.fileno(), 0, access=mmap.ACCESS_READ)


def _open_zip(path: Path, inner: _Slice) -> Checkpoint:
    from torch._subclasses.fake_tensor import FakeTensorMode

    _check_zip(path, inner)
    with _readable(path, inner), FakeTensorMode():
        content = torch.load(io.BufferedReader(inner), map_location="cpu", weights_only=True)
    mapped = inner.map()
    tensors, beside = _content(path, content)
    made = {name: _view(path, mapped, inner, name, fake) for name, fake in tensors.items()}
    kept = {
        name: _view(path, mapped, inner, name, value) if isinstance(value, Tensor) else value
        for name, value in beside.items()
    }
    return Checkpoint(path, made, kept, mapped)


def _check_zip(path: Path, inner: _Slice) -> None:
    try:
        with zipfile.ZipFile(cast("IO[bytes]", inner)) as archive:
            entries = archive.infolist()
    except zipfile.BadZipFile:
        raise _damaged(path, inner) from None
    if not any(entry.filename.endswith("/data.pkl") for entry in entries):
        raise BundleError(f"{path} is a zip archive but no torch file; unpack it first")
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise BundleError(f"{path} is a torch file that was compressed again; unpack it first")
    inner.seek(0)


def _open_old(path: Path, inner: _Slice) -> Checkpoint:
    """Read a torch file of before 2020; it can't be mapped, so all of it is read."""
    with _readable(path, inner):
        content = torch.load(io.BufferedReader(inner), map_location="cpu", weights_only=True)
    tensors, beside = _content(path, content)
    return Checkpoint(path, tensors, beside, None)


def _open_safetensors(path: Path, inner: _Slice) -> Checkpoint:
    length = int.from_bytes(inner.read(8), "little")
    try:
        record = json.loads(inner.read(length))
    except ValueError:
        raise _damaged(path, inner) from None
    record.pop("__metadata__", None)
    mapped, tensors = inner.map(), dict[str, Tensor]()
    for name, entry in record.items():
        if entry["dtype"] not in _SAFETENSORS:
            raise BundleError(f"{path}: tensor {name} is of an unknown type {entry['dtype']}")
        begin, end = entry["data_offsets"]
        start, shape = inner.start + 8 + length + begin, tuple(entry["shape"])
        if 8 + length + end > inner.size:
            raise _damaged(path, inner)
        tensors[name] = _numbers(mapped, start, _SAFETENSORS[entry["dtype"]], end - begin)
        tensors[name] = tensors[name].reshape(shape)
    return Checkpoint(path, tensors, {}, mapped)


def _content(path: Path, content: Any) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Part what a file holds into tensors by name and the rest."""
    if not isinstance(content, dict):
        raise BundleError(f"{path} holds {type(content).__name__}, not tensors by name")
    record = cast("dict[str, Any]", content)
    inner = next((record[name] for name in STATE_NAMES if isinstance(record.get(name), dict)), None)
    state = record if inner is None else cast("dict[str, Any]", inner)
    beside = {} if inner is None else {k: v for k, v in record.items() if k not in STATE_NAMES}
    tensors = {name: value for name, value in state.items() if isinstance(value, Tensor)}
    if not tensors:
        raise BundleError(f"{path} holds no tensors by name")
    rest = {**beside, **{k: v for k, v in state.items() if k not in tensors}}
    return tensors, {name: value for name, value in rest.items() if isinstance(value, _PLAIN)}


def _view(path: Path, mapped: mmap.mmap, inner: _Slice, name: str, fake: Tensor) -> Tensor:
    storage = fake.untyped_storage()
    place: int | None = getattr(storage, "_checkpoint_offset", None)
    if place is None:
        raise BundleError("importing needs torch 2.7 or newer; upgrade with `pip install -U torch`")
    if place + storage.nbytes() > inner.size:
        raise BundleError(f"{path}: tensor {name} lies beyond the end of the file; it is truncated")
    whole = _numbers(mapped, inner.start + place, fake.dtype, storage.nbytes())
    return whole.as_strided(fake.shape, fake.stride(), fake.storage_offset())


def _numbers(mapped: mmap.mmap, start: int, dtype: torch.dtype, size: int) -> Tensor:
    if not size:
        return torch.empty(0, dtype=dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # the map is read-only, and nobody writes
        return torch.frombuffer(mapped, dtype=dtype, count=size // dtype.itemsize, offset=start)


@contextmanager
def _readable(path: Path, inner: _Slice) -> Generator[None]:
    try:
        with safe_globals(allowed_globals()):
            yield
    except pickle.UnpicklingError as error:
        names = _foreign(inner) or re.findall(r"Unsupported global: GLOBAL (\S+)", str(error))
        if not names:
            raise BundleError(
                f"{path} is no torch file, or one that can't be read safely"
            ) from None
        raise BundleError(
            f"{path} names Python classes that are not allowed, for they could run any code: "
            f"{', '.join(names)}; ask its maker for a file of tensors only"
        ) from None
    except OSError:
        raise
    except Exception as error:  # what a damaged file leads to is not documented
        raise BundleError(f"{path} is damaged or no torch file: {_short(error)}") from None


def _foreign(inner: _Slice) -> list[str]:
    inner.seek(0)
    try:
        with safe_globals(allowed_globals()):
            return sorted(get_unsafe_globals_in_checkpoint(io.BufferedReader(inner)))
    except Exception:  # the file may be anything; its classes stay unnamed
        return []


def _short(error: Exception) -> str:
    return str(error).strip().split("\n")[0][:200]


def _damaged(path: Path, inner: _Slice) -> BundleError:
    return BundleError(
        f"{path} is truncated or damaged ({inner.size:,} bytes); download or unpack it again"
    )
