"""Soundleap behind the interface of diffusers' audio pipelines.

Code written for ``AudioLDM2Pipeline`` or ``StableAudioPipeline`` runs when the line that loads the
pipeline is changed::

    from soundleap.diffusers import SoundleapPipeline

    pipe = SoundleapPipeline.from_pretrained("default")
    audio = pipe("rain on a roof", audio_length_in_s=5.0).audios[0]

Needs diffusers (``pip install 'soundleap[published]'``), which is imported with this module.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers.pipelines.pipeline_utils import AudioPipelineOutput, DiffusionPipeline
from torch import Tensor

from soundleap._version import __version__
from soundleap.bundle_schema import NetworkName
from soundleap.diffusers_words import (
    BUNDLE_FOLDER,
    INDEX_NAME,
    Report,
    check_others,
    dtype_name,
    inner_folder,
    make_requests,
)
from soundleap.errors import InputError
from soundleap.models.codec import Codec
from soundleap.pipeline import TextToAudio
from soundleap.requests import Request

logger = logging.getLogger(__name__)


@dataclass
class SoundleapPipelineOutput(AudioPipelineOutput):
    """Sounds, and what they were made with.

    Attributes:
        audios: ``[B, S]`` or ``[B, C, S]``, see `SoundleapPipeline.__call__`.
        sampling_rate: in Hz.
        seeds: of each sound.
        metadata: of each sound.
    """

    audios: Any
    sampling_rate: int
    seeds: list[int]
    metadata: list[dict[str, Any]]


class SoundleapPipeline(DiffusionPipeline):
    """A Soundleap model as a diffusers pipeline; `model` is the `TextToAudio` underneath."""

    def __init__(self, model: TextToAudio) -> None:
        """Wrap a loaded model."""
        super().__init__()
        self.register_to_config()
        self.model = model

    @classmethod
    def from_pretrained(  # pyright: ignore[reportIncompatibleMethodOverride]
        cls,
        pretrained_model_name_or_path: str | Path | None = None,
        *,
        torch_dtype: torch.dtype | None = None,
        dtype: torch.dtype | None = None,
        device: str | torch.device = "cpu",
        low_memory: bool = False,
    ) -> SoundleapPipeline:
        """Load a model.

        Args:
            pretrained_model_name_or_path: what `TextToAudio.from_pretrained` takes, or a folder
                that `save_pretrained` wrote.
            torch_dtype: torch.float32 or torch.bfloat16; torch.float16 runs as bfloat16 and a
                warning says so.
            dtype: the same under its newer name.
            device: where to; `to` moves it later.
            low_memory: keep in memory only the part at work.

        Raises:
            InputError: for an unknown name, device or dtype.
            BundleError: if the model is missing or damaged.
        """
        source = pretrained_model_name_or_path
        if source is not None and (Path(source) / INDEX_NAME).is_file():
            source = inner_folder(Path(source))
        wanted = dtype_name(dtype if dtype is not None else torch_dtype)
        return cls(
            TextToAudio.from_pretrained(source, device=device, dtype=wanted, low_memory=low_memory)
        )

    def save_pretrained(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, save_directory: str | Path
    ) -> None:
        """Write ``model_index.json``, and the model folder as ``bundle`` beside it.

        Raises:
            InputError: if there is a model already, or this one runs in bfloat16.
            BundleError: if it can't be written.
        """
        folder = Path(save_directory)
        self.model.save_pretrained(folder / BUNDLE_FOLDER)
        index = {
            "_class_name": type(self).__name__,
            "_soundleap_version": __version__,
            "bundle": BUNDLE_FOLDER,
        }
        (folder / INDEX_NAME).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")

    def to(self, *args: Any, **kwargs: Any) -> SoundleapPipeline:
        """Move to a device, a dtype or both, as ``torch.nn.Module.to``; returns itself.

        Raises:
            InputError: for a device that is not there, or a dtype that the model can't run in.
        """
        kwargs.pop("silence_dtype_warnings", None)
        dtype = kwargs.pop("dtype", None) or kwargs.pop("torch_dtype", None)
        device = kwargs.pop("device", None)
        for value in args:
            if isinstance(value, torch.dtype):
                dtype = value
            else:
                device = value
        if kwargs:
            raise InputError(f"to() got {', '.join(kwargs)}; allowed: device and dtype")
        model = self.model
        wanted = model.dtype if dtype is None else dtype_name(dtype)
        if wanted != model.dtype:
            low_memory = model.parts.low_memory
            place = model.device if device is None else device
            self.model = TextToAudio(
                model.bundle, device=place, dtype=wanted, low_memory=low_memory
            )
        elif device is not None:
            model.to(device)
        return self

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self.model.device

    @property
    def dtype(self) -> torch.dtype:
        """What the networks run in."""
        return getattr(torch, self.model.dtype)

    @property
    def components(self) -> dict[str, Any]:
        """What `SoundleapPipeline` is made of."""
        return {"model": self.model}

    @property
    def vae(self) -> Codec:
        """The codec, for its ``sampling_rate``."""
        return self.model.codec

    @property
    def sampling_rate(self) -> int:
        """Samples a second."""
        return self.model.manifest.sampling_rate

    def enable_model_cpu_offload(self, *_: Any, **__: Any) -> None:
        """Keep in memory only the part at work, each on this pipeline's device."""
        self.model.parts.low_memory = True

    def enable_sequential_cpu_offload(self, *_: Any, **__: Any) -> None:
        """Do the same as `enable_model_cpu_offload`."""
        self.enable_model_cpu_offload()

    def enable_vae_slicing(self) -> None:
        """Change nothing: the codec decodes what a call makes in bounded memory anyway."""
        logger.info("enable_vae_slicing changes nothing here")

    def disable_vae_slicing(self) -> None:
        """Change nothing."""
        logger.info("disable_vae_slicing changes nothing here")

    def __call__(
        self,
        prompt: str | Sequence[str],
        *,
        audio_length_in_s: float | None = None,
        audio_end_in_s: float | None = None,
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        negative_prompt: str | Sequence[str] | None = None,
        num_waveforms_per_prompt: int = 1,
        generator: torch.Generator | Sequence[torch.Generator] | None = None,
        seed: int | None = None,
        network: NetworkName | None = None,
        return_dict: bool = True,
        output_type: str | None = None,
        callback_on_step_end: Callable[..., dict[str, Any] | None] | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = ("latents",),
        callback: Callable[[int, Any, Tensor], None] | None = None,
        callback_steps: int = 1,
        **others: Any,
    ) -> SoundleapPipelineOutput | tuple[Any]:
        """Make sounds from text, in the words of diffusers.

        Where one of the two lengths is given, the result has the form of the pipeline that spells
        it so: with `audio_length_in_s` (AudioLDM 2; also with neither) ``[B, S]``, by default
        NumPy; with `audio_end_in_s` (Stable Audio) ``[B, C, S]``, by default torch.

        Args:
            prompt: what is to be heard.
            audio_length_in_s: length; None takes the model's default.
            audio_end_in_s: the same.
            num_inference_steps: None takes the model's default. More steps than the student has
                go to the teacher where there is one, so that calls with 100 or 200 steps work.
            guidance_scale: 1 is none; None takes the model's default.
            negative_prompt: what is not to be heard.
            num_waveforms_per_prompt: sounds of each prompt; they follow each other.
            generator: seeds are drawn from it, one a sound (32 bits, by ``torch.randint``), so that
                it moves on as usual; a list has one for each sound.
            seed: of the first sound, the others count up; instead of `generator`.
            network: "student" or "teacher", whatever the steps.
            return_dict: give an output object, else a tuple with the audios.
            output_type: "np" or "pt" (on the CPU).
            callback_on_step_end: called with this pipeline, the step, its timestep and a dict with
                ``latents``, the estimate of the clean latents, which can't be replaced; may stop
                the run by raising.
            callback_on_step_end_tensor_inputs: what of that goes into the dict.
            callback: called with the step, its timestep and the latents, the older form.
            callback_steps: call it every so many steps.
            others: arguments of the other pipelines, at the values that ask for nothing.

        Raises:
            InputError: for a value that is not allowed, before any work.
            NotFiniteError: if the model gives NaN or infinity.
        """
        check_others(others)
        if audio_length_in_s is not None and audio_end_in_s is not None:
            raise InputError("audio_length_in_s and audio_end_in_s mean the same; give one")
        stable = audio_end_in_s is not None
        form = output_type or ("pt" if stable else "np")
        if form not in ("np", "pt"):
            raise InputError(f"output_type is {form!r}; allowed: 'np' or 'pt'")
        requests = make_requests(
            prompt,
            {
                "negative_prompt": negative_prompt,
                "duration_in_s": audio_end_in_s if stable else audio_length_in_s,
                "guidance_scale": guidance_scale,
            },
            num_waveforms_per_prompt,
            Request(
                "",
                num_inference_steps=num_inference_steps,
                network=network or self._network(num_inference_steps),
            ),
            generator,
            seed,
        )
        report = Report(
            self, callback_on_step_end, callback_on_step_end_tensor_inputs, callback, callback_steps
        )
        samples = self.model.check(requests)
        progress_bar: Any = self.progress_bar  # its decorator hides its arguments
        with progress_bar(total=samples[0].num_inference_steps) as bar:
            report.bar = bar
            audios, metadata, _ = self.model.run(samples, callback_on_step_end=report)
        joined: Any = np.stack(audios)
        joined = joined if stable else joined[:, 0]
        joined = torch.from_numpy(joined) if form == "pt" else joined
        if not return_dict:
            return (joined,)
        seeds = [sample.seed for sample in samples]
        return SoundleapPipelineOutput(joined, self.sampling_rate, seeds, metadata)

    def _network(self, steps: int | None) -> NetworkName | None:
        """Choose the teacher where more steps are asked for than the student has."""
        manifest = self.model.manifest
        if isinstance(steps, int) and len(manifest.networks) == 2:
            most = manifest.sampling.max_steps
            if steps > most:
                logger.info("%d steps: the teacher is used, the student has %d", steps, most)
                return "teacher"
        return None
