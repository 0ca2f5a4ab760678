"""Membership inference from one model's numbers: does the forget set look trained on, next to records never seen?

Scores are oriented so that higher means member; the value is the area under the ROC curve of members against
non-members. It is never flipped: below 0.5 the forget set stands out on the other side, which is a leak too.

Loss: Yeom et al., 2018, https://arxiv.org/abs/1709.01604. zlib: Carlini et al., 2021, https://arxiv.org/abs/2012.07805.
Min-K%: Shi et al., 2024, https://arxiv.org/abs/2310.16789. Min-K%++: Zhang et al., 2025, https://arxiv.org/abs/2404.02936.

Shapes: N records, T scored tokens.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from expunge.errors import InputError
from expunge.functional.bootstrap import Draws, Vectorised
from expunge.functional.statistics import auc, best_balanced_accuracy, rank_test, tpr_at_fpr
from expunge.metrics.base import Answers, Direction, Evidence, Floats, Knows, Metric, Need, NeedKind, Sample, Score
from expunge.metrics.records import NAN, mean_logp
from expunge.registry import metrics

MIN_STD = 1e-3  # a one-hot distribution has no spread; Min-K%++ clamps the variance, at 1e-6
# Least number of non-members at which a true positive rate is told: ten of them make up the false positives.
RATES = {0.01: 1000, 0.05: 200, 0.10: 100}
MAX_PAIRS = 1_000_000  # of records, for areas of all draws at once
_DIGITS = 10  # significant digits of a score that count
_ROUNDING = 1e-9  # 0.28 * 25 is 7.000000000000001 in binary, and ceil would take eight tokens


def zlib_score(logps_T: Floats, compressed_bytes: float) -> float:
    """Returns the mean log-probability per byte of the compressed answer text."""
    return mean_logp(logps_T) / compressed_bytes


def min_k(values_T: Floats, k: float) -> float:
    """Returns the mean of the lowest ceil(k * T) of the values, at least one; NaN without any."""
    if not len(values_T):
        return NAN
    count = max(1, math.ceil(k * len(values_T) - _ROUNDING))
    return float(np.mean(np.sort(values_T)[:count]))


def min_k_plus_plus(logps_T: Floats, moments_T2: Floats, k: float) -> float:
    """Returns ``min_k`` of (log p - mean) / standard deviation, moments of the log-probability over the vocabulary.

    Args:
        logps_T: log-probability of each scored token, nats.
        moments_T2: mean and standard deviation of log p under p itself, nats.
        k: share of the tokens that counts.
    """
    return min_k((logps_T - moments_T2[:, 0]) / np.maximum(moments_T2[:, 1], MIN_STD), k)


def _area(members_N: Floats, nonmembers_M: Floats) -> float:
    return auc(members_N, nonmembers_M) if len(members_N) and len(nonmembers_M) else NAN


def _areas(draws: Draws, samples: Sequence[Floats], places: Sequence[int]) -> Floats:
    """The area in each draw, (R,); of many records draw by draw, since comparing all pairs would take longer."""
    members_N, nonmembers_M = samples
    if len(members_N) * len(nonmembers_M) <= MAX_PAIRS:
        return draws.areas(members_N, nonmembers_M, places)
    return draws.values(lambda one, other: _area(one[~np.isnan(one)], other[~np.isnan(other)]), samples, places)


# The probability that a member scores above a non-member, ties counted half; NaN if one side is empty.
membership_auc = Vectorised(_area, _areas)


def difference(value: float, other: float) -> float:
    """Returns value - other, and 0 where they differ by the rounding of means only; NaN if one is NaN."""
    return 0.0 if abs(value - other) <= 10.0**-_DIGITS * max(abs(value), abs(other)) else value - other


def membership_details(members_N: Floats, nonmembers_M: Floats) -> dict[str, float]:
    """Returns what stands beside the area: ``p``, the balanced accuracy, and true positive rates where n allows.

    ``p`` is the two-sided Mann-Whitney test over records against one half. The balanced accuracy is that of the best
    threshold on these very records. ``tpr_at_1_percent_fpr`` takes 1,000 non-members, 5 % 200 and 10 % 100. Members
    are above the threshold in all of them: a forget set that stands out on the other side shows in the area and in p.
    All of them count records as if they were independent; records of one subject are not, and the interval knows.
    """
    found = {"p": rank_test(members_N, nonmembers_M)}
    if len(members_N) and len(nonmembers_M):
        found["balanced_accuracy"] = best_balanced_accuracy(members_N, nonmembers_M)
        for rate, least in RATES.items():
            if len(nonmembers_M) >= least:
                found[f"tpr_at_{rate * 100:.0f}_percent_fpr"] = tpr_at_fpr(members_N, nonmembers_M, rate)
    return found


def rounded(values_N: Floats) -> Floats:
    """Rounds to significant digits: a model that finds all tokens alike would be ranked by the rounding of its means.

    To digits and not to places, since a saturated model has all its log-probabilities near 0, and they still differ.
    """
    return np.array([float(f"{value:.{_DIGITS}g}") for value in values_N], dtype=np.float64)


@dataclass(frozen=True, kw_only=True)
class MembershipMetric(Metric):
    """Base of membership attacks: each gives one score per record from the same numbers on two splits.

    Most attacks name ``kinds`` and define ``score``; one that reads more defines ``read`` and ``scores``.

    Attributes:
        split: records whose membership is in question.
        against: records of the same distribution that no model has seen.
    """

    split: str = "forget"
    against: str = "holdout"

    direction: ClassVar[Direction] = "closer"
    unit = "area under the ROC curve, 0 to 1, 0.5 where nothing shows"
    plotted = True

    kinds: ClassVar[tuple[NeedKind, ...]] = ()  # numbers that ``score`` takes, in order

    @property
    def knows(self) -> Knows:
        """Members score higher."""
        return "high"

    def score(self, *numbers: Floats) -> float:
        """Returns one record's score, higher for members."""
        raise NotImplementedError

    def read(self, split: str) -> tuple[Need, ...]:
        """Numbers of one split."""
        return tuple(Need(kind=kind, split=split) for kind in self.kinds)

    @property
    def evidence(self) -> Evidence:
        """Decides: an area under the ROC curve."""
        return "membership"

    def needs(self) -> tuple[Need, ...]:
        """The same numbers of both splits."""
        return tuple(need for split in (self.split, self.against) for need in self.read(split))

    def compute(self, answers: Answers) -> Score:
        """The area under the ROC curve, with ``membership_details``."""
        samples = tuple(Sample(split, rounded(self.scores(split, answers))) for split in (self.split, self.against))
        members, others = (sample.values[~np.isnan(sample.values)] for sample in samples)
        return Score(samples, membership_auc, {**membership_details(members, others), **self.further(answers)})

    def further(self, answers: Answers) -> Mapping[str, float]:
        """Returns details of this attack, such as how many models it read."""
        return {}

    def scores(self, split: str, answers: Answers) -> Floats:
        """Returns (N,): the score of each record of a split; NaN where it has none."""
        columns = [answers[need] for need in self.read(split)]
        return np.array(
            [
                self.score(*(forms[0] for forms in record)) if all(len(forms) for forms in record) else NAN
                for record in zip(*columns, strict=True)
            ],
            dtype=np.float64,
        )


@metrics.register("mia_loss")
@dataclass(frozen=True, kw_only=True)
class MiaLoss(MembershipMetric):
    """Members have the lower loss."""

    kinds = ("token_logps",)
    paper = "Yeom et al., 2018, https://arxiv.org/abs/1709.01604"

    def score(self, *numbers: Floats) -> float:
        """Mean log-probability."""
        return mean_logp(numbers[0])


@metrics.register("mia_zlib")
@dataclass(frozen=True, kw_only=True)
class MiaZlib(MembershipMetric):
    """Loss, relative to how well the text compresses."""

    kinds = ("token_logps", "zlib_bytes")
    paper = "Carlini et al., 2021, https://arxiv.org/abs/2012.07805"

    def score(self, *numbers: Floats) -> float:
        """Mean log-probability per compressed byte."""
        logps_T, compressed_bytes = numbers
        return zlib_score(logps_T, float(compressed_bytes))


@dataclass(frozen=True, kw_only=True)
class MinKMetric(MembershipMetric):
    """Base of attacks on the least likely share of the tokens.

    Attributes:
        k: share of the tokens that counts, above 0 and at most 1; rounded up to whole tokens, at least one.
    """

    k: float = 0.2

    def __post_init__(self) -> None:
        if not 0 < self.k <= 1:
            raise InputError(f"k={self.k} is no share of the tokens; give a number above 0 and at most 1, such as 0.2.")


@metrics.register("mia_min_k")
@dataclass(frozen=True, kw_only=True)
class MiaMinK(MinKMetric):
    """Members lack the very unlikely tokens."""

    kinds = ("token_logps",)
    paper = "Shi et al., 2024, https://arxiv.org/abs/2310.16789"

    def score(self, *numbers: Floats) -> float:
        """Mean log-probability of the least likely tokens."""
        return min_k(numbers[0], self.k)


@metrics.register("mia_min_k_plus_plus")
@dataclass(frozen=True, kw_only=True)
class MiaMinKPlusPlus(MinKMetric):
    """Members are modes of the model's distribution: Min-K% on log-probabilities standardised over the vocabulary."""

    kinds = ("token_logps", "moments")
    paper = "Zhang et al., 2025, https://arxiv.org/abs/2404.02936"

    def score(self, *numbers: Floats) -> float:
        """Mean standardised log-probability of the least outstanding tokens."""
        logps_T, moments_T2 = numbers
        return min_k_plus_plus(logps_T, moments_T2, self.k)
