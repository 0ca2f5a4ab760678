"""Numbers per record: distribution functions and ROC curves by hand and against other implementations."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import scipy.stats
import sklearn.metrics
from hypothesis import given
from hypothesis import strategies as st

from expunge.metrics.base import Sample
from expunge.reports.empirical import MOST, roc_points, separation, steps, thin, to_distributions

SCORES = st.lists(st.integers(-5, 5).map(lambda whole: whole / 2), min_size=1, max_size=12)


def test_steps_by_hand():
    assert steps([2.0, 1.0], 0.0, 4.0) == [(0.0, 0.0), (1.0, 0.0), (1.0, 0.5), (2.0, 0.5), (2.0, 1.0), (4.0, 1.0)]
    assert steps([], 0.0, 1.0) == []


def test_values_beyond_the_axis_count_at_its_ends():
    corners = [(0.0, 0.0), (0.0, 0.25), (0.5, 0.25), (0.5, 0.5), (1.0, 0.5), (1.0, 0.75), (1.0, 0.75), (1.0, 1.0)]
    assert steps([-9.0, 0.5, math.inf, 9.0], 0.0, 1.0) == [(0.0, 0.0), *corners, (1.0, 1.0)]


def test_separation_by_hand():
    # Up to 2 lie all of the left and none of the right.
    assert separation([1.0, 2.0], [3.0, 4.0]) == (2.0, 1.0, 0.0, 1.0)
    assert separation([1.0, 2.0, 3.0, 4.0], [3.0, 4.0, 5.0, 6.0]).distance == 0.5
    assert separation([1.0], [1.0]).distance == 0.0


@given(SCORES, SCORES)
def test_separation_is_kolmogorov_smirnovs(left, right):
    assert separation(left, right).distance == pytest.approx(scipy.stats.ks_2samp(left, right).statistic)


def test_roc_by_hand():
    # Members 3 and 1, others 2 and 0: above 3 nothing, then a member, then one of the others, ...
    assert roc_points([3.0, 1.0], [2.0, 0.0]) == [(0.0, 0.0), (0.0, 0.5), (0.5, 0.5), (0.5, 1.0), (1.0, 1.0)]
    assert roc_points([1.0], [1.0]) == [(0.0, 0.0), (1.0, 1.0)]  # a tie is half a point: straight up the diagonal
    assert roc_points([], [1.0]) == []


@given(SCORES, SCORES)
def test_roc_is_that_of_scikit_learn(members, others):
    truth = [1] * len(members) + [0] * len(others)
    rates, heights, _ = sklearn.metrics.roc_curve(truth, members + others, drop_intermediate=False)
    assert np.array(roc_points(members, others)) == pytest.approx(np.column_stack([rates, heights]))


def test_thin_sorts_and_leaves_out_what_is_not_a_number():
    assert thin(np.array([3.0, math.nan, 1.0, 2.0])) == [1.0, 2.0, 3.0]


def test_thin_keeps_order_statistics_at_even_distances():
    assert thin(np.arange(10.0)[::-1], 4) == [0.0, 3.0, 6.0, 9.0]
    assert len(thin(np.arange(5.0 * MOST))) == MOST


def test_distributions_hold_numbers_of_unseen_splits_without_their_order():
    values = np.array([0.3, math.nan, 0.1])
    samples = {
        ("truth_ratio", "original"): (Sample("forget", values),),
        ("mia_loss", "original"): (Sample("forget", values), Sample("holdout", values)),
        ("perplexity", "original"): (Sample("retain", values),),
    }
    found = to_distributions(samples)
    assert [(item["label"], item["split"]) for item in found] == [
        ("truth_ratio", "forget"),
        ("mia_loss", "forget"),
        ("mia_loss", "holdout"),
    ]
    assert found[0] == {
        "label": "truth_ratio",
        "role": "original",
        "split": "forget",
        "records": 2,
        "values": [0.1, 0.3],
    }
    json.dumps(found)
