"""Rows of different lengths as one padded batch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def pad_rows(rows: Sequence[Tensor], length: int | None = None) -> tuple[Tensor, Tensor]:
    """Stack rows ``[L_i, ...]`` as ``[B, L, ...]`` float32, zero where padded, with a mask.

    Args:
        rows: at least one; all but the first axis alike.
        length: L; None takes the longest row's. It decides nothing but the padding.

    Returns:
        The batch, and its mask ``[B, L]`` bool, True at what is there.

    Raises:
        ValueError: if a row is longer than `length`.
    """
    lengths = torch.tensor([len(row) for row in rows])
    most = int(lengths.max())
    length = most if length is None else length
    if most > length:
        raise ValueError(f"a row of {most} does not fit into a length of {length}")
    batch = rows[0].new_zeros((len(rows), length, *rows[0].shape[1:]), dtype=torch.float32)
    for place, row in zip(batch, rows, strict=True):
        place[: len(row)] = row
    return batch, torch.arange(length) < lengths[:, None]
