"""Modules as safetensors files that carry their own configuration."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from soundleap.errors import BundleError


def save_module(
    path: Path, module: nn.Module, config: dict[str, Any], dtype: torch.dtype = torch.float32
) -> None:
    """Write a module's state and its configuration (JSON in the header), by atomic rename.

    Floating-point tensors are stored as `dtype`; one that would overflow is an error.
    """
    save_state(path, module.state_dict(), config, dtype)


def save_state(
    path: Path, tensors: Mapping[str, Tensor], config: dict[str, Any],
    dtype: torch.dtype = torch.float32,
) -> None:  # fmt: skip
    """Write tensors as `save_module` writes a module's."""
    state = {name: _cast(name, value, dtype) for name, value in tensors.items()}
    partial = path.with_suffix(".partial")
    try:
        partial.write_bytes(save(state, metadata={"config": json.dumps(config)}))
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def read_config(path: Path) -> dict[str, Any]:
    """Return the configuration in a file's header."""
    with _open(path) as file:
        metadata = file.metadata() or {}
    if "config" not in metadata:
        raise BundleError(f"{path} carries no configuration; it was not written by Soundleap")
    return json.loads(metadata["config"])


def load_state(path: Path, module: nn.Module) -> None:
    """Load a file into a module, strictly, as float32.

    Tensors that are stored as float32 are mapped from the file and not copied.

    Raises:
        BundleError: listing missing, unexpected and mis-shaped tensors.
    """
    with _open(path) as file:
        state = {name: file.get_tensor(name) for name in file.keys()}
    own = module.state_dict()
    missing, unexpected = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
    shapes = [
        f"{name} is {tuple(state[name].shape)}, expected {tuple(own[name].shape)}"
        for name in own
        if name in state and state[name].shape != own[name].shape
    ]
    if missing or unexpected or shapes:
        raise BundleError(
            f"{path} does not fit: missing {missing}, unexpected {unexpected}, mis-shaped {shapes}"
        )
    fitting = {name: value.to(own[name].dtype) for name, value in state.items()}
    module.load_state_dict(fitting, assign=True)


def _cast(name: str, value: Tensor, dtype: torch.dtype) -> Tensor:
    if not value.is_floating_point():
        return value.contiguous()
    result = value.detach().to(dtype).contiguous()
    if not bool(torch.isfinite(result).all()):
        raise BundleError(f"tensor {name} is not finite as {dtype}; store it as float32")
    return result


def _open(path: Path) -> Any:
    try:
        return safe_open(path, framework="pt")
    except (OSError, SafetensorError) as error:
        raise BundleError(f"can't read {path}: {error}") from None
