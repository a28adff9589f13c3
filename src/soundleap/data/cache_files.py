"""The files of a latent cache, read piece by piece instead of all at once."""

from __future__ import annotations

import json
from collections import OrderedDict
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open

from soundleap.data.latents import read_key
from soundleap.errors import InputError

OPEN_AT_ONCE = 64


class CacheFiles:
    """A whole cache on the disk.

    Attributes:
        key: what it was made from.
        examples: ``id`` and ``captions`` of every example.
        words: the different captions, the empty one first.
        captions: the place of each among them.
    """

    def __init__(self, folder: Path):
        """Read what the cache tells of itself, but no numbers.

        Raises:
            InputError: if there is none, or building it has not come to its end.
        """
        paths = sorted(folder.glob("latents-*.safetensors"))
        self.key = read_key(folder)
        if not paths or not self.key:
            raise InputError(f"{folder} holds no latents; run `soundleap data cache` first")
        self._open: OrderedDict[Path, Any] = OrderedDict()
        self.examples: list[dict[str, Any]] = []
        self._latents: list[tuple[Path, int, int]] = []
        for path in paths:
            self.examples += self._note(path, "examples", self._latents)
        found: list[str] = []
        states: list[tuple[Path, int, int]] = []
        for path in sorted(folder.glob("text-*.safetensors")):
            found += self._note(path, "captions", states)
        where = dict(zip(found, states, strict=True))
        used = dict.fromkeys(["", *(c for e in self.examples for c in e["captions"])])
        if not all(caption in where for caption in used):
            raise InputError(f"{folder} is not complete; run `soundleap data cache` again")
        self.words = list(used)
        self.captions = {word: i for i, word in enumerate(self.words)}
        self._states = [where[word] for word in self.words]
        self.vector_shape = tuple(self.latents(0).shape[:1] + self.latents(0).shape[2:])
        self.text_dim = int(self.states(0).shape[1])

    def latents(self, example: int) -> NDArray[np.float16]:
        """Return the latents ``[C, L(, H)]`` of an example."""
        return self._rows("latents", *self._latents[example]).swapaxes(0, 1)

    def states(self, caption: int) -> NDArray[np.float16]:
        """Return the states ``[N, D]`` of a caption."""
        return self._rows("embeds", *self._states[caption])

    def _note(self, path: Path, name: str, places: list[tuple[Path, int, int]]) -> list[Any]:
        """Note where the rows of a file's items lie; return what its header lists."""
        file = self._file(path)
        ends = file.get_tensor("lengths").cumsum()
        starts = [0, *ends[:-1].tolist()]
        places += [(path, a, b) for a, b in zip(starts, ends.tolist(), strict=True)]
        return cast("list[Any]", json.loads(file.metadata()[name]))

    def _rows(self, name: str, path: Path, start: int, stop: int) -> NDArray[np.float16]:
        return self._file(path).get_slice(name)[start:stop]

    def _file(self, path: Path) -> Any:
        """Open a file, or find it open; only so many are open at once."""
        if path not in self._open:
            while len(self._open) >= OPEN_AT_ONCE:
                self._open.popitem(last=False)
            self._open[path] = safe_open(path, framework="np")
        self._open.move_to_end(path)
        return self._open[path]
