"""Writes items in the form of the reference files."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn


@dataclass
class Reference:
    """An item to be written; names are without ``in/``, ``out/`` and ``weights/``."""

    name: str
    constructor: dict[str, Any]
    inputs: dict[str, Tensor] = field(default_factory=dict)
    outputs: dict[str, Tensor] = field(default_factory=dict)
    weights: dict[str, Tensor] = field(default_factory=dict)
    meanings: dict[str, str] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)

    def write(self, folder: Path, set_name: str = "z") -> Path:
        """Write both files; returns their path without ending."""
        tensors = {
            **{f"in/{name}": value for name, value in self.inputs.items()},
            **{f"out/{name}": value for name, value in self.outputs.items()},
            **{f"weights/{name}": value for name, value in self.weights.items()},
        }
        tensors = {name: _stored(value) for name, value in tensors.items()}
        path = folder / f"{self.name}_{set_name}"
        save_file(tensors, path.with_name(f"{path.name}.safetensors"))
        description = {
            "name": self.name,
            "set": set_name,
            "constructor": self.constructor,
            "inputs": self._table("in/", self.inputs),
            "outputs": self._table("out/", self.outputs),
            "state_dict": {name: list(value.shape) for name, value in self.weights.items()},
            **self.extra,
        }
        path.with_name(f"{path.name}.json").write_text(json.dumps(description))
        return path

    def _table(self, prefix: str, tensors: dict[str, Tensor]) -> dict[str, dict[str, Any]]:
        return {
            f"{prefix}{name}": {
                "shape": list(value.shape),
                "dtype": str(value.dtype).removeprefix("torch."),
                **({"meaning": self.meanings[name]} if name in self.meanings else {}),
            }
            for name, value in tensors.items()
        }


class Draws:
    """Random numbers from one seed."""

    def __init__(self, seed: int) -> None:
        self.generator = torch.Generator().manual_seed(seed)

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=self.generator)

    def fill(self, module: nn.Module) -> None:
        """Give every parameter and stored buffer new values of a moderate size."""
        for name, value in module.state_dict().items():
            size = max(value[0].numel(), 1) if value.ndim > 1 else 16
            drawn = self.normal(*value.shape) / size**0.5
            is_scale = value.ndim == 1 and name.endswith("weight") and "frequencies" not in name
            value.copy_(1 + 0.1 * drawn if is_scale else drawn)


def _stored(value: Tensor) -> Tensor:
    value = value.detach()
    return (value.float() if value.is_floating_point() else value).contiguous().clone()
