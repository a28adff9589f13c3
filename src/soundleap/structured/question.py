"""What a language model is asked when it has to structure a prompt."""

from __future__ import annotations

INSTRUCTIONS = """\
You turn the description of a sound scene into a list of its sound events with their times.

Write one line and nothing else: no explanation, no quotes, no code block. Each event is written
<words& tag>, and events are joined by @ without blanks:
<words& tag>@<words& tag>

The words say what is heard, short, in small letters, without < > @ and without a full stop. The
tag is one of four:
all: heard during the whole scene, such as weather, machines that keep running, music behind
start: heard in the first part of the scene
mid: heard in the middle part
end: heard in the last part

Use only sounds that the description names or plainly implies, one event for each. Sounds at the
same time get the same tag. If nothing is said about time, every event is tagged all.
"""

EXAMPLES = (
    ("A kettle whistles in a kitchen.", "<a kettle whistles& all>"),
    (
        "Heavy rain on a tent while somebody unzips the door and then snores",
        "<heavy rain on a tent& all>@<a tent door is unzipped& start>@<a person snores& end>",
    ),
    (
        "A coin drops on a table, spins and finally falls flat, children giggle",
        "<a coin drops on a table& start>@<a coin spins on a table& mid>"
        "@<a coin falls flat& end>@<children giggle& all>",
    ),
    (
        "An upbeat drum & bass track with a female voice, ending in applause",
        "<an upbeat drum & bass track& all>@<a female voice sings& all>@<applause& end>",
    ),
)
"""Descriptions and the answers to them."""


def messages(prompt: str) -> list[dict[str, str]]:
    """Give the messages of a chat that ends with the prompt."""
    chat = [{"role": "system", "content": INSTRUCTIONS}]
    for description, answer in EXAMPLES:
        chat.append({"role": "user", "content": description})
        chat.append({"role": "assistant", "content": answer})
    return [*chat, {"role": "user", "content": prompt}]
