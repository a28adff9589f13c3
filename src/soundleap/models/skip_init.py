"""Build modules without drawing initial values that are replaced at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

_DRAWS = (torch.Tensor.uniform_, torch.Tensor.normal_)


class SkipInit(TorchFunctionMode):
    """Inside ``with SkipInit():`` in-place random draws do nothing; the values are arbitrary.

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
        return args[0] if func in _DRAWS else func(*args, **(kwargs or {}))
