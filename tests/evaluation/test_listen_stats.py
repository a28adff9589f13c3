from __future__ import annotations

import math

import pytest
from scipy.stats import binomtest

from soundleap.errors import InputError
from soundleap.evaluation.listen_stats import (
    Answer,
    binomial_test,
    listening_stats,
    read_answers,
    score,
)


@pytest.mark.parametrize(("wins", "count"), [(0, 0), (0, 1), (3, 3), (5, 10), (2, 17), (70, 101)])
def test_binomial_test_and_interval_agree_with_scipy(wins, count):
    if count == 0:
        assert binomial_test(0, 0) == 1.0
        return
    other = binomtest(wins, count)
    assert math.isclose(binomial_test(wins, count), other.pvalue, rel_tol=1e-12)
    ours = score(wins, count - wins, 5)
    interval = other.proportion_ci(method="wilson")
    assert math.isclose(ours.low, interval.low, abs_tol=1e-6)
    assert math.isclose(ours.high, interval.high, abs_tol=1e-6)
    assert ours.share == wins / count


def test_closed_forms():
    assert binomial_test(6, 6) == 2 / 64
    assert binomial_test(3, 6) == 1.0
    assert binomial_test(1, 3) == 1.0
    assert (score(0, 0, 4).share, score(0, 0, 4).low, score(0, 0, 4).high) == (None, 0.0, 1.0)
    with pytest.raises(InputError, match="ties is -1"):
        score(1, 1, -1)


def answer(listener, clip, winner, swapped=False):
    left, right = ("old", "new") if swapped else ("new", "old")
    choice = {left: "left", right: "right", "tie": "tie"}[winner]
    return Answer("p", listener, clip, left, right, choice, winner)


def test_scores_of_all_of_listeners_and_of_clips():
    stats = listening_stats(
        [
            answer("ann", "a", "new"),
            answer("ann", "b", "new", swapped=True),
            answer("ann", "c", "tie"),
            answer("bob", "a", "new"),
            answer("bob", "b", "old"),
            answer("bob", "c", "old"),
        ]
    )
    assert stats.systems == ("new", "old")
    assert (stats.total.wins, stats.total.ties) == ((3, 2), 1)
    assert {n: s.wins for n, s in stats.listeners.items()} == {"ann": (2, 0), "bob": (1, 2)}
    # a: both say new; b: one each; c: one says old
    assert (stats.clips.wins, stats.clips.ties) == ((1, 1), 1)
    assert stats.left.wins == (2, 3)
    text = stats.to_markdown()
    assert "| all 2 listeners | 3 | 2 | 1 | 60 % |" in text
    assert "clips, by majority" in text
    assert "not independent" in text
    assert "Places matter" not in text


def test_places_that_win_whatever_is_there_are_told():
    stats = listening_stats([answer("ann", str(i), ("new", "old")[i % 2], i % 2) for i in range(8)])
    assert stats.total.wins == (4, 4)
    assert "left sound was chosen 8 times" in stats.to_markdown()


HEAD = "page,listener,trial,clip,left,right,choice,winner,seconds\r\n"


def test_answers_are_read_as_the_page_writes_them(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(HEAD + '"p","Zoë, ""x""",1,"c|1",new,old,right,old,1.5\r\n', newline="")
    assert read_answers([path]) == [Answer("p", 'Zoë, "x"', "c|1", "new", "old", "right", "old")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n", "no column page, listener"),
        (HEAD, "no answers"),
        (HEAD + "p,ann,1,c,new,old,middle,new,1\n", "line 2: choice is 'middle'"),
        (HEAD + "p,ann,1,c,new,old,left,old,1\n", "choice 'left' means 'new'"),
        (HEAD + "p,ann,1,c,new,old,tie,new,1\n", "choice 'tie' means 'tie'"),
        (HEAD + "p,,1,c,new,old,left,new,1\n", "a cell is empty"),
        (HEAD + "p,ann,1\n", "a cell is empty"),
        (HEAD + "p,ann,1,c,new,old,left,new,1\n" * 2, "answers clip 'c' of page p twice"),
    ],
)
def test_faulty_answers_are_refused(tmp_path, text, message):
    path = tmp_path / "a.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_answers([path])


def test_missing_files_and_other_systems_are_refused(tmp_path):
    with pytest.raises(InputError, match="at least one CSV"):
        read_answers([])
    with pytest.raises(InputError, match="can't read"):
        read_answers([tmp_path / "nowhere.csv"])
    third = Answer("p", "ann", "z", "new", "third", "left", "new")
    with pytest.raises(InputError, match="3 systems"):
        listening_stats([answer("ann", "a", "old"), third])
