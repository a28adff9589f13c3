"""Latents and text states of all training examples, computed once and kept in safetensors shards.

A cache folder belongs to one key: the content of the manifests, the codec, the text encoder and the
plan. Building is resumable by shard; a cache with another key is refused.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor
from tqdm import tqdm

from soundleap.data.examples import Example, ExampleMaker
from soundleap.data.manifest import write_text_atomically
from soundleap.data.padding import pad_rows
from soundleap.data.text_states import StateStore, structured_captions
from soundleap.errors import InputError, SoundleapError
from soundleap.models.registry import text_class
from soundleap.models.seams import Text
from soundleap.models.text import DEFAULT_FOLDER, TextStates

SHARD = 512


@dataclass(frozen=True)
class CacheKey:
    """What a cache was made from."""

    manifests: str
    codec: str
    text: str
    plan: str
    seed: int


def digest(paths: Sequence[Path]) -> str:
    """Return one sha256 over the content of files."""
    total = hashlib.sha256()
    for path in paths:
        total.update(path.read_bytes())
    return total.hexdigest()


def text_digest(folder: Path | None) -> str:
    """Return one sha256 over a text encoder's tensors and tokenizers; None: the built-in one's."""
    if folder is None:
        return digest([DEFAULT_FOLDER / "model.safetensors", DEFAULT_FOLDER / "tokenizer.json"])
    names = sorted(set(text_class(folder).FILES) - {"config.json"})
    return digest([folder / name for name in names])


def build_cache(
    folder: Path,
    maker: ExampleMaker,
    key: CacheKey,
    *,
    encode: Callable[[Tensor], Tensor],
    text_encoder: Text,
    states: StateStore,
    progress: bool = True,
) -> int:
    """Compute the shards that are missing; return how many examples the cache holds.

    Args:
        folder: where the shards go.
        maker: the examples.
        key: what they are made from.
        encode: waveform ``[S]`` to latents ``[C, L]`` or ``[C, L, H]``.
        text_encoder: gives the captions' token states.
        states: those that are there already.
        progress: whether to show a bar.

    Raises:
        InputError: if the folder holds a cache with another key.
    """
    _claim(folder, key)
    starts = range(0, len(maker), SHARD)
    for number, start in enumerate(tqdm(starts, desc="latents", disable=not progress)):
        path = folder / f"latents-{number:05d}.safetensors"
        if not path.exists():
            stop = min(start + SHARD, len(maker))
            _write_latents(path, [maker[i] for i in range(start, stop)], encode)
    captions = _captions(folder)
    for number, start in enumerate(
        tqdm(range(0, len(captions), 4 * SHARD), desc="text", disable=not progress)
    ):
        path = folder / f"text-{number:05d}.safetensors"
        if not path.exists():
            _write_text(path, captions[start : start + 4 * SHARD], text_encoder, states)
    return len(maker)


def _claim(folder: Path, key: CacheKey) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "key.json"
    if path.exists():
        before = json.loads(path.read_text(encoding="utf-8"))
        other = sorted(name for name, value in asdict(key).items() if before.get(name) != value)
        if other:
            raise InputError(
                f"{folder} holds latents made from other {', '.join(other)}; use another folder"
            )
        return
    write_text_atomically(path, json.dumps(asdict(key), indent=1) + "\n")


def _write_latents(path: Path, examples: list[Example], encode: Callable[[Tensor], Tensor]) -> None:
    latents = [encode(example.waveform) for example in examples]
    lengths = torch.tensor([z.shape[1] for z in latents])
    about = [{"id": e.id, "captions": e.captions} for e in examples]
    joined = torch.cat(latents, dim=1).transpose(0, 1).half().contiguous()  # [sum L, C(, H)]
    _check_range(path, joined)
    tensors = {"latents": joined, "lengths": lengths}
    _save(path, tensors, {"examples": json.dumps(about)})


def encode_captions(encoder: Text, captions: Sequence[str]) -> TextStates:
    """Encode captions; an encoder that reads structured ones gets them made by rule."""
    return encoder.encode(captions, structured_captions(encoder, captions))


def _write_text(path: Path, captions: list[str], text_encoder: Text, states: StateStore) -> None:
    rows = states.states(captions, text_encoder)
    lengths = torch.tensor([len(row) for row in rows])
    tensors = {"embeds": torch.cat(rows), "lengths": lengths}
    _check_range(path, tensors["embeds"])
    _save(path, tensors, {"captions": json.dumps(captions)})


def _check_range(path: Path, values: Tensor) -> None:
    if not bool(torch.isfinite(values).all()):
        raise SoundleapError(
            f"{path} would hold numbers that are not finite in half precision: the codec or the "
            "text encoder does not suit these sounds"
        )


def _save(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    partial = path.with_suffix(".partial")
    try:
        save_file(tensors, partial, metadata=metadata)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def read_key(folder: Path) -> dict[str, Any]:
    """Return what a cache was made from; empty where its ``key.json`` is missing.

    Raises:
        InputError: if it can't be read.
    """
    path = folder / "key.json"
    try:
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    except (OSError, ValueError) as error:
        raise InputError(
            f"can't read {path}, which says what a cache is made from: {error}"
        ) from None


def _captions(folder: Path) -> list[str]:
    seen: dict[str, None] = {"": None}
    for path in sorted(folder.glob("latents-*.safetensors")):
        for example in _examples(path):
            seen.update(dict.fromkeys(example["captions"]))
    return list(seen)


def _examples(path: Path) -> list[dict[str, list[str]]]:
    with safe_open(path, framework="pt") as file:
        return json.loads(file.metadata()["examples"])


def _words(path: Path) -> list[str]:
    with safe_open(path, framework="pt") as file:
        return json.loads(file.metadata()["captions"])


class LatentCache:
    """A built cache, wholly in memory.

    Attributes:
        key: what it was made from, as in ``key.json``; empty where that is missing.
        lengths: latent vectors of every example.
        captions: indices into the text states for every example.
        empty: index of the empty caption.
        groups: None, because all of it is in memory; see `soundleap.data.source`.
    """

    groups: Tensor | None = None

    def __init__(self, folder: str | Path):
        """Read a cache.

        Raises:
            InputError: if there is none, or building it has not come to its end.
        """
        folder = Path(folder)
        paths = sorted(folder.glob("latents-*.safetensors"))
        text_paths = sorted(folder.glob("text-*.safetensors"))
        if not paths:
            raise InputError(f"{folder} holds no latents; run `soundleap data cache` first")
        examples = [example for path in paths for example in _examples(path)]
        words = [word for path in text_paths for word in _words(path)]
        index = {caption: i for i, caption in enumerate(words)}
        if not all(c in index for example in examples for c in ("", *example["captions"])):
            raise InputError(f"{folder} is not complete; run `soundleap data cache` again")
        self.key: dict[str, Any] = read_key(folder)
        parts = [load_file(path) for path in paths]
        self._latents = torch.cat([part["latents"] for part in parts])  # [sum L, C(, H)]
        self.lengths = torch.cat([part["lengths"] for part in parts])
        self._starts = self.lengths.cumsum(0) - self.lengths
        texts = [load_file(path) for path in text_paths]
        self._embeds = torch.cat([part["embeds"] for part in texts])
        self._text_lengths = torch.cat([part["lengths"] for part in texts])
        self._text_starts = self._text_lengths.cumsum(0) - self._text_lengths
        self._words = words
        self.empty = index[""]
        self.captions = [[index[c] for c in example["captions"]] for example in examples]

    @property
    def vector_shape(self) -> tuple[int, ...]:
        """Shape of a latent vector: ``(C,)``, or ``(C, H)`` for latents with a height."""
        return tuple(self._latents.shape[1:])

    def latents(self, indices: Sequence[int], length: int | None = None) -> tuple[Tensor, Tensor]:
        """Return padded latents ``[B, C, L(, H)]`` float32 and their mask ``[B, L]``."""
        spans = [(int(self._starts[i]), int(self.lengths[i])) for i in indices]
        batch, mask = pad_rows([self._latents[start : start + n] for start, n in spans], length)
        return batch.transpose(1, 2).contiguous(), mask

    def text(self, indices: Sequence[int], length: int | None = None) -> TextStates:
        """Return the states of captions, padded to `length` or to the longest."""
        spans = [(int(self._text_starts[i]), int(self._text_lengths[i])) for i in indices]
        embeds, mask = pad_rows([self._embeds[start : start + n] for start, n in spans], length)
        return TextStates(embeds=embeds, mask=mask)

    def words(self, indices: Sequence[int]) -> list[str]:
        """Return captions as texts."""
        return [self._words[i] for i in indices]
