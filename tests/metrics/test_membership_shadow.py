"""RMIA and offline LiRA by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from expunge.errors import InputError
from expunge.metrics import membership_shadow
from expunge.metrics.membership_shadow import Lira, Rmia, half, rmia_ratio, rmia_scores
from tests.metrics.numbers import answers, array

EXACT = 1e-9


def logs(*probabilities: float) -> list:
    return [[array(math.log(one))] for one in probabilities]


def values(score) -> list[list[float]]:
    return [sample.values.tolist() for sample in score.samples]


def test_ratio_by_hand():
    """Probability 0.6, outside 0.1 and 0.3: p-hat = (1.5 * 0.2 + 0.5) / 2 = 0.4."""
    assert rmia_ratio(array(0.6), np.array([[0.1], [0.3]]), 0.5) == pytest.approx([1.5], abs=EXACT)
    assert rmia_ratio(array(0.6), np.array([[0.2]]), 1.0) == pytest.approx([3], abs=EXACT)
    assert np.isfinite(rmia_ratio(array(0.6), np.array([[0.0]]), 1.0)).all()


def test_share_of_the_population_that_is_beaten():
    """Equal counts as beaten at gamma 1; at gamma 2 a record must be twice as high."""
    population = array(1, 2, 3, 4)
    assert rmia_scores(array(0.5, 1, 3.5, 9), population, 1).tolist() == [0, 0.25, 0.75, 1]
    assert rmia_scores(array(4, 3.9), population, 2).tolist() == [0.5, 0.25]
    assert np.isnan(rmia_scores(array(math.nan), population, 1)).all()
    assert np.isnan(rmia_scores(array(1), array(), 1)).all()


def test_rmia_takes_a_drawn_half_of_the_unseen_records_for_the_population(monkeypatch):
    monkeypatch.setattr(membership_shadow, "half", lambda count: np.array([1, 3]))
    metric = Rmia(a=1.0)
    own = (logs(0.8, 0.2), logs(0.3, 0.2, 0.1, 0.6))
    outside = (logs(0.2, 0.2), logs(0.3, 0.1, 0.1, 0.2))  # ratios 4 and 1; 1, 2, 1, 3
    score = metric.compute(answers(metric, *own, retrained=outside))
    forget, holdout = values(score)
    assert forget == [1, 0]  # of the population with ratios 2 and 3
    assert (holdout[0], holdout[2]) == (0, 0)
    assert np.isnan([holdout[1], holdout[3]]).all()
    assert score.value == 0.75
    assert score.details["models"] == 1


def test_no_order_of_the_records_decides_who_is_in_the_population():
    """Records come in the order of their facts: with every second one the two halves would be other facts."""
    for count in (2, 7, 48, 432):
        places = half(count)
        assert len(set(places.tolist())) == len(places) == count // 2
        assert places.tolist() == half(count).tolist()
    for period in (2, 3, 6, 18):
        shares = np.bincount(half(432) % period, minlength=period) / (432 / period)
        assert shares.min() > 0.25
        assert shares.max() < 0.75


def test_rmia_with_a_population_of_its_own():
    metric = Rmia(a=1.0, population="plain")
    own, outside = (logs(0.8), logs(0.4, 0.1), logs(0.2, 0.4)), (logs(0.2), logs(0.2, 0.1), logs(0.2, 0.2))
    assert values(metric.compute(answers(metric, *own, reference=outside))) == [[1], [1, 0.5]]
    assert len(metric.needs()) == 3


def test_models_outside_are_the_same_for_a_model_and_the_one_it_is_compared_with():
    metric = Rmia()
    made = {"retrained": (logs(0.1), logs(0.1, 0.1)), "retrained_2": (logs(0.2), logs(0.1, 0.1))}
    made |= {"reference": (logs(0.3), logs(0.1, 0.1)), "original": (logs(0.9), logs(0.1, 0.1))}
    found = answers(metric, *made["original"], **made)
    assert np.exp(metric.outside("forget", found)).ravel() == pytest.approx([0.2, 0.3])
    own = type(found)(found.others["retrained"], found.others)
    assert np.exp(metric.outside("forget", own)).ravel() == pytest.approx([0.2, 0.3])


def test_lira_by_hand():
    """Two models outside at logits 0 and 2: mean 1; the variances 2, 2 and 8 of three records are pooled to 4."""

    def at(*logits):
        return [[array(-math.log1p(math.exp(-one)))] for one in logits]

    metric = Lira()
    own = (at(4, 1), at(-1))
    one, two = (at(0, 0), at(-2)), (at(2, 2), at(2))
    score = metric.compute(answers(metric, *own, retrained=one, reference=two))
    assert values(score) == [pytest.approx([3 / 2, 0], abs=EXACT), pytest.approx([-1 / 2], abs=EXACT)]
    assert score.details["models"] == 2


def test_lira_where_members_are_above_models_outside_is_one_and_mirrored_zero():
    rng = np.random.default_rng(0)

    def around(levels, gap):
        return [[array(value)] for value in -np.exp(levels + gap + rng.normal(0, 0.05, len(levels)))]

    metric = Lira()
    hard, easy = rng.normal(2, 1, 40), rng.normal(-2, 1, 40)  # the members are the hard ones
    outside = {f"retrained_{number}": (around(hard, 0), around(easy, 0)) for number in range(2, 8)}
    found = metric.compute(answers(metric, around(hard, -0.5), around(easy, 0), **outside))
    assert found.value > 0.95
    assert metric.compute(answers(metric, around(hard, 0.5), around(easy, 0), **outside)).value < 0.05


def test_records_that_the_retrained_models_saw_are_refused():
    for metric in (Rmia, Lira):
        with pytest.raises(InputError, match="seen by the retrained"):
            metric(split="retain")
    with pytest.raises(InputError, match="gamma above 0"):
        Rmia(gamma=0)
    assert (Rmia.least_others, Lira.least_others) == (1, 2)


def test_the_first_retrained_model_stands_outside_only_where_no_other_does():
    """Else its column would be read with one model fewer than the one it is compared with."""
    metric, own = Rmia(), (logs(0.8), logs(0.3, 0.2))
    first, second = (logs(0.2), logs(0.3, 0.1)), (logs(0.4), logs(0.2, 0.2))

    def outside(**others):
        return np.exp(metric.outside("forget", answers(metric, *own, **others))).ravel()

    assert outside(retrained=first) == pytest.approx([0.2])
    assert outside(retrained=first, retrained_2=second) == pytest.approx([0.4])
    assert outside(retrained=first, reference=second) == pytest.approx([0.4])
