"""How far is a model from the retrained one: distances of distributions, of pairs, and of next-token distributions.

Two sets of numbers may be distributed alike while no record is treated alike, and a model on its way to nonsense passes
every distribution once; the gap of pairs sees both. A distance of 0 is never reached by two models trained with
different seeds: where several retrained models are handed in, ``null`` is the largest distance between them.

Maini et al., 2024, https://arxiv.org/abs/2401.06121, report the p-value of the Kolmogorov-Smirnov test
(``forget_quality``). Numbers of one subject's records depend on each other, so that p and the smallest detectable D are
too good; both take records for independent.

Shapes: N records, F wrong answers, T scored tokens.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from expunge.functional.distances import critical_ks, detectable_ks, wasserstein
from expunge.functional.statistics import ks_test
from expunge.metrics.base import Answer, Answers, Floats, Knows, Metric, Need, Sample, Score, mean_of, mean_score
from expunge.metrics.memorisation import ratio_needs
from expunge.metrics.records import NAN, all_forms, check_form, first_form, per_record
from expunge.registry import metrics

Measure = Literal["log_probability", "log_truth_ratio"]
RETRAINED = "retrained"


@dataclass(frozen=True, kw_only=True)
class DistanceMetric(Metric):
    """Base of distances from the retrained model in one number per record.

    Attributes:
        split: split to read.
        form: form of its records; for the truth ratio the form of the true answer.
        measure: ``log_probability`` (mean per token of the answer) or ``log_truth_ratio`` (mean log-probability per
            token of the wrong answers, minus the true one's); nats.
    """

    split: str = "forget"
    form: str = "trained"
    measure: Measure = "log_probability"

    direction = "lower"
    compares_to = (RETRAINED,)

    def __post_init__(self) -> None:
        if self.measure == "log_truth_ratio":
            check_form(self.form, ("trained", "paraphrased_question", "paraphrased_answer"))
        check_form(self.form)

    @property
    def knows(self) -> Knows:
        """What was seen is distributed unlike what was not."""
        return "high"

    def needs(self) -> tuple[Need, ...]:
        """Log-probabilities of the answer, and of the wrong answers for the truth ratio."""
        if self.measure == "log_truth_ratio":
            return ratio_needs(self.split, self.form)
        return (Need(kind="token_logps", split=self.split, form=self.form),)

    def numbers(self, answers: Mapping[Need, Answer]) -> Floats:
        """Returns (N,): the measure of each record of one model."""
        truth, *wrong = self.needs()
        own_N = first_form(answers[truth])
        if not wrong:
            return own_N
        means_N = [float(np.mean(wrong_F)) if len(wrong_F) else NAN for wrong_F in all_forms(answers[wrong[0]])]
        return np.array(means_N, dtype=np.float64) - own_N

    def further(self, answers: Answers) -> list[Floats]:
        """Returns the measure of each further retrained model, (N,) each."""
        needs = self.needs()
        families = [
            [one for one in answers.family(RETRAINED, need) if one is not answers.of(RETRAINED)[need]] for need in needs
        ]
        return [self.numbers(dict(zip(needs, one, strict=True))) for one in zip(*families, strict=True)]


@dataclass(frozen=True, kw_only=True)
class DistributionDistance(DistanceMetric):
    """Base of distances between the distributions of two models' numbers."""

    resampled = False  # a resampled distance is larger than the distance itself, most of all near 0

    @staticmethod
    @abstractmethod
    def distance(own_N: Floats, retrained_M: Floats) -> float:
        """Returns the distance of two sets of numbers; NaN where one is empty."""

    @abstractmethod
    def details(self, own_N: Floats, retrained_N: Floats) -> dict[str, float]:
        """Returns what stands beside the distance."""

    def compute(self, answers: Answers) -> Score:
        """The distance; ``null`` is the largest between the retrained model and further ones, where there are any."""
        own_N, other_N = self.numbers(answers.own), self.numbers(answers.of(RETRAINED))
        details = self.details(_known(own_N), _known(other_N))
        details |= _null([self.distance(_known(one), _known(other_N)) for one in self.further(answers)])
        return Score((Sample(self.split, own_N), Sample(self.split, other_N)), self.distance, details)


@metrics.register("ks_distance")
@dataclass(frozen=True, kw_only=True)
class KSDistance(DistributionDistance):
    """Largest gap D between the distribution functions of this model's numbers and the retrained model's."""

    unit = "D, 0 to 1"
    paper = "Smirnov, 1948, https://doi.org/10.1214/aoms/1177730256"

    @staticmethod
    def distance(own_N: Floats, retrained_M: Floats) -> float:
        """D; NaN where one side is empty."""
        return ks_test(own_N, retrained_M).statistic if len(own_N) and len(retrained_M) else NAN

    def details(self, own_N: Floats, retrained_N: Floats) -> dict[str, float]:
        """``p``, n and m of the test; the D from which it rejects; the D that it finds with 80 % probability."""
        n, m = len(own_N), len(retrained_N)
        if not n or not m:
            return {"n": float(n), "m": float(m)}
        return {
            "p": ks_test(own_N, retrained_N).p_value,
            "n": float(n),
            "m": float(m),
            "critical_D": critical_ks(n, m),
            "detectable_D": detectable_ks(n, m),
        }


@metrics.register("wasserstein")
@dataclass(frozen=True, kw_only=True)
class Wasserstein(DistributionDistance):
    """1-Wasserstein distance of the distributions: how far numbers must move, on the whole, to become the others."""

    unit = "nats, from 0"
    paper = "Vallender, 1974, https://doi.org/10.1137/1118101"

    @staticmethod
    def distance(own_N: Floats, retrained_M: Floats) -> float:
        """1-Wasserstein distance; NaN where one side is empty."""
        return wasserstein(own_N, retrained_M)

    def details(self, own_N: Floats, retrained_N: Floats) -> dict[str, float]:
        """``shift``: mean of this model's numbers minus the retrained model's; beyond it the shapes differ."""
        if not len(own_N) or not len(retrained_N):
            return {}
        return {"shift": float(np.mean(own_N) - np.mean(retrained_N))}


@metrics.register("paired_gap")
@dataclass(frozen=True, kw_only=True)
class PairedGap(DistanceMetric):
    """Mean over records of how far this model's number is from the retrained model's of the same record."""

    unit = "nats, from 0"

    def compute(self, answers: Answers) -> Score:
        """Mean of |own - retrained|; ``shift`` is the mean with its sign, ``null`` as for the other distances."""
        other_N = self.numbers(answers.of(RETRAINED))
        gaps_N = self.numbers(answers.own) - other_N
        details = {"shift": float(np.mean(_known(gaps_N)))} if len(_known(gaps_N)) else {}
        details |= _null([mean_of(_known(np.abs(one - other_N))) for one in self.further(answers)])
        return mean_score(self.split, np.abs(gaps_N), **details)


@metrics.register("kl_to_retrained")
@dataclass(frozen=True, kw_only=True)
class KLToRetrained(Metric):
    """Kullback-Leibler divergence of this model's next-token distributions from the retrained model's.

    KL(retrained || own) at each scored position, mean over the positions of a record and then over records.

    Attributes:
        split: split to read.
        form: form of its records.
    """

    split: str = "forget"
    form: str = "trained"

    direction = "lower"
    compares_to = (RETRAINED,)
    unit = "nats per token, from 0"
    paper = "Golatkar et al., 2020, https://arxiv.org/abs/1911.04933"

    def __post_init__(self) -> None:
        check_form(self.form)

    @property
    def knows(self) -> Knows:
        """It goes on unlike a model that never saw the records."""
        return "high"

    def needs(self) -> tuple[Need, ...]:
        """Divergences, read with both models side by side."""
        return (Need(kind="divergence", split=self.split, form=self.form, params=(("role", RETRAINED),)),)

    def compute(self, answers: Answers) -> Score:
        """Mean over records."""
        values = per_record(answers[self.needs()[0]], lambda kl_T: float(np.mean(kl_T)) if len(kl_T) else NAN)
        return mean_score(self.split, values)


def _null(distances: Sequence[float]) -> dict[str, float]:
    """The largest distance between retrained models, as a detail; none where no record has a number in both."""
    known = [one for one in distances if not math.isnan(one)]
    return {"null": max(known)} if known else {}


def _known(values_N: Floats) -> Floats:
    return values_N[~np.isnan(values_N)]
