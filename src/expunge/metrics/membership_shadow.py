"""Membership inference against models that never saw the records: RMIA and offline LiRA.

RMIA: Zarifzadeh et al., 2024, https://arxiv.org/abs/2312.03262. LiRA: Carlini et al., 2022,
https://arxiv.org/abs/2112.03570. The models outside are all retrained and reference models but the model itself.

Shapes: M models outside, N records.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from expunge.errors import InputError
from expunge.functional.shadow import MIN_MODELS, confidence_logit, fit_gaussians
from expunge.metrics.base import Answers, Floats, Need
from expunge.metrics.membership import MembershipMetric, rounded
from expunge.metrics.membership_reference import differences
from expunge.metrics.records import NAN, first_form
from expunge.registry import metrics

OUTSIDE = ("retrained", "reference")
_LEAST = 1e-300  # a probability that no model gives a record still divides


def rmia_ratio(probability_N: Floats, outside_MN: Floats, a: float) -> Floats:
    """Returns p / p-hat with p-hat = ((1 + a) mean of the models outside + (1 - a)) / 2.

    A model that saw a record gives it more than those outside; the mean over models in and out is read off a line.
    """
    expected_N = ((1 + a) * np.mean(outside_MN, axis=0) + (1 - a)) / 2
    return np.asarray(probability_N / np.maximum(expected_N, _LEAST))


def rmia_scores(ratio_N: Floats, population_Z: Floats, gamma: float) -> Floats:
    """Returns the share of the population whose ratio a record's is at least ``gamma`` times; NaN stays NaN."""
    if not len(population_Z):
        return np.full(len(ratio_N), NAN)
    beaten_N = np.searchsorted(np.sort(gamma * population_Z), ratio_N, side="right")
    return np.where(np.isnan(ratio_N), NAN, beaten_N / len(population_Z))


def half(count: int) -> NDArray[np.int64]:
    """Returns the places of half of the records, rounded down, the same ones every time.

    Drawn, since records have an order: every second one may always ask for the same fact.
    """
    draw = np.random.Generator(np.random.PCG64(count))
    return np.sort(draw.permutation(count)[: count // 2])


@dataclass(frozen=True, kw_only=True)
class OutsideMetric(MembershipMetric):
    """Base of attacks by models that saw neither the records in question nor those beside them."""

    kinds = ("token_logps",)
    may_compare_to = OUTSIDE

    def __post_init__(self) -> None:
        if self.split == "retain":
            raise InputError(f"{self.split} records were seen by the retrained models; take a split that is forgotten.")

    def outside(self, split: str, answers: Answers) -> Floats:
        """Returns (M, N): mean log-probability, nats per token, of each record under each model outside.

        The first retrained model is one of them only where the others do not suffice: its own column cannot read it,
        and an attack with one model more is another attack.
        """
        need = Need(kind="token_logps", split=split)
        found = [one for role in OUTSIDE for one in answers.family(role, need, further=role == "retrained")]
        if len(found) < self.least_others:
            found = [one for role in OUTSIDE for one in answers.family(role, need)]
        return np.array([first_form(answer) for answer in found])

    def further(self, answers: Answers) -> Mapping[str, float]:
        """How many models are outside."""
        return {"models": float(len(self.outside(self.split, answers)))}


@metrics.register("rmia")
@dataclass(frozen=True, kw_only=True)
class Rmia(OutsideMetric):
    """RMIA, offline: the share of the population that a record beats in p / p-hat.

    p is the length-normalised probability. Where the population comes from ``against`` itself, a half of it drawn at
    random is the population, and the others are compared; a subject's records may lie on both sides.

    Attributes:
        population: split that stands for all texts; neither the model nor those outside may have been trained on it.
        a: how far those inside are above those outside, 0 to 1; 0.3 is a value of the paper's, tuned on other models.
        gamma: how many times a record must beat another.
    """

    population: str = "holdout"
    a: float = 0.3
    gamma: float = 1.0

    least_others: ClassVar[int] = 1
    paper = "Zarifzadeh et al., 2024, https://arxiv.org/abs/2312.03262"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.a <= 1 or self.gamma <= 0:
            raise InputError(f"a={self.a}, gamma={self.gamma}: a lies between 0 and 1, and gamma above 0.")

    def needs(self) -> tuple[Need, ...]:
        """Log-probabilities of both splits and of the population."""
        splits = dict.fromkeys((self.split, self.against, self.population))
        return tuple(need for split in splits for need in self.read(split))

    def scores(self, split: str, answers: Answers) -> Floats:
        """Share of the population that is beaten."""
        population_Z = self._ratios(self.population, answers)
        if self.population == self.against:
            population_Z = population_Z[half(len(population_Z))]
        # Rounded before they are compared: equal ratios must count as equal.
        scores_N = rmia_scores(self._ratios(split, answers), population_Z[~np.isnan(population_Z)], self.gamma)
        if split == self.population:
            scores_N[half(len(scores_N))] = NAN
        return scores_N

    def _ratios(self, split: str, answers: Answers) -> Floats:
        own_N = first_form(answers[Need(kind="token_logps", split=split)])
        return rounded(rmia_ratio(np.exp(own_N), np.exp(self.outside(split, answers)), self.a))


@metrics.register("lira")
@dataclass(frozen=True, kw_only=True)
class Lira(OutsideMetric):
    """LiRA, offline: how far the model's confidence lies above that of models outside, in their standard deviations.

    Confidence is log(p / (1 - p)) of the length-normalised probability. The paper's score is the normal distribution
    function of ours, which orders records alike and does not saturate. With fewer than 64 models outside, all records
    of both splits share one variance.
    """

    least_others: ClassVar[int] = MIN_MODELS
    paper = "Carlini et al., 2022, https://arxiv.org/abs/2112.03570"

    def scores(self, split: str, answers: Answers) -> Floats:
        """Standardised confidence."""
        outside = {name: confidence_logit(self.outside(name, answers)) for name in (self.split, self.against)}
        fit = fit_gaussians(np.hstack(list(outside.values())))
        place = 0 if split == self.split else outside[self.split].shape[1]
        mine = slice(place, place + outside[split].shape[1])
        own_N = confidence_logit(first_form(answers[Need(kind="token_logps", split=split)]))
        return differences(own_N, fit.mean_N[mine]) / fit.std_N[mine]
