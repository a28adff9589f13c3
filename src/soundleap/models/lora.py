"""Adapters: low-rank changes of a network's weights, in files of a few megabytes.

An adapter holds for some layers two thin matrices, A and B; merged, the layer's weight W becomes
``W + weight · (alpha / rank) · B A``. Merging happens once, when a network is loaded: making sounds
takes no longer, and peft (which trains adapters) is not needed.

Source: Hu et al., LoRA: Low-Rank Adaptation of Large Language Models (2021), section 4.1.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, cast

import torch
from pydantic import AfterValidator, Field, ValidationError
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from soundleap.bundle import hash_file
from soundleap.bundle_schema import FileHash, NetworkName, Strict
from soundleap.errors import AdapterError, told_faults
from soundleap.models.tensor_file import write_tensors

SUFFIX_A, SUFFIX_B = ".lora_A.weight", ".lora_B.weight"
_Hash = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


def _one_line(text: str) -> str:
    if not text.strip() or not text.isprintable():
        raise ValueError("must be one line of text")
    return text


class AdapterBase(Strict):
    """The network that an adapter was trained for: its file's hash, and the model it belongs to."""

    sha256: _Hash
    model: str
    version: str


class AdapterInfo(Strict):
    """What an adapter's file says about itself.

    Attributes:
        kind: how it changes weights.
        format_version: of the file.
        name: short, for lists and metadata.
        part: which of a model's networks it changes.
        network: that network's kind (`soundleap.models.registry.NETWORKS`).
        rank: columns of B, rows of A.
        alpha: its effect is scaled by ``alpha / rank``.
        targets: patterns of the layers' names.
        base: what it was trained for; None where that is not known.
        captions: some of those that it was trained on, to be used as prompts.
        provenance: settings and data that made it.
    """

    kind: Literal["lora"] = "lora"
    format_version: Literal[1] = 1
    name: Annotated[str, AfterValidator(_one_line)]
    part: NetworkName = "student"
    network: str
    rank: Annotated[int, Field(ge=1)]
    alpha: Annotated[float, Field(gt=0)]
    targets: tuple[str, ...]
    base: AdapterBase | None = None
    captions: tuple[str, ...] = ()
    provenance: dict[str, Any] = Field(default_factory=dict)


class Pair(NamedTuple):
    """One layer's change, B A: ``a [rank, in, ...]``, ``b [out, rank, ...]``, float32.

    Convolutions have their kernel's shape in A and ones in B.
    """

    a: Tensor
    b: Tensor


@dataclass(frozen=True, eq=False)
class Adapter:
    """An adapter in memory.

    Attributes:
        info: what its file says.
        layers: by the layer's name in the network.
        file: the file's hash and size; its SHA-256 is the adapter's identity.
        path: where it was read from.
    """

    info: AdapterInfo
    layers: Mapping[str, Pair]
    file: FileHash
    path: Path

    def delta(self, name: str) -> Tensor:
        """Return a layer's whole change, shaped like its weight, float32."""
        return self.info.alpha / self.info.rank * product(self.layers[name])


def product(pair: Pair) -> Tensor:
    """Multiply B and A to the shape of the layer's weight."""
    flat = pair.b.flatten(1) @ pair.a.flatten(1)
    return flat.reshape(len(pair.b), *pair.a.shape[1:])


def write_adapter(path: Path, info: AdapterInfo, layers: Mapping[str, Pair]) -> FileHash:
    """Write an adapter's file, whole or not at all; returns its hash and size.

    Raises:
        BundleError: if a number is not finite, or the file can't be written.
    """
    tensors: dict[str, Tensor] = {}
    for name, pair in sorted(layers.items()):
        tensors[name + SUFFIX_A], tensors[name + SUFFIX_B] = pair
    path.parent.mkdir(parents=True, exist_ok=True)
    return write_tensors(path, tensors, info.model_dump(mode="json"), dtype=torch.float32)


def read_adapter(path: str | Path) -> Adapter:
    """Read an adapter.

    Raises:
        AdapterError: if the file can't be read, is damaged or holds something else.
    """
    path = Path(path)
    try:
        with safe_open(path, framework="pt") as file:
            header = (file.metadata() or {}).get("config", "{}")
            info = _info(path, json.loads(header))
            tensors = {name: file.get_tensor(name).float() for name in file.keys()}
    except FileNotFoundError:
        raise AdapterError(f"adapter {path} does not exist") from None
    except (OSError, SafetensorError, ValueError) as error:
        raise AdapterError(f"can't read adapter {path}: {error}") from None
    return Adapter(info, _pairs(path, info, tensors), hash_file(path), path)


@torch.no_grad()
def apply_adapters(network: nn.Module, adapters: Sequence[tuple[Adapter, float]]) -> nn.Module:
    """Merge adapters into a network's weights and return it; its layers stay plain ones.

    The order does not matter but for rounding. With a weight of 0 nothing is changed at all.

    Raises:
        AdapterError: naming the layers of an adapter that the network does not have.
    """
    for adapter, _ in adapters:
        check_layers(network, adapter)
    for name, layer in list(network.named_modules()):
        changes = [(a, w) for a, w in adapters if w != 0 and name in a.layers]
        if not changes:
            continue
        weight = cast("nn.Parameter", layer.weight)
        total = weight.detach().float()
        for adapter, factor in changes:
            total = total + factor * adapter.delta(name).to(total.device)
        layer.weight = nn.Parameter(total.to(weight.dtype), requires_grad=weight.requires_grad)
    return network


def check_layers(network: nn.Module, adapter: Adapter) -> None:
    """Raise `AdapterError` unless a network has all the layers of an adapter, in these shapes."""
    found = dict(network.named_modules())
    faults: list[str] = []
    for name, pair in adapter.layers.items():
        weight = getattr(found.get(name), "weight", None)
        needed = (len(pair.b), *pair.a.shape[1:])
        if not isinstance(weight, Tensor):
            faults.append(f"no layer {name}")
        elif tuple(weight.shape) != needed:
            faults.append(f"layer {name} is {tuple(weight.shape)}, needed {needed}")
    if faults:
        more = f" and {len(faults) - 3} more" if len(faults) > 3 else ""
        raise AdapterError(
            f"adapter {adapter.path} does not fit this network: {'; '.join(faults[:3])}{more}"
        )


def _info(path: Path, header: Any) -> AdapterInfo:
    values = cast("dict[str, Any]", header) if isinstance(header, dict) else {}
    if values.get("kind") != "lora":
        raise AdapterError(f"{path} is no adapter; `soundleap finetune` makes them")
    version = values.get("format_version")
    if isinstance(version, int) and version > 1:
        raise AdapterError(
            f"adapter {path} has format_version {version}, this Soundleap reads 1: upgrade with "
            "`pip install -U soundleap`"
        )
    try:
        return AdapterInfo.model_validate(values)
    except ValidationError as error:
        raise AdapterError(f"adapter {path} is damaged: {told_faults(error, 'adapter')}") from None


def _pairs(path: Path, info: AdapterInfo, tensors: dict[str, Tensor]) -> dict[str, Pair]:
    names = sorted({name.removesuffix(SUFFIX_A).removesuffix(SUFFIX_B) for name in tensors})
    missing = [
        name + suffix for name in names for suffix in (SUFFIX_A, SUFFIX_B)
        if name + suffix not in tensors
    ]  # fmt: skip
    if missing or not names:
        raise AdapterError(f"adapter {path} is damaged: it lacks {', '.join(missing) or 'layers'}")
    pairs = {name: Pair(tensors[name + SUFFIX_A], tensors[name + SUFFIX_B]) for name in names}
    for name, (a, b) in pairs.items():
        if a.ndim < 2 or len(a) != info.rank or b.shape[1:2].numel() != info.rank:
            raise AdapterError(
                f"adapter {path} is damaged: layer {name} is {tuple(b.shape)} times "
                f"{tuple(a.shape)}, its rank {info.rank}"
            )
        if not bool(torch.isfinite(a).all() and torch.isfinite(b).all()):
            raise AdapterError(f"adapter {path} is damaged: layer {name} is not finite")
    return pairs
