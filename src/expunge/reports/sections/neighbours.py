"""What was kept of records near the forget set, by distance."""

from __future__ import annotations

import re

from expunge.reports.charts import Curve, xy_chart
from expunge.reports.reading import Reading
from expunge.reports.sections.figure import Figure, figures
from expunge.reports.svg import Axis, number, place_of
from expunge.reports.words import words

_SPLIT = re.compile(r"neighbours_(\d+|far)")


def charts(reading: Reading) -> list[Figure]:
    """Returns the chart of utility by distance; none with fewer than two distances."""
    found = (_SPLIT.fullmatch(split) for split in reading.kept_splits())
    splits = sorted((match.group() for match in found if match), key=_distance)
    kept = {
        role: [
            (float(place), utility.kept.value)
            for place, split in enumerate(splits)
            if (utility := reading.utility_on(split, role)) is not None
        ]
        for role in reading.drawn
    }
    kept = {role: points for role, points in kept.items() if points}
    if len(splits) < 2 or not kept:
        return []
    heights = [height for points in kept.values() for _, height in points]
    marks = [(float(place), words(split).removeprefix("neighbours ")) for place, split in enumerate(splits)]
    x = Axis(-0.3, len(splits) - 0.7, "distance from the forget set", marks)
    y = Axis.linear(min(0.8, int(min(heights) * 10) / 10), max(1.05, *heights), "kept, original = 1")
    places = {role: place_of(role, reading.drawn) for role in kept}
    curves = [Curve(points, f"line s{places[role]}", places[role]) for role, points in kept.items()]
    name = "Neighbours of the forget set"
    return figures((name, xy_chart(curves, x, y, title=f"{name}, kept by distance"), _sentence(reading, kept)))


def _distance(split: str) -> float:
    end = split.removeprefix("neighbours_")
    return float("inf") if end == "far" else float(end)


def _sentence(reading: Reading, kept: dict[str, list[tuple[float, float]]]) -> str:
    points = kept.get(reading.candidate or "", [])
    if len(points) < 2:
        return "The model in question was not read at two distances."
    near, far = points[0][1], points[-1][1]
    return (
        f"The {reading.candidate} model kept {number(near)} of the original's accuracy on the nearest records and "
        f"{number(far)} on the furthest: a locality gap of {number(far - near)}."
    )
