"""PrivLeak of MUSE: how far a membership attack is from where it stands on the retrained model, in percent.

Shi et al., 2024, https://arxiv.org/abs/2407.06460.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from expunge.metrics.base import Answers, Evidence, Floats, Knows, Sample, Score
from expunge.metrics.membership import MinKMetric, membership_auc, min_k, rounded
from expunge.metrics.records import NAN
from expunge.registry import metrics


def privleak(area: float, retrained_area: float) -> float:
    """Returns 100 ((1 - a) - (1 - b)) / (1 - b); NaN where the attack is perfect on the retrained model.

    MUSE's area is the probability that a record never seen scores above a forgotten one, 1 - a in our orientation.

    Args:
        area: probability that a forgotten record scores above one never seen, of the model.
        retrained_area: the same of the retrained model; there is no other reference, and one half is none.
    """
    return 100 * (retrained_area - area) / (1 - retrained_area) if retrained_area < 1 else NAN


def _of_samples(own_N: Floats, own_M: Floats, retrained_N: Floats, retrained_M: Floats) -> float:
    return privleak(membership_auc(own_N, own_M), membership_auc(retrained_N, retrained_M))


@metrics.register("privleak")
@dataclass(frozen=True, kw_only=True)
class PrivLeak(MinKMetric):
    """PrivLeak: 0 as the retrained model, negative where forget records still look known, positive where overdone."""

    k: float = 0.4

    compares_to = ("retrained",)
    unit = "percent, -100 or above, 0 as the retrained model; positive where forget records stand out as unlikely"
    plotted = False
    kinds = ("token_logps",)
    paper = "Shi et al., 2024, https://arxiv.org/abs/2407.06460"

    @property
    def knows(self) -> Knows:
        """Negative where forget records still look known."""
        return "low"

    @property
    def evidence(self) -> Evidence:
        """A ratio of areas; the areas themselves decide."""
        return ""

    def score(self, *numbers: Floats) -> float:
        """Mean log-probability of the least likely tokens."""
        return min_k(numbers[0], self.k)

    def compute(self, answers: Answers) -> Score:
        """The relative distance, with both areas in ``details``, higher = member."""
        samples = tuple(
            Sample(split, rounded(self.scores(split, Answers(numbers))))
            for numbers in (answers.own, answers.of("retrained"))
            for split in (self.split, self.against)
        )
        own_N, own_M, retrained_N, retrained_M = (one.values[~np.isnan(one.values)] for one in samples)
        details = {"auc": membership_auc(own_N, own_M), "retrained_auc": membership_auc(retrained_N, retrained_M)}
        return Score(samples, _of_samples, details)
