"""The kinds of charts of a report. Each returns SVG text, or nothing where there is nothing to draw."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from typing import NamedTuple

from expunge.reports.reading import Value
from expunge.reports.svg import (
    BOTTOM,
    RADIUS,
    RIGHT,
    WIDTH,
    Axis,
    Point,
    Scale,
    axes,
    box,
    figure,
    line,
    marker,
    number,
    place_of,
    polyline,
    text,
    ticks,
)

HEIGHT = 300
_NAMES = 152  # pixels left of a dot chart for the names of its rows
_REMARKS = 66  # and right of it for remarks
_NAME_LETTERS = 23  # that fit there
_LINE = 14  # pixels from one line of a name to the next
_DOT = 8  # from one model to the next
_LETTER = 7.7  # mean width of a letter of a bold label, pixels


class Dot(NamedTuple):
    """One value of one model."""

    place: int
    name: str
    value: Value

    @property
    def tip(self) -> str:
        """What shows while the pointer rests on it."""
        value = self.value
        interval = "" if value.low is None or value.high is None else f" ({number(value.low)} to {number(value.high)})"
        return f"{self.name}: {number(value.value)}{interval}"


class Row(NamedTuple):
    """One metric of a dot chart, with a word at its right side."""

    name: str
    dots: Sequence[Dot]
    remark: str = ""


class Curve(NamedTuple):
    """A line, its class of the style sheet, and whether its corners carry the marker of a model."""

    points: Sequence[Point]
    style: str
    marked: int | None = None


class Spot(NamedTuple):
    """A model as a point with an interval on both axes."""

    dot: Dot
    y: Value


class Region(NamedTuple):
    """A rectangle in values."""

    x: Point
    y: Point


def dots_of(roles: Sequence[str], values: Sequence[Value]) -> list[Dot]:
    """One dot for each model that has a number."""
    pairs = zip(roles, values, strict=True)
    return [Dot(place_of(role, roles), role, value) for role, value in pairs if value.known]


def dot_chart(rows: Sequence[Row], axis: Axis, *, title: str, band: Point | None = None) -> str:
    """One row for each metric, its name at the left; a marker and an interval for each model.

    Args:
        rows: metrics; those without a number keep their place.
        axis: of all rows.
        title: what the chart shows.
        band: range of values that is shaded.
    """
    if not any(row.dots for row in rows):
        return ""
    remarks = _REMARKS if any(row.remark for row in rows) else 0
    x = Scale(axis.low, axis.high, _NAMES, WIDTH - RIGHT - remarks)
    parts, top = [], 6.0
    for row in rows:
        drawn, height = _row(row, x, top)
        parts.append(drawn)
        top += height
    back = [] if band is None else [box((x.clipped(band[0]), x.clipped(band[1])), (2, top), "band")]
    for value, mark in axis.ticks:
        back += [line(x(value), 2, x(value), top, "grid"), text(x(value), top + 15, mark, anchor="middle")]
    name = text(WIDTH - RIGHT, top + 33, axis.label, anchor="end", style="name")
    return figure([*back, *parts, name], top + 40, title)


def _row(row: Row, x: Scale, top: float) -> tuple[str, float]:
    """Returns what is drawn of a row, and its height: that of its name or of its models, and a gap."""
    names = textwrap.wrap(row.name, _NAME_LETTERS) or [""]
    inside = max(_LINE * len(names), _DOT * len(row.dots) + 4)
    middle = top + inside / 2
    base = middle - _LINE * len(names) / 2 + 11  # of the first line, so that the name stands in the middle of the row
    parts = [
        text(0, base + _LINE * place, part, style="row" if place == 0 else "label") for place, part in enumerate(names)
    ]
    if row.remark:
        parts.append(text(WIDTH, middle + 4, row.remark, anchor="end", style=f"remark {row.remark}"))
    first = middle - _DOT * (len(row.dots) - 1) / 2
    for place, dot in enumerate(row.dots):
        y = first + _DOT * place
        parts.append(_interval(dot, x, y) + marker(dot.place, x.clipped(dot.value.value), y, dot.tip))
    parts.append(line(0, top + inside + 5, WIDTH, top + inside + 5, "rule"))
    return "".join(parts), inside + 11


def _interval(dot: Dot, x: Scale, y: float) -> str:
    if dot.value.low is None or dot.value.high is None:
        return ""
    return line(x.clipped(dot.value.low), y, x.clipped(dot.value.high), y, f"whisker s{dot.place}")


def xy_chart(curves: Sequence[Curve], x_axis: Axis, y_axis: Axis, *, title: str, height: float = HEIGHT) -> str:
    """Lines of (x, y) points; points that are not finite are left out."""
    drawn = [curve._replace(points=_finite(curve.points)) for curve in curves]
    if not any(curve.points for curve in drawn):
        return ""
    x, y, grid = axes(x_axis, y_axis, height)
    parts = [grid]
    for curve in drawn:
        pixels = [(x.clipped(a), y.clipped(b)) for a, b in curve.points]
        if pixels:
            parts.append(polyline(pixels, curve.style))
        if curve.marked is not None:
            parts += [marker(curve.marked, *pixel) for pixel in pixels]
    return figure(parts, height, title)


def _finite(points: Sequence[Point]) -> list[Point]:
    return [point for point in points if math.isfinite(point[0]) and math.isfinite(point[1])]


def plane_chart(
    spots: Sequence[Spot],
    x_axis: Axis,
    y_axis: Axis,
    *,
    title: str,
    region: Region | None = None,
    note: str = "",
    curves: Sequence[Curve] = (),
    level: float | None = None,
) -> str:
    """Models as labelled points with their intervals, and lines behind the points.

    Args:
        spots: models; those without both numbers are left out.
        x_axis: of the first number.
        y_axis: of the second.
        title: what the chart shows.
        region: a shaded rectangle.
        note: written into the region, or at the level.
        curves: lines behind the points; no name covers a marker of theirs.
        level: a dotted line across the chart at this second number.
    """
    shown = [spot for spot in spots if spot.dot.value.known and spot.y.known]
    if not shown:
        return ""
    height = HEIGHT + 40
    x, y, grid = axes(x_axis, y_axis, height)
    parts = [grid]
    if region is not None:
        sides = [(x.clipped(a), y.clipped(b)) for a, b in zip(region.x, region.y, strict=True)]
        parts.insert(0, box((sides[0][0], sides[1][0]), (sides[0][1], sides[1][1]), "band"))
        at_left = sides[0][0] > WIDTH / 2
        edge = sides[0][0] - 6 if at_left else sides[1][0] + 6
        inside = region.x == (x.low, x.high)  # across the whole chart there is no side
        place = (x.start + 6, "start") if inside else (edge, "end" if at_left else "start")
        parts.append(text(place[0], min(sides[0][1], sides[1][1]) + 13, note, anchor=place[1], style="note"))
    if level is not None:
        parts.append(line(x.start, y.clipped(level), x.stop, y.clipped(level), "diagonal"))
        parts.append(text(x.stop - 2, y.clipped(level) + 14, note, anchor="end", style="note"))
    marked: list[Point] = []
    for curve in curves:
        pixels = [(x.clipped(a), y.clipped(b)) for a, b in curve.points]
        parts.append(polyline(pixels, curve.style))
        if curve.marked is not None:
            parts += [marker(curve.marked, *pixel) for pixel in pixels]
            marked += pixels
    centres = [(x.clipped(spot.dot.value.value), y.clipped(spot.y.value)) for spot in shown]
    for spot, (across, down) in zip(shown, centres, strict=True):
        parts.append(_interval(spot.dot, x, down))
        if spot.y.low is not None and spot.y.high is not None:
            style = f"whisker s{spot.dot.place}"
            parts.append(line(across, y.clipped(spot.y.low), across, y.clipped(spot.y.high), style))
    for spot, (across, down) in zip(shown, centres, strict=True):
        parts.append(marker(spot.dot.place, across, down, f"{spot.dot.tip}, utility {number(spot.y.value)}"))
    names = [spot.dot.name for spot in shown]
    labels = place_labels([*centres, *marked], [*names, *("" for _ in marked)], height - BOTTOM)
    for name, (across, down) in zip(names, labels[: len(names)], strict=True):
        parts.append(text(across, down, name, style="point"))
    return figure(parts, height, title)


def place_labels(centres: Sequence[Point], names: Sequence[str], floor: float) -> list[Point]:
    """Returns the left end of the base line of each point's name, such that no name covers a point or a name.

    The first place that is free of right, left, above, below and further below is taken, else the last.
    """
    taken = [(x - 2 * RADIUS, y - 2 * RADIUS, x + 2 * RADIUS, y + 2 * RADIUS) for x, y in centres]
    found: list[Point] = []
    for (x, y), name in zip(centres, names, strict=True):
        width = _LETTER * len(name)
        offsets = [(12, 4), (-12 - width, 4), (-width / 2, -14), (-width / 2, 24)]
        offsets += [(side, down) for down in (40, 56, 72) for side in (-width / 2, 12, -12 - width)]
        spots = [(x + across, y + down) for across, down in offsets]
        best = next((spot for spot in spots if _is_free(spot, width, taken, floor)), spots[-1])
        taken.append(_around(best, width))
        found.append(best)
    return found


def _around(spot: Point, width: float) -> tuple[float, float, float, float]:
    return spot[0], spot[1] - 11, spot[0] + width, spot[1] + 3


def _is_free(spot: Point, width: float, taken: Sequence[tuple[float, float, float, float]], floor: float) -> bool:
    left, top, right, bottom = _around(spot, width)
    inside = left >= 0 and right <= WIDTH and top >= 0 and bottom <= floor
    return inside and all(right < a or left > c or bottom < b or top > d for a, b, c, d in taken)


def unit_axis(label: str) -> Axis:
    """From 0 to 1."""
    return Axis.linear(0.0, 1.0, label)


def spread_axis(values: Sequence[float], label: str) -> Axis:
    """From 0, or below it, to beyond the largest value, ending at round numbers."""
    low, high = min(0.0, *values), max(0.0, *values)
    high = high if high > low else low + 1.0
    marks = ticks(low, high, 6)
    step = marks[1] - marks[0] if len(marks) > 1 else high - low
    low = low if low >= marks[0] else marks[0] - step
    high = high if high <= marks[-1] else marks[-1] + step
    return Axis.linear(low, high, label)
