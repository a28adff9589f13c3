"""The words by which the splitter tells an event from a mere thing."""

from __future__ import annotations

import re

_VERBS = """
accelerate applaud approach bang barge bark bawl beat beep begin belch bellow blare blast bleat
blow boil boom bounce break breathe bubble burble burp burst buzz cackle call can caw chant
chatter cheer chew chime chirp chop chuckle churn clack clang clank clap clatter click climb clink
clip clop close cluck come continue converse coo cough crack crackle crash creak croak crow
crumple crunch cry decelerate die ding discuss drill drip drive drop echo emit end engage enter
erupt exhale explode fade fall fart fire fizz flap flow flush fly follow fuss gallop gasp get
giggle give glug go gobble grind groan grow growl grunt gurgle hammer happen hiss hit honk hoot
hover howl hum idle imitate increase inhale jangle jingle keep knock land laugh lick load make
meow moan moo move mumble murmur mutter neigh occur oink open operate pant pass patter pause play
plop pop pound pour proceed pull purr quack race rattle rev ring ripple roar roll rub rumble run
rush rustle saw say scamper scrape scratch scream screech scuff set sew shake shatter shoot shout
shuffle shut sigh sing sizzle slam slap slide slosh slow slurp smack smash snap sneeze sniff snore
snort sob sound speak speed spin splash splatter spray sputter squawk squeak squeal start step
stir stomp stop strike strum sweep swing swish switch swoosh take talk tap tear thrum thud thump
tick tinkle toll toot travel trickle trill trot try turn tweet twitter type use vibrate wail walk
warble whack wheeze whimper whine whip whir whirr whisper whistle whiz whizz whoosh work yap yell
yelp yip yodel zip zoom
"""

_IRREGULAR = """
are be been began being blew broke came could did do does drove fell flew gave got grew had has
have heard hit is kept made may might rang ran said sang shook shot spoke spun stopped struck swung
took was went were will would
"""

_NOT_DOING = frozenset(
    """
    anything building ceiling clothing darling duckling during evening everything morning nothing
    offspring sewing sibling something spring sterling string warning wedding
    """.split()
)

SOUNDS = frozenset(
    """
    applause explosion explosions fireworks footsteps gunfire gunshot gunshots hail laughter
    music rain rainfall silence siren sirens speech static thunder thunderclap traffic wind
    """.split()
)
"""Nouns that are heard by themselves."""

_BEFORE_VERBS = frozenset("again also even ever just not often once sometimes still twice".split())

_HAPPENS = frozenset("begins continues happens is occurs starts stops was".split())

_WORD = re.compile(r"\w[\w'’-]*")


def _inflect(verb: str) -> set[str]:
    stem = verb.removesuffix("e")
    doubled = f"{verb}{verb[-1]}"
    third = f"{verb[:-1]}ies" if re.search("[^aeiou]y$", verb) else f"{verb}s"
    past = f"{verb[:-1]}ied" if third.endswith("ies") else f"{stem}ed"
    return {verb, third, f"{verb}es", past, f"{doubled}ed"}


VERBS = frozenset(_IRREGULAR.split()).union(*(_inflect(verb) for verb in _VERBS.split()))
"""Verbs of sound and movement, as they are written; forms in -ing are told by their ending."""


def words_of(text: str) -> list[str]:
    """Give the words of a text in small letters, without the marks around them."""
    return _WORD.findall(text)


def is_verb(word: str) -> bool:
    """Tell whether a word looks like something being done."""
    if word in VERBS:
        return True
    return len(word) > 4 and word.endswith("ing") and word not in _NOT_DOING


def has_verb(text: str) -> bool:
    """Tell whether any word of a text looks like something being done."""
    return any(is_verb(word) for word in words_of(text))


def has_sound(text: str) -> bool:
    """Tell whether a text has a verb or a noun that is heard by itself."""
    return any(is_verb(word) or word in SOUNDS for word in words_of(text))


def is_clause(text: str) -> bool:
    """Tell whether a text names who or what does something.

    "a dog barks", "water running" and "tapping occurs" do; "barks loudly", "loudly barking in the
    rain" and "interrupted by barking" don't.
    """
    words = words_of(text)
    while words and (words[0] in _BEFORE_VERBS or words[0].endswith("ly")):
        words = words[1:]
    if len(words) < 2 or words[1] == "by":
        return False
    if is_verb(words[0]) and words[0] not in SOUNDS:
        return words[0].endswith("ing") and words[1] in _HAPPENS
    return any(is_verb(word) for word in words[1:])
