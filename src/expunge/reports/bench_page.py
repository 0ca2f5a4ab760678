"""The page of a bench, its Pareto plot, and the files that a bench leaves."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from expunge.config import to_plain
from expunge.reports.bench import (
    ACCURACY,
    PROBABILITY,
    STRENGTH,
    BenchRow,
    paragraph,
    summaries,
    table,
    to_csv,
    to_markdown,
)
from expunge.reports.charts import Curve, Dot, Region, Spot, plane_chart, spread_axis
from expunge.reports.pages import render_page
from expunge.reports.reading import Value
from expunge.reports.sections.figure import figures
from expunge.reports.svg import Axis, Point, place_of
from expunge.storage import atomic
from expunge.storage.plain import to_json

READ_BY = (STRENGTH, ACCURACY, PROBABILITY)  # what the plot may read forgetting by, the preferred measure first


class Trade(NamedTuple):
    """What a method gives for what: means over its runs, with their ranges.

    Attributes:
        method: registry name.
        distance: of one measure on the forget set from the retrained model, absolute; lower is better.
        utility: relative to the original; higher is better.
    """

    method: str
    distance: Value
    utility: Value


class Axed(NamedTuple):
    """The measure that the plot reads forgetting by, and whether it separates original and retrained in every run."""

    measure: str
    separates: bool


def axis_measure(rows: Sequence[BenchRow]) -> Axed:
    """Returns extraction strength or, where it does not separate original and retrained, the measure that does most.

    A measure separates them where the original knows more by more than the margin in every run that has both; most is
    by the smallest of these differences. Where none does, a distance of 0 from the retrained model shows no removal.
    """
    least = {measure: _least_gap(rows, measure) for measure in READ_BY}
    margin = max((row.margin for row in rows), default=0.0)
    if least[STRENGTH] > margin:
        return Axed(STRENGTH, separates=True)
    best = max(READ_BY, key=least.__getitem__)
    return Axed(best, separates=True) if least[best] > margin else Axed(STRENGTH, separates=False)


def _least_gap(rows: Sequence[BenchRow], measure: str) -> float:
    found = [row.measures[measure] for row in rows if measure in row.measures]
    gaps = [one.original - one.retrained for one in found if math.isfinite(one.original - one.retrained)]
    return min(gaps, default=-math.inf)


def trades(rows: Sequence[BenchRow], measure: str = STRENGTH) -> list[Trade]:
    """Returns the methods for which both sides are known; a policy has no such measure of its own."""
    found = []
    for one in summaries(rows):
        distances = [abs(gap) for gap in one.gaps(measure)]
        if distances and one.utilities:
            found.append(Trade(one.method, _range(distances), _range(one.utilities)))
    return found


def front(found: Sequence[Trade]) -> list[Trade]:
    """Returns the Pareto front by distance: those that no other beats on one side and matches on the other."""

    def beats(other: Trade, one: Trade) -> bool:
        nearer = other.distance.value - one.distance.value
        better = other.utility.value - one.utility.value
        return nearer <= 0 <= better and (nearer < 0 or better > 0)

    kept = [one for one in found if not any(beats(other, one) for other in found)]
    return sorted(kept, key=lambda one: one.distance.value)


def to_page(rows: Sequence[BenchRow], *, title: str) -> str:
    """The Pareto plot, the table and the paragraphs as one self-contained page."""
    read = axis_measure(rows)
    found = trades(rows, read.measure)
    best = front(found)
    header, *lines = table(rows)
    methods = [one.method for one in summaries(rows)]
    return render_page(
        "bench.html.jinja",
        [one.method for one in found],
        title=title,
        seeds=sorted({row.seed for row in rows}),
        plot=figures(("Forgetting against utility", _plot(found, best, rows, read), _reading(read))),
        measure=read.measure,
        front=[one.method for one in best],
        absent=[method for method in methods if method not in {one.method for one in found}],
        header=header,
        lines=lines,
        paragraphs=[paragraph(one).partition(": ")[::2] for one in summaries(rows)],
        runs=[(row.method, row.seed, row.verdict) for row in rows],
    )


def _reading(read: Axed) -> str:
    """What the region means; or why there is none."""
    if not read.separates:
        return (
            "No region is marked: no measure separates the original from the retrained model by more than the margin "
            "in every run."
        )
    told = "In the shaded region both are within their bounds."
    if read.measure == STRENGTH:
        return told
    return (
        "Extraction strength does not separate the original from the retrained model by more than the margin in every "
        f"run, so the axis shows {read.measure}, which separates them most. {told}"
    )


def _plot(found: Sequence[Trade], best: Sequence[Trade], rows: Sequence[BenchRow], read: Axed) -> str:
    if not found:
        return ""
    margin, least = rows[0].margin, rows[0].least_utility
    names = [one.method for one in found]
    spots = [Spot(Dot(place_of(one.method, names), one.method, one.distance), one.utility) for one in found]
    highs = [one.distance.value if one.distance.high is None else one.distance.high for one in found]
    x = spread_axis([*highs, 2 * margin], f"distance from the retrained model: {read.measure}")
    worst = min(one.utility.value if one.utility.low is None else one.utility.low for one in found)
    top = max(1.05, *(one.utility.value if one.utility.high is None else one.utility.high for one in found))
    y = Axis.linear(max(0.0, min(0.8, int(worst * 10) / 10)), top, "utility, original = 1")
    region = Region((0.0, margin), (least, y.high)) if read.separates else None
    corners: list[Point] = [(one.distance.value, one.utility.value) for one in best]
    return plane_chart(
        spots, x, y, title="Forgetting against utility", region=region, note="aim", curves=[Curve(corners, "gapline")]
    )


def _range(values: Sequence[float]) -> Value:
    several = len(values) > 1
    return Value(statistics.fmean(values), min(values) if several else None, max(values) if several else None)


def write_bench(folder: Path, rows: Sequence[BenchRow], *, title: str) -> None:
    """Writes ``results.jsonl``, ``results.csv``, ``results.md`` and ``results.html``."""
    lines = "".join(f"{to_json(to_plain(row))}\n" for row in rows)
    atomic.write_text(folder / "results.jsonl", lines)
    atomic.write_text(folder / "results.csv", to_csv(rows))
    atomic.write_text(folder / "results.md", to_markdown(rows, title=title))
    atomic.write_text(folder / "results.html", to_page(rows, title=title))
