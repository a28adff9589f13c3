"""Structured captions: ``<event& tag>@<event& tag>``, what sounds and when."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from soundleap.errors import InputError

TAGS = ("all", "start", "mid", "end")
"""When an event sounds: during the whole scene, or at its start, in its middle, at its end."""

_EXAMPLE = "<a dog barks& start>@<rain& all>"
_MARK = re.compile("[<>@]")
_BLANK = re.compile(r"\s*")


@dataclass(frozen=True)
class Event:
    """One sound of a scene and when it is heard.

    Attributes:
        text: what is heard; may hold ``&`` but none of ``< > @``.
        tag: one of `TAGS`; captions of music have others too.
    """

    text: str
    tag: str


@dataclass(frozen=True)
class Parsed:
    """A structured caption, taken apart.

    Attributes:
        events: in the order in which they are written.
        warnings: what a model may read otherwise than meant: unknown tags, odd blanks.
    """

    events: tuple[Event, ...]
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Structured:
    """A structured caption and where it comes from.

    Attributes:
        text: the caption.
        source: "rule", or "endpoint" for a language model's answer.
        warning: what the user should know, for example why the endpoint's answer is not used.
    """

    text: str
    source: Literal["endpoint", "rule"]
    warning: str | None = None


def parse_events(text: str, name: str = "struct_prompt") -> Parsed:
    """Take a structured caption apart and check it.

    An event is split at its last ``&``, since its text may hold others ("drum & bass"). Blanks
    around events, texts and tags are not kept; tags not in `TAGS` are, with a warning.

    Args:
        text: the caption.
        name: what to call it in errors.

    Raises:
        InputError: if it does not follow the grammar; says where and what to write.

    Source: the captions of Make-An-Audio 2 (arXiv 2305.18474).
    """
    if not isinstance(text, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InputError(f"{name} is {text!r}; give a text such as {_EXAMPLE}")
    if any("\ud800" <= letter <= "\udfff" for letter in text):
        raise InputError(f"{name} is not valid Unicode; give it as UTF-8")
    events: list[Event] = []
    at = _skip_blanks(text, 0)
    while True:
        event, at = _read_event(text, at, name, len(events) + 1)
        events.append(event)
        at = _skip_blanks(text, at)
        if at == len(text):
            return Parsed(tuple(events), tuple(_warnings(text, events, name)))
        if text[at] != "@":
            raise _error(name, text, at, "'@' between events")
        at = _skip_blanks(text, at + 1)


def format_events(events: Iterable[Event]) -> str:
    """Write events as one caption; `parse_events` reads the same events back.

    Raises:
        InputError: for no event at all, or one whose text or tag does not fit the grammar.
    """
    parts = [f"<{_checked(event).text}& {event.tag}>" for event in events]
    if not parts:
        raise InputError("events is empty; give at least one event")
    return "@".join(parts)


def _checked(event: Event) -> Event:
    for name, value, marks in (("text", event.text, "<>@"), ("tag", event.tag, "<>@&")):
        if not value or value.strip() != value:
            raise InputError(f"event {name} is {value!r}; give words without blanks around them")
        if any(mark in value for mark in marks):
            raise InputError(f"event {name} is {value!r}; not allowed in it: {' '.join(marks)}")
    return event


def _read_event(text: str, at: int, name: str, number: int) -> tuple[Event, int]:
    if at == len(text) or text[at] != "<":
        raise _error(name, text, at, f"'<' to open event {number}")
    mark = _MARK.search(text, at + 1)
    if mark is None or mark[0] != ">":
        place = len(text) if mark is None else mark.start()
        raise _error(name, text, place, f"'>' to close event {number}")
    words, split, tag = text[at + 1 : mark.start()].rpartition("&")
    event = Event(words.strip(), tag.strip())
    if not split:
        raise _error(name, text, mark.start(), f"'& tag' to end event {number}")
    if not event.text:
        raise _error(name, text, at + 1, f"the words of event {number}")
    if not event.tag:
        raise _error(name, text, mark.start(), f"a tag ({', '.join(TAGS)}) for event {number}")
    return event, mark.end()


def _warnings(text: str, events: list[Event], name: str) -> Iterable[str]:
    for number, event in enumerate(events, 1):
        if event.tag not in TAGS:
            yield (
                f"{name}: event {number} has the tag {event.tag!r}; most captions that models "
                f"learned from have only: {', '.join(TAGS)}"
            )
    usual = format_events(events)
    if usual != text:
        yield f"{name}: blanks are not as in the captions models learned from; write {usual}"


def _error(name: str, text: str, at: int, wanted: str) -> InputError:
    found = repr(text[at]) if at < len(text) else "the end"
    return InputError(
        f"{name}: character {at + 1} is {found} where {wanted} should be; write it like {_EXAMPLE}"
    )


def _skip_blanks(text: str, at: int) -> int:
    match = _BLANK.match(text, at)
    return at if match is None else match.end()
