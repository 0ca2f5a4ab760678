"""ROC curves of membership inference, on plain and on logarithmic false positive rates."""

from __future__ import annotations

import math
from collections.abc import Sequence

from expunge.functional.statistics import tpr_at_fpr
from expunge.reports.charts import Curve, xy_chart
from expunge.reports.empirical import Point, roc_points
from expunge.reports.reading import Reading, is_membership
from expunge.reports.sections.figure import Figure, figures
from expunge.reports.sections.summary import share, shown
from expunge.reports.svg import Axis, place_of
from expunge.reports.words import model

_RATES = ((0.01, 1000), (0.05, 20), (0.1, 10))  # false positive rate, and non-members below which it says nothing
_DIAGONAL = [(step / 100, step / 100) for step in range(101)]


def charts(reading: Reading) -> list[Figure]:
    """Returns two charts for each attack whose scores the record has."""
    found = []
    for label in filter(is_membership, reading.labels):
        samples = {
            role: (pair[0]["values"], pair[1]["values"])
            for role in reading.drawn
            if len(pair := reading.samples(label, role)) == 2 and pair[0]["values"] and pair[1]["values"]
        }
        if samples:
            name = reading.name(label)
            curves = {role: roc_points(*pair) for role, pair in samples.items()}
            fewest = min(len(pair[1]) for pair in samples.values())
            found.append((f"ROC, {name}", _plain(reading, curves, name), _areas(reading, label, list(samples))))
            found.append(
                (f"ROC, {name}, low rates", _log(reading, curves, name, fewest), _low(reading, samples, fewest))
            )
    return figures(*found)


def _plain(reading: Reading, curves: dict[str, list[Point]], name: str) -> str:
    x, y = Axis.linear(0, 1, "false positive rate"), Axis.linear(0, 1, "true positive rate")
    lines = [Curve(_DIAGONAL, "diagonal"), *_lines(reading, curves)]
    return xy_chart(lines, x, y, title=f"ROC curves of the {name}")


def _log(reading: Reading, curves: dict[str, list[Point]], name: str, fewest: int) -> str:
    """False positive rates below one in all non-members cannot be read, and stand at the left edge."""
    x = Axis.log(math.log10(1 / max(fewest, 2)), 0.0, "false positive rate, logarithmic")
    logs = {role: _steps_on_log(points, x.low) for role, points in curves.items()}
    diagonal = Curve([(math.log10(a), b) for a, b in _DIAGONAL if a > 0], "diagonal")
    lines = [diagonal, *_lines(reading, logs)]
    return xy_chart(lines, x, Axis.linear(0, 1, "true positive rate"), title=f"ROC curves of the {name}, low rates")


def _steps_on_log(points: Sequence[Point], low: float) -> list[Point]:
    """Across first, then up: a straight line between two points would be a curve on this axis."""
    found: list[Point] = []
    for rate, height in points:
        place = math.log10(rate) if rate > 0 else low
        if found:
            found.append((place, found[-1][1]))
        found.append((place, height))
    return found


def _lines(reading: Reading, curves: dict[str, list[Point]]) -> list[Curve]:
    return [Curve(points, f"line s{place_of(role, reading.drawn)}") for role, points in curves.items()]


def _areas(reading: Reading, label: str, roles: Sequence[str]) -> str:
    areas = [f"{model(role)} {shown(reading.value(label, role))}" for role in roles]
    return f"Area under the curve, 0.5 on the diagonal: {', '.join(areas)}; below 0.5 the records stand out too."


def _low(reading: Reading, samples: dict[str, tuple[list[float], list[float]]], fewest: int) -> str:
    role = reading.candidate if reading.candidate in samples else next(iter(samples))
    rate = next((rate for rate, least in _RATES if fewest >= least), None)
    if rate is None:
        return f"With {fewest} records never seen, no small false positive rate can be read."
    found = tpr_at_fpr(*samples[role], rate)
    return (
        f"At a false positive rate of {share(rate)} the attack finds {share(found)} of the forget records in the "
        f"{role} model; below one in {fewest} nothing can be read."
    )
