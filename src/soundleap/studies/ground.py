"""What every study stands on: a model's networks, held-out prompts, seeds and a query counter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from soundleap._version import __version__
from soundleap.bundle_schema import NetworkName
from soundleap.errors import InputError, check_range
from soundleap.latents import Conditions, LatentSampler
from soundleap.pipeline import TextToAudio
from soundleap.plans import latents_length

if TYPE_CHECKING:
    from soundleap.models.seams import Network

MAX_PROMPTS = 1000


class CountedNetwork:
    """A network that counts how often it is asked.

    Attributes:
        queries: forward passes for one sample of the batch; the negative half of guidance counts.
    """

    def __init__(self, network: Network, batch: int = 1) -> None:
        """Wrap a network that is asked for `batch` samples at once."""
        self.network = network
        self.batch = batch
        self.rows = 0

    @property
    def queries(self) -> float:
        """Forward passes a sample so far."""
        return self.rows / self.batch

    def __call__(self, x_t: Tensor, t: Tensor, **conditions: Any) -> Tensor:
        """Ask the network."""
        self.rows += len(x_t)
        return self.network(x_t, t, **conditions)


@dataclass(frozen=True)
class Ground:
    """A model and what it is asked.

    Attributes:
        pipeline: the loaded model.
        prompts: one text a sample.
        duration_in_s: of all samples.
        guidance_scale: of all samples; 1 is none.
        seed: of the first sample; the others count up.
    """

    pipeline: TextToAudio
    prompts: tuple[str, ...]
    duration_in_s: float
    guidance_scale: float
    seed: int = 0

    def __post_init__(self) -> None:
        sampling = self.pipeline.manifest.sampling
        low, high = sampling.min_duration_in_s, sampling.max_duration_in_s
        check_range("duration_in_s", self.duration_in_s, low, high, "s")
        check_range("guidance_scale", self.guidance_scale, *sampling.teacher_guidance_range)

    @property
    def length(self) -> int:
        """Latent vectors of a sample."""
        codec = self.pipeline.parts.outline
        return latents_length(self.duration_in_s, codec, self.pipeline.manifest)

    def seeds(self) -> list[int]:
        """One seed for each prompt."""
        return [self.seed + i for i in range(len(self.prompts))]

    def shape(self) -> tuple[int, ...]:
        """Shape of one sample's latents."""
        return self.pipeline.parts.outline.latent.latent_shape(self.length)

    def sampler(
        self, name: NetworkName, network: Network | None = None, batch: int = 1
    ) -> tuple[LatentSampler, CountedNetwork]:
        """Wrap the model's network, or another in its place, with a counter of its queries."""
        counted = CountedNetwork(network or self.pipeline.network(name), batch)
        shape = self.pipeline.parts.outline.latent.latent_shape
        sampling = self.pipeline.manifest.sampling
        return LatentSampler(counted, sampling, None, shape), counted  # pyright: ignore[reportArgumentType]

    def conditions(
        self, index: int, copies: int = 1, guidance: float | None = None, post: float | None = None
    ) -> Conditions:
        """Give the conditions of one prompt, repeated.

        Args:
            index: of the prompt.
            copies: B, samples of this prompt.
            guidance: another scale than the ground's.
            post: guidance scale of a student's answers; None for none.
        """
        prompts = [self.prompts[index], "", ""]
        encoder = self.pipeline.text_encoder
        structs = None
        if encoder.structured:
            from soundleap.structured import structure_all

            structs = [structure_all(text) if text else "" for text in prompts]
        with torch.no_grad():
            states = encoder.encode(prompts, structs)
        scale = self.guidance_scale if guidance is None else guidance
        device = self.pipeline.device

        def full(value: float) -> Tensor:
            return torch.full((copies,), value, dtype=torch.float64, device=device)

        return Conditions(
            embeds=states.embeds[:, None].expand(-1, copies, -1, -1),
            mask=states.mask[:, None].expand(-1, copies, -1),
            w=full(scale),
            negative=False,
            lengths=[self.length] * copies,
            post=None if post is None else full(post),
        )

    def facts(self) -> dict[str, Any]:
        """What results depend on, as JSON values."""
        manifest = self.pipeline.manifest
        return {
            "model": manifest.name,
            "model_version": manifest.version,
            "model_fingerprint": manifest.fingerprint,
            "prompts": list(self.prompts),
            "duration_in_s": self.duration_in_s,
            "guidance_scale": self.guidance_scale,
            "seed": self.seed,
        }


def open_ground(
    model: str | Path | None,
    needs: Sequence[NetworkName],
    prompts: Sequence[str],
    *,
    duration_in_s: float,
    guidance_scale: float | None,
    seed: int = 0,
) -> Ground:
    """Load a model for a study.

    Args:
        model: as for `TextToAudio.from_pretrained`.
        needs: networks that it must have.
        prompts: one text a sample.
        duration_in_s: of all samples.
        guidance_scale: of all samples; None takes the model's default.
        seed: of the first sample.

    Raises:
        InputError: for a model without these networks, or a value out of its range.
        BundleError: if the model is missing or damaged.
    """
    pipeline = TextToAudio.from_pretrained(model, device="cpu")
    manifest = pipeline.manifest
    for name in needs:
        if name not in manifest.networks:
            raise InputError(
                f"model {manifest.name} has no {name}, which this study needs; give another model"
            )
    scale = manifest.sampling.default_guidance_scale if guidance_scale is None else guidance_scale
    return Ground(pipeline, tuple(prompts), duration_in_s, scale, seed)


def held_out_prompts(count: int) -> tuple[str, ...]:
    """Give captions of held-out clips, spread evenly over the protocol `soundleap-heldout`.

    Raises:
        InputError: for more captions than there are, or less than one.
    """
    from soundleap.evaluation.protocols import load_protocol

    clips = load_protocol("soundleap-heldout").clips
    captions = list(dict.fromkeys(clip.caption for clip in clips if clip.caption))
    check_range("prompts", count, 1, min(len(captions), MAX_PROMPTS))
    return tuple(captions[i * len(captions) // count] for i in range(count))


def circumstances() -> dict[str, Any]:
    """Give date, machine, load and versions: what stands beside every number."""
    from soundleap.bench.machine import describe_machine

    machine = describe_machine(torch.device("cpu")).model_dump(mode="json")
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "soundleap": __version__,
        "machine": machine,
    }


def rms(values: Tensor) -> float:
    """Root of the mean square of all elements, in float64."""
    return float(values.double().square().mean().sqrt())
