"""Write a model folder whose weights are random."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from soundleap.bundle import Bundle
from soundleap.bundle_schema import Family, Manifest, Part, Parts
from soundleap.bundle_writer import StoredType, new_folder, save_part, write_manifest
from soundleap.errors import unknown_name
from soundleap.models.registry import LATENT_CODECS, NETWORKS, VOCODERS, Kind
from soundleap.untrained.sizes import FAMILIES, Size
from soundleap.untrained.text import write_text

KINDS: dict[str, Kind] = {**NETWORKS, **LATENT_CODECS, **VOCODERS}
CARD = "# Untrained\n\nRandom weights, for tests and measurements: this model makes noise.\n"


def write_untrained_family(
    folder: str | Path,
    family: Family | str,
    size: Size = "tiny",
    *,
    seed: int = 0,
    dtype: StoredType = "float32",
) -> Bundle:
    """Write a model folder of a published family with random weights.

    Parts are made and written one after another: memory holds the largest one.

    Args:
        folder: must not exist yet, or be empty.
        family: one of the published systems.
        size: "tiny" (a megabyte or two) or "published" (3 to 6 GB).
        seed: another seed gives another model.
        dtype: how weights are stored.

    Raises:
        InputError: for an unknown family, or a folder that is not empty.
        BundleError: if it can't be written.
    """
    if family not in FAMILIES:
        raise unknown_name("family", family, FAMILIES)
    sizes = FAMILIES[family](size)
    sampling = import_module(f"soundleap.importers.{family.replace('-', '_')}").sampling()
    target = Path(folder)
    with new_folder(target) as partial, torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        files = {
            name: _write_part(partial, name, config, dtype) for name, config in sizes.parts.items()
        }
        manifest = Manifest(
            name=f"untrained-{family}",
            version="0",
            licence="CC0-1.0",
            sampling=sampling.model_copy(update=sizes.sampling),
            provenance={"weights": f"random, seed {seed}"},
            kind=family,  # pyright: ignore[reportArgumentType]
            sampling_rate=sizes.parts["vocoder"].mel.sampling_rate,
            parts=Parts(**files, text=write_text(partial / "text", sizes.text, dtype)),
        )
        write_manifest(partial, manifest, CARD)
    return Bundle(target)


def _write_part(folder: Path, name: str, config: Any, dtype: StoredType) -> Part:
    kind = KINDS[config.kind]
    make = getattr(import_module(f"soundleap.models.{kind.module}"), kind.part)
    module = make(config)
    return save_part(folder, name, module, dtype, RandomState(module))


class RandomState(Mapping[str, Tensor]):
    """A new module's state in which every weight has an effect that can be heard.

    Tensors that are constant, as zero-initialised ones are, get some noise; matrices and kernels
    that would shrink a signal are scaled up until they keep it.
    """

    def __init__(self, module: nn.Module) -> None:
        """Wrap a module's state; tensors are changed when they are asked for."""
        self._state = module.state_dict()

    def __getitem__(self, name: str) -> Tensor:
        """Give one tensor, always the same for a name."""
        value = self._state[name]
        if not value.is_floating_point() or value.numel() < 2:
            return value
        if value.min() == value.max():
            generator = torch.Generator().manual_seed(sum(map(ord, name)))
            return value + 0.05 * torch.randn(value.shape, generator=generator)
        if value.ndim < 2 or "embed" in name:
            return value
        gain = float(value.std()) * (value.numel() / value.shape[0]) ** 0.5
        return value if gain > 0.3 else value / gain

    def __iter__(self) -> Iterator[str]:
        """Give the names."""
        return iter(self._state)

    def __len__(self) -> int:
        """Count the tensors."""
        return len(self._state)
