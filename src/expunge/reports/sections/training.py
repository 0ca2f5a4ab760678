"""The terms of the loss over the steps, one panel each: their scales have nothing in common."""

from __future__ import annotations

import math

from expunge.reports.charts import Curve, spread_axis, xy_chart
from expunge.reports.reading import Reading
from expunge.reports.sections.figure import Figure, figures
from expunge.reports.svg import Axis, number
from expunge.reports.words import counted, words

HEIGHT = 220


def charts(reading: Reading) -> list[Figure]:
    """Returns a chart for each term that was logged."""
    curves = reading.record.run["curves"]
    names = dict.fromkeys(name for point in curves for name in point["terms"])
    found = []
    for name in names:
        logged = [(float(point["step"]), point["terms"][name]) for point in curves if name in point["terms"]]
        points = [(step, value) for step, value in logged if value is not None and math.isfinite(value)]
        if points:
            found.append((f"Term {words(name)}", _chart(name, points), _sentence(name, points, len(logged))))
    return figures(*found)


def _chart(name: str, points: list[tuple[float, float]]) -> str:
    x = Axis.linear(points[0][0], points[-1][0], "optimizer step")
    y = spread_axis([value for _, value in points], words(name))
    lines = [Curve(points, "line s2", 2 if len(points) == 1 else None)]
    return xy_chart(lines, x, y, title=f"Term {words(name)} of the loss over the steps", height=HEIGHT)


def _sentence(name: str, points: list[tuple[float, float]], logged: int) -> str:
    lost = logged - len(points)
    missing = f"; not finite at {counted(lost, 'step')}" if lost else ""
    first, last = number(points[0][1]), number(points[-1][1])
    return (
        f"{words(name).capitalize()}: {first} at step {points[0][0]:.0f}, {last} at step {points[-1][0]:.0f}{missing}."
    )
