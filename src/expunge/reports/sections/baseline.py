"""The trivial baseline: what a filter in front of the original reaches without any training, and who does better."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

from expunge.reports.reading import GUARDRAIL, NO_MODEL, ORIGINAL, POLICY, RETRAINED, Reading, Value, is_bounded
from expunge.reports.sections.summary import share
from expunge.reports.svg import number
from expunge.reports.words import Label, counted, listed, model

Side = Literal["better", "worse", "alike", ""]
_NAMED = 4  # metrics that one sentence names


class BaselineRow(NamedTuple):
    """One metric of the replies: a number for each model, what is better, and the model in question against the filter.

    ``side`` is empty where nothing can be said: a number is missing, or there is no retrained model to come close to.
    """

    label: str
    values: list[Value]
    direction: str
    side: Side


class Baseline(NamedTuple):
    """The table, its columns and its sentences; without rows the sentences say why."""

    roles: list[str]
    rows: list[BaselineRow]
    sentences: list[str]


def baseline(reading: Reading) -> Baseline | None:
    """Returns the section; None for a record that has no such column and needs none."""
    if reading.candidate == POLICY:
        same = (
            "This run is itself a policy in front of the original, which no training has changed. No filter was read "
            "beside it."
        )
        return Baseline([], [], [same])
    if GUARDRAIL not in reading.roles or GUARDRAIL in reading.drawn:
        return None
    wanted = (ORIGINAL, RETRAINED, reading.candidate, GUARDRAIL)
    roles = [role for role in wanted if role is not None and role in reading.roles]
    labels = [label for label in reading.labels if _is_told(reading, label)]
    rows = [_row(reading, label, roles) for label in labels]
    return Baseline(roles, rows, _sentences(reading, rows)) if rows else None


def _is_told(reading: Reading, label: str) -> bool:
    return Label.parse(label).name not in NO_MODEL and reading.value(label, GUARDRAIL).known


def _row(reading: Reading, label: str, roles: Sequence[str]) -> BaselineRow:
    score = reading.score(label, GUARDRAIL)
    direction = "" if score is None else score["direction"]
    return BaselineRow(label, [reading.value(label, role) for role in roles], direction, _side(reading, label))


def _side(reading: Reading, label: str) -> Side:
    """By more than the margin, in the metric's own direction; off the scale from 0 to 1, by intervals that part."""
    own, other = (reading.value(label, role) for role in (reading.candidate, GUARDRAIL))
    score = reading.score(label, GUARDRAIL)
    if score is None or not own.known or not other.known:
        return ""
    ahead = _ahead(own, other, reading.value(label, RETRAINED), score["direction"])
    if math.isnan(ahead):
        return ""
    margin = reading.record.thresholds["margin"]
    apart = abs(ahead) > margin if is_bounded(score) else _part(own, other)
    return "alike" if not apart or not ahead else "better" if ahead > 0 else "worse"


def _ahead(own: Value, other: Value, retrained: Value, direction: str) -> float:
    """By how much the model is ahead of the filter; NaN where the direction cannot be told."""
    if direction == "higher":
        return own.value - other.value
    if direction == "lower":
        return other.value - own.value
    return abs(other.value - retrained.value) - abs(own.value - retrained.value)


def _part(own: Value, other: Value) -> bool:
    """Whether two intervals have nothing in common; without both of them nothing parts."""
    if own.low is None or own.high is None or other.low is None or other.high is None:
        return False
    return own.low > other.high or other.low > own.high


def _sentences(reading: Reading, rows: Sequence[BaselineRow]) -> list[str]:
    return [
        *_reached(reading),
        "Its weights stay the original's: who holds them goes around the filter and has everything.",
        *_against(reading, rows),
    ]


def _reached(reading: Reading) -> list[str]:
    """What the filter reaches on either side, as far as it was measured."""
    found = []
    for split, refusals in (("forget", "refusal_rate"), ("retain", "over_refusal")):
        refused = reading.find([refusals], split, role=GUARDRAIL)
        said = reading.find(["rouge"], split, role=GUARDRAIL)
        parts = [] if refused is None else [f"refuses {_beside(reading, refused, share)}"]
        parts += [] if said is None else [f"repeats answers with a ROUGE-L of {_beside(reading, said, number)}"]
        if parts:
            found.append(f"of {split} records it {listed(parts)}")
    return [f"A filter in front of the original takes no training: {'; '.join(found)}."] if found else []


def _beside(reading: Reading, label: str, shown: Callable[[float], str]) -> str:
    """The filter's number, with those of the retrained model and the model in question in brackets."""
    beside = [
        f"{model(role)} {shown(value.value)}"
        for role in (RETRAINED, reading.candidate)
        if role is not None and (value := reading.value(label, role)).known
    ]
    own = shown(reading.value(label, GUARDRAIL).value)
    return f"{own} ({', '.join(beside)})" if beside else own


def _against(reading: Reading, rows: Sequence[BaselineRow]) -> list[str]:
    if reading.candidate is None:
        return []
    sides = {side: [row.label for row in rows if row.side == side] for side in ("better", "worse", "alike")}
    told = [f"{side} in {_named(reading, labels)}" for side, labels in sides.items() if labels and side != "alike"]
    if sides["alike"]:
        told.append(f"alike in {counted(len(sides['alike']), 'metric')}")
    unknown = [] if reading.has_reference else ["without a retrained model, closer cannot be told"]
    if not told:
        return [f"{text[:1].upper()}{text[1:]}." for text in unknown]
    return [f"Against the filter the {reading.candidate} model is {'; '.join([*told, *unknown])}."]


def _named(reading: Reading, labels: Sequence[str]) -> str:
    named = [reading.name(label) for label in labels[:_NAMED]]
    more = len(labels) - len(named)
    return listed([*named, f"{more} more"] if more else named)
