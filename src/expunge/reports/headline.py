"""The forget metric by which reports draw forgetting: one that tells the original from the retrained model.

Where a metric does not, the original is as close to the retrained model as a removal would have to be, and no region of
a chart can mean *removed*.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from expunge.functional.testing import NORMAL_95
from expunge.reports.reading import KNOWLEDGE, ORIGINAL, RETRAINED, Reading, Value, is_attack, value_of
from expunge.reports.words import Label, title


class Headline(NamedTuple):
    """What forgetting is read by.

    Attributes:
        label: recorded name of the metric.
        separates: whether it tells the original from the retrained model; false without both of them.
        replaced: the metric that is preferred and does not separate them; None where ``label`` is that metric.
    """

    label: str
    separates: bool
    replaced: str | None = None

    @property
    def axis(self) -> str:
        """Name of an axis of forgetting."""
        why = "" if self.replaced is None else " (separates original and retrained most)"
        return f"1 - {title(self.label)}{why}"


def headline(reading: Reading) -> Headline | None:
    """Returns the preferred metric of ``KNOWLEDGE`` or, where it does not separate the models, the one that does most.

    Most is by the standardised separation: the difference of original and retrained model in standard errors. Only
    metrics by which the original knows more come into question. None where no metric was measured.
    """
    usual = reading.find(KNOWLEDGE, "forget")
    if usual is None:
        return None
    if not reading.has_reference or separates(reading, usual):
        return Headline(usual, separates=reading.has_reference)
    others = [label for label in _candidates(reading) if separates(reading, label)]
    if not others:
        return Headline(usual, separates=False)
    return Headline(max(others, key=lambda label: _separation(original_gap(reading, label))), True, usual)


def separates(reading: Reading, label: str) -> bool:
    """Whether the original is shown to know more than the retrained model by more than the margin.

    The whole interval has to be beyond the margin; without an interval the difference itself.
    """
    gap = original_gap(reading, label)
    least = gap.value if gap.low is None else gap.low
    return gap.known and least > reading.record.thresholds["margin"]


def original_gap(reading: Reading, label: str) -> Value:
    """Returns the original's distance from the retrained model, with the interval that the record has for it."""
    for gap in reading.gaps(ORIGINAL):
        if gap["label"] == label:
            return value_of(gap)
    return Value(reading.value(label, ORIGINAL).value - reading.value(label, RETRAINED).value)


def _candidates(reading: Reading) -> list[str]:
    """Metrics of knowledge on the forget set, in any form, that were measured on the model in question."""
    decided = {Label.parse(one["label"]).name for one in reading.record.verdict.get("measures", ())}
    return [
        label
        for label in reading.forget_labels()
        if Label.parse(label).name in decided.union(KNOWLEDGE)
        and not is_attack(label)
        and reading.value(label, reading.candidate).known
    ]


def _separation(gap: Value) -> tuple[bool, float]:
    """Standard errors; metrics without an interval come last, by their difference."""
    if gap.low is None or gap.high is None:
        return False, gap.value
    error = (gap.high - gap.low) / 2 / NORMAL_95
    return True, gap.value / error if error > 0 else math.inf
