"""Students of which only low-rank layers are trained: settings, networks, and what is written.

Student, target and average share the frozen weights; checkpoints hold the layers that are trained.
Both a whole student, with the layers merged, and the adapter by itself are written.

Source: Hu et al., LoRA (2021); Luo et al., LCM-LoRA (2023) for distillation by LoRA.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic.dataclasses import dataclass
from torch import nn

from soundleap.bundle import hash_file
from soundleap.models.lora import AdapterBase, AdapterInfo, write_adapter
from soundleap.resolve import open_model
from soundleap.training.lora import TARGETS, add_lora, lora_parameters, network_kind, pairs_of
from soundleap.training.settings import STRICT
from soundleap.training.teacher_parts import student_file

Module = TypeVar("Module", bound=nn.Module)


@dataclass(frozen=True, config=STRICT, kw_only=True)
class LoraSettings:
    """Whether all weights of a student are trained, or low-rank layers beside them.

    Attributes:
        lora_rank: of these layers; 0 trains all weights.
        lora_alpha: their effect is scaled by alpha / rank; None: as the rank.
        lora_targets: patterns of the names of the layers that get one (``*`` also crosses dots);
            none: those of `lora.TARGETS`. A guidance input that the teacher lacks always does.
    """

    lora_rank: int = 0
    lora_alpha: float | None = None
    lora_targets: tuple[str, ...] = ()

    def lora_faults(self) -> list[str]:
        """Return what is wrong with the values."""
        found: list[str] = []
        if self.lora_rank < 0:
            found.append(
                f"lora_rank is {self.lora_rank}; allowed: from 0 (all weights are trained)"
            )
        if self.lora_alpha is not None and not self.lora_alpha > 0:
            found.append(f"lora_alpha is {self.lora_alpha:g}; it must be above 0")
        given = [n for n in ("lora_alpha", "lora_targets") if getattr(self, n) not in (None, ())]
        if self.lora_rank == 0 and given:
            found.append(
                f"lora_rank is 0, which has no use for {' and '.join(given)}; set lora_rank or "
                "leave them out"
            )
        return found


def with_layers(student: Module, settings: LoraSettings, *, seed: int, told_anew: bool) -> Module:
    """Add low-rank layers to a new student, in place, and return it; or leave it, at rank 0.

    Args:
        student: of any network kind.
        settings: rank, alpha and targets.
        seed: of the first values.
        told_anew: whether it has a guidance input that is still without effect.

    Raises:
        InputError: for targets that match nothing, or where peft is not installed.
    """
    if settings.lora_rank == 0:
        return student
    targets = settings.lora_targets or TARGETS[network_kind(student)]
    extra = guidance_layers(student) if told_anew else []
    names = (*targets, *extra)
    return add_lora(student, settings.lora_rank, settings.lora_alpha, names, seed=seed)


def guidance_layers(network: Any) -> list[str]:
    """Return the names of the linear layers of a network's guidance input."""
    begins = tuple(network.guidance_input)
    return [
        name
        for name, layer in network.named_modules()
        if isinstance(layer, nn.Linear) and f"{name}.".startswith(begins)
    ]


def light_copy(network: Module) -> Module:
    """Return a frozen copy of a network that shares what is not trained."""
    shared = {id(p): p for p in network.parameters() if not p.requires_grad}
    return copy.deepcopy(network, shared).eval().requires_grad_(False)


class Trained(nn.Module):
    """Some parameters of a network as a module of their own: what is trained and kept."""

    def __init__(self, network: nn.Module, names: Iterable[str]) -> None:
        """Take parameters by name; they stay the network's."""
        super().__init__()
        own = dict(network.named_parameters())
        for name in names:
            self.register_parameter(name.replace(".", "/"), own[name])


def kept_parts(networks: Mapping[str, nn.Module]) -> dict[str, nn.Module]:
    """Return what checkpoints hold of a "student" with low-rank layers and of its copies."""
    names = list(lora_parameters(networks["student"]))
    return {name: Trained(part, names) for name, part in networks.items()}


def write_layers(
    folder: Path, network: nn.Module, settings: LoraSettings, start: str | None
) -> None:
    """Write the low-rank layers as an adapter, ``adapter.safetensors``.

    It changes the student that training began with, and names it if that is the student of a model.

    Args:
        folder: where it goes.
        network: with the layers.
        settings: rank, alpha and targets.
        start: the student that training began with, a model or a file; None: the teacher's copy.
    """
    rank = settings.lora_rank
    info = AdapterInfo(
        name="distilled",
        network=network_kind(network),
        rank=rank,
        alpha=float(rank) if settings.lora_alpha is None else settings.lora_alpha,
        targets=settings.lora_targets or TARGETS[network_kind(network)],
        base=None if start is None else _base(start),
    )
    write_adapter(folder / "adapter.safetensors", info, pairs_of(network))


def _base(start: str) -> AdapterBase | None:
    path = student_file(start)
    if path == Path(start):
        return None
    manifest = open_model(start).manifest
    digest = hash_file(path).sha256
    return AdapterBase(sha256=digest, model=manifest.name, version=manifest.version)
