"""The listening page itself: markup, sealed answers, and the script and style that go into it."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib import resources

from soundleap.evaluation.report_page import escape, page

POLICY = (
    "default-src 'none'; media-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
)


@dataclass(frozen=True)
class Trial:
    """What the page shows of a trial.

    Attributes:
        prompt: the caption, or nothing.
        urls: the sounds as data URLs, in the order in which they are offered.
    """

    prompt: str
    urls: tuple[str, ...]


@dataclass(frozen=True)
class SealedTrial:
    """What the page keeps to itself until the end.

    Attributes:
        clip: id of the pair.
        systems: names of the systems, in the order in which the sounds are offered.
    """

    clip: str
    systems: tuple[str, ...]


def seal(text: str, page_id: str) -> str:
    """Make text unreadable to eyes (no secret): XOR with xorshift32 seeded by the page, base64.

    Source: Marsaglia 2003, "Xorshift RNGs", Journal of Statistical Software 8(14).
    """
    return base64.b64encode(_mask(text.encode(), page_id)).decode()


def unseal(text: str, page_id: str) -> str:
    """Read what `seal` wrote."""
    return _mask(base64.b64decode(text), page_id).decode()


def _mask(data: bytes, page_id: str) -> bytes:
    state = int(page_id[:8], 16) | 1
    masked = bytearray(data)
    for i in range(len(masked)):
        state ^= state << 13 & 0xFFFFFFFF
        state ^= state >> 17
        state ^= state << 5 & 0xFFFFFFFF
        masked[i] ^= state & 0xFF
    return bytes(masked)


def listening_page(
    trials: Sequence[Trial],
    sealed: Sequence[SealedTrial],
    *,
    page_id: str,
    seed: int,
    question: str,
) -> str:
    """Make the whole page.

    Args:
        trials: in the order in which they are heard.
        sealed: the truth about each.
        page_id: hexadecimal name of this design.
        seed: that the order was drawn with; shown.
        question: what listeners are asked.
    """
    data = {
        "page": page_id,
        "trials": [asdict(trial) for trial in trials],
        "sealed": seal(json.dumps([asdict(trial) for trial in sealed]), page_id),
    }
    # "<" can't end the script element early when it is written as an escape
    text = json.dumps(data, ensure_ascii=False).replace("<", "\\u003c")
    body = _BODY.format(count=len(trials), seed=seed, page=page_id, question=escape(question))
    body += f'\n<script type="application/json" id="data">{text}</script>'
    return page("Listening test", body, style=_asset("css"), script=_asset("js"), policy=POLICY)


def _asset(kind: str) -> str:
    file = resources.files("soundleap.evaluation") / f"listen_page.{kind}"
    return file.read_text("utf-8")


_BODY = """
<h1>Listening test</h1>
<p id="status" role="status" aria-live="polite" class="quiet"></p>
<noscript><p>This page needs JavaScript; it loads nothing from anywhere.</p></noscript>

<section id="start" aria-labelledby="start-title">
<h2 id="start-title">Before you start</h2>
<p>You hear {count} pairs of sounds. Both sounds of a pair answer the same caption; their order is
random and they have the same loudness. Listen to both, as often as you like, and choose. Use
headphones if you can, and set a comfortable volume with the first pair.</p>
<form id="start-form"><label for="listener">Your name or a nickname</label>
<input id="listener" required maxlength="60" autocomplete="off">
<button class="main">Start</button></form>
<p class="quiet">Answers stay in this browser until you download them. Page {page}, seed {seed}.</p>
</section>

<section id="trial" aria-labelledby="caption" hidden>
<progress id="progress" max="{count}" value="0" aria-label="Progress"></progress>
<h2 id="caption" tabindex="-1"></h2>
<div class="sounds">
<div class="sound"><button id="play-0" type="button"><kbd>1</kbd> <span>Play sound 1</span></button>
<progress id="bar-0" max="1" value="0" aria-label="Place in sound 1"></progress></div>
<div class="sound"><button id="play-1" type="button"><kbd>2</kbd> <span>Play sound 2</span></button>
<progress id="bar-1" max="1" value="0" aria-label="Place in sound 2"></progress></div>
</div>
<div role="group" aria-labelledby="question">
<p id="question">{question}</p>
<div class="choices">
<button id="choose-0" type="button" aria-pressed="false"><kbd>&larr;</kbd> Sound 1</button>
<button id="choose-tie" type="button" aria-pressed="false"><kbd>&darr;</kbd> No difference</button>
<button id="choose-1" type="button" aria-pressed="false">Sound 2 <kbd>&rarr;</kbd></button>
</div></div>
<div class="moves"><button id="back" type="button">Back <kbd>B</kbd></button>
<button id="next" type="button" class="main">Next <kbd>Enter</kbd></button></div>
<p class="quiet">Keys: 1 and 2 play, Space stops or plays again, arrows choose, Enter goes on,
B goes back.</p>
</section>

<section id="end" aria-labelledby="end-title" hidden>
<h2 id="end-title" tabindex="-1">Thank you</h2>
<p id="outcome"></p>
<p><a id="download" class="button main" download>Download the answers (CSV)</a></p>
<p><label for="csv">The same to copy</label></p>
<textarea id="csv" readonly rows="8"></textarea>
<p class="quiet">Evaluate one or many of these files with
<code>soundleap listen stats FILE...</code></p>
<p><button id="again" type="button">Start over</button></p>
</section>
"""
