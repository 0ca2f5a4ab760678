"""What an evaluation found, as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from expunge.metrics.base import Direction, Evidence, Sample


@dataclass(frozen=True, kw_only=True)
class ScoreRecord:
    """One metric of one model.

    Attributes:
        label: recorded name of the metric, with every setting.
        role: original, retrained, unlearned, policy, ...
        value: the number; NaN where nothing could be scored.
        low: lower bound of the 95 % interval, clustered by subject; None with fewer than 10 subjects.
        high: upper bound.
        n: number of subjects (records without a subject count one each), of the smallest sample behind the value.
        records: number of records scored, of the smallest sample behind the value.
        unit: unit and range.
        direction: lower, higher, or closer to the retrained model.
        details: further numbers, such as D, p and n of a test; ``not_asked`` is the number of records left out because
            the model could not be asked about them.
        missing: why the value is NaN; empty where it is a number.
    """

    label: str
    role: str
    value: float
    low: float | None
    high: float | None
    n: int
    records: int
    unit: str
    direction: Direction
    details: Mapping[str, float] = field(default_factory=dict)
    missing: str = ""


@dataclass(frozen=True, kw_only=True)
class Gap:
    """How far a model is from a retrained one in one metric.

    Attributes:
        label: recorded name of the metric.
        role: the model that is compared.
        value: its value minus the retrained model's.
        low: lower bound of the 95 % interval, both models on the same draws of subjects; None with fewer than 10.
        high: upper bound.
        n: number of subjects, of the smallest sample.
        reference: which of the retrained models.
    """

    label: str
    role: str
    value: float
    low: float | None
    high: float | None
    n: int
    reference: str = "retrained"


class Traits(NamedTuple):
    """What a metric's label stands for: its registry name, the splits and forms it reads, and what it is taken for."""

    name: str
    splits: tuple[str, ...]
    forms: tuple[str, ...]
    evidence: Evidence = ""


@dataclass(frozen=True, kw_only=True)
class Omitted:
    """A metric that was not computed for a model, and why."""

    label: str
    role: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """All scores of one audit, in the order of the metrics.

    Attributes:
        scores: every number.
        omitted: metrics that were not computed, and why.
        gaps: distances from the retrained model of the metrics that should come close to it.
        traits: what each label stands for.
        samples: numbers per record by label and role, of the metrics that ask for a plot.
        knowledge: the same of the metrics that the verdict takes for knowledge and that are means over records.
    """

    scores: tuple[ScoreRecord, ...]
    omitted: tuple[Omitted, ...]
    gaps: tuple[Gap, ...] = ()
    traits: Mapping[str, Traits] = field(default_factory=dict)
    # Arrays have no truth value, so that evaluations are compared by their scores.
    samples: Mapping[tuple[str, str], tuple[Sample, ...]] = field(default_factory=dict, compare=False, repr=False)
    knowledge: Mapping[tuple[str, str], Sample] = field(default_factory=dict, compare=False, repr=False)

    def get(self, label: str, role: str) -> ScoreRecord | None:
        """Returns one score, or None where it was not computed."""
        return next((score for score in self.scores if (score.label, score.role) == (label, role)), None)

    def gap(self, label: str, role: str) -> Gap | None:
        """Returns the distance of one score from the first retrained model's, or None where there is none."""
        return next((found for found in self.gaps if (found.label, found.role) == (label, role)), None)

    @property
    def roles(self) -> list[str]:
        """Models that have a score, in order of appearance."""
        return list(dict.fromkeys(score.role for score in self.scores))
