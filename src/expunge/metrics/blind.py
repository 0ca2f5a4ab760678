"""Blind baseline: do the splits of a membership attack differ in their words, whatever any model remembers?

Das et al., 2024, https://arxiv.org/abs/2406.16201; Duan et al., 2024, https://arxiv.org/abs/2402.07841.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from expunge.errors import InputError
from expunge.metrics.base import Answers, Evidence, Floats, Knows, Need
from expunge.metrics.membership import MembershipMetric
from expunge.metrics.records import NAN
from expunge.registry import metrics


@metrics.register("blind_baseline")
@dataclass(frozen=True, kw_only=True)
class BlindBaseline(MembershipMetric):
    """A control of the data: how well a classifier that sees words and no model tells the two splits apart.

    The same for all models. Above one half by more than chance, the splits differ by themselves, and the areas of the
    membership attacks between them are no measure of memory; ``lower`` is therefore better. The classifier learns which
    words speak for which split and is scored on other subjects, so that a value below one half is chance.

    Attributes:
        folds: parts that subjects are dealt into; each is scored by a classifier that was fitted on the others.
        min_subjects: words of fewer subjects are left out.
        penalty: factor on half the squared weights of the logistic regression.
        seed: of the folds.
    """

    folds: int = 5
    min_subjects: int = 5
    penalty: float = 1.0
    seed: int = 0

    direction = "lower"
    plotted = False
    paper = "Das et al., 2024, https://arxiv.org/abs/2406.16201"

    @property
    def knows(self) -> Knows:
        """A control of the data; no model is read."""
        return ""

    @property
    def evidence(self) -> Evidence:
        """It reads no model."""
        return ""

    def __post_init__(self) -> None:
        if self.folds < 2 or self.min_subjects < 1 or self.penalty <= 0:
            raise InputError(
                f"folds={self.folds}, min_subjects={self.min_subjects}, penalty={self.penalty}: take at least 2 folds, "
                "1 subject and a penalty above 0."
            )
        if self.split == self.against:
            raise InputError(f"split and against are both {self.split}; a split cannot be told from itself.")

    def read(self, split: str) -> tuple[Need, ...]:
        """Out-of-fold scores of a split beside the other one."""
        settings = {name: getattr(self, name) for name in ("folds", "min_subjects", "penalty", "seed")}
        beside = self.against if split == self.split else self.split
        return (Need(kind="blind_score", split=split, params=tuple(sorted({**settings, "beside": beside}.items()))),)

    def scores(self, split: str, answers: Answers) -> Floats:
        """Log-odds of the split in question."""
        (need,) = self.read(split)
        sign = 1.0 if split == self.split else -1.0
        return np.array([sign * forms[0] if len(forms) else NAN for forms in answers[need]], dtype=np.float64)
