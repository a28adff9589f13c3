"""Text to audio in one call."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from soundleap._version import __version__
from soundleap.adapters import AdapterSource, UsedAdapters
from soundleap.batch import Batch, check_tokens
from soundleap.bundle import Bundle
from soundleap.bundle_schema import NetworkName, TeacherSolver
from soundleap.device import find_device
from soundleap.diffusion.sampling import SampleCallback
from soundleap.errors import unknown_name
from soundleap.output import AudioOutput, scale_down
from soundleap.parts import LoadedParts
from soundleap.plans import timesteps_of
from soundleap.progress import progress_bar
from soundleap.requests import Request, Sample, complete_all, requests_from_lists
from soundleap.resolve import open_model
from soundleap.ways import with_structure

if TYPE_CHECKING:
    from soundleap.models.codec import Codec
    from soundleap.models.seams import Network, Text
    from soundleap.structured import How

DTYPES: dict[str, torch.dtype | None] = {"float32": None, "bfloat16": torch.bfloat16}
"""Types that the networks may run in; the codec and the text encoder stay in float32."""


class TextToAudio:
    """A model, ready to make sounds.

    A sample is determined by its request, its seed and the model: batch size and position change
    nothing beyond rounding. Draws from its generator come in this order: first noise, fresh noise
    between queries, the codec's fill noise, the vocoder's first phase.
    """

    def __init__(
        self,
        bundle: Bundle,
        *,
        device: str | torch.device = "auto",
        dtype: str | None = None,
        low_memory: bool = False,
        adapters: Iterable[AdapterSource] = (),
    ) -> None:
        """Open a model; its parts are loaded when they are first needed.

        Args:
            bundle: the opened model.
            device: "auto" takes a CUDA device where there is one, else the CPU.
            dtype: "float32" (None) or "bfloat16", for the networks, and for codec parts that say
                they stand it.
            low_memory: keep in memory only the part at work: text encoder, then network, then
                codec. Every call loads them anew.
            adapters: see `load_adapters`.

        Raises:
            InputError: for a device that is not there, an unknown dtype or a weight out of range.
            AdapterError: if an adapter can't be read or was made for another model.
        """
        dtype = dtype or "float32"
        if dtype not in DTYPES:
            raise unknown_name("dtype", dtype, DTYPES)
        self.bundle = bundle
        self.manifest = bundle.manifest
        self.dtype = dtype
        half = DTYPES[dtype] is not None
        self.parts = LoadedParts(bundle, find_device(device), low_memory, half)
        self.load_adapters(adapters)

    @classmethod
    def from_pretrained(
        cls,
        source: str | Path | None = None,
        *,
        device: str | torch.device = "auto",
        dtype: str | None = None,
        low_memory: bool = False,
        adapters: Iterable[AdapterSource] = (),
    ) -> TextToAudio:
        """Load a model.

        Args:
            source: None for the model that comes with the package, a known name, a model folder,
                or a hub id ``org/name``.
            device: "auto" takes a CUDA device where there is one, else the CPU.
            dtype: "float32" (None) or "bfloat16"; see `TextToAudio`.
            low_memory: keep in memory only the part at work; see `TextToAudio`.
            adapters: own sounds of `soundleap finetune`; see `load_adapters`.

        Raises:
            InputError: for an unknown name, device or dtype.
            BundleError: if the model is missing, damaged or made by a newer version.
        """
        bundle = open_model(source)
        return cls(bundle, device=device, dtype=dtype, low_memory=low_memory, adapters=adapters)

    def load_adapters(
        self, adapters: Iterable[AdapterSource], *, any_base: bool = False
    ) -> TextToAudio:
        """Use these adapters, instead of those before, from now on; returns itself.

        They are merged into the networks when these are loaded: sampling takes no longer.

        Args:
            adapters: files of `soundleap finetune`, each as a path, ``"FILE:WEIGHT"`` or ``(path,
                weight)``; weights from -4 to 4, 1 where none is given. An empty list leaves the
                model as it is.
            any_base: accept adapters made for other weights than this model's.

        Raises:
            InputError: for a weight out of range, or an adapter that is given twice.
            AdapterError: if an adapter can't be read or was made for another model.
        """
        used = UsedAdapters(adapters, self.manifest, any_base=any_base)
        self.parts.use_adapters(used if used.each else None)
        return self

    @property
    def adapters(self) -> list[dict[str, Any]]:
        """Names, hashes and weights of the adapters in use."""
        return [] if self.parts.adapters is None else self.parts.adapters.facts()

    @property
    def device(self) -> torch.device:
        """Where the parts are."""
        return self.parts.device

    @property
    def codec(self) -> Codec:
        """Mel front-end, latent codec and vocoder."""
        return self.parts.codec

    @property
    def text_encoder(self) -> Text:
        """The text encoder."""
        return self.parts.text

    def network(self, name: NetworkName) -> Network:
        """Give the student or the teacher.

        Raises:
            BundleError: if this model has none, or its file is missing, damaged or does not fit.
        """
        return self.parts.network(name)

    def save_pretrained(self, folder: str | Path) -> Bundle:
        """Write the model, as it is in memory, into a new folder in the types it came in.

        Adapters are merged into it for good, and named in its provenance.

        Raises:
            InputError: if the folder exists and is not empty, or the model runs in bfloat16.
            BundleError: if it can't be written.
        """
        from soundleap.saving import save_pipeline

        return save_pipeline(self, folder)

    def to(self, device: str | torch.device) -> TextToAudio:
        """Move everything to a device; returns itself."""
        self.parts.to(find_device(device))
        return self

    def __call__(
        self,
        prompt: str | Sequence[str],
        *,
        num_inference_steps: int | None = None,
        guidance_scale: float | Sequence[float] | None = None,
        negative_prompt: str | Sequence[str | None] | None = None,
        duration_in_s: float | Sequence[float] | None = None,
        seed: int | Sequence[int] | None = None,
        num_waveforms_per_prompt: int = 1,
        network: NetworkName | None = None,
        struct_prompt: str | Sequence[str] | None = None,
        structure: How = "all",
        guidance_scale_post: float = 1.0,
        solver: TeacherSolver | None = None,
        compat: bool = False,
        callback_on_step_end: SampleCallback | None = None,
        progress: bool = False,
    ) -> AudioOutput:
        """Make sounds from text.

        Where a list is given instead of one value it has one entry per prompt. All samples are one
        batch in memory; `Generator` makes long lists in batches of bounded size.

        Args:
            prompt: what is to be heard.
            num_inference_steps: queries of the student, or solver steps of the teacher; None takes
                the model's default.
            guidance_scale: 1 is no guidance; None takes the model's default.
            negative_prompt: what is not to be heard.
            duration_in_s: length of the sounds; None takes the model's default.
            seed: sample k of all takes seed + k; with a list each prompt's samples count up from
                its own; None draws one (see `AudioOutput.seeds`).
            num_waveforms_per_prompt: samples of each prompt.
            network: "student" (few queries) or "teacher" (many); None takes the student where
                there is one.
            struct_prompt: structured caption, for models that read one.
            structure: how a missing one is made: "all" wraps the prompt, "split" cuts it into
                events by rule, "endpoint" asks a language model (see `soundleap.structured`).
            guidance_scale_post: guidance of the student's answers; see `Request`.
            solver: how the teacher is followed; None takes the model's default.
            compat: sample as the published system's own scripts do.
            callback_on_step_end: called with the step's number, its timestep and the estimate of
                the clean latents ``[B, C, L]``; may stop the run by raising.
            progress: show a progress bar on stderr.

        Raises:
            InputError: for a value that is not allowed, before any work.
            NotFiniteError: if the model gives NaN or infinity.
        """
        requests = requests_from_lists(
            prompt,
            {
                "negative_prompt": negative_prompt,
                "duration_in_s": duration_in_s,
                "guidance_scale": guidance_scale,
                "struct_prompt": struct_prompt,
            },
            seed,
            num_waveforms_per_prompt,
            Request(
                "",
                num_inference_steps=num_inference_steps,
                network=network,
                guidance_scale_post=guidance_scale_post,
                solver=solver,
                compat=compat,
            ),
        )
        samples = self.check(with_structure(requests, structure, self.manifest.sampling))
        with progress_bar(progress, samples[0].num_inference_steps, callback_on_step_end) as report:
            audios, metadata, _ = self.run(samples, callback_on_step_end=report)
        return AudioOutput(audios, self.manifest.sampling_rate, [s.seed for s in samples], metadata)

    def check(self, requests: Sequence[Request]) -> list[Sample]:
        """Fill in defaults and check every value, token counts included.

        Raises:
            InputError: for the first value that is not allowed; says which request if several.
        """
        return complete_all(requests, self.manifest, self._check)

    @torch.no_grad()
    def run(
        self, samples: Sequence[Sample], *, callback_on_step_end: SampleCallback | None = None
    ) -> tuple[list[NDArray[np.float32]], list[dict[str, Any]], dict[str, float]]:
        """Make checked samples of one network and step count as one batch.

        Where the network can't mix lengths, sounds of different lengths are made one after another.

        Returns:
            Waveforms ``[1, S]``, their metadata, and the seconds spent in each stage.

        Raises:
            NotFiniteError: if the model gives NaN or infinity.
        """
        batch = Batch(self.parts, samples, DTYPES[self.dtype])
        audios = batch.run(callback_on_step_end)
        facts: dict[str, Any] = {
            "model": self.manifest.name,
            "model_version": self.manifest.version,
            "model_fingerprint": self.manifest.fingerprint,
            "dtype": self.dtype,
            "device": self.device.type,
        }
        if self.parts.adapters is not None:
            facts["adapters"] = self.parts.adapters.facts(samples[0].network)
        scaled = [scale_down(audio) for audio in audios]
        metadata = [
            {
                "ai_generated": True,
                **{name: getattr(sample, name) for name in Sample.__dataclass_fields__},
                **facts,
                **batch.notes(sample),
                "gain": gain,
                "library": f"soundleap {__version__}",
            }
            for sample, (_, gain) in zip(samples, scaled, strict=True)
        ]
        return [audio for audio, _ in scaled], metadata, batch.stages.seconds

    def _check(self, sample: Sample) -> None:
        if self.parts.adapters is not None:
            self.parts.adapters.check_used(sample.network)
        check_tokens(sample, self.text_encoder)
        timesteps_of(sample, self.manifest)
