"""Charts as SVG text: no script, no dependency, colours from the page's style."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import NamedTuple

WIDTH, HEIGHT = 640, 240
LEFT, RIGHT, TOP, BOTTOM = 56, 16, 12, 32
SERIES = 6  # classes s0 to s5 of the style sheet


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


def line_chart(series: Mapping[str, Sequence[tuple[float, float]]], *, title: str, x_label: str) -> str:
    """Lines of (x, y) points; points that are not finite leave a gap."""
    points = [point for line in series.values() for point in line if math.isfinite(point[1])]
    if not points:
        return ""
    xs, ys = [x for x, _ in points], [y for _, y in points]
    x = Scale(min(xs), max(xs), LEFT, WIDTH - RIGHT)
    y = Scale(min(0.0, *ys), max(0.0, *ys), HEIGHT - BOTTOM, TOP)
    parts = [_grid(y), *(_x_tick(x, value) for value in ticks(x.low, x.high))]
    for place, (_, line) in enumerate(series.items()):
        path = " ".join(f"{x(a):.1f},{y(b):.1f}" for a, b in line if math.isfinite(b))
        parts.append(f'<polyline class="line s{place % SERIES}" points="{path}"/>')
    parts.append(f'<text class="label" x="{WIDTH - RIGHT}" y="{HEIGHT - 4}" text-anchor="end">{escape(x_label)}</text>')
    return _figure(parts, HEIGHT, title)


class Dot(NamedTuple):
    """One value with its interval (None without one), and the series it belongs to."""

    name: str
    value: float
    low: float | None
    high: float | None


def dot_chart(rows: Sequence[tuple[str, Sequence[Dot]]], order: Sequence[str], *, title: str) -> str:
    """One row for each metric on a scale from 0 to 1; a dot and an interval for each model."""
    gap, name_width = 15, 190
    x = Scale(0.0, 1.0, name_width, WIDTH - RIGHT)
    parts, top = [], TOP + 4.0
    for name, dots in rows:
        parts.append(f'<text class="label" x="0" y="{top + 4:.1f}">{escape(name)}</text>')
        for dot in dots:
            if math.isfinite(dot.value):
                parts.append(_dot(dot, x, top, order.index(dot.name) % SERIES))
            top += gap
        top += 8
    height = top + 18
    axis = [
        f'<line class="grid" x1="{x(value):.1f}" x2="{x(value):.1f}" y1="4" y2="{top:.1f}"/>'
        f'<text class="label" x="{x(value):.1f}" y="{top + 14:.1f}" text-anchor="middle">{number(value)}</text>'
        for value in ticks(0.0, 1.0, 6)
    ]
    return _figure([*axis, *parts], height, title)


def _dot(dot: Dot, x: Scale, top: float, place: int) -> str:
    parts = []
    if dot.low is not None and dot.high is not None and math.isfinite(dot.low) and math.isfinite(dot.high):
        parts.append(
            f'<line class="line s{place}" x1="{x(dot.low):.1f}" x2="{x(dot.high):.1f}" y1="{top:.1f}" y2="{top:.1f}"/>'
        )
    tip = f"{dot.name}: {number(dot.value)}"
    centre = f'cx="{x(dot.value):.1f}" cy="{top:.1f}"'
    parts.append(f'<circle class="dot s{place}" {centre} r="4.5"><title>{escape(tip)}</title></circle>')
    return "".join(parts)


def _grid(y: Scale) -> str:
    return "".join(
        f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(value):.1f}" y2="{y(value):.1f}"/>'
        f'<text class="label" x="{LEFT - 6}" y="{y(value) + 4:.1f}" text-anchor="end">{number(value)}</text>'
        for value in ticks(y.low, y.high)
    )


def _x_tick(x: Scale, value: float) -> str:
    return (
        f'<text class="label" x="{x(value):.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{number(value)}</text>'
    )


def _figure(parts: Sequence[str], height: float, title: str) -> str:
    return (
        f'<svg viewBox="0 0 {WIDTH} {height:.0f}" role="img" aria-label="{escape(title)}">'
        f"<title>{escape(title)}</title>{''.join(parts)}</svg>"
    )
