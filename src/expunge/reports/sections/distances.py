"""Distances to the retrained models beside the equivalence margin: inside, outside or undecided.

Metrics that decide stand as the verdict has them: from the band between the retrained models, p-values after Holm.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

from expunge.functional.testing import DETECTABLE, detectable_auc, detectable_mean, subjects_needed
from expunge.reports.charts import Dot, Row, dot_chart
from expunge.reports.reading import ORIGINAL, Reading, Value, is_membership, value_of
from expunge.reports.sections.figure import Figure, figures
from expunge.reports.sections.forgetting import ROWS
from expunge.reports.svg import Axis, number, place_of
from expunge.reports.words import Label, counted, listed, words

Standing = Literal["inside", "outside", "undecided"]
_LEAST = 3  # margins that the axis reaches to, so that the band does not fill it
_NAMED = 4  # metrics that one sentence names


class Distance(NamedTuple):
    """One metric of one model: its distance, where it stands, and what these records would show.

    Attributes:
        label: recorded name of the metric.
        role: the model.
        difference: from the retrained model; where it decides and there are several, from the band between them.
        standing: as the verdict has it where it decides.
        detectable: smallest difference that these records would show; infinite where that is not known.
        n: subjects.
        decides: whether the verdict rests on it.
        p: of no distance, after Holm; NaN where it does not decide, or has no interval to read it off.
        needed: subjects with which the smallest detectable difference is the margin; None where these records are
            enough, where the metric is outside the margin, and without an interval.
    """

    label: str
    role: str
    difference: Value
    standing: Standing
    detectable: float
    n: int
    decides: bool = False
    p: float = math.nan
    needed: int | None = None


def standing(difference: Value, margin: float) -> Standing:
    """Returns where a difference that does not decide stands, by its own interval.

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
    """Returns what decides, as the verdict has it, then the further differences of the model in question."""
    margin = reading.record.thresholds["margin"]
    decided = {one.label: one for one in decisive(reading)}
    found = []
    for gap in reading.gaps(reading.candidate):
        difference = value_of(gap)
        if gap["label"] not in decided and difference.known:
            place, role = standing(difference, margin), gap["role"]
            found.append(Distance(gap["label"], role, difference, place, _detectable(gap, difference), gap["n"]))
    return [item._replace(needed=_needed(item, margin)) for item in (*decided.values(), *found)]


def _needed(item: Distance, margin: float) -> int | None:
    if item.standing == "outside" or item.detectable <= margin or item.difference.low is None:
        return None
    return subjects_needed(item.n, item.detectable, margin)


def decisive(reading: Reading) -> list[Distance]:
    """Returns the metrics on which the verdict rests; empty where the record is of before."""
    role = reading.judged
    found = []
    for measure in reading.record.verdict.get("measures", ()):
        distance, score = measure["distance"], reading.score(measure["label"], role)
        if distance is None or role is None:
            continue
        difference = value_of(distance)
        p = math.nan if difference.low is None else float(distance["p"])
        n = 0 if score is None else score["n"]
        row = Distance(
            measure["label"], role, difference, measure["standing"], float(distance["detectable"]), n, decides=True, p=p
        )
        found.append(row)
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
    dots = {item.label: _dots(reading, item) for item in found}
    drawn = [dot.value for of_row in dots.values() for dot in of_row]
    values = [bound for value in drawn for bound in value if bound is not None and math.isfinite(bound)]
    widest = max([_LEAST * margin, *(abs(value) for value in values)])
    axis = Axis.linear(-min(1.0, widest), min(1.0, widest), _axis_name(reading), 5)
    panels = []
    for heading, piece in _pieces(found):
        rows = [Row(reading.name(item.label), dots[item.label], item.standing) for item in piece]
        chart = dot_chart(rows, axis, title=f"{heading}, margin {margin}", band=(-margin, margin))
        panels.append((heading, chart, sentence(reading, piece, margin)))
    return figures(*panels)


def groups(found: Sequence[Distance]) -> list[tuple[str, list[Distance]]]:
    """Returns what decides apart from what does not; without a name where there is one group."""
    pairs = [("What decides", True), ("Further metrics", False)]
    named = [(name, [item for item in found if item.decides == decides]) for name, decides in pairs]
    kept = [(name, items) for name, items in named if items]
    return kept if any(item.decides for item in found) else [("", items) for _, items in kept]


def _pieces(found: Sequence[Distance]) -> list[tuple[str, list[Distance]]]:
    """Twelve rows at most, each with its heading."""
    pieces = []
    for name, items in groups(found):
        parts = [items[start : start + ROWS] for start in range(0, len(items), ROWS)]
        heading = name or "Distance to the retrained model"
        for place, part in enumerate(parts, start=1):
            pieces.append((heading if len(parts) == 1 else f"{heading}, {place} of {len(parts)}", part))
    return pieces


def _axis_name(reading: Reading) -> str:
    many = len(reading.references)
    return f"distance from the band of {many} retrained models" if many > 1 else "value minus the retrained model's"


def _dots(reading: Reading, item: Distance) -> list[Dot]:
    """The original and the model in question; the original behind a policy is one of them only."""
    before = item.difference if item.role == ORIGINAL else _of_original(reading, item)
    pairs = [(ORIGINAL, before)]
    if item.role != ORIGINAL:
        pairs.append((item.role, item.difference))
    return [Dot(place_of(role, reading.drawn), role, value) for role, value in pairs if value.known]


def _of_original(reading: Reading, item: Distance) -> Value:
    """From the band where the metric decides, else from the first retrained model."""
    decided = {one["label"]: one.get("original") for one in reading.record.verdict.get("measures", ())}
    if item.decides and decided.get(item.label):
        return value_of(decided[item.label])
    return next((value_of(gap) for gap in reading.gaps(ORIGINAL) if gap["label"] == item.label), Value(math.nan))


def sentence(reading: Reading, found: Sequence[Distance], margin: float) -> str:
    """Returns how many metrics stand where, and of each metric the form that is furthest outside."""
    counts = [(place, sum(item.standing == place for item in found)) for place in ("inside", "outside", "undecided")]
    told = listed([f"{count or 'none'} {place}" for place, count in counts])
    text = f"Against a margin of {margin}, of {counted(len(found), 'metric')} {told}."
    outside = [item for item in found if item.standing == "outside"]
    worst = furthest(outside)
    if not worst:
        return text
    named = [f"{reading.name(item.label)} by {number(abs(item.difference.value))}" for item in worst[:_NAMED]]
    more = len(worst) - len(named)
    which = ", the furthest form of each" if len(worst) < len(outside) else ""
    return f"{text} Outside{which}: {listed([*named, f'{more} more'] if more else named)}."


def furthest(found: Sequence[Distance]) -> list[Distance]:
    """Returns of each metric the form that is furthest; a distance of one metric says nothing beside another's."""
    names = dict.fromkeys(Label.parse(item.label).name for item in found)
    of_name = [[item for item in found if Label.parse(item.label).name == name] for name in names]
    return [max(items, key=lambda item: abs(item.difference.value)) for items in of_name]


def explanation(reading: Reading) -> list[str]:
    """Returns the sentences that say what the columns mean, for the models that were compared."""
    decided = decisive(reading)
    many = len(reading.references)
    found = []
    if decided and many > 1:
        found.append(
            f"The distance of what decides is from the band between {many} retrained models: 0 where the value lies "
            "between theirs, which another seed gives too. Further metrics are measured from the first retrained model."
        )
    if decided:
        found.append(
            "The verdict rests on what decides. There p is that of no distance, after Holm for all of these metrics; "
            "outside means further than the margin with p below 0.05, or without an interval further than the margin."
        )
    if decided and reading.judged != reading.candidate:
        found.append(
            f"What decides is the {reading.judged} model's: its weights lie behind the {words(reading.candidate or '')}"
            " model, and who holds them goes around it."
        )
    if not decided or len(decided) < len(distances(reading)):
        what = "Outside" if not decided else "For further metrics outside"
        found.append(
            f"{what} means that the value lies beyond the margin, which is shaded, and that the interval, where there "
            "is one, excludes no difference."
        )
    return [
        *found,
        "Inside: the whole interval lies in the margin; undecided: all else. The smallest detectable difference is "
        "found at the 5 % level with 80 % power; without an interval it is what so many subjects show at the largest "
        "spread.",
        *_needed_sentence(reading),
    ]


def _needed_sentence(reading: Reading) -> list[str]:
    if all(item.needed is None for item in distances(reading)):
        return []
    return [
        "Needed is the number of subjects that would show a difference of the margin. A membership attack needs as "
        "many in the holdout set."
    ]


def power(reading: Reading) -> str:
    """Returns how many of the metrics that decide may miss a difference of the margin; nothing where none may."""
    margin, decided = reading.record.thresholds["margin"], decisive(reading)
    still_open = [item for item in decided if item.standing != "outside" and math.isfinite(item.detectable)]
    blunt = [item for item in still_open if item.detectable > margin]
    if not blunt:
        return ""
    least, most = (number(pick(item.detectable for item in blunt)) for pick in (min, max))
    bounds = least if least == most else f"{least} to {most}"
    size = counted(max(item.n for item in blunt), "subject")
    needed, in_both = max((_needed(item, margin) or 0, is_membership(item.label)) for item in blunt)
    both = " in the forget set, and as many in the holdout set," if in_both else ""
    enough = f" About {counted(needed, 'subject')}{both} would be enough." if needed else ""
    told = f"{len(blunt)} of {counted(len(decided), 'metric')} that decide{'s' if len(decided) == 1 else ''}"
    return (
        f"With {size}, {told} may miss a difference of the margin, {margin}: the smallest that each shows reliably "
        f"(5 % level, 80 % power) is {bounds}.{enough}"
    )
