"""What one iteration of distillation works on: networks with random weights, latents, text."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

from soundleap.bench.distill_settings import PRESETS, CaseName, DistillBenchSettings
from soundleap.models.dit import DiTConfig
from soundleap.models.registry import NETWORKS, Kind
from soundleap.training.distillation_settings import DistillationSettings
from soundleap.training.settings import load_settings
from soundleap.training.students import student_config
from soundleap.untrained.sizes import audiolcm_sizes, consistencytta_sizes

PROMPT_TOKENS = 15
"""Of FLAN-T5 and MiniLM; the text states of AudioLCM always have 154."""


@dataclass(frozen=True)
class Shapes:
    """Sizes of a case.

    Attributes:
        teacher: configuration of the teacher.
        latents: shape of one item's latents.
        tokens: of the text states.
        codec: configuration of the latent codec; None for the default family's, which costs
            next to nothing.
        text: configuration of the text encoder; None for the default one.
        mel: shape of one item's mel.
    """

    teacher: Any
    latents: tuple[int, ...]
    tokens: int
    codec: Any = None
    text: Any = None
    mel: tuple[int, ...] = ()


def shapes_of(case: CaseName, size: str) -> Shapes:
    """Give the sizes of a case: ten seconds of sound, or a tiny one."""
    published = size == "published"
    if case == "default":
        small = DiTConfig(channels=16, width=32, blocks=2, heads=2)
        config = DiTConfig() if published else small
        return Shapes(config, (config.channels, 78 if published else 8), PROMPT_TOKENS)
    family = audiolcm_sizes if case == "audiolcm" else consistencytta_sizes
    sizes = family("published" if published else "tiny")
    teacher, codec = sizes.parts["teacher"], sizes.parts["codec"]
    if case == "audiolcm":
        length = 312 if published else 8
        mel = (codec.n_mels, length * codec.patch_frames)
        tokens = 2 * sizes.text.max_tokens
        return Shapes(teacher, (codec.channels, length), tokens, codec, sizes.text, mel)
    length = 256 if published else 8
    latents = (codec.channels, length, codec.freq_bins)
    mel = (codec.n_mels, length * codec.patch_frames)
    return Shapes(teacher, latents, PROMPT_TOKENS, codec, sizes.text, mel)


def axes_of(settings: DistillBenchSettings, case: CaseName) -> DistillationSettings:
    """Read the settings of a case's preset."""
    nothing = "none"
    precision = "no" if settings.dtype == "float32" else "bf16"
    return load_settings(
        DistillationSettings,
        PRESETS[case],
        [
            *(f"{name}={nothing}" for name in ("run_dir", "cache", "teacher", "codec")),
            f"mixed_precision={precision!r}",
            f"teacher_dtype={settings.dtype}",
            *(["vocoder=null"] if case == "default" else []),
        ],
    )


def make_network(config: Any, *, on_disk: bool = False) -> Any:
    """Build a network whose weights are random, without the time that drawing each takes.

    Args:
        config: sizes.
        on_disk: keep the weights in a temporary file, from which they are mapped: the system can
            take their memory for others.
    """
    network = outline(config)
    if on_disk:
        network.load_state_dict(_mapped(network.state_dict()), assign=True)
    else:
        network.to_empty(device="cpu")
    fill(network)
    return network


def _mapped(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Give tensors of these shapes in a file that is removed when they are gone."""
    sizes = [value.numel() for value in state.values()]
    with tempfile.NamedTemporaryFile(prefix="soundleap-bench-") as file:
        flat = torch.from_file(file.name, shared=True, size=sum(sizes), dtype=torch.float32)
    parts = zip(state.items(), flat.split(sizes), strict=True)
    return {name: part.view(value.shape) for (name, value), part in parts}


def outline(config: Any, kinds: dict[str, Kind] = NETWORKS) -> nn.Module:
    """Build a network, or a part of other kinds, without values."""
    kind = kinds[getattr(config, "kind", next(iter(kinds)))]
    make = getattr(import_module(f"soundleap.models.{kind.module}"), kind.part)
    with torch.device("meta"):
        return make(config)


def fill(module: nn.Module) -> None:
    """Fill a module's state with random values of a size that keeps signals finite."""
    for number, tensor in enumerate(module.state_dict().values()):
        if tensor.is_floating_point():
            fill_tensor(tensor, number)


@torch.no_grad()
def fill_tensor(tensor: Tensor, seed: int) -> None:
    """Fill a tensor; one with a single dimension, as norms have, with values about 1."""
    drawn = torch.randn(1 << 16, generator=torch.Generator().manual_seed(seed))
    flat, fan_in = tensor.view(-1), max(1, tensor.numel() // max(1, tensor.shape[0]))
    scale = 0.5 * fan_in**-0.5 if tensor.ndim > 1 else 0.05
    for start in range(0, len(flat), len(drawn)):
        part = flat[start : start + len(drawn)]
        torch.mul(drawn[: len(part)], scale, out=part)
    if tensor.ndim == 1:
        tensor += 1.0


def outline_student(teacher: Any, axes: DistillationSettings) -> Any:
    """Build the student of a teacher of some configuration, without values."""
    guided = axes.guidance_embedding == "input"
    return outline(student_config(teacher, guided=guided, prediction=axes.student_gives))


def make_student(network: Any, axes: DistillationSettings, *, share: bool = False) -> Any:
    """Build the student of a teacher, or a student's copy, with the same weights.

    Args:
        network: a teacher or a student.
        axes: of the recipe.
        share: let both have their weights in the same memory.
    """
    student = outline_student(network.config, axes)
    state, known = dict[str, Tensor](), network.state_dict()
    for number, (name, place) in enumerate(student.state_dict().items()):
        state[name] = known[name] if name in known else torch.empty(place.shape)
        if name not in known:
            fill_tensor(state[name], number)
    student.load_state_dict(
        state if share else {name: value.clone() for name, value in state.items()}, assign=True
    )
    return student


@dataclass(frozen=True)
class Batch:
    """What an iteration is given: latents ``[B, ...]``, conditions, those of the empty prompt."""

    x_0: Tensor
    positive: dict[str, Tensor]
    negative: dict[str, Tensor]


def make_batch(shapes: Shapes, batch_size: int, seed: int = 0) -> Batch:
    """Draw a batch of latents and text states."""
    generator = torch.Generator().manual_seed(seed)
    dim = shapes.teacher.text_dim
    x_0 = torch.randn(batch_size, *shapes.latents, generator=generator)
    positive, negative = (
        {
            "text_embeds": torch.randn(batch_size, shapes.tokens, dim, generator=generator),
            "text_mask": torch.arange(shapes.tokens).expand(batch_size, -1) < words,
        }
        for words in (shapes.tokens, 1)
    )
    return Batch(x_0, positive, negative)
