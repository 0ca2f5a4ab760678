"""Per-example Gaussians over shadow models: LiRA, and U-LiRA for models that unlearned the example.

LiRA: Carlini et al., 2022, https://arxiv.org/abs/2112.03570. U-LiRA: Hayes et al., 2024,
https://arxiv.org/abs/2403.01218: the models inside are trained with the example and then unlearn it, those outside
never saw it and unlearn something else.

Shapes: M shadow models, N examples. Scores are ``confidence_logit`` or any other number per example.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from expunge.errors import InputError
from expunge.functional.statistics import auc, tpr_at_fpr

Floats = NDArray[np.float64]
MIN_MODELS = 2  # a spread takes two
OWN_SPREAD_FROM = 64  # models; from fewer than these an example's own spread is too rough, and all share one
_LEAST_STD = 1e-12  # models that agree to the last bit have none
_LEAST_NATS = 1e-12  # a probability of 1 has no logit


class Gaussians(NamedTuple):
    """Mean and standard deviation of each example's score over models, (N,) each."""

    mean_N: Floats
    std_N: Floats


class ULira(NamedTuple):
    """What a likelihood-ratio attack found of models that it was not fitted on.

    Attributes:
        accuracy_N: share of the held-out models, inside and outside, that were told right, of each example; a ratio of
            1 counts half.
        inside_MN: log-likelihood ratio of each model that unlearned the example; above 0 it looks like one.
        outside_MN: the same of each model that never saw it.
        fold_M: which fit judged a model; ratios of two fits are not compared.
    """

    accuracy_N: Floats
    inside_MN: Floats
    outside_MN: Floats
    fold_M: NDArray[np.int64]

    @property
    def auc(self) -> float:
        """Area under the ROC curve over all examples, mean over the fits."""
        return float(np.mean([auc(*pair) for pair in self._pairs()]))

    def tpr_at_fpr(self, fpr: float) -> float:
        """True positive rate over all examples, mean over the fits."""
        return float(np.mean([tpr_at_fpr(*pair, fpr) for pair in self._pairs()]))

    def _pairs(self) -> list[tuple[Floats, Floats]]:
        masks = (self.fold_M == fold for fold in np.unique(self.fold_M))
        return [(self.inside_MN[mask].ravel(), self.outside_MN[mask].ravel()) for mask in masks]


def confidence_logit(mean_logps: ArrayLike) -> Floats:
    """Returns log(p / (1 - p)) of length-normalised probabilities p = exp(mean log-probability in nats)."""
    nats = np.minimum(np.asarray(mean_logps, dtype=np.float64), -_LEAST_NATS)
    return np.asarray(nats - np.log(-np.expm1(nats)))


def fit_gaussians(scores_MN: ArrayLike, *, pooled: bool | None = None) -> Gaussians:
    """Fits one Gaussian to each example's scores.

    Args:
        scores_MN: one row for each model; columns with NaN give NaN.
        pooled: whether all examples share one variance, the mean of theirs; None where the models are fewer than
            ``OWN_SPREAD_FROM``.

    Raises:
        InputError: fewer than two models, from which no spread can be told.
    """
    scores_MN = np.asarray(scores_MN, dtype=np.float64)
    if scores_MN.ndim != 2 or len(scores_MN) < MIN_MODELS:
        raise InputError("A spread over models takes at least two of them; hand in a row of scores for each.")
    variance_N = np.var(scores_MN, axis=0, ddof=1)
    known_N = ~np.isnan(variance_N)
    if (len(scores_MN) < OWN_SPREAD_FROM if pooled is None else pooled) and known_N.any():
        variance_N = np.where(known_N, np.mean(variance_N[known_N]), np.nan)
    return Gaussians(np.mean(scores_MN, axis=0), np.maximum(np.sqrt(variance_N), _LEAST_STD))


def log_likelihood_ratio(scores: ArrayLike, inside: Gaussians, outside: Gaussians) -> Floats:
    """Returns log N(score; inside) - log N(score; outside) for scores (N,) or (M, N)."""
    return _log_density(scores, inside) - _log_density(scores, outside)


def u_lira(inside_MN: ArrayLike, outside_MN: ArrayLike, *, pooled: bool | None = None, folds: int = 2) -> ULira:
    """Judges each shadow pair by Gaussians fitted on the pairs of the other folds.

    Args:
        inside_MN: scores of models that were trained with the example and unlearned it.
        outside_MN: scores of models that never saw it; as many.
        pooled: as in ``fit_gaussians``.
        folds: parts of the pairs; as many as pairs leaves out one at a time.

    Raises:
        InputError: the two differ in shape, or a fit would be left with fewer than two pairs.
    """
    inside_MN, outside_MN = np.asarray(inside_MN, dtype=np.float64), np.asarray(outside_MN, dtype=np.float64)
    if inside_MN.ndim != 2 or inside_MN.shape != outside_MN.shape:
        raise InputError(f"Shadow pairs need scores of one shape, not {inside_MN.shape} and {outside_MN.shape}.")
    pairs = len(inside_MN)
    if not 2 <= folds <= pairs or pairs - -(-pairs // folds) < MIN_MODELS:
        raise InputError(f"{pairs} shadow pairs in {folds} folds leave too few to fit on; use at least 4 pairs.")
    fold_M = np.arange(pairs) % folds
    ratios = np.full((2, *inside_MN.shape), np.nan)
    for fold in range(folds):
        held = fold_M == fold
        fits = (fit_gaussians(inside_MN[~held], pooled=pooled), fit_gaussians(outside_MN[~held], pooled=pooled))
        for side, scores_MN in enumerate((inside_MN, outside_MN)):
            ratios[side, held] = log_likelihood_ratio(scores_MN[held], *fits)
    right_MN = (1 + np.sign(ratios[0])) / 2 + (1 - np.sign(ratios[1])) / 2
    return ULira(np.mean(right_MN, axis=0) / 2, ratios[0], ratios[1], fold_M)


def _log_density(scores: ArrayLike, fit: Gaussians) -> Floats:
    standard = (np.asarray(scores, dtype=np.float64) - fit.mean_N) / fit.std_N
    return np.asarray(-np.log(fit.std_N) - standard**2 / 2 - np.log(2 * np.pi) / 2)
