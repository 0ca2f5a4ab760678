"""Distances from the retrained model: by hand, and through the evaluation."""

from __future__ import annotations

import math

import numpy as np
import pytest

from expunge.errors import InputError
from expunge.evaluation.runner import evaluate
from expunge.functional.statistics import ks_test
from expunge.metrics.distances import KLToRetrained, KSDistance, PairedGap, Wasserstein
from tests.evaluation.worlds import Source, make_splits, make_store, make_subject
from tests.metrics.numbers import answers, array
from tests.support.tiny import llama

EXACT = 1e-12
OWN = [[array(-1.0)], [array(-2.0, -4.0)], [array(-9.0)], [array()]]
RETRAINED = [[array(-2.0)], [array(-2.0)], [array(-8.0)], [array(-1.0)]]
SECOND = [[array(-2.0)], [array(-2.0)], [array(-5.0)], [array(-1.0)]]


def test_paired_gap_by_hand():
    """|-1 + 2|, |-3 + 2|, |-9 + 8|; the last record has no number. Between the retrained models: 3 of one record."""
    metric = PairedGap()
    score = metric.compute(answers(metric, OWN, retrained=[RETRAINED], retrained_2=[SECOND]))
    assert score.value == pytest.approx(1, abs=EXACT)
    assert score.details == pytest.approx({"shift": -1 / 3, "null": 3 / 4}, abs=EXACT)


def test_ks_distance_by_hand():
    """-9, -3, -1 against -8, -2, -2, -1: below -2 two of three against one of four."""
    metric = KSDistance()
    score = metric.compute(answers(metric, OWN, retrained=[RETRAINED]))
    assert score.value == pytest.approx(2 / 3 - 1 / 4, abs=EXACT)
    exact = ks_test(np.array([-1.0, -3.0, -9.0]), np.array([-2.0, -2.0, -8.0, -1.0])).p_value
    assert {name: score.details[name] for name in ("p", "n", "m")} == {"p": exact, "n": 3, "m": 4}
    assert math.isnan(score.details["detectable_D"])
    assert "null" not in score.details


def test_wasserstein_by_hand():
    metric = Wasserstein()
    one, other = [[array(-1.0)], [array(-5.0)]], [[array(-4.0)], [array(-2.0)]]
    score = metric.compute(answers(metric, one, retrained=[other], retrained_2=[list(one)]))
    assert score.value == pytest.approx(1, abs=EXACT)
    assert score.details == pytest.approx({"shift": 0, "null": 1}, abs=EXACT)


def test_truth_ratio_by_hand():
    """Own: (-3 - 5)/2 + 1 = -3. Retrained: -2 + 2 = 0."""
    metric = PairedGap(measure="log_truth_ratio")
    score = metric.compute(
        answers(metric, [[array(-1.0)]], [[array(-3.0), array(-5.0)]], retrained=[[[array(-2.0)]], [[array(-2.0)]]])
    )
    assert score.value == pytest.approx(3, abs=EXACT)
    assert score.details["shift"] == pytest.approx(-3, abs=EXACT)
    with pytest.raises(InputError, match="cannot be scored"):
        PairedGap(measure="log_truth_ratio", form="cloze")


def test_kl_by_hand():
    metric = KLToRetrained()
    assert metric.compute(answers(metric, [[array(1, 2)], [array(3)], [array()]])).value == pytest.approx(2.25)


def test_a_copy_of_the_retrained_model_is_at_distance_0_and_another_is_not(tmp_path):
    subjects = [
        make_subject("original", Source(llama(seed=0))),
        make_subject("retrained", Source(llama(seed=1))),
        make_subject("unlearned", Source(llama(seed=1))),
        make_subject("retrained_2", Source(llama(seed=2))),
    ]
    metrics = [KSDistance(), Wasserstein(), PairedGap(), KLToRetrained(), KSDistance(measure="log_truth_ratio")]
    found = evaluate(subjects, make_splits(8), metrics, make_store(tmp_path), resamples=2)
    assert {one.role for one in found.omitted} == {"retrained"}
    values = {(one.label, one.role): one for one in found.scores}
    for metric in metrics:
        assert values[metric.label, "unlearned"].value == pytest.approx(0, abs=1e-6)
        assert values[metric.label, "original"].value > 1e-3
        if not isinstance(metric, KLToRetrained):
            second = values[metric.label, "retrained_2"]
            assert values[metric.label, "unlearned"].details["null"] == pytest.approx(second.value, abs=1e-9)
            assert "null" not in second.details
