"""The words of diffusers' audio pipelines, turned into Soundleap's."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from soundleap.errors import BundleError, InputError
from soundleap.requests import Request, requests_from_lists

logger = logging.getLogger(__name__)

INDEX_NAME = "model_index.json"
BUNDLE_FOLDER = "bundle"

DTYPES = {
    torch.float32: "float32",
    torch.bfloat16: "bfloat16",
    torch.float16: "bfloat16",
}

REFUSED: dict[str, tuple[Any, str]] = {
    "transcription": (None, "Soundleap makes sounds, not speech"),
    "eta": (0.0, "network='teacher', solver='ddpm' in `soundleap.TextToAudio` is eta 1"),
    "latents": (None, "a sound is determined by its seed"),
    "prompt_embeds": (None, "give prompt"),
    "negative_prompt_embeds": (None, "give negative_prompt"),
    "generated_prompt_embeds": (None, "give prompt"),
    "negative_generated_prompt_embeds": (None, "give negative_prompt"),
    "attention_mask": (None, "give prompt"),
    "negative_attention_mask": (None, "give negative_prompt"),
    "max_new_tokens": (None, "no language model is involved"),
    "cross_attention_kwargs": (None, "attention takes no options"),
    "audio_start_in_s": (0.0, "every sound starts at 0"),
    "initial_audio_waveforms": (None, "a sound starts from noise"),
    "initial_audio_sampling_rate": (None, "a sound starts from noise"),
}
"""Arguments of the other pipelines: the value that asks for nothing, and what to do instead."""


def check_others(others: Mapping[str, Any]) -> None:
    """Refuse arguments of the other pipelines that ask for something.

    Raises:
        InputError: for one that has a value of its own.
        TypeError: for one that no pipeline has.
    """
    for name, value in others.items():
        if name not in REFUSED:
            raise TypeError(f"SoundleapPipeline got an unexpected keyword argument {name!r}")
        neutral, reason = REFUSED[name]
        if value is not None and not (neutral is not None and value == neutral):
            raise InputError(f"{name} can't be given here: {reason}")


def make_requests(
    prompt: str | Sequence[str],
    columns: Mapping[str, Any],
    count: int,
    common: Request,
    generator: torch.Generator | Sequence[torch.Generator] | None,
    seed: int | None,
) -> list[Request]:
    """Make one request a sound, each with its seed.

    Raises:
        InputError: for lists that do not fit each other, or both a generator and a seed.
    """
    requests = requests_from_lists(prompt, columns, seed, count, common)
    if generator is None:
        return requests
    if seed is not None:
        raise InputError("generator and seed both say where randomness comes from; give one")
    single = isinstance(generator, torch.Generator)
    generators = [generator] * len(requests) if single else list(cast("Any", generator))
    if len(generators) != len(requests):
        raise InputError(
            f"generator has {len(generators)} entries for {len(requests)} sounds; make them equal"
        )
    return [replace(r, seed=_draw(g)) for r, g in zip(requests, generators, strict=True)]


def dtype_name(dtype: torch.dtype | None) -> str | None:
    """Give our name of a torch type; float16 becomes bfloat16, with a warning.

    Raises:
        InputError: for another type.
    """
    if dtype is None:
        return None
    if dtype not in DTYPES:
        raise InputError(f"dtype is {dtype}; allowed: torch.float32, torch.bfloat16")
    if dtype == torch.float16:
        logger.warning("torch.float16 is run as torch.bfloat16")
    return DTYPES[dtype]


def inner_folder(folder: Path) -> Path:
    """Find the model folder that an index file speaks of.

    Raises:
        BundleError: if this is the folder of another pipeline.
    """
    path = folder / INDEX_NAME
    try:
        found = json.loads(path.read_text(encoding="utf-8")).get("bundle")
    except (OSError, ValueError, AttributeError) as error:
        raise BundleError(f"can't read {path}: {error}") from None
    if found != BUNDLE_FOLDER:
        raise BundleError(
            f"{folder} holds another pipeline than SoundleapPipeline; import its weights with "
            "`soundleap import`"
        )
    return folder / BUNDLE_FOLDER


class Report:
    """Passes on every step to the progress bar and to the callbacks of a call."""

    def __init__(
        self,
        pipeline: Any,
        on_step_end: Callable[..., Any] | None,
        names: Sequence[str],
        callback: Callable[[int, Any, Tensor], None] | None,
        every: int,
    ) -> None:
        """Take what a call was given.

        Raises:
            InputError: for tensors that there are not, or an interval below 1.
        """
        unknown = [name for name in names if name != "latents"]
        if unknown:
            raise InputError(
                f"callback_on_step_end_tensor_inputs has {', '.join(unknown)}; allowed: latents"
            )
        if callback is not None and every < 1:
            raise InputError(f"callback_steps is {every}; allowed: from 1")
        self._pipeline, self._on_step_end, self._names = pipeline, on_step_end, names
        self._callback, self._every = callback, every
        self.bar: Any = None

    def __call__(self, step: int, t: float, latents: Tensor) -> None:
        """Report a step."""
        if self._on_step_end is not None:
            given = {name: latents for name in self._names}
            answer = self._on_step_end(self._pipeline, step, t, given)
            if answer and any(value is not given.get(name) for name, value in answer.items()):
                raise InputError("callback_on_step_end gave other latents back; they can't be set")
        if self._callback is not None and step % self._every == 0:
            self._callback(step, t, latents)
        if self.bar is not None:
            self.bar.update()


def _draw(generator: torch.Generator) -> int:
    return int(torch.randint(2**32, (), generator=generator, device=generator.device))
