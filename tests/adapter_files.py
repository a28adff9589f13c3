"""Adapters with random values, for tests."""

from __future__ import annotations

from pathlib import Path

import torch

from soundleap.bundle import Bundle
from soundleap.bundle_schema import NetworkName
from soundleap.models.lora import AdapterBase, AdapterInfo, Pair, write_adapter

RANK = 2


def write_random_adapter(
    path: Path, bundle: Bundle, *, seed: int = 0, part: NetworkName = "student"
) -> Path:
    """Write an adapter for all linear layers of a bundle's network."""
    network = bundle.load_network(part)
    assert isinstance(network, torch.nn.Module)
    generator = torch.Generator().manual_seed(seed)
    layers = {
        name: Pair(
            torch.randn(RANK, layer.in_features, generator=generator),
            0.1 * torch.randn(layer.out_features, RANK, generator=generator),
        )
        for name, layer in network.named_modules()
        if isinstance(layer, torch.nn.Linear)
    }
    stored, manifest = getattr(bundle.manifest.parts, part), bundle.manifest
    base = AdapterBase(sha256=stored.sha256, model=manifest.name, version=manifest.version)
    info = AdapterInfo(
        name=path.stem, part=part, network="dit", rank=RANK, alpha=1.0, targets=("*",), base=base
    )
    write_adapter(path, info, layers)
    return path
