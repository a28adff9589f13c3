"""The same numbers, sooner, on a processor: other kernels for some of torch's functions.

torch hands float32 products of matrices to a library that is slow on processors of other makers,
its fused attention is built on the same products and falls behind in bfloat16, and convolutions
over one axis are laid out with the channels apart. oneDNN, which comes with torch, does better in
all three. Nothing here changes what is computed, but for rounding, and no module needs to know of
it. In training the same holds for the gradients, which can be taken once: see `fast_cpu_training`.
What each brings is in ``docs/experiments.md``.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils.checkpoint import checkpoint

from soundleap.models.fast_cpu_training import TrainedAttention, TrainedLinear

_LEAST_SCORES = 2**20  # fewer scores a head than this and torch's own attention is as good
_LEAST_FRAMES = 2048  # fewer, and laying out a convolution's weights anew costs more than it brings
_ROWS = {torch.float32: 512, torch.bfloat16: 512}  # of scores at a time, so that they stay cached

_PLAIN = ContextVar("plain", default=False)


def fast_cpu(example: Tensor) -> AbstractContextManager[Any]:
    """Give the context in which networks run faster; it does nothing where it can't help.

    That is on an accelerator, on other processors than x86-64, while compiling, and inside of
    `torchs_own`.

    Args:
        example: any tensor of the computation; its device counts.
    """
    helps = (
        example.device.type == "cpu"
        and platform.machine().lower() in ("x86_64", "amd64")
        and torch.backends.mkldnn.is_available()
        and not torch.compiler.is_compiling()
        and not _PLAIN.get()
    )
    return _FastCpu() if helps else nullcontext()


@contextmanager
def torchs_own() -> Generator[None]:
    """Let networks run on torch's own kernels inside the block, to be compared with."""
    token = _PLAIN.set(True)
    try:
        yield
    finally:
        _PLAIN.reset(token)


def recompute(function: Callable[..., Any], *args: Any, **options: Any) -> Any:
    """Call a part of a network now and again on the way back, instead of keeping its activations.

    Both times with the same kernels; the numbers are the same as without.
    """
    example = next(x for x in args if isinstance(x, Tensor))

    def contexts() -> tuple[AbstractContextManager[Any], AbstractContextManager[Any]]:
        return fast_cpu(example), fast_cpu(example)

    return checkpoint(function, *args, use_reentrant=False, context_fn=contexts, **options)


class _FastCpu(TorchFunctionMode):
    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        return _INSTEAD.get(func, func)(*args, **(kwargs or {}))


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Do what ``functional.linear`` does, in float32 by oneDNN."""
    plain = x.dtype == weight.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
    if not plain or x.ndim < 2 or not x.numel() or not weight.is_contiguous():
        return functional.linear(x, weight, bias)
    if _trains(x, weight, bias):
        return TrainedLinear.apply(x, weight, bias)
    return torch.ops.mkldnn._linear_pointwise(x.contiguous(), weight, bias, "none", [], "")


def attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    **options: Any,
) -> Tensor:
    """Do what ``functional.scaled_dot_product_attention`` does, long ones a few rows at a time."""
    rows = _ROWS.get(query.dtype)
    small = query.shape[-2] * key.shape[-2] < _LEAST_SCORES
    asks_more = attn_mask is not None or dropout_p or is_causal or any(options.values())
    if rows is None or small or asks_more or query.ndim != 4 or len(query) != len(key):
        return functional.scaled_dot_product_attention(
            query, key, value, attn_mask, dropout_p, is_causal, scale=scale, **options
        )
    factor = query.shape[-1] ** -0.5 if scale is None else scale
    if _trains(query, key, value):
        return TrainedAttention.apply(query, key, value, factor, rows)
    query = query * factor
    key, value = key.contiguous(), value.contiguous()
    result = query.new_empty(*query.shape[:-1], value.shape[-1])
    attend = _attend_float32 if query.dtype == torch.float32 else _attend
    for start in range(0, query.shape[-2], rows):
        part = slice(start, start + rows)
        result[:, :, part] = attend(query[:, :, part], key, value)
    return result


def _trains(*tensors: Tensor | None) -> bool:
    return torch.is_grad_enabled() and any(x is not None and x.requires_grad for x in tensors)


def _attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    return torch.matmul(torch.matmul(query, key.transpose(-1, -2)).softmax(-1), value)


def _attend_float32(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    heads = [
        linear(linear(q, k).softmax(-1), v)
        for q, k, v in zip(
            query.flatten(0, 1).unbind(),
            key.flatten(0, 1).unbind(),
            value.flatten(0, 1).transpose(1, 2).contiguous().unbind(),
            strict=True,
        )
    ]
    return torch.stack(heads).unflatten(0, query.shape[:2])


def conv1d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    """Do what ``functional.conv1d`` does, with the channels of a sample side by side."""
    few = input.ndim != 3 or len(input) * input.shape[2] < _LEAST_FRAMES
    if few or groups != 1 or isinstance(padding, str):
        return functional.conv1d(input, weight, bias, stride, padding, dilation, groups)
    found = functional.conv2d(
        _picture(input), _picture(weight), bias,
        (1, _one(stride)), (0, _one(padding)), (1, _one(dilation)),
    )  # fmt: skip
    return found.squeeze(2)


def conv_transpose1d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Tensor:
    """Do what ``functional.conv_transpose1d`` does, with channels as in `conv1d`."""
    if input.ndim != 3 or groups != 1:
        return functional.conv_transpose1d(
            input, weight, bias, stride, padding, output_padding, groups, dilation
        )
    found = functional.conv_transpose2d(
        _picture(input), _picture(weight), bias,
        (1, _one(stride)), (0, _one(padding)), (0, _one(output_padding)), 1, (1, _one(dilation)),
    )  # fmt: skip
    return found.squeeze(2)


def _picture(x: Tensor) -> Tensor:
    return x.unsqueeze(2).contiguous(memory_format=torch.channels_last)


def _one(value: Any) -> int:
    return value if isinstance(value, int) else value[0]


_INSTEAD: dict[Any, Callable[..., Any]] = {
    functional.linear: linear,
    functional.scaled_dot_product_attention: attention,
    functional.conv1d: conv1d,
    functional.conv_transpose1d: conv_transpose1d,
}
