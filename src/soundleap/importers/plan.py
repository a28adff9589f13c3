"""What an import is going to write: parts by name, with their sizes and where their tensors are."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from soundleap.bundle_schema import Family, Sampling
from soundleap.errors import BundleError
from soundleap.importers.checkpoint import Checkpoint
from soundleap.models.registry import LATENT_CODECS, NETWORKS, VOCODERS

Which = Literal["student", "teacher", "target", "ema"]
"""Copies of a network that a checkpoint may hold."""

StoredType = Literal["float16", "float32"]
_KINDS = {**NETWORKS, **LATENT_CODECS, **VOCODERS}


@dataclass(frozen=True)
class Options:
    """What a user may say about an import; None is found out, or taken as published.

    Attributes:
        family: the system that the source is of.
        which: the copy of the network that becomes the student, or only the teacher.
        with_teacher: also put in the teacher, where the source holds one.
        dtype: how weights are stored.
        tokenizer: T5's: a file, a folder, or a hub id.
        bert_tokenizer: BERT's, likewise.
        text_encoder: FLAN-T5's weights: a file, a folder, or a hub id.
        vae: file with the autoencoder.
        vocoder: BigVGAN's file or folder.
        name: of the model in the bundle.
        attention_heads: of each level of a U-Net that is not of a published size.
    """

    family: Family | None = None
    which: Which | None = None
    with_teacher: bool = False
    dtype: StoredType = "float32"
    tokenizer: str | None = None
    bert_tokenizer: str | None = None
    text_encoder: str | None = None
    vae: Path | None = None
    vocoder: Path | None = None
    name: str | None = None
    attention_heads: tuple[int, ...] | None = None


def wanted_copies(which: Which, options: Options) -> list[Which]:
    """List the copies of a network that go into a bundle, each once."""
    both = options.with_teacher and which != "teacher"
    return [which, "teacher"] if both else [which]


class PartPlan(NamedTuple):
    """One safetensors file.

    Attributes:
        name: of the part in the bundle.
        config: its configuration.
        state: its tensors by their names in our module.
        exact: tensors that are stored as they are, whatever the type of the others.
    """

    name: str
    config: Any
    state: Mapping[str, Tensor]
    exact: Collection[str] = ()


class TextPlan(NamedTuple):
    """A text encoder's folder.

    Attributes:
        config: its configuration.
        state: its tensors.
        texts: its other files, names and contents.
    """

    config: Any
    state: Mapping[str, Tensor]
    texts: Mapping[str, str]


@dataclass(frozen=True)
class Plan:
    """A whole bundle.

    Attributes:
        family: of the system.
        name: of the model.
        version: of its weights.
        sampling: how it is asked.
        parts: what goes in, but for the text encoder.
        text: the text encoder.
        checkpoints: what the tensors are read from.
        sources: the files to name in the provenance.
        facts: what else is recorded there.
    """

    family: Family
    name: str
    version: str
    sampling: Sampling
    parts: list[PartPlan]
    text: TextPlan
    checkpoints: list[Checkpoint]
    sources: list[Path]
    facts: dict[str, Any] = field(default_factory=dict[str, Any])

    def release(self) -> None:
        """Give back the memory of everything that was read."""
        for checkpoint in self.checkpoints:
            checkpoint.release()


def check_plan(plan: Plan) -> None:
    """Hold every part's tensors against the module that will load them, and parts together.

    Raises:
        BundleError: listing all missing, unexpected and mis-shaped tensors of all parts.
    """
    faults = [fault for part in plan.parts if (fault := _part_fault(part))]
    faults += (
        [fault] if (fault := _fault("text", _text_shapes(plan.text.config), plan.text)) else []
    )
    if faults:
        raise BundleError("the source does not fit: " + "; ".join(faults))
    _check_together(plan)


def check_known(checkpoint: Checkpoint, prefixes: tuple[str, ...], names: Collection[str]) -> None:
    """Raise `BundleError`, listing them, if a checkpoint holds tensors of other names."""
    others = sorted(x for x in checkpoint if not x.startswith(prefixes) and x not in names)
    if others:
        raise BundleError(f"{checkpoint.path} holds unexpected tensors: {', '.join(others)}")


def read_scale(path: Path, value: Any, advice: str) -> float:
    """Check the factor on the latents that a file holds.

    Args:
        path: the file.
        value: what it holds; None if nothing.
        advice: what to do without it.

    Raises:
        BundleError: if it is missing, no number, or can't be one over a standard deviation.
    """
    if value is None:
        raise BundleError(f"{path} holds no scale_factor; {advice}")
    try:
        factor = float(value)
    except (TypeError, ValueError, RuntimeError):
        raise BundleError(f"{path} holds a scale_factor that is no number; {advice}") from None
    if not 0.001 < factor < 1000:
        raise BundleError(f"{path} holds scale_factor {factor:g}, which can't be right; {advice}")
    return factor


def _part_fault(part: PartPlan) -> str:
    kind = _KINDS[part.config.kind]
    make = getattr(import_module(f"soundleap.models.{kind.module}"), kind.part)
    with torch.device("meta"):
        own = make(part.config).state_dict()
    return _fault(part.name, {name: tuple(value.shape) for name, value in own.items()}, part)


def _text_shapes(config: Any) -> dict[str, tuple[int, ...]]:
    from soundleap.models.bert_t5_network import BertT5Network
    from soundleap.models.text_t5 import make_t5_network

    with torch.device("meta"):
        network = make_t5_network(config) if config.kind == "t5" else BertT5Network(config)
    own = network.state_dict()
    second = "encoder.embed_tokens.weight"  # the word table is kept once
    return {name: tuple(x.shape) for name, x in own.items() if not name.endswith(second)}


def _fault(name: str, own: Mapping[str, tuple[int, ...]], part: PartPlan | TextPlan) -> str:
    state = part.state
    missing, unexpected = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
    shapes = [
        f"{key} {tuple(state[key].shape)} instead of {own[key]}"
        for key in own
        if key in state and tuple(state[key].shape) != own[key]
    ]
    found = {"missing": missing, "unexpected": unexpected, "mis-shaped": shapes}
    lists = [f"{what} {', '.join(names)}" for what, names in found.items() if names]
    return f"{name}: {'; '.join(lists)}" if lists else ""


def _check_together(plan: Plan) -> None:
    configs = {part.name: part.config for part in plan.parts}
    text = plan.text.config
    width = text.dim if text.kind == "t5" else text.projection_dim
    for name in ("student", "teacher"):
        if name not in configs:
            continue
        network, codec = configs[name], configs["codec"]
        for what, ours, theirs in (
            ("text width", network.text_dim, width),
            ("latent channels", network.channels, codec.channels),
        ):
            if ours != theirs:
                raise BundleError(
                    f"the {name} has {what} {ours}, the other parts {theirs}; check that they "
                    "belong together (--text-encoder, --vae)"
                )
