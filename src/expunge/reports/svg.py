"""Marks, scales and axes as SVG text: no script, no dependency, colours from the page's style.

A panel is 460 units wide, shown at about one pixel a unit, so that its text has the size of the page's small text.
A model is told by its marker and by its dashes, not by colour alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import NamedTuple

WIDTH = 460
LEFT, RIGHT, TOP, BOTTOM = 48, 14, 12, 42
RADIUS = 5.0
STYLES = 16  # classes s0 to s15 of the style sheet: six colours, and dashes; each with a shape of its own
PLACES = {"original": 0, "retrained": 1, "unlearned": 2, "policy": 3}
_NEAR = 0.4  # pixels; corners closer than this cannot be told apart
# Corners of the markers around a centre, in radii; place 1 is a circle.
_SHAPES = {
    0: ((-0.85, -0.85), (0.85, -0.85), (0.85, 0.85), (-0.85, 0.85)),
    2: ((0, -1.3), (1.3, 0), (0, 1.3), (-1.3, 0)),
    3: ((0, -1.2), (1.15, 0.9), (-1.15, 0.9)),
    4: ((0, 1.2), (1.15, -0.9), (-1.15, -0.9)),
    5: ((-0.4, -1.2), (0.4, -1.2), (0.4, -0.4), (1.2, -0.4), (1.2, 0.4), (0.4, 0.4),
        (0.4, 1.2), (-0.4, 1.2), (-0.4, 0.4), (-1.2, 0.4), (-1.2, -0.4), (-0.4, -0.4)),
    6: ((-0.9, -1.2), (0.9, -1.2), (-0.9, 1.2), (0.9, 1.2)),  # hourglass
    7: ((0, -1.4), (0.35, -0.35), (1.4, 0), (0.35, 0.35), (0, 1.4), (-0.35, 0.35), (-1.4, 0), (-0.35, -0.35)),
    8: ((-1.2, 0), (0.9, -1.15), (0.9, 1.15)),  # triangles to the left and to the right
    9: ((1.2, 0), (-0.9, -1.15), (-0.9, 1.15)),
    10: ((-1.2, -0.9), (-1.2, 0.9), (1.2, -0.9), (1.2, 0.9)),  # bow tie
    11: ((0, -1.2), (1.15, -0.35), (0.7, 1), (-0.7, 1), (-1.15, -0.35)),  # house
    12: ((-1.2, -0.45), (1.2, -0.45), (1.2, 0.45), (-1.2, 0.45)),  # bars
    13: ((-0.45, -1.3), (0.45, -1.3), (0.45, 1.3), (-0.45, 1.3)),
    14: ((-1.2, -1.2), (1.2, 1.2), (-1.2, 1.2)),  # right angles
    15: ((1.2, -1.2), (1.2, 1.2), (-1.2, -1.2)),
}  # fmt: skip
Point = tuple[float, float]


class Scale(NamedTuple):
    """Maps a range of values onto a range of pixels."""

    low: float
    high: float
    start: float
    stop: float

    def __call__(self, value: float) -> float:
        """Returns the pixel of a value; an empty range maps to the middle."""
        if self.high == self.low:
            return (self.start + self.stop) / 2
        return self.start + (value - self.low) / (self.high - self.low) * (self.stop - self.start)

    def clipped(self, value: float) -> float:
        """Returns the pixel of a value, or of the end of the range that it lies beyond."""
        return self(min(max(value, self.low), self.high))


class Axis(NamedTuple):
    """A range of values with what is written beside it and at its ticks."""

    low: float
    high: float
    label: str
    ticks: Sequence[tuple[float, str]]

    @classmethod
    def linear(cls, low: float, high: float, label: str, count: int = 6) -> Axis:
        """Round numbers as ticks."""
        return cls(low, high, label, [(value, number(value)) for value in ticks(low, high, count)])

    @classmethod
    def log(cls, low: float, high: float, label: str) -> Axis:
        """Powers of ten as ticks; ``low`` and ``high`` are decimal logarithms, and so is what is drawn."""
        first, last = math.floor(low), math.ceil(high)
        step = max(1, math.ceil((last - first) / 6))
        marks = [(float(power), number(10.0**power)) for power in range(first, last + 1, step)]
        return cls(float(first), float(last), label, marks)


def place_of(role: str, roles: Sequence[str]) -> int:
    """Number of a model's style: the same in all charts of all reports for the roles every report has."""
    if role in PLACES:
        return PLACES[role]
    used = {PLACES[name] for name in roles if name in PLACES} | {0, 1}
    free = [place for place in range(STYLES) if place not in used]
    return free[[name for name in roles if name not in PLACES].index(role) % len(free)]


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round numbers that cover a range: about ``count`` of them, steps of 1, 2 or 5 times a power of ten."""
    if not high > low:
        return [low]
    raw = (high - low) / max(1, count - 1)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * (1 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(number * step, 12) for number in range(first, last + 1)]


def number(value: float) -> str:
    """Three significant digits, as on an axis."""
    return f"{value:.3g}"


def text(x: float, y: float, content: str, *, anchor: str = "start", style: str = "label") -> str:
    """A line of text; ``y`` is its base line."""
    return f'<text class="{escape(style)}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(content)}</text>'


def line(x1: float, y1: float, x2: float, y2: float, style: str) -> str:
    """A straight line."""
    return f'<line class="{style}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def box(x: Point, y: Point, style: str) -> str:
    """A filled rectangle between two pixels on each axis, in any order."""
    left, right, top, bottom = min(x), max(x), min(y), max(y)
    return (
        f'<rect class="{style}" x="{left:.1f}" y="{top:.1f}" width="{right - left:.1f}" height="{bottom - top:.1f}"/>'
    )


def bar(x: Point, y: Point, tip: str) -> str:
    """A rectangle that stands for a number, with a text that shows while the pointer rests on it."""
    left, right, top, bottom = min(x), max(x), min(y), max(y)
    return (
        f'<rect class="bar" x="{left:.2f}" y="{top:.2f}" width="{right - left:.2f}" height="{bottom - top:.2f}">'
        f"<title>{escape(tip)}</title></rect>"
    )


def marker(place: int, x: float, y: float, tip: str = "") -> str:
    """The mark of a model, with a text that shows while the pointer rests on it."""
    inside = f"<title>{escape(tip)}</title>" if tip else ""
    if place == 1:
        return f'<circle class="mark s1" cx="{x:.1f}" cy="{y:.1f}" r="{RADIUS}">{inside}</circle>'
    corners = " ".join(f"{x + a * RADIUS:.1f},{y + b * RADIUS:.1f}" for a, b in _SHAPES[place])
    return f'<polygon class="mark s{place}" points="{corners}">{inside}</polygon>'


def polyline(points: Sequence[Point], style: str) -> str:
    """A line through pixels; corners too close to tell apart are left out."""
    kept: list[Point] = []
    for number_, point in enumerate(points):
        last = number_ == len(points) - 1
        if not kept or last or max(abs(point[0] - kept[-1][0]), abs(point[1] - kept[-1][1])) >= _NEAR:
            kept.append(point)
    return f'<polyline class="{style}" points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in kept)}"/>'


def axes(x_axis: Axis, y_axis: Axis, height: float) -> tuple[Scale, Scale, str]:
    """Returns the scales of a panel and its grid with the names of both axes."""
    x = Scale(x_axis.low, x_axis.high, LEFT, WIDTH - RIGHT)
    y = Scale(y_axis.low, y_axis.high, height - BOTTOM, TOP + 14)
    parts = [text(0, TOP, y_axis.label, style="name")]
    for value, mark in y_axis.ticks:
        parts += [
            line(LEFT, y(value), WIDTH - RIGHT, y(value), "grid"),
            text(LEFT - 7, y(value) + 4, mark, anchor="end"),
        ]
    for value, mark in x_axis.ticks:
        parts += [
            line(x(value), y.stop, x(value), y.start, "grid"),
            text(x(value), y.start + 17, mark, anchor="middle"),
        ]
    parts.append(text(WIDTH - RIGHT, height - 6, x_axis.label, anchor="end", style="name"))
    return x, y, "".join(parts)


def figure(parts: Sequence[str], height: float, title: str) -> str:
    """The finished panel."""
    return (
        f'<svg viewBox="0 0 {WIDTH} {height:.0f}" role="img" aria-label="{escape(title)}">'
        f"<title>{escape(title)}</title>{''.join(parts)}</svg>"
    )
