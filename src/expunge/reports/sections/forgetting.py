"""How much each model holds of the forget set: against utility, metric by metric, and form by form."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from expunge.data.record import FORMS
from expunge.reports.charts import Dot, Region, Row, Spot, dot_chart, dots_of, plane_chart, unit_axis
from expunge.reports.headline import Headline, headline
from expunge.reports.reading import KNOWLEDGE, ORIGINAL, RETRAINED, Reading, Utility, Value, is_attack, is_membership
from expunge.reports.sections.figure import Figure, figures
from expunge.reports.sections.summary import complement
from expunge.reports.svg import Axis, number, place_of
from expunge.reports.words import Label, listed, sentence, title, words

ROWS = 12  # of one panel; a longer chart would not fit a printed page
_NOT_ASKED = ("perturbed_answer", "decoy")  # forms that other metrics compare with, not ways to ask


class Place(NamedTuple):
    """A model in the plane of forgetting and utility."""

    role: str
    forgetting: Value
    utility: Value


class FormRow(NamedTuple):
    """One form of the forget set: the metric it is read by, a number for each model, whether it is the worst."""

    form: str
    metric: str
    values: list[Value]
    is_worst: bool


class Forms(NamedTuple):
    """The table of forms, a sentence that reads it, and the forms not tested by reason (empty where none is known)."""

    rows: list[FormRow]
    reading: str
    untested: list[tuple[str, str]]


def plane(reading: Reading) -> tuple[list[Figure], list[Place]]:
    """Returns the chart of forgetting against utility, and the coordinates of each model."""
    read = headline(reading)
    found = [] if read is None else _places(reading, read.label)
    if not found or read is None:
        return [], []
    limits = reading.record.thresholds
    bounds = [bound for place in found for bound in place.utility if bound is not None]
    lowest, highest = min(bounds), max(bounds)
    # A wide interval may leave the chart, a value may not.
    top = max(1.05, min(1.5, highest), *(place.utility.value for place in found))
    y = Axis.linear(max(0.0, min(0.8, int(lowest * 10) / 10)), top, "utility, original = 1")
    region = _region(reading, read, limits["margin"], limits["utility"], y.high)
    spots = [Spot(Dot(place_of(role, reading.drawn), role, x), value) for role, x, value in found]
    name = "Forgetting against utility"
    chart = plane_chart(
        spots,
        unit_axis(f"forgetting, {read.axis}"),
        y,
        title=name,
        region=region,
        note="removed" if region and region.x != (0.0, 1.0) else "utility kept",
    )
    return figures((name, chart, _plane_sentence(reading, read, found, region))), found


def _places(reading: Reading, label: str) -> list[Place]:
    utilities: list[tuple[str, Utility | None]] = [(role, reading.utility(role)) for role in reading.drawn]
    return [
        Place(role, complement(reading.value(label, role)), utility.kept)
        for role, utility in utilities
        if utility is not None and reading.value(label, role).known
    ]


def _region(reading: Reading, read: Headline, margin: float, least: float, top: float) -> Region | None:
    """Within the margin of the retrained model's forgetting, and at least the utility asked of a removal.

    None where the original is in there too, or may be: then the place of a model shows no removal.
    """
    if not reading.has_reference:
        return Region((0.0, 1.0), (least, top))
    reference = reading.value(read.label, RETRAINED)
    if not read.separates or not reference.known:
        return None
    centre = 1 - reference.value
    return Region((max(0.0, centre - margin), min(1.0, centre + margin)), (least, top))


def axis_sentence(reading: Reading) -> str:
    """Returns why the axis shows another metric than usual, or why no region is marked; nothing in the usual case."""
    read = headline(reading)
    if read is None or not reading.has_reference:
        return ""
    if not read.separates:
        return (
            "No region is marked as removed: no forget metric is shown to separate the original from the retrained "
            "model by more than the margin."
        )
    if read.replaced is None:
        return ""
    return (
        f"{sentence(title(read.replaced))} is not shown to separate the original from the retrained model by more than "
        f"the margin, so the axis shows {title(read.label)}, which separates them most."
    )


def _plane_sentence(reading: Reading, read: Headline, found: Sequence[Place], region: Region | None) -> str:
    own = next((place for place in found if place.role == reading.candidate), None)
    why = axis_sentence(reading)
    if own is None:
        return "The model in question could not be placed."
    if not reading.has_reference:
        return "Without a retrained model no region counts as removed; the band shows where utility is kept."
    if region is None:
        return why or f"The retrained model has no {title(read.label)}, so no region is marked as removed."
    inside = region.x[0] <= own.forgetting.value <= region.x[1] and own.utility.value >= region.y[0]
    where = "inside" if inside else "outside"
    return (
        f"{why} The {own.role} model lies {where} the shaded region, where forgetting is within the margin of the "
        "retrained model and utility is kept; the verdict asks this of every metric, not of this one alone."
    ).strip()


def dots(reading: Reading) -> list[Figure]:
    """Returns a dot chart for every twelve metrics, membership attacks apart."""
    labels = reading.forget_labels()
    groups = {
        "What the models hold": [label for label in labels if not is_attack(label)],
        "Membership attacks": [label for label in labels if is_attack(label)],
    }
    found = []
    for name, group in groups.items():
        pieces = [group[start : start + ROWS] for start in range(0, len(group), ROWS)]
        for part, piece in enumerate(pieces, start=1):
            heading = name if len(pieces) == 1 else f"{name}, {part} of {len(pieces)}"
            found.append((heading, _dot_panel(reading, piece, heading), _dots_sentence(reading, piece)))
    return figures(*found)


def _dot_panel(reading: Reading, labels: Sequence[str], heading: str) -> str:
    rows = [
        Row(reading.name(label), dots_of(reading.drawn, [reading.value(label, role) for role in reading.drawn]))
        for label in labels
    ]
    return dot_chart(rows, unit_axis("value"), title=f"{heading}, each model, 0 to 1")


def _dots_sentence(reading: Reading, labels: Sequence[str]) -> str:
    """Of each metric the form that is furthest; a distance of one metric says nothing beside that of another."""
    if reading.candidate is None:
        return "No model but the original and retrained ones was read."
    other = RETRAINED if reading.has_reference else ORIGINAL
    values = {label: [reading.value(label, role).value for role in (reading.candidate, other)] for label in labels}
    known = {label: abs(own - there) for label, (own, there) in values.items() if math.isfinite(own - there)}
    if not known:
        return f"Nothing here was read on both the {reading.candidate} and the {other} model."
    if all(is_membership(label) for label in labels):
        return _areas_sentence(reading.candidate, other, {label: values[label] for label in known})
    groups: dict[str, list[str]] = {}
    for label in known:
        groups.setdefault(Label.parse(label).name, []).append(label)
    worst = [max(group, key=known.__getitem__) for group in groups.values() if len(group) > 1]
    if not worst:
        return "Each metric is read in one way here, and distances of different metrics do not compare."
    told = [f"{reading.name(label)} ({number(values[label][0])}, {number(values[label][1])} there)" for label in worst]
    return f"Furthest from the {other} model, of each metric that is read in several ways: {listed(told)}."


def _areas_sentence(own: str, other: str, values: Mapping[str, Sequence[float]]) -> str:
    """Where the attacks lie on each of two models; the areas of different attacks are not compared."""
    told = []
    for role, areas in zip((own, other), zip(*values.values(), strict=True), strict=True):
        low, high = number(min(areas)), number(max(areas))
        told.append(f"{low} on the {role} model" if low == high else f"{low} to {high} on the {role} model")
    return f"Areas under the ROC curve, 0.5 is chance: {', '.join(told)}."


def forms(reading: Reading) -> Forms:
    """Returns the table of forms of the forget set that were tested."""
    found = {form: label for form in FORMS if (label := _best(reading, form)) is not None}
    distances = {form: _distance(reading, label) for form, label in found.items()}
    measured = {form: found[form] for form, distance in distances.items() if distance == distance}
    known = {form: distances[form] for form in _of_one_metric(measured)}
    worst = max(known, key=known.__getitem__) if len(known) > 1 else None
    rows = [
        FormRow(
            words(form),
            title(Label.parse(label).name),
            [reading.value(label, role) for role in reading.drawn],
            form == worst,
        )
        for form, label in found.items()
    ]
    distance = math.nan if worst is None else known[worst]
    return Forms(rows, _forms_sentence(reading, worst, distance), _untested(reading, found))


def _of_one_metric(found: Mapping[str, str]) -> list[str]:
    """Forms that are read by the metric that reads most of them; a distance of one says nothing beside another's."""
    groups: dict[str, list[str]] = {}
    for form, label in found.items():
        groups.setdefault(Label.parse(label).name, []).append(form)
    return max(groups.values(), key=len, default=[])


def _untested(reading: Reading, found: Collection[str]) -> list[tuple[str, str]]:
    """What the record says was not tested; a record that says nothing is read by what it has no number for."""
    stated = reading.record.forms.get("untested")
    if stated is None:
        missing = [words(form) for form in FORMS if form not in found and form not in _NOT_ASKED]
        return [(listed(missing), "")] if missing else []
    by_reason: dict[str, list[str]] = {}
    for item in stated:
        by_reason.setdefault(item.get("reason") or "", []).append(words(item["form"]))
    return [(listed(names), reason) for reason, names in by_reason.items()]


def _best(reading: Reading, form: str) -> str | None:
    """The first metric of a form by preference, then any that reads it."""
    label = reading.find(KNOWLEDGE, "forget", form)
    if label is not None:
        return label
    others = [Label.parse(label).name for label in reading.forget_labels() if not is_attack(label)]
    return reading.find([name for name in others if name != "truth_ratio"], "forget", form)


def _distance(reading: Reading, label: str) -> float:
    """From the retrained model; without one, how much is still held."""
    own = reading.value(label, reading.candidate).value
    return abs(own - reading.value(label, RETRAINED).value) if reading.has_reference else own


def _forms_sentence(reading: Reading, worst: str | None, distance: float) -> str:
    if worst is None:
        return "Further forms are read where the records have them; who forgot one way to ask only did not forget."
    if reading.has_reference:
        where = f"where the {reading.candidate} model is furthest from the retrained one, by {number(distance)}"
        return f"Worst form: {words(worst)}, {where}."
    return f"Worst form: {words(worst)}, of which the {reading.candidate} model holds most."
