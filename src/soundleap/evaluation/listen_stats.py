"""Statistics of listening tests: who won, how sure that is, and what to be careful about."""

from __future__ import annotations

import csv
import io
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from soundleap.errors import InputError, check_range
from soundleap.evaluation.report_markdown import markdown_table
from soundleap.evaluation.tags import wilson_interval

TIE = "tie"
COLUMNS = ("page", "listener", "trial", "clip", "left", "right", "choice", "winner")
CHOICES = ("left", "right", TIE)
SHOWN_FAULTS = 10


@dataclass(frozen=True)
class Answer:
    """One answer: who heard what, where, and chose which system (or "tie")."""

    page: str
    listener: str
    clip: str
    left: str
    right: str
    choice: str
    winner: str


@dataclass(frozen=True)
class Score:
    """Wins of two systems.

    Attributes:
        wins: of each system, in the order of `ListeningStats.systems`.
        ties: answers without a preference.
        share: share of the first system among the wins; None if there are none.
        low: lower end of its 95 % Wilson interval; 0 to 1 without any win.
        high: upper end.
        p_value: two-sided binomial test of equal chances, ties left out; 1 without any win.
    """

    wins: tuple[int, int]
    ties: int
    share: float | None
    low: float
    high: float
    p_value: float


@dataclass(frozen=True)
class ListeningStats:
    """Outcome of a listening test.

    Attributes:
        systems: the two names, sorted.
        answers: count.
        total: all answers.
        listeners: name -> score of that listener's answers.
        clips: score over clips: each counts once, for the system that most listeners preferred.
        left: how often the left sound was chosen among the choices, and the test of equal chances:
            far from one half, places were chosen and not sounds.
    """

    systems: tuple[str, str]
    answers: int
    total: Score
    listeners: dict[str, Score]
    clips: Score
    left: Score

    def to_markdown(self) -> str:
        """Write the outcome as Markdown."""
        one, two = self.systems
        header = ["answers of", one, two, "no difference", f"share of {one}", "95 %", "p"]
        rows = [_line(name, score) for name, score in self._lines()]
        told = (
            "Share: wins without ties, with Wilson's interval. p: two-sided binomial test against "
            "equal chances, ties left out."
        )
        return "\n\n".join([markdown_table(header, rows), told, *self._remarks()]) + "\n"

    def _lines(self) -> Iterable[tuple[str, Score]]:
        yield f"all {len(self.listeners)} listeners", self.total
        yield from self.listeners.items()
        if len(self.listeners) > 1:
            yield "clips, by majority", self.clips

    def _remarks(self) -> list[str]:
        remarks: list[str] = []
        if len(self.listeners) > 1:
            remarks.append(
                "Answers of several listeners about one clip are not independent: the line over "
                "clips is the careful one."
            )
        left, right = self.left.wins
        if self.left.p_value < 0.05:
            remarks.append(
                f"Places matter: the left sound was chosen {left} times, the right one {right} "
                f"times (p = {self.left.p_value:.3g})."
            )
        return remarks


def read_answers(paths: Sequence[str | Path]) -> list[Answer]:
    """Read files that listening pages gave.

    Raises:
        InputError: no file, unreadable, missing columns, faulty rows (the first ten are named), or
            the same trial of the same listener and page twice.
    """
    if not paths:
        raise InputError("no file of answers is given; needed is at least one CSV file")
    answers: list[Answer] = []
    faults: list[str] = []
    seen: set[tuple[str, str, str]] = set()
    for path in map(Path, paths):
        for number, row in _rows(path):
            fault = _fault(row)
            key = (row["page"] or "", row["listener"] or "", row["clip"] or "")
            if fault is None and key in seen:
                fault = f"listener {key[1]!r} answers clip {key[2]!r} of page {key[0]} twice"
            if fault is not None:
                faults.append(f"{path}, line {number}: {fault}")
                continue
            seen.add(key)
            answers.append(Answer(**{name: row[name] for name in Answer.__dataclass_fields__}))
    if faults:
        raise InputError(f"{len(faults)} faulty rows: {'; '.join(faults[:SHOWN_FAULTS])}")
    if not answers:
        raise InputError(f"{', '.join(map(str, paths))}: no answers")
    return answers


def _rows(path: Path) -> list[tuple[int, dict[str, str]]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"can't read {path}: {error}") from None
    table = csv.DictReader(io.StringIO(text, newline=""))
    missing = [name for name in COLUMNS if name not in (table.fieldnames or [])]
    if missing:
        raise InputError(f"{path} has no column {', '.join(missing)}: not from a listening page")
    return list(enumerate(table, start=2))


def _fault(row: dict[str, str]) -> str | None:
    if any(not row[name] for name in COLUMNS):
        return "a cell is empty"
    if row["choice"] not in CHOICES:
        return f"choice is {row['choice']!r}; allowed: {', '.join(CHOICES)}"
    expected = TIE if row["choice"] == TIE else row[row["choice"]]
    if row["winner"] != expected:
        return f"choice {row['choice']!r} means {expected!r}, but winner is {row['winner']!r}"
    return None


def listening_stats(answers: Sequence[Answer]) -> ListeningStats:
    """Count wins and ties and test them.

    Raises:
        InputError: no answers, or not exactly two systems in all of them.
    """
    systems = sorted({name for answer in answers for name in (answer.left, answer.right)})
    if len(systems) != 2:
        raise InputError(
            f"the answers are about {len(systems)} systems ({', '.join(systems)}); allowed: 2 - "
            "evaluate each pair of systems alone"
        )
    one, two = systems
    by_listener: dict[str, list[Answer]] = {}
    by_clip: dict[str, list[Answer]] = {}
    for answer in answers:
        by_listener.setdefault(answer.listener, []).append(answer)
        by_clip.setdefault(answer.clip, []).append(answer)
    places = Counter(answer.choice for answer in answers)
    return ListeningStats(
        systems=(one, two),
        answers=len(answers),
        total=_score((a.winner for a in answers), one, two),
        listeners={
            name: _score((a.winner for a in theirs), one, two)
            for name, theirs in sorted(by_listener.items())
        },
        clips=_score((_majority(theirs, one, two) for theirs in by_clip.values()), one, two),
        left=score(places["left"], places["right"], places[TIE]),
    )


def score(first: int, second: int, ties: int) -> Score:
    """Make a score from counts; raises `InputError` for negative ones."""
    for name, count in (("first", first), ("second", second), ("ties", ties)):
        check_range(name, count, 0, math.inf)
    total = first + second
    low, high = wilson_interval(first, total) if total else (0.0, 1.0)
    share = first / total if total else None
    return Score((first, second), ties, share, low, high, binomial_test(first, total))


def binomial_test(wins: int, count: int) -> float:
    """Two-sided exact test that both sides win with probability one half: the p value.

    Source: Conover 1999, Practical Nonparametric Statistics, section 3.1.
    """
    extreme = max(wins, count - wins)
    tail = sum(math.comb(count, k) for k in range(extreme, count + 1))
    return min(1.0, 2 * tail / 2**count)


def _score(winners: Iterable[str], one: str, two: str) -> Score:
    counts = Counter(winners)
    return score(counts[one], counts[two], counts[TIE])


def _majority(answers: Sequence[Answer], one: str, two: str) -> str:
    counts = Counter(answer.winner for answer in answers)
    if counts[one] == counts[two]:
        return TIE
    return one if counts[one] > counts[two] else two


def _line(name: str, found: Score) -> list[str]:
    share = "–" if found.share is None else f"{100 * found.share:.0f} %"
    ends = f"{100 * found.low:.0f} to {100 * found.high:.0f} %" if found.share is not None else "–"
    counts = [str(count) for count in (*found.wins, found.ties)]
    return [name, *counts, share, ends, f"{found.p_value:.3g}"]
