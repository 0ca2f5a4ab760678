"""What a model kept of what should have stayed, relative to the original: one definition for verdict and reports."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from expunge.evaluation.reduce import MIN_SUBJECTS

# What utility is read by, best first: a policy hides token accuracy, and some suites do not have it.
UTILITY = ("exact_memorisation", "rouge", "probability")
UNSEEN = ("forget", "holdout")
PART_OF_RETAIN = "neighbours_"
LEAST_KNOWN = 0.1  # of the original; below, a share of what it knows is a share of chance


class Kept(NamedTuple):
    """One metric of one split, of the original and of another model.

    Attributes:
        label: recorded name of the metric.
        metric: its registry name.
        split: what it reads.
        form: form of the records.
        subjects: behind the other model's number.
        original: the original's number.
        own: the other model's number; NaN or None where it was not measured, like the original's.
    """

    label: str
    metric: str
    split: str
    form: str
    subjects: int
    original: float | None
    own: float | None

    @property
    def share(self) -> float:
        """What is left of the original's; NaN where either side is no number, or the original's is not positive."""
        if self.original is None or self.own is None or not self.original > 0:
            return float("nan")
        return self.own / self.original


def worst_kept(found: Iterable[Kept]) -> Kept | None:
    """Returns the split on which least was kept, by the best metric that was measured on any; None without one.

    Splits are compared within one metric only. Parts of ``retain`` with fewer subjects than an interval needs do not
    count: two persons are no utility. Nor does what the original hardly knew.
    """
    counted = [one for one in found if _counts(one)]
    counted = [one for one in counted if one.subjects >= MIN_SUBJECTS] or counted
    for metric in UTILITY:
        of_metric = [one for one in counted if one.metric == metric]
        if of_metric:
            return min(of_metric, key=lambda one: one.share)
    return None


def _counts(one: Kept) -> bool:
    if not one.split or one.split in UNSEEN or one.form != "trained" or one.share != one.share:
        return False
    if one.original is None or one.original < LEAST_KNOWN:
        return False
    return not one.split.startswith(PART_OF_RETAIN) or one.subjects >= MIN_SUBJECTS
