"""Build modules without drawing initial values that are replaced at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

_DRAWS = (
    torch.nn.init.kaiming_uniform_,
    torch.nn.init.uniform_,
    torch.nn.init.normal_,
    torch.Tensor.uniform_,
    torch.Tensor.normal_,
)


class SkipInit(TorchFunctionMode):
    """Inside ``with SkipInit():`` random draws do nothing; the values are arbitrary.

    For modules that get their values from a file: it saves most of the time of building them, and
    the global generator is left alone.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Leave out draws, pass everything else on."""
        given = kwargs or {}
        if func is torch.randn:
            return torch.empty(*args, **given)
        if func in _DRAWS:
            return given["tensor"] if "tensor" in given else args[0]
        return func(*args, **given)
