"""Captions without recordings as a source of training examples: text states, and lengths to make.

An example is a caption and a number of latent vectors. Its latents are zeros: who learns from
captions alone takes only their shape.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from pydantic import BaseModel, ValidationError
from torch import Tensor
from tqdm import tqdm

from soundleap.data.captions import SHOWN_FAULTS
from soundleap.data.padding import pad_rows
from soundleap.data.text_states import AT_ONCE, StateStore
from soundleap.errors import InputError
from soundleap.models.seams import Text
from soundleap.models.text import TextStates

AT_LEAST = 1024
"""Examples: fewer captions come again at other lengths until there are as many."""
LENGTHS = 16
"""Different lengths at most, evenly spread, so that many examples share one."""


class _Row(BaseModel):
    """What counts of a manifest's row."""

    captions: list[str]
    split: str = "train"


def read_captions_only(path: str | Path) -> list[str]:
    """Read captions, each once, in their order.

    Args:
        path: a text file with one caption a line (empty lines don't count), or a clip manifest
            (``.jsonl``): the captions of its rows but for those that are held out. Its sounds need
            not be there.

    Raises:
        InputError: if the file can't be read or holds no caption; every bad line is named.
    """
    path = Path(path)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"can't read captions {path}: {error}") from None
    if path.suffix == ".jsonl":
        lines = _captions_of_rows(path, lines)
    captions = list(dict.fromkeys(line.strip() for line in lines if line.strip()))
    if not captions:
        raise InputError(f"{path} holds no caption to train on")
    return captions


class CaptionsOnly:
    """Captions as a latent source, wholly in memory.

    Attributes:
        lengths: ``[N]`` latent vectors of every example, drawn from the seed.
        captions: for every example the index of its caption.
        empty: index of the empty caption.
        groups: None, because all of it is in memory.
    """

    groups: Tensor | None = None

    def __init__(
        self,
        captions: Sequence[str],
        encoder: Text,
        *,
        vector_shape: tuple[int, ...],
        lengths: tuple[int, int],
        seed: int,
        progress: bool = True,
    ) -> None:
        """Encode captions.

        Args:
            captions: at least one.
            encoder: gives their states.
            vector_shape: of a latent vector, ``(C,)`` or ``(C, H)``.
            lengths: fewest and most latent vectors of an example.
            seed: of the lengths.
            progress: whether to show a bar.

        Raises:
            InputError: for a caption that the encoder can't take.
        """
        self._shape = vector_shape
        self._words = ["", *(caption for caption in captions if caption)]
        self._rows = _states(self._words, encoder, progress)
        self.empty = 0
        again = -(-AT_LEAST // len(captions))
        self.captions = [[1 + i] for _ in range(again) for i in range(len(self._words) - 1)]
        low, high = lengths
        steps = min(LENGTHS, high - low + 1)
        choices = torch.linspace(low, high, steps, dtype=torch.float64).round().long()
        generator = torch.Generator().manual_seed(seed)
        self.lengths = choices[torch.randint(steps, (len(self.captions),), generator=generator)]

    @property
    def vector_shape(self) -> tuple[int, ...]:
        """Shape of a latent vector."""
        return self._shape

    def latents(self, indices: Sequence[int], length: int | None = None) -> tuple[Tensor, Tensor]:
        """Return zeros ``[B, C, L(, H)]`` and the mask ``[B, L]`` of the examples' lengths."""
        own = self.lengths[list(indices)]
        longest = int(own.max()) if length is None else length
        channels, *height = self._shape
        zeros = torch.zeros(len(own), channels, longest, *height)
        return zeros, torch.arange(longest) < own[:, None]

    def text(self, indices: Sequence[int], length: int | None = None) -> TextStates:
        """Return the states of captions, padded to `length` or to the longest."""
        embeds, mask = pad_rows([self._rows[i] for i in indices], length)
        return TextStates(embeds=embeds, mask=mask)

    def words(self, indices: Sequence[int]) -> list[str]:
        """Return captions as texts."""
        return [self._words[i] for i in indices]


def _captions_of_rows(path: Path, lines: list[str]) -> list[str]:
    found: list[str] = []
    faults: list[str] = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = _Row.model_validate_json(line)
        except ValidationError as error:
            fault = error.errors()[0]
            place = ".".join(map(str, fault["loc"]))
            faults.append(f"line {number}: {place and place + ': '}{fault['msg']}")
            continue
        if row.split != "heldout":
            found += row.captions
    if faults:
        shown = "\n  ".join(faults[:SHOWN_FAULTS])
        raise InputError(f"{path} has {len(faults)} faults:\n  {shown}")
    return found


def _states(words: list[str], encoder: Text, progress: bool) -> list[Tensor]:
    """Encode texts as for a cache."""
    store = StateStore(None, "")
    rows: list[Tensor] = []
    for start in tqdm(range(0, len(words), AT_ONCE), desc="text", disable=not progress):
        rows += store.states(words[start : start + AT_ONCE], encoder)
    return rows
