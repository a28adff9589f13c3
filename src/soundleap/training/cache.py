"""Stage 3: from manifests to a cache of latents and text states."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from pydantic.dataclasses import dataclass as pydantic_dataclass
from torch import Tensor

from soundleap.audio.mel import normalise_waveform
from soundleap.data.disk import told_when_full
from soundleap.data.examples import MAX_SECONDS, ExampleMaker, ExamplePlan
from soundleap.data.latents import CacheKey, build_cache, digest, text_digest
from soundleap.data.pool import AudioPool
from soundleap.data.text_states import StateStore
from soundleap.errors import InputError
from soundleap.models.codec import Codec
from soundleap.models.seams import Text
from soundleap.training.cache_parts import CacheParts, cache_parts
from soundleap.training.records import write_settings
from soundleap.training.settings import STRICT, RunSettings

_SHOWN = 5


@pydantic_dataclass(frozen=True, config=STRICT, kw_only=True)
class CacheSettings(RunSettings):
    """Settings of `data cache`.

    Attributes:
        manifests: of the clips.
        codec: file of a latent codec of the default family.
        model: instead of it a model of any family (folder, known name or hub id), whose codec, mel
            front-end and text encoder make the cache.
        split: of the clips.
        variants: examples a clip, by source; "*" stands for the other sources.
        mixtures: number of examples of two clips.
        favourites: sources from which half of the mixtures take their first clip.
        length_multiple: sounds are filled up with silence to a multiple of this many latent
            vectors; None: 1, but 32 for a model whose networks take one length at a time (batches
            are of one length then), and all of a length where the codec has only one.
        text_states: folder of text states that caches share, so that a caption is encoded once;
            None: ``text-states`` beside `run_dir`; "none": no folder.
    """

    manifests: tuple[str, ...]
    codec: str | None = None
    model: str | None = None
    split: str = "train"
    variants: dict[str, int]
    mixtures: int = 0
    favourites: tuple[str, ...] = ()
    length_multiple: int | None = None
    text_states: str | None = None

    def faults(self) -> list[str]:
        """Also refuse settings that contradict each other."""
        found = super().faults()
        if (self.codec is None) == (self.model is None):
            given = "neither" if self.codec is None else "both"
            found.append(
                f"of codec and model {given} is given; give model=, a model folder, or codec=, a "
                "file of the default family"
            )
        if self.length_multiple is not None and self.length_multiple < 1:
            found.append(f"length_multiple is {self.length_multiple}; it must be at least 1")
        return found


@dataclass(frozen=True)
class CacheReport:
    """What a cache holds, and what building it took.

    Attributes:
        examples: how many there are.
        clips: of which they are made.
        captions_encoded: captions whose text states were computed.
        captions_reused: captions whose text states were there already.
        skipped: a line for every clip left out.
    """

    examples: int
    clips: int
    captions_encoded: int
    captions_reused: int
    skipped: tuple[str, ...]


def make_cache(settings: CacheSettings, *, progress: bool = True) -> CacheReport:
    """Build or complete the cache in ``run_dir``, with ``report.json`` beside it.

    A sound that is longer than a model's codec can take is cropped at random.

    Raises:
        InputError: for a folder with another cache, captions that the text encoder can't take, or
            settings that do not fit the model.
        BundleError: if a part is missing or damaged.
        DiskFullError: if there is no room for it.
    """
    torch.set_num_threads(settings.threads)
    parts = cache_parts(settings.codec, settings.model, settings.length_multiple)
    codec, encoder = parts.sound.load_codec(), parts.sound.load_text()
    pool = AudioPool(settings.manifests, split=settings.split, progress=progress,
                     sampling_rate=codec.sampling_rate)  # fmt: skip
    check_captions(pool, encoder)
    plan = ExamplePlan(tuple(settings.variants.items()), settings.mixtures, settings.favourites)
    longest = parts.max_seconds(codec)
    key = _key(settings, parts, plan)
    states = StateStore(_states_folder(settings), key.text)
    maker = ExampleMaker(pool, plan, settings.seed, max_seconds=min(MAX_SECONDS, longest))
    with told_when_full(settings.run_dir, lambda: "make room and give the same command again"):
        count = build_cache(
            Path(settings.run_dir),
            maker,
            key,
            encode=encoder_of(codec, parts),
            text_encoder=encoder,
            states=states,
            progress=progress,
        )
    write_settings(Path(settings.run_dir), settings)
    report = CacheReport(
        examples=count,
        clips=len(pool.clips),
        captions_encoded=states.made,
        captions_reused=states.reused,
        skipped=tuple(pool.skipped),
    )
    path = Path(settings.run_dir) / "report.json"
    path.write_text(json.dumps(asdict(report), indent=1) + "\n", encoding="utf-8")
    return report


def _states_folder(settings: CacheSettings) -> Path | None:
    if settings.text_states == "none":
        return None
    if settings.text_states is None:
        return Path(settings.run_dir).absolute().parent / "text-states"
    return Path(settings.text_states)


def encoder_of(codec: Codec, parts: CacheParts) -> Callable[[Tensor], Tensor]:
    """Return the function from a waveform ``[S]`` to latents ``[C, L]`` or ``[C, L, H]``."""
    unit = codec.samples_per_latent * parts.multiple
    fixed = codec.fixed_length
    whole = None if fixed is None else fixed * codec.samples_per_latent

    @torch.no_grad()
    def encode(waveform: Tensor) -> Tensor:
        length = len(waveform) + -len(waveform) % unit if whole is None else whole
        if parts.half_peak:
            waveform = normalise_waveform(waveform, length)
        padded = torch.nn.functional.pad(waveform, (0, length - len(waveform)))
        return codec.encode(padded[None, None])[0]

    return encode


def check_captions(pool: AudioPool, encoder: Text) -> None:
    """Refuse captions that a text encoder can't take, before hours of work.

    Raises:
        InputError: naming the first of them.
    """
    counted: dict[str, str] = {}
    for entry in pool.clips:
        for caption in entry.clip.captions:
            count = len(encoder.tokens(caption))
            if count > encoder.max_tokens:
                counted[caption] = f"{entry.clip.id} ({count} tokens): {caption[:40]!r}..."
    if counted:
        shown = "; ".join(list(counted.values())[:_SHOWN])
        raise InputError(
            f"{len(counted)} captions have more tokens than this model's text encoder takes, "
            f"{encoder.max_tokens}; shorten them in the manifest: {shown}"
        )


def _key(settings: CacheSettings, parts: CacheParts, plan: ExamplePlan) -> CacheKey:
    assert parts.sound.codec is not None
    return CacheKey(
        manifests=digest([Path(path) for path in settings.manifests]),
        codec=digest([parts.sound.codec]),
        text=text_digest(parts.sound.text),
        plan=repr(asdict(plan)) + parts.described,
        seed=settings.seed,
    )
