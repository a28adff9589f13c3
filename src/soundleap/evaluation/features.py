"""The features of a set of clips as the metrics read them: in blocks, from disk or memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from soundleap.errors import InputError, NotFiniteError

FloatArray = NDArray[np.floating[Any]]
IntArray = NDArray[np.integer[Any]]
BLOCK_ROWS = 2048
"""Rows that are in memory at once; results depend on it by rounding only, so it is fixed."""


@dataclass(frozen=True)
class Features:
    """Feature rows of clips, one clip after the other.

    Attributes:
        rows: [R, D] float32 or float64, in memory or mapped from a file.
        offsets: [n + 1]; clip i has the rows `offsets[i]:offsets[i + 1]`, at least one.
    """

    rows: FloatArray
    offsets: IntArray

    @classmethod
    def of(cls, features: FloatArray | Sequence[FloatArray]) -> Features:
        """Make features from rows [n, D], one clip a row, or from a list of [n_i, D], one a clip.

        Raises:
            InputError: nothing given, or not two-dimensional.
            NotFiniteError: NaN or infinity.
        """
        single = isinstance(features, np.ndarray)
        parts = [features] if single else [np.asarray(part) for part in features]
        if not parts or any(part.ndim != 2 or not len(part) for part in parts):
            shapes = [list(part.shape) for part in parts[:3]]
            raise InputError(f"features has shapes {shapes}; allowed: [n, D] with n >= 1")
        rows = np.concatenate(parts)
        lengths = [1] * len(rows) if single else [len(part) for part in parts]
        made = cls(rows, np.concatenate([[0], np.cumsum(lengths)]))
        made.check_finite()
        return made

    @property
    def clips(self) -> int:
        """Number of clips."""
        return len(self.offsets) - 1

    @property
    def dimensions(self) -> int:
        """D."""
        return int(self.rows.shape[1])

    @property
    def lengths(self) -> IntArray:
        """Rows of each clip, [n]."""
        return np.diff(self.offsets)

    def check_finite(self) -> None:
        """Refuse NaN and infinity.

        Raises:
            NotFiniteError: there are some.
        """
        for _, block in self.blocks():
            if not np.isfinite(block).all():
                raise NotFiniteError("features holds NaN or infinity; find the clip, leave it out")

    def blocks(self, size: int = BLOCK_ROWS) -> Iterator[tuple[slice, FloatArray]]:
        """Yield the rows in blocks of `size`: their place and the rows as float64."""
        for start in range(0, len(self.rows), size):
            place = slice(start, min(start + size, len(self.rows)))
            yield place, np.asarray(self.rows[place], dtype=np.float64)

    def clip_of_rows(self) -> IntArray:
        """Give the clip that each row belongs to, [R]."""
        return np.repeat(np.arange(self.clips), self.lengths)

    def select(self, clips: IntArray) -> Features:
        """Copy the rows of some clips, in the order given, into memory."""
        chosen = [slice(self.offsets[i], self.offsets[i + 1]) for i in clips]
        rows = np.concatenate([self.rows[place] for place in chosen])
        return Features(rows, np.concatenate([[0], np.cumsum(self.lengths[clips])]))

    def thinned(self, limit: int) -> Features:
        """Take evenly spaced clips, as many as have `limit` rows at most; all if they fit.

        At least two clips are taken.
        """
        if len(self.rows) <= limit:
            return self
        count = max(2, int(self.clips * limit / len(self.rows)))
        while True:
            chosen = np.unique(np.linspace(0, self.clips - 1, count).round().astype(int))
            if self.lengths[chosen].sum() <= limit or count <= 2:
                return self.select(chosen)
            count -= max(1, count // 100)


class FeatureWriter:
    """Collects the features of clips into one file of float32 rows, mapped when it is finished.

    Args:
        path: of the file, which is only needed while the `Features` are.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._file = path, path.open("wb")
        self._lengths: list[int] = []
        self._width = 0

    def add(self, rows: FloatArray) -> None:
        """Append one clip's rows [n, D]."""
        self._lengths.append(len(rows))
        self._width = rows.shape[1]
        self._file.write(np.ascontiguousarray(rows, dtype="<f4").tobytes())

    def finish(self) -> Features | None:
        """Close the file and map it; None if no clips were added."""
        self._file.close()
        if not self._lengths:
            return None
        shape = (sum(self._lengths), self._width)
        rows = np.memmap(self._path, dtype="<f4", mode="r", shape=shape)
        return Features(rows, np.concatenate([[0], np.cumsum(self._lengths)]))
