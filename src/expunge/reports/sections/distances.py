"""Distances to the retrained model beside the equivalence margin: inside, outside or undecided."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

from expunge.functional.testing import DETECTABLE, detectable_auc, detectable_mean
from expunge.reports.charts import Dot, Row, dot_chart
from expunge.reports.reading import ORIGINAL, Reading, Value, is_membership, value_of
from expunge.reports.sections.figure import Figure, figures
from expunge.reports.sections.forgetting import ROWS
from expunge.reports.svg import Axis, number, place_of
from expunge.reports.words import counted, listed, title

Standing = Literal["inside", "outside", "undecided"]
_LEAST = 3  # margins that the axis reaches to, so that the band does not fill it


class Distance(NamedTuple):
    """One metric of the model in question: its difference, where it stands, and what these records would show."""

    label: str
    difference: Value
    standing: Standing
    detectable: float
    n: int


def standing(difference: Value, margin: float) -> Standing:
    """Returns where a difference stands; ``outside`` is what the verdict counts as apart.

    Inside: the whole interval is within the margin. Outside: the value is beyond it, and the interval, where there is
    one, excludes no difference. Undecided: all else; without an interval nothing is inside.
    """
    low, high = difference.low, difference.high
    if low is None or high is None:
        return "outside" if abs(difference.value) > margin else "undecided"
    if -margin <= low and high <= margin:
        return "inside"
    return "outside" if abs(difference.value) > margin and (low > 0 or high < 0) else "undecided"


def distances(reading: Reading) -> list[Distance]:
    """Returns the differences of the model in question from the retrained one."""
    margin = reading.record.thresholds["margin"]
    found = []
    for gap in reading.gaps(reading.candidate):
        difference = value_of(gap)
        if difference.known:
            place = standing(difference, margin)
            found.append(Distance(gap["label"], difference, place, _detectable(gap, difference), gap["n"]))
    return found


def _detectable(gap: Mapping[str, Any], difference: Value) -> float:
    if difference.low is not None and difference.high is not None:
        return DETECTABLE * (difference.high - difference.low) / 2
    n = max(1, gap["n"])
    return detectable_auc(n) if is_membership(gap["label"]) else detectable_mean(n)


def charts(reading: Reading) -> list[Figure]:
    """Returns a chart for every twelve metrics between 0 and 1, the margin as a band."""
    bounded = set(reading.forget_labels())
    found = [distance for distance in distances(reading) if distance.label in bounded]
    margin = reading.record.thresholds["margin"]
    originals = {gap["label"]: value_of(gap) for gap in reading.gaps(ORIGINAL)}
    values = [bound for item in found for bound in (*item.difference, originals.get(item.label, Value(0)).value)]
    widest = max([_LEAST * margin, *(abs(value) for value in values if value is not None and value == value)])
    axis = Axis.linear(-min(1.0, widest), min(1.0, widest), "value minus the retrained model's", 5)
    pieces = [found[start : start + ROWS] for start in range(0, len(found), ROWS)]
    name = "Distance to the retrained model"
    panels = []
    for part, piece in enumerate(pieces, start=1):
        heading = name if len(pieces) == 1 else f"{name}, {part} of {len(pieces)}"
        rows = [_row(reading, item, originals.get(item.label)) for item in piece]
        chart = dot_chart(rows, axis, title=f"{heading}, margin {margin}", band=(-margin, margin))
        panels.append((heading, chart, sentence(piece, margin)))
    return figures(*panels)


def _row(reading: Reading, item: Distance, original: Value | None) -> Row:
    dots = (
        [] if original is None or not original.known else [Dot(place_of(ORIGINAL, reading.roles), ORIGINAL, original)]
    )
    role = reading.candidate or ""
    dots.append(Dot(place_of(role, reading.roles), role, item.difference))
    return Row(title(item.label), dots, item.standing)


def sentence(found: Sequence[Distance], margin: float) -> str:
    """Returns how many metrics stand where, and which is furthest."""
    counts = [(place, sum(item.standing == place for item in found)) for place in ("inside", "outside", "undecided")]
    told = listed([f"{count or 'none'} {place}" for place, count in counts])
    furthest = max(found, key=lambda item: abs(item.difference.value))
    return (
        f"Against a margin of {margin}, of {counted(len(found), 'metric')} {told}; furthest is "
        f"{title(furthest.label)}, by {number(abs(furthest.difference.value))}."
    )
