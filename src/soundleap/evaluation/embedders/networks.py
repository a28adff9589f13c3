"""What the torch embedders share: convolution blocks, and loading files of weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from soundleap.errors import BundleError, InputError

Pool = Callable[..., Tensor]


class ConvBlock(nn.Module):
    """Twice 3x3 convolution, batch normalisation and ReLU, then pooling.

    Source: Kong et al. 2020, "PANNs", arXiv 1912.10211, table I.
    """

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels_out)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels_out)

    def forward(self, x: Tensor, pool: Pool = F.avg_pool2d, size: int = 2) -> Tensor:
        """Map [B, C, T, M] to [B, C', T // size, M // size]."""
        x = F.relu(self.bn1(self.conv1(x)))
        x = F.relu(self.bn2(self.conv2(x)))
        return pool(x, kernel_size=size) if size > 1 else x


def read_weights(path: str | Path, allow: Sequence[Any] = ()) -> dict[str, Tensor]:
    """Read named tensors from a `.safetensors` file or a torch file, which is never executed.

    Torch files may hold the tensors themselves or wrap them under "model" or "state_dict", or be
    a pair whose first part they are.

    Args:
        path: the file.
        allow: types besides torch's own that the file may hold (as torch's `safe_globals`).

    Raises:
        InputError: there is no such file.
        BundleError: it is not readable as tensors.
    """
    file = Path(path)
    if not file.is_file():
        raise InputError(f"{file} is not a file; give the path of the weights")
    try:
        if file.suffix == ".safetensors":
            from safetensors.torch import load_file  # pyright: ignore[reportUnknownVariableType]

            return load_file(file)
        with torch.serialization.safe_globals(list(allow)):
            found: Any = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:
        raise BundleError(f"can't read {file} as weights: {str(error).splitlines()[0]}") from None
    return _tensors(found, file)


def numpy_scalars() -> list[Any]:
    """Types of numpy numbers that lie beside the weights in some published files."""
    core: Any = getattr(np, "_core", None) or np.core  # numpy 1 has no _core
    numbers = [type(np.dtype(kind)) for kind in (np.int64, np.float32, np.float64)]
    return [(core.multiarray.scalar, "numpy.core.multiarray.scalar"), np.dtype, *numbers]


def _tensors(found: Any, file: Path) -> dict[str, Tensor]:
    if isinstance(found, tuple | list) and found:
        found = found[0]
    for key in ("state_dict", "model"):
        if isinstance(found, Mapping) and isinstance(found.get(key), Mapping):
            found = found[key]
    if not isinstance(found, Mapping):
        raise BundleError(f"{file} holds no named tensors")
    tensors = {str(k): v for k, v in found.items() if isinstance(v, Tensor)}
    if not tensors:
        raise BundleError(f"{file} holds no named tensors")
    return tensors


def load_weights(
    module: nn.Module, state: Mapping[str, Tensor], path: str | Path, ignore: Sequence[str] = ()
) -> None:
    """Load tensors into a module, strictly, as float32.

    Args:
        module: what to fill.
        state: tensors by the module's names.
        path: where they come from, for the error.
        ignore: beginnings of names that the file may hold and the module does not need.

    Raises:
        BundleError: listing missing, unexpected and mis-shaped tensors.
    """
    own = module.state_dict()
    kept = {k: v for k, v in state.items() if k in own or not k.startswith(tuple(ignore))}
    optional = {k for k in own if k.endswith("num_batches_tracked")}
    missing = sorted(own.keys() - kept.keys() - optional)
    unexpected = sorted(kept.keys() - own.keys())
    shapes = [
        f"{k} is {tuple(kept[k].shape)}, expected {tuple(own[k].shape)}"
        for k in own
        if k in kept and kept[k].shape != own[k].shape
    ]
    if missing or unexpected or shapes:
        told = "; ".join(
            f"{what} {len(names)}: {', '.join(names[:3])}"
            for what, names in (
                ("missing", missing),
                ("unexpected", unexpected),
                ("mis-shaped", shapes),
            )
            if names
        )
        raise BundleError(f"{path} does not fit this network: {told}")
    module.load_state_dict({k: v.to(own[k].dtype) for k, v in kept.items()}, strict=False)
    module.eval().requires_grad_(False)


def in_pieces(
    network: Callable[[Tensor], Tensor], patches: Tensor, at_once: int, device: str
) -> Tensor:
    """Run a network over patches [n, ...], at most `at_once` together; give its rows on the CPU."""
    with torch.no_grad():
        rows = [network(piece.to(device)).cpu() for piece in patches.split(at_once)]
    return torch.cat(rows)
