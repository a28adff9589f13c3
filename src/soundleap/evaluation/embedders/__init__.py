"""Embedders by name; each is imported when it is opened. Weights are never fetched."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import cast

from soundleap.errors import InputError, unknown_name
from soundleap.evaluation.embedders.base import Embedder

EMBEDDERS = {
    "yamnet": "yamnet:open_yamnet",
    "aisfx": "aisfx:open_aisfx",
    "vggish": "vggish:open_vggish",
    "panns-cnn14-16k": "panns:open_16k",
    "panns-cnn14-32k": "panns:open_32k",
    "clap": "clap:open_clap",
    "ours": "ours:open_ours",
}
"""Name -> module here and the function that opens it."""

OFFLINE = ("yamnet", "aisfx")
"""Those whose weights come inside a package and need no path."""

EITHER = ("ours",)
"""Those that bring weights but also take others."""


def open_embedder(name: str, weights: str | None = None, *, device: str = "cpu") -> Embedder:
    """Open an embedder.

    Args:
        name: a key of `EMBEDDERS`.
        weights: path of its weights; needed by all but `OFFLINE`, which take none, and `EITHER`.
        device: torch device it runs on; "yamnet" always runs on the CPU.

    Raises:
        InputError: an unknown name, weights missing or not wanted.
        SoundleapError: a package it needs is not installed, or the file does not fit.
    """
    if name not in EMBEDDERS:
        raise unknown_name("embedder", name, EMBEDDERS)
    if name in OFFLINE and weights is not None:
        raise InputError(f"embedder {name!r} brings its own weights; leave --weights {name}= out")
    if name not in (*OFFLINE, *EITHER) and weights is None:
        raise InputError(
            f"embedder {name!r} needs a file of weights: give --weights {name}=PATH "
            "(Soundleap never downloads them)"
        )
    module, _, opener = EMBEDDERS[name].partition(":")
    function = getattr(import_module(f"soundleap.evaluation.embedders.{module}"), opener)
    return cast("Embedder", function(weights, device))


def open_embedders(
    names: tuple[str, ...], weights: Mapping[str, str], *, device: str = "cpu"
) -> list[Embedder]:
    """Open several embedders, in order; raises as `open_embedder`."""
    return [open_embedder(name, weights.get(name), device=device) for name in names]
