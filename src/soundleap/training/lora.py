"""Low-rank layers in a network that is to be trained, by peft, and their export.

A network with added layers trains these alone; `merged` gives the plain network back, `pairs_of`
what an adapter's file holds. peft is imported when it is needed.

Source: Hu et al., LoRA: Low-Rank Adaptation of Large Language Models (2021).
"""

from __future__ import annotations

import copy
import re
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn

from soundleap.errors import InputError
from soundleap.models.lora import Pair

Module = TypeVar("Module", bound=nn.Module)
NAME = "default"
"""peft's name for the one adapter that is trained."""

TARGETS: dict[str, tuple[str, ...]] = {
    "dit": ("blocks.*", "text", "guidance", "modulation.*", "final_modulation.*", "outward"),
    "unet2d": ("unet.*attn*.to_*", "unet.*.ff.net.*", "unet.*.proj_in", "unet.*.proj_out"),
    "concat_dit": ("blocks.*", "c1_embedder.*", "c2_embedder.*", "final_layer.*"),
}
"""Patterns of the layers that are changed, by the network's kind, where none are asked for."""


def network_kind(network: nn.Module) -> str:
    """Give a network's kind as its file names it."""
    return getattr(network.config, "kind", "dit")


def target_layers(network: nn.Module, targets: Sequence[str] = ()) -> dict[str, nn.Module]:
    """Find the linear layers and convolutions whose names match.

    Args:
        network: of any kind in the registry.
        targets: patterns as in file names (``*`` also crosses dots); none takes `TARGETS`.

    Raises:
        InputError: for a pattern that matches no such layer, naming some that there are.
    """
    patterns = tuple(targets) or TARGETS[network_kind(network)]
    layers: dict[str, nn.Module] = {
        name: layer
        for name, layer in network.named_modules()
        if isinstance(layer, nn.Linear | nn.Conv1d | nn.Conv2d)
        and not (isinstance(layer, nn.Conv1d | nn.Conv2d) and layer.groups != 1)
    }
    found = {
        name: layer
        for name, layer in layers.items()
        if any(fnmatchcase(name, pattern) for pattern in patterns)
    }
    idle = [p for p in targets if not any(fnmatchcase(name, p) for name in layers)]
    if idle or not found:
        some = ", ".join(list(layers)[:8])
        raise InputError(
            f"targets {', '.join(idle) or patterns} match no layer of this network; it has {some}, "
            "..."
        )
    return found


def add_lora(
    network: Module,
    rank: int = 16,
    alpha: float | None = None,
    targets: Sequence[str] = (),
    *,
    seed: int = 0,
) -> Module:
    """Add low-rank layers to a network, in place, and return it.

    They change nothing yet (B is zero). All other parameters are frozen.

    Args:
        network: of any kind in the registry.
        rank: of the added layers.
        alpha: their effect is scaled by ``alpha / rank``; None takes the rank.
        targets: patterns of layers' names; none takes `TARGETS`.
        seed: of A's first values.

    Raises:
        InputError: for a rank or an alpha that is not above 0, targets that match nothing, or where
            peft is not installed.
    """
    alpha = float(rank) if alpha is None else alpha
    if rank < 1 or not alpha > 0:
        raise InputError(f"rank is {rank}, alpha is {alpha:g}; both must be above 0")
    names = list(target_layers(network, targets))
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ModuleNotFoundError:
        raise InputError(
            "peft is not installed; LoRA needs `pip install 'soundleap[train]'`"
        ) from None
    exactly = "|".join(re.escape(name) for name in names)
    config = LoraConfig(r=rank, lora_alpha=cast("int", alpha), target_modules=f"(?:{exactly})")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        inject_adapter_in_model(config, network, NAME)
    return network


def lora_layers(network: nn.Module) -> dict[str, Any]:
    """Return peft's layers in a network by the plain layers' names."""
    from peft.tuners.lora import LoraLayer

    return {name: part for name, part in network.named_modules() if isinstance(part, LoraLayer)}


def lora_parameters(network: nn.Module) -> dict[str, nn.Parameter]:
    """Return the parameters that are trained, by name."""
    return {name: value for name, value in network.named_parameters() if value.requires_grad}


def pairs_of(network: nn.Module) -> dict[str, Pair]:
    """Return what the added layers have learned, float32 on the CPU, for `write_adapter`."""
    return {
        name: Pair(_plain(layer.lora_A[NAME].weight), _plain(layer.lora_B[NAME].weight))
        for name, layer in lora_layers(network).items()
    }


def merged(network: Module) -> Module:
    """Return a copy with the added layers merged into plain ones, frozen, in evaluation mode.

    Its state has the names of a network without added layers: it can be exported as such.
    """
    plain = copy.deepcopy(network)
    for name, layer in lora_layers(plain).items():
        layer.merge()
        place, _, last = name.rpartition(".")
        setattr(plain.get_submodule(place), last, layer.get_base_layer())
    if hasattr(plain, "peft_config"):
        delattr(plain, "peft_config")
    return plain.eval().requires_grad_(False)


def _plain(value: Tensor) -> Tensor:
    return value.detach().float().cpu().contiguous()
