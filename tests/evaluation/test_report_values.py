from __future__ import annotations

import math

import pytest

from soundleap.evaluation import report_values as values
from soundleap.evaluation.record import ClipRow
from soundleap.evaluation.report_page import escape, flatten, table
from soundleap.evaluation.report_plots import Point, pareto_front, scatter


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (25.5, "25.50"),
        (0.31, "0.3100"),
        (0.0312, "0.0312"),
        (123.456, "123.5"),
        (12345.6, "12346"),
        (-1.5, "-1.500"),
        (1e-5, "1e-05"),
        (math.nan, "nan"),
    ],
)
def test_numbers_have_about_four_digits(value, text):
    assert values.number(value) == text


def test_spread_takes_evenly_spaced_clips():
    rows = [ClipRow("generated", str(i), "f") for i in range(10)]
    assert [row.id for row in values.spread(rows, 4)] == ["1", "3", "6", "8"]
    assert values.spread(rows, 20) == rows
    assert values.spread(rows, 0) == []


def test_effort_is_read_where_it_is_told():
    assert values.steps({"num_inference_steps": 4}) == 4.0
    assert values.steps({"num_inference_steps": "4"}) is None
    assert values.seconds_per_second({"real_time_factor": 0.5}) == 0.5
    assert values.seconds_per_second({"seconds_per_second": 0}) is None
    assert values.seconds_per_second({}) is None


def points(*pairs):
    return [Point(f"p{i}", x, y) for i, (x, y) in enumerate(pairs)]


def test_pareto_front_holds_what_nothing_beats():
    found = points((1, 5.0), (2, 3.0), (3, 4.0), (4, 1.0), (4, 2.0), (2, 3.0))
    assert pareto_front(found, "lower") == [0, 1, 3]
    assert pareto_front(found, "higher") == [0]
    assert pareto_front(found[:1], "lower") == [0]
    # against the definition: strictly better in one, at least as good in the other
    for better, sign in (("lower", 1), ("higher", -1)):
        front = pareto_front(found, better)
        for i, p in enumerate(found):
            beaten = any(
                q.x <= p.x and sign * q.y <= sign * p.y and (q.x, q.y) != (p.x, p.y) for q in found
            )
            twin = any((found[j].x, found[j].y) == (p.x, p.y) for j in front)
            assert (not beaten) == (i in front or twin)


def test_scatter_places_points_on_logarithmic_effort():
    drawn = scatter(points((1, 1.0), (10, 2.0), (100, 3.0)), x_name="x", y_name="y", better="lower")
    circles = [part.split('"')[0] for part in drawn.split('cx="')[1:]]
    first, second, third = map(float, circles)
    assert second - first == pytest.approx(third - second, abs=0.2)
    assert "<desc>p0: 1.000, 1.000; p1: 10.00, 2.000; p2: 100.0, 3.000</desc>" in drawn
    assert "y (lower is better)" in drawn


@pytest.mark.parametrize("pairs", [((1, 1.0),), ((1, 0.0), (1, 0.0)), ((0.001, -1.0), (900, 1e6))])
def test_scatter_draws_any_range(pairs):
    drawn = scatter(points(*pairs), x_name="<x>", y_name="y", better="higher")
    assert "nan" not in drawn
    assert "&lt;x&gt;" in drawn


def test_names_beside_points_do_not_cover_each_other():
    drawn = scatter(
        points(*((1 + i / 100, 1.0) for i in range(4))), x_name="x", y_name="y", better="lower"
    )
    places = set()
    for i in range(4):
        element = drawn.split(f">p{i}</text>")[0].rsplit("<text ", 1)[1]
        places.add(tuple(element.split('"')[1:4:2]))
    assert len(places) == 4


def test_cells_and_values_are_escaped_and_flattened():
    made = table('a "b"', ["<h>"], [["<1>", ("<2>", "best")]], numeric=(1,))
    assert "<h>" not in made
    assert '<td class="best n">&lt;2&gt;</td>' in made
    assert 'aria-label="a &quot;b&quot;"' in made
    assert escape("'<&>\"") == "&#x27;&lt;&amp;&gt;&quot;"
    assert flatten({"a": {"b": 1, "c": [1, "x"]}, "d": None, "e": True, "f": 0.5, "g": []}) == [
        ("a.b", "1"),
        ("a.c", "1, x"),
        ("d", "none"),
        ("e", "yes"),
        ("f", "0.5"),
        ("g", "none"),
    ]
