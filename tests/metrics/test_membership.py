"""Membership scores by hand; areas against scikit-learn."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import mannwhitneyu
from sklearn.metrics import roc_auc_score, roc_curve

from expunge.errors import InputError
from expunge.functional.bootstrap import Draws
from expunge.metrics import membership
from expunge.metrics.base import Answers
from expunge.metrics.membership import (
    MiaLoss,
    MiaMinK,
    MiaMinKPlusPlus,
    MiaZlib,
    difference,
    membership_auc,
    membership_details,
    min_k,
    min_k_plus_plus,
    rounded,
    zlib_score,
)
from tests.metrics.numbers import answers, array, need

EXACT = 1e-12


@pytest.mark.parametrize(
    ("k", "expected"),
    [(0.2, -5.0), (0.21, -4.5), (0.4, -4.5), (1.0, -3.0), (0.01, -5.0)],
)
def test_min_k_by_hand(k, expected):
    """Five tokens: 20 % is one of them, 21 % is rounded up to two, and 1 % still is one."""
    assert min_k(array(-1, -5, -2, -4, -3), k) == pytest.approx(expected, abs=EXACT)


def test_min_k_does_not_take_a_token_more_for_binary_fractions():
    assert 0.28 * 25 > 7
    assert min_k(-np.arange(25.0), 0.28) == pytest.approx(np.mean(np.arange(-24.0, -17.0)), abs=EXACT)


def test_min_k_plus_plus_by_hand():
    logps, moments = array(-1, -2, -6), np.array([[-2, 0.5], [-2, 1], [-3, 2]], dtype=float)
    # standardised: 2, 0, -1.5
    assert min_k_plus_plus(logps, moments, 0.2) == pytest.approx(-1.5, abs=EXACT)
    assert min_k_plus_plus(logps, moments, 0.5) == pytest.approx(-0.75, abs=EXACT)
    assert math.isfinite(min_k_plus_plus(logps, moments * [1, 0], 1.0))


def test_zlib_by_hand():
    assert zlib_score(array(-1, -3), 40) == pytest.approx(-0.05, abs=EXACT)


def test_scores_are_higher_for_members_and_never_flipped():
    known, unknown = [[array(-0.1, -0.1)], [array(-0.2)]], [[array(-3.0, -2.0)], [array(-4.0)]]
    for metric in (MiaLoss(), MiaMinK()):
        assert metric.compute(answers(metric, known, unknown)).value == 1.0
        assert metric.compute(answers(metric, unknown, known)).value == 0.0
    metric = MiaZlib()
    same = [[50.0], [50.0]]
    assert metric.compute(answers(metric, known, same, unknown, same)).value == 1.0
    metric = MiaMinKPlusPlus()
    moments = [[np.tile([-2.0, 1.0], (2, 1))], [np.tile([-2.0, 1.0], (1, 1))]]
    assert metric.compute(answers(metric, known, moments, unknown, moments)).value == 1.0


def test_zlib_divides_by_the_bytes_of_the_same_record():
    metric = MiaZlib()
    logps = {"forget": [[array(-2.0)], [array(-2.0)]], "holdout": [[array(-2.0)], [array(-2.0)]]}
    sizes = {"forget": [[100.0], [10.0]], "holdout": [[20.0], [50.0]]}
    own = {need("token_logps", split): logps[split] for split in logps}
    own |= {need("zlib_bytes", split): sizes[split] for split in sizes}
    # scores -0.02 and -0.2 against -0.1 and -0.04
    assert metric.compute(Answers(own)).value == pytest.approx(0.5)


def test_a_record_that_was_cut_off_is_left_out():
    metric = MiaLoss()
    score = metric.compute(answers(metric, [[array(-1.0)], [array()], []], [[array(-2.0)]]))
    assert score.value == 1.0
    assert np.isnan(score.samples[0].values).tolist() == [False, True, True]
    assert math.isnan(metric.compute(answers(metric, [[array()]], [[array(-2.0)]])).value)


@given(
    st.lists(st.integers(-5, 5), min_size=1, max_size=30),
    st.lists(st.integers(-5, 5), min_size=1, max_size=30),
)
def test_area_against_scikit_learn(members, others):
    truth = [1] * len(members) + [0] * len(others)
    expected = roc_auc_score(truth, [*members, *others])
    assert membership_auc(array(*members), array(*others)) == pytest.approx(expected, abs=EXACT)


def test_a_model_that_finds_all_tokens_alike_gives_one_half():
    """The mean of T equal numbers is not that number to the last bit; T must not decide who is a member."""
    logp = math.log(1 / 61)
    lengths = range(1, 40)
    members = [[np.full(length, logp)] for length in lengths]
    others = [[np.full(length + 7, logp)] for length in lengths]
    for metric in (MiaLoss(), MiaMinK(k=0.37)):
        assert metric.compute(answers(metric, members, others)).value == 0.5


@pytest.mark.parametrize("k", [0.0, -0.1, 1.1, 20])
def test_share_out_of_range_is_refused(k):
    with pytest.raises(InputError, match="no share of the tokens"):
        MiaMinK(k=k)


def test_labels_and_splits():
    assert MiaMinK().label == "mia_min_k(split=forget, against=holdout, k=0.2)"
    assert [need.split for need in MiaMinKPlusPlus(split="retain").needs()] == [
        "retain",
        "retain",
        "holdout",
        "holdout",
    ]


def test_min_k_plus_plus_clamps_the_variance_at_a_millionth():
    assert min_k_plus_plus(array(-60), np.array([[0.0, 1e-9]]), 1.0) == pytest.approx(-60_000, abs=1e-6)


def test_a_saturated_model_is_still_ranked():
    """All log-probabilities are within 1e-10 of 0, and members are the higher ones."""
    members, others = -np.arange(1, 5) * 1e-11, -np.arange(5, 9) * 1e-11
    assert membership_auc(rounded(members), rounded(others)) == 1.0
    assert membership_auc(rounded(members), rounded(members * (1 + 1e-14))) == 0.5
    assert np.isnan(rounded(np.array([np.nan]))).all()


@pytest.mark.parametrize("metric", [MiaLoss(), MiaMinK()])
def test_the_exact_test_over_records_comes_with_the_area(metric):
    members = [[array(-value)] for value in (1.0, 2.0, 3.0, 5.0)] + [[array()]]  # the last one was cut off
    others = [[array(-value)] for value in (4.0, 6.0, 7.0, 8.0, 9.0)]
    found = metric.compute(answers(metric, members, others))
    expected = mannwhitneyu([-1, -2, -3, -5], [-4, -6, -7, -8, -9], method="exact").pvalue
    assert found.details["p"] == pytest.approx(expected, abs=EXACT)
    assert found.details["balanced_accuracy"] == pytest.approx((1 + 4 / 5) / 2)
    assert expected == pytest.approx(4 / 126)  # of the orders of 4 among 9, one as here, one better, and their mirrors
    assert metric.compute(answers(metric, [[array()]], others)).details == {"p": 1.0}


@pytest.mark.parametrize(("size", "rates"), [(99, []), (100, [10]), (200, [5, 10]), (999, [5, 10]), (1000, [1, 5, 10])])
def test_rates_are_told_where_ten_records_make_up_the_false_positives(size, rates):
    rng = np.random.default_rng(size)
    members, others = rng.normal(1, 1, 300), rng.normal(0, 1, size)
    found = membership_details(members, others)
    told = {name: value for name, value in found.items() if name.startswith("tpr")}
    assert list(told) == [f"tpr_at_{rate}_percent_fpr" for rate in rates]
    truth = [1] * 300 + [0] * size
    false, true, _ = roc_curve(truth, [*members, *others], drop_intermediate=False)
    for rate in rates:
        assert told[f"tpr_at_{rate}_percent_fpr"] == pytest.approx(true[false <= rate / 100].max(), abs=EXACT)
    assert found["balanced_accuracy"] == pytest.approx(np.max((true + 1 - false) / 2), abs=EXACT)


def test_a_forget_set_on_the_other_side_is_not_flipped_in_the_rates_either():
    found = membership_details(np.arange(100.0), np.arange(100.0, 200))
    assert (found["balanced_accuracy"], found["tpr_at_10_percent_fpr"]) == (0.5, 0.0)


def test_difference_takes_rounding_for_nothing():
    assert difference(-4.110873864173311, -4.110873864173312) == 0
    assert difference(-1e-11, -3e-11) == pytest.approx(2e-11)
    assert difference(0.0, 0.0) == 0
    assert math.isnan(difference(math.nan, 1.0))
    assert math.isnan(difference(1.0, math.nan))


def test_areas_of_many_records_are_drawn_one_by_one(monkeypatch):
    source = np.random.default_rng(0)
    samples = [np.round(source.normal(size=12), 1), np.append(np.round(source.normal(size=11), 1), np.nan)]
    draws = Draws([list(range(12)), [-1 - name for name in range(12)]], resamples=40)
    at_once = draws.values(membership_auc, samples)
    monkeypatch.setattr(membership, "MAX_PAIRS", 1)
    monkeypatch.setattr(Draws, "areas", None)
    assert np.array_equal(at_once, draws.values(membership_auc, samples))
