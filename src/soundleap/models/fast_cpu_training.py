"""The kernels of `fast_cpu` with their derivatives, so that training has them too.

Matrix products go to oneDNN forward and backward, and long attention is computed a few rows at a
time both ways: its scores are not kept but computed again. The numbers are torch's but for
rounding. What each brings is in ``docs/experiments.md``.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable


def product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Give ``x @ weight.T + bias`` by oneDNN, float32; either may be a transposed view."""
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")


class TrainedLinear(Function):
    """``functional.linear`` in float32: three products by oneDNN."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Map ``[..., I]`` by ``[O, I]`` to ``[..., O]``."""
        ctx.save_for_backward(x, weight)
        return product(x.contiguous(), weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Give the gradients that are asked for."""
        x, weight = ctx.saved_tensors
        wants_x, wants_weight, wants_bias = ctx.needs_input_grad
        gradient = gradient.contiguous()
        rows = gradient.flatten(0, -2)
        return (
            product(gradient, weight.t()) if wants_x else None,
            product(rows.t(), x.contiguous().flatten(0, -2).t()) if wants_weight else None,
            rows.sum(0) if wants_bias else None,
        )


class TrainedAttention(Function):
    """Attention of ``[B, H, L, D]`` without mask, `rows` queries at a time."""

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, scale: float, rows: int
    ) -> Tensor:
        """Map queries, keys and values to ``[B, H, L, D]``."""
        ctx.scale, ctx.rows = scale, rows
        ctx.save_for_backward(query, key, value)
        result = query.new_empty(*query.shape[:-1], value.shape[-1])
        for q, k, v, out in _heads(query, key, value, result):
            k, flat_v = k.contiguous(), v.t().contiguous()
            for part in _parts(len(q), rows):
                out[part] = _times(_scores(q[part], k, scale), flat_v)
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Give the gradients of queries, keys and values."""
        query, key, value = ctx.saved_tensors
        found = tuple(
            torch.zeros(x.shape, dtype=x.dtype, device=x.device) for x in (query, key, value)
        )
        for q, k, v, g, dq, dk, dv in _heads(query, key, value, gradient, *found):
            k, v, g = k.contiguous(), v.contiguous(), g.contiguous()
            for part in _parts(len(q), ctx.rows):
                scores = _scores(q[part], k, ctx.scale)
                dv += _times(scores.t(), g[part].t())
                slope = torch._softmax_backward_data(_times(g[part], v), scores, -1, scores.dtype)  # pyright: ignore[reportPrivateImportUsage, reportPrivateUsage]
                dq[part] = ctx.scale * _times(slope, k.t())
                dk += _times(slope.t(), (ctx.scale * q[part]).t())
        return *found, None, None


def _heads(*tensors: Tensor) -> Any:
    return zip(*(x.flatten(0, 1).unbind() for x in tensors), strict=True)


def _parts(length: int, rows: int) -> list[slice]:
    return [slice(start, start + rows) for start in range(0, length, rows)]


def _scores(query: Tensor, key: Tensor, scale: float) -> Tensor:
    return _times((query * scale).contiguous(), key).softmax(-1)


def _times(x: Tensor, weight: Tensor) -> Tensor:
    return product(x, weight) if x.dtype == torch.float32 else torch.matmul(x, weight.t())
