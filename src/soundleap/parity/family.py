"""An item's outputs by the patterns of their names."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple, TypeVar

from torch import Tensor

from .compare import Kind
from .items import Item, ParityError

NUMBER = r"-?\d+(?:\.\d+)?(?:e-?\d+)?"
SETTING = rf"[a-z]+{NUMBER}"
TYPES: dict[str, tuple[str, Callable[[str], Any]]] = {
    "int": (r"\d+", int),
    "number": (NUMBER, float),
    "word": (r"[^/]+", str),
    "rest": (r".+", str),
    "with": (r"with|no", str),
    "linspace": (r"linspace", str),
    "settings": (rf"{SETTING}(?:_{SETTING})*", lambda text: parse_settings(text)),
}
"""Types of the fields of a pattern: what they match, and what becomes of it."""

Method = TypeVar("Method", bound=Callable[..., Tensor])


class Recipe(NamedTuple):
    """How outputs of one pattern are made: the pattern's fields are the method's keywords."""

    pattern: re.Pattern[str]
    types: dict[str, str]
    kind: Kind
    method: str


class Match(NamedTuple):
    """A recipe that fits an output, with the values of its fields."""

    kind: Kind
    method: str
    fields: dict[str, Any]


class Family:
    """What computes the outputs of one item; subclasses mark their methods with `output`.

    Attributes:
        recipes: what the marked methods make.
        item: the item.
    """

    recipes: ClassVar[tuple[Recipe, ...]] = ()

    def __init__(self, item: Item) -> None:
        """Take an item; nothing is built before it is asked for."""
        self.item = item

    def __init_subclass__(cls) -> None:
        """Collect the marked methods, those of the parents last."""
        own = [
            recipe
            for name, value in vars(cls).items()
            for recipe in (
                _recipe(pattern, kind, name) for pattern, kind in getattr(value, "_outputs", ())
            )
        ]
        cls.recipes = (*own, *cls.recipes)

    def match(self, output: str) -> Match:
        """Find the recipe for an output.

        Raises:
            ParityError: if there is none.
        """
        for recipe in self.recipes:
            found = recipe.pattern.fullmatch(output)
            if found is not None:
                fields = {
                    name: TYPES[recipe.types[name]][1](text)
                    for name, text in found.groupdict().items()
                    if text is not None
                }
                return Match(recipe.kind, recipe.method, fields)
        raise ParityError(f"{self.item.name} is known but this output is not")

    def compute(self, found: Match) -> Tensor:
        """Compute an output."""
        return getattr(self, found.method)(**found.fields)


def output(pattern: str, kind: Kind) -> Callable[[Method], Method]:
    """Mark a method that makes outputs; of several marks the upper one is tried first.

    Args:
        pattern: a regular expression of the whole name without ``out/``, in which ``{name:type}``
            stands for a field of one of the `TYPES`; fields that are left out take the method's
            default.
        kind: what is made, for the tolerance.
    """

    def mark(method: Method) -> Method:
        marks = [(pattern, kind), *getattr(method, "_outputs", ())]
        setattr(method, "_outputs", marks)  # noqa: B010, a function has no such attribute
        return method

    return mark


def parse_settings(text: str) -> dict[str, float]:
    """Read settings out of a name: ``steps4_w5`` is ``{"steps": 4, "w": 5}``.

    Raises:
        ParityError: if one is there twice.
    """
    pairs = [re.fullmatch(rf"([a-z]+)({NUMBER})", part) for part in text.split("_")]
    found = {pair[1]: float(pair[2]) for pair in pairs if pair is not None}
    if len(found) != len(pairs):
        raise ParityError(f"settings {text!r} are not of the form name1_other2")
    return found


def take(settings: dict[str, float], *needed: str, **optional: float) -> dict[str, float]:
    """Check the names of settings and fill in what is left out.

    Raises:
        ParityError: if one is missing or unknown.
    """
    missing = [name for name in needed if name not in settings]
    unknown = sorted(settings.keys() - {*needed, *optional})
    if missing or unknown:
        raise ParityError(
            f"the output's name gives {', '.join(sorted(settings))}; needed: {', '.join(needed)}"
            + (f", allowed: {', '.join(optional)}" if optional else "")
        )
    return {**optional, **settings}


def _recipe(pattern: str, kind: Kind, method: str) -> Recipe:
    types: dict[str, str] = {}

    def expand(field: re.Match[str]) -> str:
        types[field[1]] = field[2]
        return f"(?P<{field[1]}>{TYPES[field[2]][0]})"

    return Recipe(re.compile(re.sub(r"\{(\w+):(\w+)\}", expand, pattern)), types, kind, method)
