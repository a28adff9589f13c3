"""How many tokens a text may have."""

from __future__ import annotations

from typing import Any

from soundleap.errors import InputError
from soundleap.requests import Sample


def check_tokens(sample: Sample, encoder: Any) -> None:
    """Check that a sample's texts fit a text encoder.

    Raises:
        InputError: for a text that is too long, or of which no word is known.
    """
    for name in ("prompt", "negative_prompt"):
        text = getattr(sample, name)
        tokens = encoder.tokens(text or "")
        _check_count(name, len(tokens), encoder.max_tokens)
        if text and set(tokens) <= {"[UNK]"}:
            raise InputError(
                f"{name} {text!r} holds no word that this model's text encoder knows; "
                "say it in English"
            )
    if sample.struct_prompt:
        count = len(encoder.struct_tokens(sample.struct_prompt))
        _check_count("struct_prompt", count, encoder.max_struct_tokens)


def _check_count(name: str, count: int, most: int) -> None:
    if count > most:
        raise InputError(f"{name} has {count} tokens; allowed: at most {most}: shorten it")
