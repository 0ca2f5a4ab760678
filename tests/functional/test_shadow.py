"""Gaussians over shadow models by hand and against scipy; U-LiRA where the best possible attack is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import norm

from expunge.errors import InputError
from expunge.functional.shadow import (
    OWN_SPREAD_FROM,
    confidence_logit,
    fit_gaussians,
    log_likelihood_ratio,
    u_lira,
)
from expunge.functional.statistics import auc

EXACT = 1e-12
GAP = 1.5  # standard deviations between inside and outside


def simulated(models: int, examples: int, gap: float, seed: int = 0):
    """Every example has a level of its own that is far from those of the others."""
    rng = np.random.default_rng(seed)
    level_N = rng.normal(0, 20, examples)
    outside = rng.normal(level_N, 1, (models, examples))
    return rng.normal(level_N + gap, 1, (models, examples)), outside


def test_logit_of_a_probability():
    p = np.array([0.01, 0.5, 0.999])
    assert confidence_logit(np.log(p)) == pytest.approx(np.log(p / (1 - p)), abs=1e-9)
    assert confidence_logit([-800.0]) == pytest.approx([-800.0])
    assert np.isfinite(confidence_logit([0.0])).all()
    assert confidence_logit([-1e-9]) > confidence_logit([-1e-8])


def test_gaussians_by_hand():
    scores = [[0.0, 10.0], [2.0, 16.0]]
    own = fit_gaussians(scores, pooled=False)
    assert own.mean_N == pytest.approx([1, 13])
    assert own.std_N == pytest.approx([math.sqrt(2), math.sqrt(18)], abs=EXACT)
    assert fit_gaussians(scores).std_N == pytest.approx([math.sqrt(10)] * 2, abs=EXACT)
    one = fit_gaussians([[0.0, math.nan], [2.0, 1.0]])
    assert (one.std_N[0], math.isnan(one.std_N[1])) == (pytest.approx(math.sqrt(2)), True)


def test_spread_is_shared_while_models_are_few():
    rng = np.random.default_rng(0)
    few, many = rng.normal(size=(OWN_SPREAD_FROM - 1, 3)), rng.normal(size=(OWN_SPREAD_FROM, 3))
    assert len(set(fit_gaussians(few).std_N)) == 1
    assert len(set(fit_gaussians(many).std_N)) == 3


def test_ratio_against_scipy():
    inside, outside = fit_gaussians([[0.0], [2.0]]), fit_gaussians([[-3.0], [1.0]])
    expected = norm(1, math.sqrt(2)).logpdf(0.3) - norm(-1, math.sqrt(8)).logpdf(0.3)
    assert log_likelihood_ratio([0.3], inside, outside) == pytest.approx([expected], abs=EXACT)


@pytest.mark.parametrize("folds", [2, 10])
def test_known_gaussians_give_the_best_accuracy_area_and_rate(folds):
    """Two normals one gap apart: accuracy Phi(d/2), area Phi(d/sqrt 2), TPR Phi(d - z) at FPR 1 - Phi(z)."""
    found = u_lira(*simulated(40, 800, GAP), folds=folds)
    assert found.accuracy_N.mean() == pytest.approx(norm.cdf(GAP / 2), abs=0.012)
    assert found.auc == pytest.approx(norm.cdf(GAP / math.sqrt(2)), abs=0.012)
    for fpr in (0.01, 0.1):
        assert found.tpr_at_fpr(fpr) == pytest.approx(norm.cdf(GAP - norm.isf(fpr)), abs=0.03)


def test_one_threshold_for_all_examples_finds_next_to_nothing_there():
    inside, outside = simulated(40, 800, GAP)
    assert auc(inside.ravel(), outside.ravel()) < 0.55
    assert u_lira(inside, outside).auc > 0.8


@pytest.mark.parametrize("folds", [2, 6])
def test_models_that_are_alike_give_one_half(folds):
    """Without a bias from judging models by what they were fitted on."""
    found = u_lira(*simulated(6, 4000, 0.0), folds=folds)
    assert found.accuracy_N.mean() == pytest.approx(0.5, abs=0.01)
    assert found.auc == pytest.approx(0.5, abs=0.012)


def test_examples_that_stand_out_on_the_low_side_are_found_as_well():
    assert u_lira(*simulated(10, 300, -4.0)).accuracy_N.mean() > 0.95


def test_accuracy_is_each_examples_own():
    inside, outside = simulated(8, 2, 0.0)
    inside[:, 0] += 50
    found = u_lira(inside, outside, pooled=False)
    assert found.accuracy_N[0] == 1
    assert found.accuracy_N[1] < 1
    assert found.inside_MN.shape == found.outside_MN.shape == (8, 2)
    assert (found.inside_MN[:, 0] > 0).all()
    assert (found.outside_MN[:, 0] < 0).all()


@pytest.mark.parametrize(("models", "folds"), [(3, 2), (2, 2), (4, 1), (4, 5)])
def test_too_few_pairs(models, folds):
    with pytest.raises(InputError, match="at least 4 pairs"):
        u_lira(np.zeros((models, 3)), np.zeros((models, 3)), folds=folds)


def test_shapes_are_checked():
    with pytest.raises(InputError, match="one shape"):
        u_lira(np.zeros((4, 3)), np.zeros((4, 2)))
    with pytest.raises(InputError, match="at least two"):
        fit_gaussians([[1.0, 2.0]])
