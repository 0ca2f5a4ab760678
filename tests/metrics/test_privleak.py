"""PrivLeak: its orientation and sign, by hand."""

from __future__ import annotations

import math

import pytest

from expunge.metrics.privleak import PrivLeak, privleak
from tests.metrics.numbers import answers, array

UNSEEN = [[array(value)] for value in (-3.0, -4.0, -5.0, -6.0)]
KNOWN = [[array(value)] for value in (-0.1, -0.2, -0.3, -0.4)]
GONE = [[array(value)] for value in (-70.0, -80.0, -90.0, -99.0)]
ALIKE = [[array(value)] for value in (-2.5, -4.5, -4.6, -6.5)]


def test_by_hand_and_in_muses_orientation():
    """Areas 0.7 and 0.4 in ours are 0.3 and 0.6 in theirs: (0.3 - 0.6) / 0.6."""
    assert privleak(0.7, 0.4) == pytest.approx(-50)
    assert privleak(0.4, 0.4) == 0
    assert privleak(1.0, 0.4) == pytest.approx(-100)
    assert privleak(0.1, 0.4) == pytest.approx(50)
    assert math.isnan(privleak(0.5, 1.0))


@pytest.mark.parametrize(("own", "sign"), [(KNOWN, -1), (ALIKE, 0), (GONE, 1)])
def test_sign(own, sign):
    """Under-unlearned is below 0, over-unlearned above."""
    metric = PrivLeak()
    score = metric.compute(answers(metric, own, UNSEEN, retrained=(ALIKE, UNSEEN)))
    assert score.value == {-1: -100, 0: 0, 1: pytest.approx(100 * 0.5 / 0.5)}[sign]
    assert score.details["retrained_auc"] == 0.5
    assert [sample.split for sample in score.samples] == ["forget", "holdout", "forget", "holdout"]


def test_the_retrained_models_own_area_counts_and_not_one_half():
    metric = PrivLeak()
    easier = [[array(value)] for value in (-2.5, -3.5, -4.5, -5.5)]  # 10 of 16 pairs
    score = metric.compute(answers(metric, GONE, UNSEEN, retrained=(easier, UNSEEN)))
    assert score.details["retrained_auc"] == 10 / 16
    assert score.value == pytest.approx(100 * (1 - 6 / 16) / (6 / 16))


def test_the_least_likely_share_counts():
    metric = PrivLeak()
    assert metric.label == "privleak(split=forget, against=holdout, k=0.4)"
    assert metric.score(array(-1, -2, -3, -4, -5)) == -4.5
