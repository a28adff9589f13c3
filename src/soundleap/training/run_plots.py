"""Curves over the iterations as inline SVG, in the page's own colours."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from html import escape

WIDTH, HEIGHT = 420, 170
LEFT, RIGHT, TOP, BOTTOM = 52, 8, 10, 22
MOST_POINTS = 400
"""A longer curve is drawn by the means of as many stretches."""
LOG_FROM = 20.0
"""Ratio of the largest to the smallest value from which the axis is logarithmic."""

Points = Sequence[tuple[float, float]]


def curve(name: str, points: Points, *, smooth: bool = True) -> str:
    """Draw one quantity as a figure.

    Args:
        name: of the quantity.
        points: at least one, (iteration, finite value), by iteration.
        smooth: whether to draw a smoothed curve over the values.
    """
    points = thinned(points)
    values = [y for _, y in points]
    low, high = min(values), max(values)
    logarithmic = low > 0 and high / low > LOG_FROM
    scale = math.log10 if logarithmic else float
    x_of = _axis(points[0][0], points[-1][0], LEFT, WIDTH - RIGHT)
    y_of = _axis(scale(low), scale(high), HEIGHT - BOTTOM, TOP)
    lines = [_line("raw" if smooth else "smooth", [(x_of(x), y_of(scale(y))) for x, y in points])]
    if smooth:
        level = smoothed(values)
        places = [(x_of(x), y_of(scale(y))) for (x, _), y in zip(points, level, strict=True)]
        lines.append(_line("smooth", places))
    box = f"M{LEFT} {TOP}V{HEIGHT - BOTTOM}H{WIDTH - RIGHT}"
    last = f"{points[-1][1]:.4g}"
    said = f"{name}: last {last}, lowest {low:.4g}, highest {high:.4g}"
    return (
        f"<figure><figcaption>{escape(name)} <span class='quiet'>last {last}"
        f"{', logarithmic' if logarithmic else ''}</span></figcaption>"
        f"<svg viewBox='0 0 {WIDTH} {HEIGHT}' role='img' aria-label='{escape(said)}'>"
        f"<path class='axis' d='{box}'/>{''.join(lines)}"
        f"{_text(LEFT - 6, TOP + 8, f'{high:.3g}', 'end')}"
        f"{_text(LEFT - 6, HEIGHT - BOTTOM, f'{low:.3g}', 'end')}"
        f"{_text(LEFT, HEIGHT - 6, f'{points[0][0]:,.0f}', 'start')}"
        f"{_text(WIDTH - RIGHT, HEIGHT - 6, f'{points[-1][0]:,.0f}', 'end')}</svg></figure>"
    )


def thinned(points: Points) -> list[tuple[float, float]]:
    """Return at most `MOST_POINTS` points: means over stretches of equal numbers of points."""
    size = -(-len(points) // MOST_POINTS)
    parts = [points[i : i + size] for i in range(0, len(points), size)]
    return [(part[-1][0], sum(y for _, y in part) / len(part)) for part in parts]


def smoothed(values: Sequence[float]) -> list[float]:
    """Return running means with a forgetting factor of 0.9, unbiased from the first value on."""
    level, weight, kept = 0.0, 0.0, list[float]()
    for value in values:
        level, weight = 0.9 * level + 0.1 * value, 0.9 * weight + 0.1
        kept.append(level / weight)
    return kept


def _axis(low: float, high: float, start: float, end: float) -> Callable[[float], float]:
    """Map a range of values to a range of places; a single value lies in the middle."""
    span = high - low
    return lambda value: start + ((value - low) / span if span else 0.5) * (end - start)


def _line(kind: str, places: Sequence[tuple[float, float]]) -> str:
    if len(places) == 1:
        x, y = places[0]
        return f"<circle class='{kind}' cx='{x:.1f}' cy='{y:.1f}' r='2'/>"
    path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
    return f"<path class='{kind}' d='{path}'/>"


def _text(x: float, y: float, words: str, anchor: str) -> str:
    return f"<text x='{x}' y='{y}' text-anchor='{anchor}'>{escape(words)}</text>"
