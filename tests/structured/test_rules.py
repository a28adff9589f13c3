from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from soundleap.errors import InputError
from soundleap.structured import (
    TAGS,
    Structured,
    parse_events,
    split_events,
    structure,
    structure_all,
    structure_split,
)

CONNECTING = frozenset(
    """
    after all and as at before by closely finally first followed is later that then this until
    well while with
    """.split()
)
PARTS = [
    *"a dog barks|a car passes by|rain|a man|water flowing|laughing|birds|Thunder.".split("|"),
    *"followed by|then|and then|after that|before|after|until|while|as|with|and|,|;|.".split("|"),
    *"First,|finally|as well as|closely followed by|R&B|<x>|@|it's|every now and then".split("|"),
]


@pytest.mark.parametrize("prompt", ["A dog barks.", " Rain ", "drum & bass", "1 < 2 @ home", ""])
def test_the_whole_prompt_stays_as_it_is(prompt: str) -> None:
    assert structure_all(prompt) == "<" + prompt + "& all>"


@pytest.mark.parametrize(
    ("prompt", "caption"),
    [
        ("Rain on a Tin Roof.", "<rain on a tin roof& all>"),
        ("A dog barks then a cat meows", "<a dog barks& start>@<a cat meows& end>"),
        ("Thunder, followed by rain", "<thunder& start>@<rain& end>"),
        ("a bell is closely followed by a thud", "<a bell& start>@<a thud& end>"),
        (
            "a door opens, then footsteps, and finally a crash",
            "<a door opens& start>@<footsteps& mid>@<a crash& end>",
        ),
        (
            "one bird followed by two then three after that four and then five",
            "<one bird& start>@<two& mid>@<three& mid>@<four& mid>@<five& end>",
        ),
        ("a woman speaks before a bell rings", "<a woman speaks& start>@<a bell rings& end>"),
        ("a dog barks shortly after a bang", "<a bang& start>@<a dog barks& end>"),
        ("After a bell rings, a dog barks", "<a bell rings& start>@<a dog barks& end>"),
        ("Before it stops, a motor revs", "<a motor revs& start>@<it stops& end>"),
        ("At first a man talks, then he sings", "<a man talks& start>@<he sings& end>"),
    ],
)
def test_words_of_sequence_part_into_moments(prompt: str, caption: str) -> None:
    assert structure_split(prompt) == caption


@pytest.mark.parametrize(
    ("prompt", "caption"),
    [
        ("a man talks while music plays", "<a man talks& all>@<music plays& all>"),
        ("While a man talks, a fan hums", "<a man talks& all>@<a fan hums& all>"),
        ("a drum beats as people clap", "<a drum beats& all>@<people clap& all>"),
        ("dogs barking and a cat meowing", "<dogs barking& all>@<a cat meowing& all>"),
        ("engine idling with birds chirping", "<engine idling& all>@<birds chirping& all>"),
        ("a man speaks and music", "<a man speaks& all>@<music& all>"),
        ("water runs, and tapping occurs", "<water runs& all>@<tapping occurs& all>"),
        ("A dog barks. Rain; wind", "<a dog barks& all>@<rain& all>@<wind& all>"),
        (
            "a man talks as a drill buzzes followed by a crash and a woman shouting",
            "<a man talks& start>@<a drill buzzes& start>@<a crash& end>@<a woman shouting& end>",
        ),
    ],
)
def test_sounds_at_the_same_time_share_a_tag(prompt: str, caption: str) -> None:
    assert structure_split(prompt) == caption


@pytest.mark.parametrize(
    "prompt",
    [
        "a man and a woman talking",
        "a dog barking and howling",
        "a dog barks and loudly howls in the distance",
        "rain and thunder",
        "a long, low hum",
        "a violin with a piano",
        "a sewing machine and a radio playing",
        "drum and bass",
        "every now and then a clock chimes",
        "a motor runs for a while",
        "a horn as loud as a lion roaring",
        "a piano as well as a flute",
        "one car passes after the other",
        "the night before christmas",
        "a dog barks and then",
        "then a dog barks",
        "rain & wind",
    ],
)
def test_what_is_one_event_stays_one(prompt: str) -> None:
    assert structure_split(prompt) == f"<{prompt}& all>"


@pytest.mark.parametrize("prompt", ["...", "<> @"])
def test_a_prompt_of_marks_only(prompt: str) -> None:
    with pytest.raises(InputError, match="say in words what is to be heard"):
        structure_split(prompt)


def _words(text: str) -> Counter[str]:
    return Counter(re.findall(r"\w+", text))


@settings(deadline=None)
@given(st.lists(st.sampled_from(PARTS), min_size=1, max_size=12).map(" ".join) | st.text())
@example("a dog barks, then, and then; . after that")
@example("first, ' then İ & < a")
@example("First, , a dog barks followed by rain")
def test_only_connecting_words_are_lost(prompt: str) -> None:
    try:
        caption = structure_split(prompt)
    except InputError:
        assert not _words(prompt)
        return
    parsed = parse_events(caption)
    assert parsed.warnings == ()
    assert list(parsed.events) == split_events(prompt)
    kept = sum((_words(event.text) for event in parsed.events), Counter[str]())
    given_words = _words(prompt.lower())
    assert not kept - given_words
    assert set(given_words - kept) <= CONNECTING
    for event in parsed.events:
        assert event.tag in TAGS
        assert event.text == event.text.lower().strip(" .,;")


@settings(deadline=None)
@given(st.lists(st.sampled_from(PARTS), min_size=1, max_size=12).map(" ".join))
def test_tags_follow_time(prompt: str) -> None:
    if not _words(prompt):
        return
    tags = [event.tag for event in split_events(prompt)]
    if tags[0] == "all":
        assert set(tags) == {"all"}
    else:
        assert tags == sorted(tags, key=["start", "mid", "end"].index)
        assert {tags[0], tags[-1]} == {"start", "end"}


def test_one_door() -> None:
    prompt = "A dog barks, then rain."
    assert structure(prompt) == Structured("<A dog barks, then rain.& all>", "rule")
    assert structure(prompt, "all") == structure(prompt)
    assert structure(prompt, "split") == Structured("<a dog barks& start>@<rain& end>", "rule")
    with pytest.raises(InputError, match=r"unknown way to structure 'spilt'; did you mean 'split'"):
        structure(prompt, "spilt")  # type: ignore[arg-type]


def test_a_structured_caption_given_as_prompt_is_warned_of() -> None:
    made = structure("<rain& all>", "all")
    assert made.text == "<<rain& all>& all>"
    assert "struct_prompt" in (made.warning or "")


@pytest.mark.parametrize(
    ("prompt", "what"),
    [
        (" ", "prompt is empty"),
        ("x" * 1001, "1001 characters; allowed: at most 1000"),
        ("\udfff", "not valid Unicode"),
        (3, "prompt is 3; give a text"),
    ],
)
@pytest.mark.parametrize("how", ["all", "split", "endpoint"])
def test_prompts_that_are_refused(prompt: str, what: str, how: str) -> None:
    with pytest.raises(InputError, match=what):
        structure(prompt, how)  # type: ignore[arg-type]


def test_no_torch_is_imported() -> None:
    code = (
        "import sys, soundleap.structured.endpoint; from soundleap.structured import structure; "
        "structure('a dog', 'split'); sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
