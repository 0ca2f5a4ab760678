"""Numbers per record as distribution functions, one line for each model: truth ratio, loss, probability."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from expunge.functional.statistics import ks_test
from expunge.reports.charts import Curve, spread_axis, unit_axis, xy_chart
from expunge.reports.empirical import finite, separation, steps
from expunge.reports.reading import ORIGINAL, RETRAINED, Reading
from expunge.reports.sections.figure import Figure, figures
from expunge.reports.svg import Axis, number, place_of
from expunge.reports.words import Label

_FLOOR = 1e-6  # ratio that stands for zero on a logarithmic axis


class Panel(NamedTuple):
    """What one chart draws: values by model, and its axis."""

    title: str
    label: str
    values: Mapping[str, Sequence[float]]
    whole: bool  # whether no value was left out of the record
    axis: Axis


def charts(reading: Reading) -> list[Figure]:
    """Returns a chart for each kind of number that the record has per record."""
    panels = [*_truth_ratios(reading), *_losses(reading)]
    return figures(*((panel.title, _chart(reading, panel), _sentence(reading, panel)) for panel in panels))


def _truth_ratios(reading: Reading) -> list[Panel]:
    found = []
    for label in reading.labels:
        if Label.parse(label).name == "truth_ratio" and Label.parse(label).split == "forget":
            panel = _panel(reading, "Truth ratio of the forget records", label, "forget", _log_ratio, _log_axis)
            found += [panel] if panel is not None else []
    return found


def _losses(reading: Reading) -> list[Panel]:
    """Loss from the loss attack, which reads both splits; without it the probability of the forget records."""
    label = next((label for label in reading.labels if Label.parse(label).name == "mia_loss"), None)
    if label is not None:
        wanted = [("Loss of the forget records", "forget"), ("Loss of records no model has seen", "holdout")]
        made = [_panel(reading, name, label, split, lambda value: -value, _loss_axis) for name, split in wanted]
    else:
        label = next((label for label in reading.labels if label.startswith("probability(split=forget")), "")
        name = "Probability of the forget records"
        made = [_panel(reading, name, label, "forget", float, lambda values: unit_axis("probability per token"))]
    return [panel for panel in made if panel is not None]


def _panel(
    reading: Reading,
    title: str,
    label: str,
    split: str,
    transform: Callable[[float], float],
    axis: Callable[[Sequence[float]], Axis],
) -> Panel | None:
    values: dict[str, list[float]] = {}
    whole = True
    for role in reading.drawn:
        for item in reading.samples(label, role):
            if item["split"] == split and item["values"]:
                values[role] = [transform(value) for value in item["values"]]
                whole &= item["records"] == len(item["values"])
    everything = finite([value for of_role in values.values() for value in of_role])
    return Panel(title, label, values, whole, axis(everything)) if everything else None


def _log_ratio(ratio: float) -> float:
    return math.log10(max(ratio, _FLOOR)) if math.isfinite(ratio) else math.inf


def _log_axis(values: Sequence[float]) -> Axis:
    return Axis.log(min(*values, -1.0), max(*values, 0.0), "truth ratio, 1 = cannot tell truth from error")


def _loss_axis(values: Sequence[float]) -> Axis:
    return spread_axis(values, "loss, nats per token")


def _compared(reading: Reading, panel: Panel) -> tuple[str, str] | None:
    own = reading.candidate if reading.candidate is not None and reading.candidate in panel.values else ORIGINAL
    other = RETRAINED if RETRAINED in panel.values else ORIGINAL
    return (own, other) if own != other and {own, other} <= set(panel.values) else None


def _chart(reading: Reading, panel: Panel) -> str:
    curves = [
        Curve(steps(values, panel.axis.low, panel.axis.high), f"line s{place_of(role, reading.drawn)}")
        for role, values in panel.values.items()
    ]
    pair = _compared(reading, panel)
    if pair is not None:
        place, left, right, _ = separation(panel.values[pair[0]], panel.values[pair[1]])
        curves.append(Curve([(place, left), (place, right)], "gapline"))
    return xy_chart(curves, panel.axis, Axis.linear(0.0, 1.0, "share of records up to this"), title=panel.title)


def _sentence(reading: Reading, panel: Panel) -> str:
    pair = _compared(reading, panel)
    if pair is None:
        return "Only one model was read, so there is nothing to compare with."
    own, other = (panel.values[role] for role in pair)
    text = f"The {pair[0]} and {pair[1]} models are furthest apart at the upright line: D = "
    text += number(separation(own, other).distance)
    if not panel.whole:
        return f"{text}, from 2,000 evenly spaced quantiles of each."
    test = ks_test(own, other)
    return f"{text}, p = {number(test.p_value)}, n = {test.n} and {test.m} records."
