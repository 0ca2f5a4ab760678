"""What an evaluation found, as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from expunge.metrics.base import Direction


@dataclass(frozen=True, kw_only=True)
class ScoreRecord:
    """One metric of one model.

    Attributes:
        label: recorded name of the metric, with every setting.
        role: original, retrained, unlearned, policy, ...
        value: the number; NaN where nothing could be scored.
        low: lower bound of the 95 % interval, clustered by subject; None with fewer than 10 subjects.
        high: upper bound.
        n: number of subjects (records without a subject count one each) in the first sample.
        records: number of records scored in the first sample.
        unit: unit and range.
        direction: lower, higher, or closer to the retrained model.
        details: further numbers, such as D, p and n of a test.
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


@dataclass(frozen=True, kw_only=True)
class Omitted:
    """A metric that was not computed for a model, and why."""

    label: str
    role: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """All scores of one audit, in the order of the metrics."""

    scores: tuple[ScoreRecord, ...]
    omitted: tuple[Omitted, ...]

    def get(self, label: str, role: str) -> ScoreRecord | None:
        """Returns one score, or None where it was not computed."""
        return next((score for score in self.scores if (score.label, score.role) == (label, role)), None)

    @property
    def roles(self) -> list[str]:
        """Models that have a score, in order of appearance."""
        return list(dict.fromkeys(score.role for score in self.scores))
