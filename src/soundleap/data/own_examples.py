"""A few own sounds as many training examples, encoded once and kept in memory."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional
from tqdm import tqdm

from soundleap.audio.loudness import normalise_level
from soundleap.data.examples import crop
from soundleap.data.latents import encode_captions
from soundleap.data.own_sounds import OwnClip
from soundleap.data.padding import pad_rows
from soundleap.models.text import TextStates

if TYPE_CHECKING:
    from soundleap.models.codec import Codec
    from soundleap.models.seams import Text

LONGEST_TAIL_IN_S = 1.0
SOFTEST_DB = -4.0


@dataclass(frozen=True)
class ExampleShape:
    """How long an example is.

    Attributes:
        longest_in_s: longer sounds are cropped anew for every example.
        whole_seconds: add silence up to whole seconds, so that examples share lengths, for networks
            that know no padding.
    """

    longest_in_s: float
    whole_seconds: bool


class OwnExamples:
    """Examples of own sounds as a `LatentSource`, with other captions besides.

    Example v of a sound starts a part of a latent vector later, is softer by up to 4 dB, and (each
    second one) is followed by up to a second of silence; it is a function of (seed, sound, v).

    Attributes:
        lengths: latent vectors of every example.
        captions: for every example the indices of its captions.
        empty: index of the empty caption.
        groups: None, as all is in memory.
    """

    groups: Tensor | None = None

    def __init__(
        self,
        clips: Sequence[OwnClip],
        codec: Codec,
        encoder: Text,
        shape: ExampleShape,
        *,
        variants: int,
        seed: int,
        others: Sequence[str] = (),
        progress: bool = False,
    ) -> None:
        """Make and encode all examples.

        Args:
            clips: the sounds.
            codec: gives latents.
            encoder: gives the captions' states.
            shape: how long examples are.
            variants: examples of each sound.
            seed: of what differs between them.
            others: captions without sounds, to be asked for by `text`.
            progress: whether to show a bar.
        """
        own = dict.fromkeys(caption for clip in clips for caption in clip.captions)
        self._words = list(dict.fromkeys(["", *own, *others]))
        index = {caption: i for i, caption in enumerate(self._words)}
        states = encode_captions(encoder, self._words)
        self._states = TextStates(states.embeds.float(), states.mask)
        self.empty = index[""]
        self.others = [index[caption] for caption in others]
        self.captions: list[list[int]] = []
        self._latents: list[Tensor] = []
        for number, clip in enumerate(tqdm(clips, desc="sounds", disable=not progress)):
            for variant in range(variants):
                rng = random.Random(f"{seed}/{number}/{variant}")
                waveform = vary(clip, codec, shape, variant, rng)
                with torch.no_grad():
                    latents = codec.encode(waveform[None, None])[0]
                self._latents.append(latents.transpose(0, 1))  # [L, C(, H)]
                self.captions.append([index[caption] for caption in clip.captions])
        self.lengths = torch.tensor([len(rows) for rows in self._latents])

    @property
    def vector_shape(self) -> tuple[int, ...]:
        """Shape of a latent vector: ``(C,)``, or ``(C, H)``."""
        return tuple(self._latents[0].shape[1:])

    def latents(self, indices: Sequence[int], length: int | None = None) -> tuple[Tensor, Tensor]:
        """Return padded latents ``[B, C, L(, H)]`` float32 and their mask ``[B, L]``."""
        batch, mask = pad_rows([self._latents[i] for i in indices], length)
        return batch.transpose(1, 2).contiguous(), mask

    def text(self, indices: Sequence[int], length: int | None = None) -> TextStates:
        """Return the states of captions, padded to `length` or to the longest."""
        embeds, mask = self._states.embeds[list(indices)], self._states.mask[list(indices)]
        longest = int(mask.any(0).nonzero().max()) + 1 if length is None else length
        return TextStates(embeds[:, :longest], mask[:, :longest])

    def words(self, indices: Sequence[int]) -> list[str]:
        """Return captions as texts."""
        return [self._words[i] for i in indices]


def vary(
    clip: OwnClip, codec: Codec, shape: ExampleShape, variant: int, rng: random.Random
) -> Tensor:
    """Return an example's waveform ``[S]``, a whole number of latent vectors long."""
    rate, unit = codec.sampling_rate, codec.samples_per_latent
    level = normalise_level(clip.samples) * 10.0 ** (rng.uniform(SOFTEST_DB, 0.0) / 20.0)
    waveform = torch.from_numpy(level.astype("float32"))
    late = rng.randrange(unit) if variant else 0
    tail = round(rng.uniform(0.0, LONGEST_TAIL_IN_S) * rate) if variant % 2 else 0
    fixed = codec.fixed_length
    most = round(shape.longest_in_s * rate) if fixed is None else fixed * unit
    waveform = functional.pad(crop(waveform, most, rng), (late, tail))[:most]
    if fixed is not None:
        wanted = most
    elif shape.whole_seconds:
        wanted = min(math.ceil(len(waveform) / rate) * rate, most)
    else:
        wanted = len(waveform)
    wanted = math.ceil(wanted / unit) * unit
    return functional.pad(waveform, (0, wanted - len(waveform)))
