"""Text states by the hash of their caption, kept for all caches of one text encoder."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from soundleap.models.seams import Text

logger = logging.getLogger(__name__)
AT_ONCE = 64
KEYS = "keys"


class StateStore:
    """States that were made before are read, others are made and kept.

    A file is written once and never changed, so that several processes may use a store at once. A
    caption's states do not depend on the captions beside it but for the last bit of float16.

    Attributes:
        reused: captions whose states were there.
        made: captions whose states were made.
    """

    def __init__(self, folder: Path | None, encoder: str):
        """Open a store, or begin one.

        Args:
            folder: of the stores of all encoders; None keeps nothing.
            encoder: hash of the encoder.
        """
        self.folder = None if folder is None else folder / encoder[:16]
        self.encoder = encoder
        self.reused = self.made = 0
        self._where: dict[str, tuple[Path, int, int]] = {}
        for path in () if self.folder is None else sorted(self.folder.glob("*.safetensors")):
            self._note(path)

    def states(self, captions: Sequence[str], encoder: Text) -> list[Tensor]:
        """Return the states ``[N_i, D]`` float16 of captions.

        Args:
            captions: different ones.
            encoder: for those whose states are not there.
        """
        structured = structured_captions(encoder, captions)
        keys = [
            state_key(caption, None if structured is None else structured[i])
            for i, caption in enumerate(captions)
        ]
        there = self._read([key for key in keys if key in self._where])
        missing = [i for i, key in enumerate(keys) if key not in there]
        made: dict[str, Tensor] = {}
        for start in range(0, len(missing), AT_ONCE):
            part = missing[start : start + AT_ONCE]
            states = encoder.encode(
                [captions[i] for i in part],
                None if structured is None else [structured[i] for i in part],
            )
            rows = zip(part, states.embeds, states.mask, strict=True)
            made.update({keys[i]: row[mask].half() for i, row, mask in rows})
        self._keep(made)
        self.reused += len(there)
        self.made += len(made)
        return [there[key] if key in there else made[key] for key in keys]

    def _note(self, path: Path) -> None:
        """Note where a file's states lie; a damaged file is named and left out."""
        try:
            with safe_open(path, framework="pt") as file:
                about: dict[str, str] = file.metadata()
                lengths: list[int] = file.get_tensor("lengths").tolist()
            keys: list[str] = json.loads(about[KEYS])
        except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
            logger.warning("text states in %s can't be read and are made anew: %s", path, error)
            return
        start = 0
        for key, length in zip(keys, lengths, strict=True):
            self._where[key] = (path, start, start + length)
            start += length

    def _read(self, keys: Sequence[str]) -> dict[str, Tensor]:
        by_file: dict[Path, list[str]] = {}
        for key in keys:
            by_file.setdefault(self._where[key][0], []).append(key)
        found: dict[str, Tensor] = {}
        for path, inside in by_file.items():
            try:
                with safe_open(path, framework="pt") as file:
                    embeds: Any = file.get_slice("embeds")
                    for key in inside:
                        _, start, stop = self._where[key]
                        found[key] = embeds[start:stop]
            except (OSError, SafetensorError) as error:
                logger.warning("text states in %s are gone and made anew: %s", path, error)
        return found

    def _keep(self, made: dict[str, Tensor]) -> None:
        if self.folder is None or not made:
            return
        if not all(bool(torch.isfinite(rows).all()) for rows in made.values()):
            return  # the cache refuses them, and says so
        self.folder.mkdir(parents=True, exist_ok=True)
        keys = json.dumps(list(made))
        path = self.folder / f"{hashlib.sha256(keys.encode()).hexdigest()[:16]}.safetensors"
        lengths = torch.tensor([len(rows) for rows in made.values()])
        partial = path.with_suffix(f".{os.getpid()}.partial")
        try:
            save_file(
                {"embeds": torch.cat(list(made.values())), "lengths": lengths},
                partial,
                metadata={KEYS: keys, "encoder": self.encoder},
            )
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
        self._note(path)


def state_key(caption: str, structured: str | None) -> str:
    """Return the hash of what an encoder reads: a caption, and its structured form if any."""
    text = caption if structured is None else f"{caption}\0{structured}"
    return hashlib.sha256(text.encode()).hexdigest()


def structured_captions(encoder: Text, captions: Sequence[str]) -> list[str] | None:
    """Make structured captions by rule; None for an encoder that does not read them.

    The structured form of the empty caption is empty, as in sampling.
    """
    if not encoder.structured:
        return None
    from soundleap.structured import structure_all

    return [structure_all(text) if text else "" for text in captions]
