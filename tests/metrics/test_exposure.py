"""Exposure by hand, by the definition, and by chance."""

from __future__ import annotations

import math

import numpy as np
import pytest

from expunge.metrics.exposure import Exposure, exposure
from tests.metrics.numbers import answers, array

EXACT = 1e-12


@pytest.mark.parametrize(("own", "rank"), [(-1.0, 1), (-2.5, 2), (-3.5, 3), (-9.0, 4)])
def test_exposure_by_hand(own, rank):
    assert exposure(own, array(-2, -3, -4)) == pytest.approx(2 - math.log2(rank), abs=EXACT)


def test_equal_candidates_share_a_rank():
    assert exposure(-1.0, array(-1, -1, -1)) == pytest.approx(2 - math.log2(2.5), abs=EXACT)
    assert math.isnan(exposure(-1.0, array()))


def test_chance_is_what_the_docstring_says():
    """The mean of log2(32 / rank) over uniform ranks, and of drawn numbers."""
    rng = np.random.default_rng(0)
    drawn = np.mean([exposure(one[0], one[1:]) for one in rng.normal(size=(4000, 32))])
    assert drawn == pytest.approx(np.mean(np.log2(32 / np.arange(1, 33))), abs=0.05)
    assert drawn == pytest.approx(1.3, abs=0.1)


def test_metric_sums_over_tokens_and_leaves_out_records_without_decoys():
    metric = Exposure()
    own = [[array(-1, -1)], [array(-1)], [array()]]
    decoys = [[array(-1.5), array(-3)], [], [array(-1)]]
    assert metric.compute(answers(metric, own, decoys)).value == pytest.approx(math.log2(3) - 1, abs=EXACT)
