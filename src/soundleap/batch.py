"""One batch of checked samples: text states, latents, waveforms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from soundleap.audio.dc import remove_dc
from soundleap.device import Stages
from soundleap.diffusion import sample_generators
from soundleap.diffusion.sampling import SampleCallback
from soundleap.errors import NotFiniteError
from soundleap.latents import Conditions, LatentSampler
from soundleap.models.codec import Codec
from soundleap.models.seams import Text
from soundleap.parts import LoadedParts
from soundleap.plans import latents_length, timesteps_of
from soundleap.requests import Sample
from soundleap.token_limits import check_tokens as check_tokens


class Batch:
    """Samples of one network, step count and way of sampling.

    Args:
        parts: the model's.
        samples: checked.
        autocast: type that the network's matrix products run in; None for float32.
    """

    def __init__(
        self, parts: LoadedParts, samples: Sequence[Sample], autocast: torch.dtype | None
    ) -> None:
        """Plan; nothing is computed yet."""
        self.parts = parts
        self.samples = samples
        self.autocast = autocast
        self.manifest = parts.bundle.manifest
        self.stages = Stages(parts.device)
        outline = parts.outline
        self.lengths = [
            latents_length(sample.duration_in_s, outline, self.manifest) for sample in samples
        ]

    def run(self, callback: SampleCallback | None = None) -> list[NDArray[np.float32]]:
        """Make the waveforms ``[1, S]``, as long as asked for; peaks may pass 1.

        Raises:
            NotFiniteError: if the model gives NaN or infinity.
        """
        generators = sample_generators([sample.seed for sample in self.samples])
        with self.stages("load"):
            encoder = self.parts.text
        with self.stages("text"):
            embeds, mask = self._text_states(encoder)
        del encoder
        self.parts.done_with_text()
        with self.stages("load"):
            self.parts.network(self.samples[0].network)
        with self.stages("network"):
            latents = {
                tuple(rows): self._latents(rows, embeds, mask, generators, callback)
                for rows in self._groups()
            }
        self.parts.done_with_networks()
        with self.stages("load"):
            codec = self.parts.codec
        audios: dict[int, NDArray[np.float32]] = {}
        for rows, some in latents.items():
            audios |= zip(rows, self._waveforms(rows, some, generators, codec), strict=True)
        self.parts.done_with_codec()
        return [audios[i] for i in range(len(self.samples))]

    def notes(self, sample: Sample) -> dict[str, Any]:
        """Give what a sound's metadata should tell beyond its settings."""
        outline = self.parts.outline
        if outline.fixed_length is None:
            return {}
        made = outline.fixed_length * outline.samples_per_latent / outline.sampling_rate
        return {"trimmed_from_s": made} if sample.duration_in_s < made else {}

    def _groups(self) -> list[list[int]]:
        """Rows that the network can take together."""
        rows = list(range(len(self.samples)))
        if self.parts.network(self.samples[0].network).mixed_lengths:
            return [rows]
        lengths = dict.fromkeys(self.lengths)
        return [[i for i in rows if self.lengths[i] == length] for length in lengths]

    def _text_states(self, encoder: Text) -> tuple[Tensor, Tensor]:
        """Encode every text once: ``[R, B, N, D]`` states and ``[R, B, N]`` masks."""
        samples = self.samples
        rows: list[list[tuple[str, str | None]]] = [[(s.prompt, s.struct_prompt) for s in samples]]
        if any(self._asks_more(sample) for sample in samples):
            rows.append([self._wrapped(sample.negative_prompt or "") for sample in samples])
            rows.append([self._wrapped("")] * len(samples))
        texts = list(dict.fromkeys(text for row in rows for text in row))
        structs = [struct or "" for _, struct in texts] if encoder.structured else None
        states = encoder.encode([prompt for prompt, _ in texts], structs)
        index = torch.tensor([[texts.index(text) for text in row] for row in rows])
        index = index.to(states.embeds.device)
        return states.embeds[index], states.mask[index]

    def _wrapped(self, text: str) -> tuple[str, str | None]:
        """Give a text and its structured caption; that of the empty text is empty."""
        if not self.manifest.sampling.structured_captions:
            return text, None
        from soundleap.structured import structure_all

        return text, structure_all(text) if text else ""

    def _asks_more(self, sample: Sample) -> bool:
        """Whether more than the prompt is asked of the network."""
        if sample.network == "teacher":
            return sample.guidance_scale != 1
        return bool(sample.negative_prompt) or sample.guidance_scale_post > 1

    def _latents(
        self,
        rows: Sequence[int],
        embeds: Tensor,
        mask: Tensor,
        generators: Sequence[torch.Generator],
        callback: SampleCallback | None,
    ) -> Tensor:
        samples = [self.samples[i] for i in rows]
        first = samples[0]
        device = self.parts.device
        exact = torch.float32 if device.type == "mps" else torch.float64  # it lacks float64
        guided = any(sample.guidance_scale_post > 1 for sample in samples)
        conditions = Conditions(
            embeds=embeds[:, rows],
            mask=mask[:, rows],
            w=torch.tensor([s.guidance_scale for s in samples], dtype=exact, device=device),
            negative=any(sample.negative_prompt for sample in samples),
            lengths=[self.lengths[i] for i in rows],
            post=torch.tensor([s.guidance_scale_post for s in samples], device=device)
            if guided
            else None,
        )
        sampler = LatentSampler(
            self.parts.network(first.network),
            self.manifest.sampling,
            self.autocast,
            self.parts.outline.latent.latent_shape,
        )
        own = [generators[i] for i in rows]
        timesteps = timesteps_of(first, self.manifest)
        if first.network == "student":
            latents = sampler.student(conditions, timesteps, own, callback)
        else:
            solver = first.solver or self.manifest.sampling.teacher_solver
            latents = sampler.teacher(conditions, timesteps, solver, own, callback)
        check_finite(latents, first.network)
        return latents

    def _waveforms(
        self,
        rows: Sequence[int],
        latents: Tensor,
        generators: Sequence[torch.Generator],
        codec: Codec,
    ) -> list[NDArray[np.float32]]:
        lengths, own = [self.lengths[i] for i in rows], [generators[i] for i in rows]
        waveform = codec.decode(latents, own, lengths, self.stages).cpu()
        check_finite(waveform, "codec")
        samples = [self.samples[i] for i in rows]
        if self.manifest.sampling.remove_dc:
            waveform = remove_dc(waveform, "batch" if samples[0].compat else "clip")
        whole = samples[0].compat and self.manifest.sampling.length_rule == "make_an_audio_2"
        ends = [None if whole else codec.samples_length(s.duration_in_s) for s in samples]
        return [waveform[i, :, :end].numpy().copy() for i, end in enumerate(ends)]


def check_finite(value: Tensor, source: str) -> None:
    """Raise `NotFiniteError` if a tensor holds NaN or infinity."""
    if not bool(torch.isfinite(value).all()):
        raise NotFiniteError(
            f"the {source} gave NaN or infinity; try dtype float32, other settings or another seed"
        )
