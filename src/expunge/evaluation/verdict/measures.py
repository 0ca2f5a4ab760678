"""The forget metrics that decide: where a model stands against the models that never saw the records.

Several retrained models make a null band: what lies between their values is what another seed gives too. Distances are
from the band, and their p-values are adjusted for the number of metrics (Holm).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

from expunge.evaluation.result import Evaluation, Gap, ScoreRecord
from expunge.evaluation.verdict.policy import Thresholds
from expunge.functional.testing import DETECTABLE, SIGNIFICANT, detectable_auc, detectable_mean, holm, p_of_interval
from expunge.metrics.base import is_of

RETRAINED = "retrained"
TEXT = "rouge"  # what decides where a policy or an address shows text only
Standing = Literal["inside", "outside", "undecided"]


class Distance(NamedTuple):
    """How far a value is from the null band.

    Attributes:
        value: beyond the band's nearer end, with sign; 0 inside it.
        low: lower bound, 95 %, of the distance from the band's lower end; None without an interval.
        high: upper bound of the distance from its upper end.
        p: of no distance from the nearer end, after Holm; by records where there are too few subjects for an interval.
        p_alone: the same of this one metric.
        detectable: smallest difference that these records would show; infinite where that is not known.
    """

    value: float
    low: float | None
    high: float | None
    p: float
    p_alone: float
    detectable: float

    def standing(self, margin: float) -> Standing:
        """Inside: shown to be, the whole interval is. Outside: further than the margin, beyond chance."""
        if self.low is not None and self.high is not None and -margin <= self.low and self.high <= margin:
            return "inside"
        return "outside" if abs(self.value) > margin and self.p < SIGNIFICANT else "undecided"


class Measure(NamedTuple):
    """One forget metric of the judged model, beside the original's and, where there is one, the retrained model's."""

    name: str
    form: str
    original: ScoreRecord
    own: ScoreRecord
    retrained: ScoreRecord | None
    membership: bool
    original_distance: Distance | None
    distance: Distance | None

    @property
    def moved(self) -> float:
        """How far the value went from the original's in the direction of the retrained model, past it included."""
        if self.original_distance is None:
            return 0.0
        return math.copysign(1.0, self.original_distance.value) * (self.original.value - self.own.value)

    def stands(self, limits: Thresholds) -> Standing:
        """Where the judged model stands; undecided where there is nothing to compare with."""
        return "undecided" if self.distance is None else self.distance.standing(limits.margin)

    def holds(self, limits: Thresholds) -> bool:
        """Whether the original knew more than the retrained model by this metric, and the model still does."""
        before, now = self.original_distance, self.distance
        if before is None or now is None or not self.known(limits):
            return False
        return before.value > 0 and now.value > 0 and self.stands(limits) == "outside"

    def known(self, limits: Thresholds) -> bool:
        """Whether the metric tells the original from the retrained model."""
        return self.original_distance is not None and self.original_distance.standing(limits.margin) == "outside"


def measures(evaluation: Evaluation, role: str) -> list[Measure]:
    """Returns the forget metrics that decide about a model, with distances where there is a retrained one."""
    found = [one for label in evaluation.traits if (one := _measure(evaluation, label, role)) is not None]
    seen = [one for one in found if one.name != TEXT] or found
    return _adjusted(seen)


def unread(evaluation: Evaluation, role: str) -> list[str]:
    """Returns the metrics that decide about the original and the retrained model and have no number for this one."""
    found = []
    for label, traits in evaluation.traits.items():
        if not traits.evidence or traits.splits[0] != "forget" or traits.name == TEXT:
            continue
        others = [evaluation.get(label, name) for name in ("original", RETRAINED)]
        if all(map(_has_number, others)) and not _has_number(evaluation.get(label, role)):
            found.append(label)
    return found


def _has_number(score: ScoreRecord | None) -> bool:
    return score is not None and not math.isnan(score.value)


def _measure(evaluation: Evaluation, label: str, role: str) -> Measure | None:
    traits = evaluation.traits[label]
    original, own = evaluation.get(label, "original"), evaluation.get(label, role)
    membership = traits.evidence == "membership"
    if not traits.evidence or traits.splits[0] != "forget" or original is None or own is None:
        return None
    if math.isnan(original.value) or math.isnan(own.value):
        return None
    return Measure(
        traits.name,
        traits.forms[0],
        original,
        own,
        evaluation.get(label, RETRAINED),
        membership,
        *(_from_band(evaluation, one, membership) for one in (original, own)),
    )


def _from_band(evaluation: Evaluation, score: ScoreRecord, membership: bool) -> Distance | None:
    return band_distance(_gaps(evaluation, score.label, score.role), _of_few(score.records, membership))


def _gaps(evaluation: Evaluation, label: str, role: str) -> list[Gap]:
    """Differences of a model from every retrained one."""
    return [
        gap
        for gap in evaluation.gaps
        if (gap.label, gap.role) == (label, role) and is_of(gap.reference, RETRAINED) and not math.isnan(gap.value)
    ]


def _of_few(records: int, membership: bool) -> float:
    """Half of an interval by records, at the largest spread: what there is with too few subjects for one."""
    detectable = detectable_auc if membership else detectable_mean
    return detectable(max(1, records)) / DETECTABLE


def band_distance(gaps: Sequence[Gap], half: float = math.inf) -> Distance | None:
    """Returns the distance from the band between the retrained models; its p-value is that of this one metric.

    Args:
        gaps: from every retrained model.
        half: of an interval by records, by which a value is tested that has none by subjects.
    """
    if not gaps:
        return None
    to_highest, to_lowest = min(gaps, key=lambda gap: gap.value), max(gaps, key=lambda gap: gap.value)
    nearest = to_highest if to_highest.value > 0 else to_lowest
    value = max(to_highest.value, 0.0) + min(to_lowest.value, 0.0)
    low, high = nearest.low, nearest.high
    if low is None or high is None or to_lowest.low is None or to_highest.high is None:
        p = p_of_interval(value, value - half, value + half)
        return Distance(value, None, None, p, p, math.inf)
    p = p_of_interval(value, low, high) if value else 1.0
    return Distance(value, to_lowest.low, to_highest.high, p, p, DETECTABLE * (high - low) / 2)


def _adjusted(found: Sequence[Measure]) -> list[Measure]:
    """Puts Holm's p-values, over all metrics of a model, in the place of those of each metric by itself."""
    originals = _with_holm([one.original_distance for one in found])
    own = _with_holm([one.distance for one in found])
    return [
        one._replace(original_distance=before, distance=after)
        for one, before, after in zip(found, originals, own, strict=True)
    ]


def _with_holm(distances: Sequence[Distance | None]) -> list[Distance | None]:
    adjusted = iter(holm([one.p for one in distances if one is not None]))
    return [None if one is None else one._replace(p=float(next(adjusted))) for one in distances]
