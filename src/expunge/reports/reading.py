"""A record as a report reads it: scores by label and model, the model in question, and what utility it kept."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from expunge.evaluation.utility import UNSEEN, UTILITY, Kept, worst_kept
from expunge.metrics.base import is_of
from expunge.reports.record import RunRecord
from expunge.reports.words import Label, names, scored

ORIGINAL, RETRAINED, POLICY = "original", "retrained", "policy"
GUARDRAIL = "guardrail"  # column of the trivial baseline, a filter in front of the original
# What is read for how much of an answer a model holds, best first; a policy shows continuations only.
KNOWLEDGE = ("extraction_strength", "exact_memorisation", "rouge", "probability")
NO_MODEL = ("blind_baseline",)  # the same number for every model: it tells of the records
_NOT_HELD = ("forget_quality", *NO_MODEL)
MEMBERSHIP = "mia_"  # how the names of membership attacks begin


class Value(NamedTuple):
    """A number with its interval; NaN where it was not measured, None where there is no interval."""

    value: float
    low: float | None = None
    high: float | None = None

    @property
    def known(self) -> bool:
        """Whether there is a number."""
        return math.isfinite(self.value)


class Utility(NamedTuple):
    """What a model kept of the split on which it kept least, relative to the original."""

    kept: Value
    label: str


class Reading:
    """Looks up the numbers of a record.

    Args:
        record: the record.
        baseline: column of the trivial baseline; None where no column is one, whatever its name.

    Attributes:
        roles: models, in the order of the columns.
        drawn: those that charts and legends show, which leave out the trivial baseline.
        references: models that never saw the records.
        labels: recorded names of the metrics, each once.
        names: the same in words that tell them apart.
        candidate: the model in question; a policy comes before the weights it stands before. None without one.
    """

    def __init__(self, record: RunRecord, baseline: str | None = GUARDRAIL) -> None:
        self.record = record
        self.roles = record.columns
        self.drawn = [role for role in self.roles if role != baseline]
        self.references = [role for role in self.roles if is_of(role, RETRAINED)]
        self._scores = {(score["label"], score["role"]): score for score in record.scores}
        self.labels: list[str] = list(dict.fromkeys(score["label"] for score in record.scores))
        self.names = names(self.labels)
        others = [role for role in self.drawn if role != ORIGINAL and role not in self.references]
        self.candidate: str | None = next((role for role in (POLICY, "unlearned", *others) if role in others), None)

    @property
    def has_reference(self) -> bool:
        """Whether there is a model that never saw the records."""
        return RETRAINED in self.roles

    @property
    def judged(self) -> str | None:
        """The model that the verdict is about: the original's weights behind a policy or an adapter."""
        stated = self.record.verdict.get("role")
        return stated or (ORIGINAL if self.candidate == POLICY else self.candidate)

    def score(self, label: str, role: str | None) -> Mapping[str, Any] | None:
        """One score as the record has it; None where it was not computed."""
        return self._scores.get((label, role or ""))

    def value(self, label: str, role: str | None) -> Value:
        """One score with its interval."""
        return value_of(self.score(label, role))

    def name(self, label: str) -> str:
        """A metric in words that tell it from the others of the record."""
        return self.names.get(label) or scored(label)

    def find(self, wanted: Collection[str], split: str, form: str = "trained", role: str | None = None) -> str | None:
        """First metric, in the order of ``wanted``, that was measured on a model (the candidate if None)."""
        own = role or self.candidate
        for name in wanted:
            for label in self.labels:
                found = Label.parse(label)
                if (found.name, found.split, found.form) == (name, split, form) and self.value(label, own).known:
                    return label
        return None

    def utility(self, role: str | None) -> Utility | None:
        """What a model kept, relative to the original, on the split where it kept least, as the verdict reads it."""
        worst = worst_kept(self._kept(label, role) for label in self.labels)
        return None if worst is None else self._utility(worst.label, role)

    def _kept(self, label: str, role: str | None) -> Kept:
        found, score = Label.parse(label), self.score(label, role)
        values = [self.value(label, one).value for one in (ORIGINAL, role)]
        subjects = 0 if score is None else score.get("n", 0)
        return Kept(label, found.name, found.split, found.form, subjects, *values)

    def utility_on(self, split: str, role: str | None) -> Utility | None:
        """What a model kept of one split, relative to the original; the interval is the model's own."""
        label = self.find(UTILITY, split, role=role)
        return None if label is None else self._utility(label, role)

    def _utility(self, label: str, role: str | None) -> Utility | None:
        original, own = self.value(label, ORIGINAL).value, self.value(label, role)
        if not original > 0:
            return None
        low, high = (None if bound is None else bound / original for bound in (own.low, own.high))
        return Utility(Value(own.value / original, low, high), label)

    def kept_splits(self) -> list[str]:
        """Splits of which nothing should have been lost."""
        splits = dict.fromkeys(Label.parse(label).split for label in self.labels)
        return [split for split in splits if split and split not in UNSEEN]

    def gaps(self, role: str | None) -> list[Mapping[str, Any]]:
        """Differences of a model from the retrained one."""
        return [gap for gap in self.record.gaps if gap["role"] == role]

    def samples(self, label: str, role: str | None) -> list[Mapping[str, Any]]:
        """Numbers per record of one metric and model, one list for each sample."""
        return [item for item in self.record.distributions if (item["label"], item["role"]) == (label, role)]

    def forget_labels(self) -> list[str]:
        """Metrics between 0 and 1 of what a model holds of the forget set; no p-values, nothing that reads no model."""
        return [
            label
            for label in self.labels
            if (Label.parse(label).split == "forget" and Label.parse(label).name not in _NOT_HELD)
            and any(is_bounded(self.score(label, role)) for role in self.drawn)
        ]


def value_of(score: Mapping[str, Any] | None) -> Value:
    """Returns the number of a score or gap, NaN without one."""
    if score is None or score["value"] is None:
        return Value(math.nan)
    bounds = (score["low"], score["high"])
    low, high = (None if bound is None or not math.isfinite(bound) else float(bound) for bound in bounds)
    return Value(float(score["value"]), low, high)


def is_membership(label: str) -> bool:
    """Whether a metric is a membership attack."""
    return label.startswith((MEMBERSHIP, "rmia(", "lira("))


def is_attack(label: str) -> bool:
    """Whether a metric is an attack on who was in, by an area under the ROC curve or by judgements."""
    return is_membership(label) or label.startswith("ulira(")


def is_bounded(score: Mapping[str, Any] | None) -> bool:
    """Whether a score is a number from 0 to 1."""
    return score is not None and "0 to 1" in score["unit"]
