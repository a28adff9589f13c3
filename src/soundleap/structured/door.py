"""The one place to ask for a structured caption, by the name of the way."""

from __future__ import annotations

from typing import Literal, get_args

from soundleap.errors import unknown_name
from soundleap.structured.grammar import Structured
from soundleap.structured.rules import check_prompt, structure_all, structure_split

How = Literal["all", "split", "endpoint"]
"""The prompt as one event; parted by rules; or parted by a language model."""


def structure(prompt: str, how: How = "all", *, timeout_in_s: float | None = None) -> Structured:
    """Make a structured caption of a prompt.

    Args:
        prompt: what is to be heard.
        how: "all" (`structure_all`), "split" (`structure_split`) or "endpoint"
            (`structure_by_endpoint`, which sends the prompt to the server set in the environment).
        timeout_in_s: longest wait for the endpoint; None takes its default, the rules need none.

    Raises:
        InputError: for an unknown way, a prompt that the way chosen refuses.
    """
    if how not in get_args(How):
        raise unknown_name("way to structure", str(how), get_args(How))
    check_prompt(prompt)
    if how == "endpoint":
        from soundleap.structured.endpoint import DEFAULT_TIMEOUT_IN_S, structure_by_endpoint

        wait = DEFAULT_TIMEOUT_IN_S if timeout_in_s is None else timeout_in_s
        return structure_by_endpoint(prompt, timeout_in_s=wait)
    text = structure_all(prompt) if how == "all" else structure_split(prompt)
    return Structured(text, "rule", _warning(prompt))


def _warning(prompt: str) -> str | None:
    if not any(mark in prompt for mark in "<>@"):
        return None
    return (
        "the prompt holds marks of structured captions (< > @), read here as plain text; give a "
        "structured caption as struct_prompt"
    )
