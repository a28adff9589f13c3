from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from soundleap.errors import InputError
from soundleap.structured import TAGS, Event, format_events, parse_events

words = st.text(st.characters(exclude_characters="<>@", exclude_categories=["Cs"]), min_size=1)
texts = words.map(str.strip).filter(bool)
tags = st.sampled_from(TAGS) | texts.filter(lambda tag: "&" not in tag)
events = st.lists(st.builds(Event, texts, tags), min_size=1, max_size=6)


def test_a_caption_of_the_published_form() -> None:
    text = "<birds sing& all>@<a cow moos& start>@<a bird calls& mid>@<water splashes& end>"
    parsed = parse_events(text)
    assert parsed.events == (
        Event("birds sing", "all"),
        Event("a cow moos", "start"),
        Event("a bird calls", "mid"),
        Event("water splashes", "end"),
    )
    assert parsed.warnings == ()
    assert format_events(parsed.events) == text


def test_the_last_ampersand_parts_text_and_tag() -> None:
    parsed = parse_events("<drum & bass music& all>@<R&B& mid>")
    assert parsed.events == (Event("drum & bass music", "all"), Event("R&B", "mid"))
    assert parsed.warnings == ()


def test_unknown_tags_are_kept_with_a_warning() -> None:
    parsed = parse_events("<a pad& mid-end>@<hi-hat& all>@<a shaker& intermittent>")
    assert [event.tag for event in parsed.events] == ["mid-end", "all", "intermittent"]
    assert len(parsed.warnings) == 2
    assert "event 1" in parsed.warnings[0]
    assert "'mid-end'" in parsed.warnings[0]
    assert "all, start, mid, end" in parsed.warnings[0]


def test_odd_blanks_are_told() -> None:
    parsed = parse_events("\n < a dog &start > @ <rain& all> ")
    assert parsed.events == (Event("a dog", "start"), Event("rain", "all"))
    assert parsed.warnings == (
        "struct_prompt: blanks are not as in the captions models learned from; "
        "write <a dog& start>@<rain& all>",
    )


@pytest.mark.parametrize(
    ("text", "place", "wanted"),
    [
        ("", "character 1 is the end", "'<' to open event 1"),
        ("a dog barks", "character 1 is 'a'", "'<' to open event 1"),
        ("<a dog barks", "character 13 is the end", "'>' to close event 1"),
        ("<a dog barks>", "character 13 is '>'", "'& tag' to end event 1"),
        ("<a& all@b& end>", "character 8 is '@'", "'>' to close event 1"),
        ("<a& all<b& end>", "character 8 is '<'", "'>' to close event 1"),
        ("<a& all>b", "character 9 is 'b'", "'@' between events"),
        ("<a& all><b& end>", "character 9 is '<'", "'@' between events"),
        ("<a& all>@", "character 10 is the end", "'<' to open event 2"),
        ("<a& all>@@<b& all>", "character 10 is '@'", "'<' to open event 2"),
        ("<& all>", "character 2 is '&'", "the words of event 1"),
        ("<rain& >", "character 8 is '>'", "a tag (all, start, mid, end) for event 1"),
    ],
)
def test_errors_say_where_and_what(text: str, place: str, wanted: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_events(text, "caption")
    assert str(caught.value) == (
        f"caption: {place} where {wanted} should be; write it like <a dog barks& start>@<rain& all>"
    )


def test_what_is_no_text() -> None:
    with pytest.raises(InputError, match="struct_prompt is None; give a text such as <a dog"):
        parse_events(None)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="not valid Unicode"):
        parse_events("<\ud800& all>")


@pytest.mark.parametrize(
    ("event", "what"),
    [
        (Event("", "all"), "text is ''"),
        (Event(" rain", "all"), "without blanks around"),
        (Event("a@b", "all"), "not allowed in it: < > @"),
        (Event("rain", ""), "tag is ''"),
        (Event("rain", "a&b"), "not allowed in it: < > @ &"),
    ],
)
def test_events_that_do_not_fit_are_not_written(event: Event, what: str) -> None:
    with pytest.raises(InputError, match=what):
        format_events([event])


def test_no_event_is_no_caption() -> None:
    with pytest.raises(InputError, match="events is empty"):
        format_events([])


@settings(deadline=None)
@given(events)
def test_what_is_written_is_read_back(some: list[Event]) -> None:
    assert list(parse_events(format_events(some)).events) == some


@settings(deadline=None)
@given(st.text(st.sampled_from("ab <>@&"), max_size=30))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        parsed = parse_events(text)
    except InputError:
        return
    assert parse_events(format_events(parsed.events)).events == parsed.events
