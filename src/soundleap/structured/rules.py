"""Structured captions by rule: the whole prompt as one event, or a small splitter.

How the splitter reads a prompt, after making its letters small and its blanks single:

* Words of sequence ("followed by", "then", "and then", "after that", "before", "until", "after",
  "and finally") part it into moments. One moment is tagged ``all``; two are ``start`` and
  ``end``; of more the first is ``start``, the last ``end`` and the others ``mid``. With "after"
  (not "after that") what comes second in the text comes first in time.
* "while", a semicolon and the end of a sentence part a moment into events heard together; they
  share its tag. "as" does too, before somebody or something that does something ("as a car
  passes", not "as a drum").
* "and", "with" and the comma part it only between two events. On the left stands a verb or a noun
  that is heard by itself ("rain", "laughter"); on the right somebody or something does something
  ("a dog barks", not "barks loudly"), or, if there is a verb on the left, such a noun stands first.
  An article alone is not enough: "a man and a woman talking" and "a dog barking and howling" stay
  one event, and so does what has verbs that `words` does not know.

No word is lost but the connecting ones; of the marks, ``< > @`` become blanks, and those at the
ends of an event go. A prompt in which nothing parts is one event, tagged ``all``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum, auto

from soundleap.errors import InputError
from soundleap.structured.grammar import Event, format_events
from soundleap.structured.words import SOUNDS, has_sound, has_verb, is_clause, words_of


class _Joint(Enum):
    KEEP = auto()  # looks like a connecting word but is none
    THEN = auto()
    THEN_IF = auto()  # if a sound follows
    AFTER = auto()
    WHILE = auto()
    AS = auto()
    AND = auto()


_WORDS = (
    (
        _Joint.KEEP,
        r"(?:every )?now and then|(?:for |once in )?a while|such as|as (?:if|though|usual)"
        r"|as (?!well)[\w-]+ as|(?:one|each|time) after (?:another|the other|other|time)"
        r"|before and after|back and forth|up and down|over and over|on and off|again and again"
        r"|(?:drum|rhythm|r) and (?:bass|blues|b)|rock and roll|more and more|louder and louder",
    ),
    (
        _Joint.THEN,
        r"(?:and |but |then |which |that |is |are |was |were |\w+ly )*followed(?: \w+ly)? by"
        r"|(?:and |but )?(?:\w+ly |soon |right )?after (?:that|this|which)\b,?"
        r"|(?:and |but )?then(?: finally| afterwards?)?\b,?",
    ),
    (_Joint.THEN_IF, r"(?:and )?(?:before|until)"),
    (_Joint.AFTER, r"(?:and )?(?:\w+ly |soon |right )?after"),
    (_Joint.WHILE, r"(?:and |all |at the same time )?(?:while|whilst)"),
    (_Joint.AND, r"(?:and )?(?:along|together) with|as well as|accompanied by|and with|with"),
    (_Joint.AS, r"(?:and |just )?as"),
    (_Joint.AND, r"and"),
)
_FINALLY = (
    r"(?:\s*[,;.]+(?:\s+and)?|\s+and)\s+(?:finally|lastly|afterwards?|later|next(?! to| door))\b,?"
)
_CONNECTING = re.compile(
    rf"(?P<finally>{_FINALLY})|(?:\s*[,;.])?\s+(?:"
    + "|".join(f"(?P<{joint.name}_{i}>{words})" for i, (joint, words) in enumerate(_WORDS))
    + r")(?=[\s,])|(?P<stop>\s*;|(?<=\w\w)[.!?]+(?=\s))|(?P<comma>\s*,(?=\s))"
)
_OPENING = re.compile(r"(?P<word>after|before|as|while|whilst) (?=.*, )")
_FIRST = re.compile(r"^(?:at )?first(?:ly)?(?:,| (?=(?:a|an|the|some|one|two|there)\b))\s*")
_EDGES = " \t,;.:!?"


@dataclass(frozen=True)
class _Link:
    joint: _Joint
    start: int
    end: int


def check_prompt(prompt: str) -> None:
    """Refuse what holds no description of a sound.

    Raises:
        InputError: if it is no text, not valid Unicode, longer than a prompt may be, or blank.
    """
    from soundleap.requests import MAX_CHARACTERS

    if not isinstance(prompt, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InputError(f"prompt is {prompt!r}; give a text")
    if len(prompt) > MAX_CHARACTERS:
        raise InputError(f"prompt has {len(prompt)} characters; allowed: at most {MAX_CHARACTERS}")
    if any("\ud800" <= letter <= "\udfff" for letter in prompt):
        raise InputError("prompt is not valid Unicode; give it as UTF-8")
    if not prompt.strip():
        raise InputError("prompt is empty; say what is to be heard")


def structure_all(prompt: str) -> str:
    """Wrap a prompt as one event of the whole scene: ``<`` + prompt + ``& all>``.

    The prompt is left as it is, as the published inference code of AudioLCM has it; one with
    ``< > @`` in it gives a text that `parse_events` may refuse and models read all the same.
    """
    return f"<{prompt}& all>"


def structure_split(prompt: str) -> str:
    """Part a prompt into events in time by the rules at the head of this module.

    Raises:
        InputError: as `check_prompt`, or if there is nothing but punctuation.
    """
    return format_events(split_events(prompt))


def split_events(prompt: str) -> list[Event]:
    """As `structure_split`, but give the events, in the order of time.

    Raises:
        InputError: as `check_prompt`, or if there is nothing but punctuation.
    """
    check_prompt(prompt)
    text = _clean(prompt)
    if not text:
        raise InputError(f"prompt is {prompt!r}; say in words what is to be heard")
    moments = _moments(text)
    if len(moments) > 1:
        first = _FIRST.sub("", moments[0][0], count=1).strip(_EDGES)
        moments[0][0] = first or moments[0][0]
    tags = _tags(len(moments))
    return [Event(e, tag) for moment, tag in zip(moments, tags, strict=True) for e in moment]


def _clean(prompt: str) -> str:
    return " ".join(re.sub("[<>@]", " ", prompt.lower()).split()).strip(_EDGES)


def _tags(moments: int) -> list[str]:
    if moments == 1:
        return ["all"]
    return ["start", *["mid"] * (moments - 2), "end"]


def _moments(text: str) -> list[list[str]]:
    """Part a text into moments in time, each a list of events heard together."""
    text, links = _opened(text)
    moments: list[list[str]] = [[]]
    now, start = 0, 0
    for i, link in enumerate(links):
        left = text[start : link.start].strip(_EDGES)
        right = text[link.end : _reach(links, i, len(text))].strip(_EDGES)
        if not _parts(link.joint, left, right):
            continue
        moments[now].append(left)
        start = link.end
        if link.joint in (_Joint.THEN, _Joint.THEN_IF):
            now = len(moments)
            moments.append([])
        elif link.joint is _Joint.AFTER:
            moments.insert(now, [])
    moments[now].append(text[start:].strip(_EDGES))
    return moments


def _opened(text: str) -> tuple[str, list[_Link]]:
    """Find the links; with a connecting word at the head of the text, its comma is one."""
    opening = _OPENING.match(text)
    rest = text if opening is None else text[opening.end() :]
    links = _links(rest)
    if opening is None:
        return text, links
    joint = {"after": _Joint.THEN, "before": _Joint.AFTER}.get(opening["word"], _Joint.WHILE)
    for i, link in enumerate(links):
        if link.joint is _Joint.AND and rest[link.start : link.end].strip() == ",":
            return rest, [*links[:i], _Link(joint, link.start, link.end), *links[i + 1 :]]
    return text, _links(text)


def _links(text: str) -> list[_Link]:
    links: list[_Link] = []
    for match in _CONNECTING.finditer(text):
        kind = match.lastgroup or ""
        plain = {"finally": _Joint.THEN, "stop": _Joint.WHILE, "comma": _Joint.AND}
        joint = plain[kind] if kind in plain else _Joint[kind.rpartition("_")[0]]
        if joint is not _Joint.KEEP:
            links.append(_Link(joint, match.start(), match.end()))
    return links


def _reach(links: list[_Link], i: int, end: int) -> int:
    """Give where the words to the right of a link end: before the next that is stronger."""
    return next((link.start for link in links[i + 1 :] if link.joint is not _Joint.AND), end)


def _parts(joint: _Joint, left: str, right: str) -> bool:
    if not words_of(left) or not words_of(right):
        return False
    if joint in (_Joint.THEN_IF, _Joint.AFTER):
        return has_sound(right)
    if joint is _Joint.AS:
        return is_clause(right)
    if joint is _Joint.AND:
        if has_sound(left) and is_clause(right):
            return True
        return has_verb(left) and words_of(right)[0] in SOUNDS
    return True
