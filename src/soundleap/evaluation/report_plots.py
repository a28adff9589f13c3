"""Plots as inline SVG, drawn without a plotting library: they scale, follow dark mode and are text.

The only kind is a value against the effort for it, with intervals and the Pareto front: the systems
that no other one beats in both.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from soundleap.evaluation.report_page import escape
from soundleap.evaluation.report_values import number

WIDTH, HEIGHT = 560, 340
LEFT, RIGHT, TOP, BOTTOM = 64, 16, 16, 52
COLOURS = 6
LETTER = 6.6
"""Width of a letter of the labels, about."""


@dataclass(frozen=True)
class Point:
    """A system in a plot.

    Attributes:
        label: its name.
        x: effort, above 0.
        y: value.
        low: lower end of its interval, or None.
        high: upper end.
    """

    label: str
    x: float
    y: float
    low: float | None = None
    high: float | None = None


def pareto_front(points: Sequence[Point], better: str) -> list[int]:
    """List the positions of points that no other one beats in effort and value, by effort.

    Args:
        points: the systems; less effort is better.
        better: "lower" or "higher" for the value.
    """
    sign = 1 if better == "lower" else -1
    order = sorted(range(len(points)), key=lambda i: (points[i].x, sign * points[i].y))
    front: list[int] = []
    for i in order:
        if not front or sign * points[i].y < sign * points[front[-1]].y:
            front.append(i)
    return front


def scatter(points: Sequence[Point], *, x_name: str, y_name: str, better: str) -> str:
    """Draw values against effort (logarithmic), as an `<svg>` element with a text alternative.

    Args:
        points: at least one.
        x_name: name of the effort.
        y_name: name of the value.
        better: "lower" or "higher" for the value.
    """
    frame = _Frame.around(points)
    front = pareto_front(points, better)
    told = "; ".join(f"{p.label}: {number(p.x)}, {number(p.y)}" for p in points)
    title = f"{y_name} against {x_name}"
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}" '
        'font-family="system-ui, sans-serif" font-size="12" fill="currentColor">',
        f"<title>{escape(title)}</title><desc>{escape(told)}</desc>",
        *_grid(frame, x_name, f"{y_name} ({better} is better)"),
        _front_line(frame, [points[i] for i in front]),
        *(_mark(frame, p, i) for i, p in enumerate(points)),
        *_labels(frame, points),
        "</svg>",
    ]
    return "\n".join(part for part in parts if part)


@dataclass(frozen=True)
class _Frame:
    """Ranges of the axes; x is logarithmic."""

    x_low: float
    x_high: float
    y_low: float
    y_high: float

    @classmethod
    def around(cls, points: Sequence[Point]) -> _Frame:
        xs = [math.log10(p.x) for p in points]
        ys = [v for p in points for v in (p.y, p.low, p.high) if v is not None]
        x_pad = max(0.12, 0.08 * (max(xs) - min(xs)))
        y_pad = max(0.12 * (max(ys) - min(ys)), 0.02 * max(map(abs, ys)), 1e-9)
        return cls(min(xs) - x_pad, max(xs) + 2 * x_pad, min(ys) - y_pad, max(ys) + y_pad)

    def x(self, value: float) -> float:
        share = (math.log10(value) - self.x_low) / (self.x_high - self.x_low)
        return LEFT + share * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        share = (value - self.y_low) / (self.y_high - self.y_low)
        return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)


def _grid(frame: _Frame, x_name: str, y_name: str) -> list[str]:
    bottom = HEIGHT - BOTTOM
    parts = ['<g stroke="currentColor" stroke-opacity="0.15">']
    parts += [_line(LEFT, frame.y(v), WIDTH - RIGHT, frame.y(v)) for v in _y_ticks(frame)]
    parts += [_line(frame.x(v), TOP, frame.x(v), bottom) for v in _x_ticks(frame)]
    parts.append("</g>")
    for value in _y_ticks(frame):
        parts.append(_text(LEFT - 8, frame.y(value) + 4, _tick(value), "end"))
    for value in _x_ticks(frame):
        parts.append(_text(frame.x(value), bottom + 18, _tick(value), "middle"))
    middle = (TOP + bottom) / 2
    parts.append(_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 12, x_name, "middle"))
    parts.append(
        f'<text transform="translate(14 {middle:.1f}) rotate(-90)" text-anchor="middle">'
        f"{escape(y_name)}</text>"
    )
    return parts


def _x_ticks(frame: _Frame) -> list[float]:
    powers = range(math.floor(frame.x_low), math.ceil(frame.x_high) + 1)
    for factors in ((1.0,), (1.0, 2.0, 5.0), (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0)):
        ticks = [f * 10.0**p for p in powers for f in factors]
        inside = [t for t in ticks if frame.x_low <= math.log10(t) <= frame.x_high]
        if len(inside) >= 3:
            break
    return inside


def _y_ticks(frame: _Frame) -> list[float]:
    size = frame.y_high - frame.y_low
    unit = 10.0 ** math.floor(math.log10(size))
    step = next(unit * f for f in (0.1, 0.2, 0.5, 1.0, 2.0, 5.0) if size / (unit * f) <= 7)
    first = math.ceil(frame.y_low / step)
    return [step * i for i in range(first, math.floor(frame.y_high / step) + 1)]


def _tick(value: float) -> str:
    return f"{value:.4g}"


def _front_line(frame: _Frame, points: Sequence[Point]) -> str:
    if len(points) < 2:
        return ""
    places = " ".join(f"{frame.x(p.x):.1f},{frame.y(p.y):.1f}" for p in points)
    return (
        f'<polyline points="{places}" fill="none" stroke="currentColor" stroke-opacity="0.5" '
        'stroke-dasharray="5 4"/>'
    )


def _mark(frame: _Frame, point: Point, index: int) -> str:
    x, y = frame.x(point.x), frame.y(point.y)
    colour = f"var(--s{index % COLOURS})"
    bar = ""
    if point.low is not None and point.high is not None:
        low, high = frame.y(point.low), frame.y(point.high)
        lines = (
            _line(x, low, x, high),
            _line(x - 4, low, x + 4, low),
            _line(x - 4, high, x + 4, high),
        )
        bar = f'<g stroke="{colour}" stroke-width="1.5">{"".join(lines)}</g>'
    shape = _SHAPES[index // COLOURS % len(_SHAPES)].format(x=x, y=y)
    return f'<g fill="{colour}">{bar}{shape}<title>{escape(_told(point))}</title></g>'


_SHAPES = (
    '<circle cx="{x:.1f}" cy="{y:.1f}" r="5"/>',
    '<rect x="{x:.1f}" y="{y:.1f}" width="9" height="9" transform="translate(-4.5 -4.5)"/>',
    '<path d="M0 -6 L6 5 L-6 5 Z" transform="translate({x:.1f} {y:.1f})"/>',
)


def _told(point: Point) -> str:
    ends = ""
    if point.low is not None and point.high is not None:
        ends = f" ({number(point.low)} to {number(point.high)})"
    return f"{point.label}: {number(point.x)}, {number(point.y)}{ends}"


_Box = tuple[float, float, float, float]


def _labels(frame: _Frame, points: Sequence[Point]) -> list[str]:
    """Write each name beside its point, where it covers least."""
    taken: list[_Box] = []
    for p in points:
        x, y = frame.x(p.x), frame.y(p.y)
        low, high = (
            frame.y(p.y if p.low is None else p.low),
            frame.y(p.y if p.high is None else p.high),
        )
        taken += [(x - 6, y - 6, x + 6, y + 6), (x - 4, min(low, high), x + 4, max(low, high))]
    texts: list[str] = []
    for index, point in enumerate(points):
        width = LETTER * len(point.label)
        box, place = min(
            _places(frame.x(point.x), frame.y(point.y), width),
            key=lambda option: _cost(option[0], taken),
        )
        taken.append(box)
        texts.append(_text(*place, point.label, "start", f"var(--s{index % COLOURS})"))
    return texts


def _places(x: float, y: float, width: float) -> list[tuple[_Box, tuple[float, float]]]:
    """List boxes beside a point with where their text starts."""
    lefts = (x + 10, x - 10 - width, x + 8, x - 8 - width, x - width / 2, x - width / 2)
    bases = (y + 4, y + 4, y - 8, y - 8, y - 12, y + 22)
    found: list[tuple[_Box, tuple[float, float]]] = []
    for shift in (0, 14, -14, 28, -28):
        for left, base in zip(lefts, bases, strict=True):
            line = base + shift
            found.append(((left, line - 11, left + width, line + 3), (left, line)))
    return found


def _cost(box: _Box, taken: Sequence[_Box]) -> float:
    covered = sum(_overlap(box, other) for other in taken)
    inside = _overlap(box, (LEFT, TOP, WIDTH, HEIGHT - BOTTOM))
    return covered + 3 * ((box[2] - box[0]) * (box[3] - box[1]) - inside)


def _overlap(one: _Box, two: _Box) -> float:
    width = min(one[2], two[2]) - max(one[0], two[0])
    height = min(one[3], two[3]) - max(one[1], two[1])
    return max(0.0, width) * max(0.0, height)


def _line(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _text(x: float, y: float, text: str, anchor: str, colour: str = "currentColor") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}" '
        'stroke="var(--paper)" stroke-width="3" paint-order="stroke">'
        f"{escape(text)}</text>"
    )
