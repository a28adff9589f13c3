"""Which adapters a model is used with: from ``FILE[:WEIGHT]`` to files that are known to fit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from soundleap.bundle_schema import Manifest, NetworkName
from soundleap.errors import AdapterError, InputError, check_range

if TYPE_CHECKING:
    from torch import nn

    from soundleap.models.lora import Adapter

AdapterSource = str | Path | tuple[str | Path, float]
"""A file, maybe as ``FILE:WEIGHT``, or a file and its weight."""

LOWEST_WEIGHT, HIGHEST_WEIGHT = -4.0, 4.0


@dataclass(frozen=True)
class AskedAdapter:
    """An adapter as it was asked for; a weight of None was left out and means 1."""

    path: Path
    weight: float | None = None


def parse_adapter(source: AdapterSource) -> AskedAdapter:
    """Read ``FILE`` or ``FILE:WEIGHT``; a file whose whole name is that is taken as it is.

    Raises:
        InputError: for a weight out of range.
    """
    if isinstance(source, tuple):
        return AskedAdapter(Path(source[0]), check_weight(source[1]))
    if isinstance(source, Path) or Path(source).exists():
        return AskedAdapter(Path(source))
    name, colon, end = source.rpartition(":")
    try:
        weight = float(end)
    except ValueError:
        return AskedAdapter(Path(source))
    return AskedAdapter(Path(name if colon else source), check_weight(weight))


def check_weight(weight: object) -> float:
    """Return an adapter's weight as a number.

    Raises:
        InputError: unless it is a number from -4 to 4.
    """
    if isinstance(weight, bool) or not isinstance(weight, int | float):
        raise InputError(f"an adapter's weight is {weight!r}; give a number")
    check_range("an adapter's weight", weight, LOWEST_WEIGHT, HIGHEST_WEIGHT)
    return float(weight)


class UsedAdapters:
    """Adapters that fit a model, with their weights.

    Attributes:
        each: the adapters and weights, in the order in which they were given.
    """

    def __init__(
        self, sources: Iterable[AdapterSource], manifest: Manifest, *, any_base: bool = False
    ) -> None:
        """Read the files and check that they fit.

        Args:
            sources: files and weights.
            manifest: the model's.
            any_base: accept adapters that were trained for other weights than this model's, as
                long as its layers have the right shapes.

        Raises:
            InputError: for a weight out of range, or an adapter that is given twice.
            AdapterError: if one can't be read or was made for another model.
        """
        from soundleap.models.lora import read_adapter

        asked = [parse_adapter(source) for source in sources]
        self.each: tuple[tuple[Adapter, float], ...] = tuple(
            (read_adapter(one.path), 1.0 if one.weight is None else one.weight) for one in asked
        )
        hashes = [adapter.file.sha256 for adapter, _ in self.each]
        for i, (adapter, _) in enumerate(self.each):
            if adapter.file.sha256 in hashes[:i]:
                raise InputError(f"adapter {adapter.path} is given twice; give it once, by weight")
            _check_base(adapter, manifest, any_base=any_base)

    def of(self, part: NetworkName) -> list[tuple[Adapter, float]]:
        """Return those that change a network."""
        return [(adapter, weight) for adapter, weight in self.each if adapter.info.part == part]

    def merge_into(self, network: object, part: NetworkName) -> None:
        """Change a network's weights, once.

        Raises:
            AdapterError: if its layers have other shapes.
        """
        own = self.of(part)
        if own:
            from soundleap.models.lora import apply_adapters

            apply_adapters(cast("nn.Module", network), own)

    def check_used(self, part: NetworkName) -> None:
        """Raise `InputError` if a sound is asked for from a network that none of them changes."""
        if self.each and not self.of(part):
            adapter, _ = self.each[0]
            raise InputError(
                f"adapter {adapter.path} changes the {adapter.info.part}, but the {part} is asked "
                "for; use that network, or leave the adapter out"
            )

    def facts(self, part: NetworkName | None = None) -> list[dict[str, Any]]:
        """Give names, hashes and weights, for metadata: of all, or of those for a network."""
        return [
            {"name": adapter.info.name, "sha256": adapter.file.sha256, "weight": weight}
            for adapter, weight in (self.each if part is None else self.of(part))
        ]


def repeated_adapters(
    place: Path, metadata: Mapping[str, Any], given: Sequence[AdapterSource]
) -> list[AdapterSource]:
    """Find the adapters that a sound was made with among those given, with its weights.

    Args:
        place: the sound's file, for messages.
        metadata: the sound's.
        given: files, in any order; their weights may be left out.

    Raises:
        InputError: naming adapters that are missing, or given and not the sound's, or given with
            another weight.
        AdapterError: if a file can't be read.
    """
    from soundleap.models.lora import read_adapter

    asked = [parse_adapter(source) for source in given]
    there = {read_adapter(one.path).file.sha256: one for one in asked}
    recorded = list(metadata.get("adapters", []))
    missing = [r for r in recorded if r["sha256"] not in there]
    faults = [f"{r['name']} (SHA-256 {r['sha256'][:12]}) is missing" for r in missing]
    wanted = {r["sha256"]: float(r["weight"]) for r in recorded}
    for digest, one in there.items():
        if digest not in wanted:
            faults.append(f"{one.path} is none of its adapters")
        elif one.weight not in (None, wanted[digest]):
            faults.append(f"{one.path} was used with weight {wanted[digest]:g}")
    if faults:
        raise InputError(
            f"{place} was made with {len(recorded)} adapters: {'; '.join(faults)}; give exactly "
            "these with --adapter FILE"
        )
    return [(there[r["sha256"]].path, wanted[r["sha256"]]) for r in recorded]


def _check_base(adapter: Adapter, manifest: Manifest, *, any_base: bool) -> None:
    info, name = adapter.info, f"{manifest.name} {manifest.version}"
    part = getattr(manifest.parts, info.part)
    if part is None:
        raise AdapterError(
            f"adapter {adapter.path} changes a {info.part}, but model {name} has none"
        )
    if any_base or (info.base is not None and info.base.sha256 == part.sha256):
        return
    whose = "an unknown model" if info.base is None else f"{info.base.model} {info.base.version}"
    theirs = "" if info.base is None else f" ({info.part} {info.base.sha256[:12]})"
    raise AdapterError(
        f"adapter {adapter.path} was made for {whose}{theirs}, not for {name} ({info.part} "
        f"{part.sha256[:12]}); give that model, or force it if you know that the two are alike"
    )
