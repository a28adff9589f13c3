"""Text to audio in one call."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from soundleap._version import __version__
from soundleap.bundle import Bundle, check_fit
from soundleap.bundle_schema import CARD_NAME, Description, NetworkName
from soundleap.bundle_writer import BundleParts, save_bundle
from soundleap.device import Stages, find_device
from soundleap.diffusion import sample_generators
from soundleap.diffusion.sampling import SampleCallback
from soundleap.errors import InputError, NotFiniteError, unknown_name
from soundleap.latents import Conditions, LatentSampler
from soundleap.models.dit import DiT
from soundleap.output import AudioOutput, scale_down
from soundleap.progress import progress_bar
from soundleap.requests import (
    DEFAULT_DURATION_IN_S,
    Request,
    Sample,
    complete_all,
    requests_from_lists,
)
from soundleap.resolve import open_model

DTYPES: dict[str, torch.dtype | None] = {"float32": None, "bfloat16": torch.bfloat16}
"""Types that the networks may run in; the codec and the text encoder stay in float32."""


class TextToAudio:
    """A model, ready to make sounds.

    A sample is determined by its request, its seed and the model: batch size and position change
    nothing beyond rounding. Draws from its generator come in this order: first noise, fresh noise
    between queries, the codec's fill noise, the vocoder's first phase.
    """

    def __init__(
        self, bundle: Bundle, *, device: str | torch.device = "auto", dtype: str | None = None
    ) -> None:
        """Load the parts that every call needs; networks are loaded when first asked.

        Args:
            bundle: the opened model.
            device: "auto" takes a CUDA device where there is one, else the CPU.
            dtype: "float32" (None) or "bfloat16", for the networks only.

        Raises:
            InputError: for a device that is not there or an unknown dtype.
            BundleError: if a file is missing or damaged.
        """
        dtype = dtype or "float32"
        if dtype not in DTYPES:
            raise unknown_name("dtype", dtype, DTYPES)
        self.bundle = bundle
        self.manifest = bundle.manifest
        self.dtype = dtype
        self.device = find_device(device)
        self.codec = bundle.load_codec().to(self.device)
        self.text_encoder = bundle.load_text().to(self.device)
        self._networks: dict[NetworkName, DiT] = {}

    @classmethod
    def from_pretrained(
        cls,
        source: str | Path | None = None,
        *,
        device: str | torch.device = "auto",
        dtype: str | None = None,
    ) -> TextToAudio:
        """Load a model.

        Args:
            source: None for the model that comes with the package, a known name, a model folder,
                or a hub id ``org/name``.
            device: "auto" takes a CUDA device where there is one, else the CPU.
            dtype: "float32" (None) or "bfloat16", for the networks only.

        Raises:
            InputError: for an unknown name, device or dtype.
            BundleError: if the model is missing, damaged or made by a newer version.
        """
        return cls(open_model(source), device=device, dtype=dtype)

    def save_pretrained(self, folder: str | Path) -> Bundle:
        """Write the model, as it is in memory, into a new folder in the types it came in.

        Raises:
            InputError: if the folder exists and is not empty.
            BundleError: if it can't be written.
        """
        networks = {name: self.network(name) for name in self.manifest.networks}
        stored = self.manifest.parts
        names = ("codec", "vocoder", *networks)
        card = self.bundle.folder / CARD_NAME
        return save_bundle(
            folder,
            BundleParts(
                self.codec,
                networks.get("student"),
                networks.get("teacher"),
                self.bundle.text_folder,
            ),
            Description(
                **{name: getattr(self.manifest, name) for name in Description.model_fields}
            ),
            model_card=card.read_text(encoding="utf-8") if card.exists() else None,
            dtypes={name: getattr(stored, name).dtype for name in names},
        )

    def to(self, device: str | torch.device) -> TextToAudio:
        """Move everything to a device; returns itself."""
        self.device = find_device(device)
        for module in (self.codec, *self._networks.values()):
            module.to(self.device)
        self.text_encoder.to(self.device)
        return self

    def network(self, name: NetworkName) -> DiT:
        """Give the student or the teacher, loading it the first time.

        Raises:
            BundleError: if this model has none, or its file is missing, damaged or does not fit.
        """
        if name not in self._networks:
            network = self.bundle.load_network(name)
            check_fit(
                f"the {name} of {self.bundle.folder}",
                network,
                {
                    "channels": self.codec.channels,
                    "text_dim": self.text_encoder.dim,
                    "guided": name == "student",
                },
            )
            self._networks[name] = network.to(self.device)
        return self._networks[name]

    def __call__(
        self,
        prompt: str | Sequence[str],
        *,
        num_inference_steps: int | None = None,
        guidance_scale: float | Sequence[float] | None = None,
        negative_prompt: str | Sequence[str | None] | None = None,
        duration_in_s: float | Sequence[float] = DEFAULT_DURATION_IN_S,
        seed: int | Sequence[int] | None = None,
        num_waveforms_per_prompt: int = 1,
        network: NetworkName = "student",
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
            duration_in_s: length of the sounds.
            seed: sample k of all takes seed + k; with a list each prompt's samples count up from
                its own; None draws one (see `AudioOutput.seeds`).
            num_waveforms_per_prompt: samples of each prompt.
            network: "student" (few queries) or "teacher" (many).
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
            },
            seed,
            num_waveforms_per_prompt,
            Request("", num_inference_steps=num_inference_steps, network=network),
        )
        samples = self.check(requests)
        with progress_bar(progress, samples[0].num_inference_steps, callback_on_step_end) as report:
            audios, metadata, _ = self.run(samples, callback_on_step_end=report)
        return AudioOutput(audios, self.codec.sampling_rate, [s.seed for s in samples], metadata)

    def check(self, requests: Sequence[Request]) -> list[Sample]:
        """Fill in defaults and check every value, token counts included.

        Raises:
            InputError: for the first value that is not allowed; says which request if several.
        """
        return complete_all(requests, self.manifest, self._check_tokens)

    @torch.no_grad()
    def run(
        self, samples: Sequence[Sample], *, callback_on_step_end: SampleCallback | None = None
    ) -> tuple[list[NDArray[np.float32]], list[dict[str, Any]], dict[str, float]]:
        """Make checked samples of one network and step count as one batch.

        Returns:
            Waveforms ``[1, S]``, their metadata, and the seconds spent in each stage.

        Raises:
            NotFiniteError: if the model gives NaN or infinity.
        """
        first = samples[0]
        stages = Stages(self.device)
        generators = sample_generators([sample.seed for sample in samples])
        lengths = [self.codec.latents_length(sample.duration_in_s) for sample in samples]
        with stages("text"):
            conditions = self._conditions(samples, lengths)
        with stages("network"):
            sampler = LatentSampler(
                self.network(first.network), self.manifest.sampling, DTYPES[self.dtype]
            )
            sample_latents = sampler.student if first.network == "student" else sampler.teacher
            steps = first.num_inference_steps
            latents = sample_latents(conditions, steps, generators, callback_on_step_end)
            check_finite(latents, first.network)
        with stages("codec"):
            waveform = self.codec.decode(latents, generators, lengths).cpu()
            check_finite(waveform, "codec")
        audios = [
            waveform[i, :, : self.codec.samples_length(sample.duration_in_s)].numpy().copy()
            for i, sample in enumerate(samples)
        ]
        scaled = [scale_down(audio) for audio in audios]
        metadata = [self._metadata(s, gain) for s, (_, gain) in zip(samples, scaled, strict=True)]
        return [audio for audio, _ in scaled], metadata, stages.seconds

    def _check_tokens(self, sample: Sample) -> None:
        for name in ("prompt", "negative_prompt"):
            text = getattr(sample, name)
            tokens = self.text_encoder.tokens(text or "")
            most = self.text_encoder.max_tokens
            if len(tokens) > most:
                raise InputError(
                    f"{name} has {len(tokens)} tokens; allowed: at most {most}: shorten it"
                )
            if text and set(tokens) <= {"[UNK]"}:
                raise InputError(
                    f"{name} {text!r} holds no word that this model's text encoder knows; "
                    "say it in English"
                )

    def _conditions(self, samples: Sequence[Sample], lengths: Sequence[int]) -> Conditions:
        columns = (
            [sample.prompt for sample in samples],
            [sample.negative_prompt or "" for sample in samples],
            [""] * len(samples),
        )
        texts = list(dict.fromkeys(text for column in columns for text in column))
        states = self.text_encoder.encode(texts)
        rows = torch.tensor([[texts.index(text) for text in column] for column in columns])
        rows = rows.to(self.device)
        return Conditions(
            embeds=states.embeds[rows],
            mask=states.mask[rows],
            w=torch.tensor([sample.guidance_scale for sample in samples], device=self.device),
            negative=any(sample.negative_prompt for sample in samples),
            lengths=lengths,
        )

    def _metadata(self, sample: Sample, gain: float) -> dict[str, Any]:
        return {
            "ai_generated": True,
            **{name: getattr(sample, name) for name in Sample.__dataclass_fields__},
            "model": self.manifest.name,
            "model_version": self.manifest.version,
            "model_fingerprint": self.manifest.fingerprint,
            "dtype": self.dtype,
            "device": self.device.type,
            "gain": gain,
            "library": f"soundleap {__version__}",
        }


def check_finite(value: Tensor, source: str) -> None:
    """Raise `NotFiniteError` if a tensor holds NaN or infinity."""
    if not bool(torch.isfinite(value).all()):
        raise NotFiniteError(
            f"the {source} gave NaN or infinity; try dtype float32, other settings or another seed"
        )
