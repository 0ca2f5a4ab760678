"""The control of the data, from scores as the runner hands them in."""

from __future__ import annotations

import math

import pytest

from expunge.errors import InputError
from expunge.metrics.blind import BlindBaseline
from tests.metrics.numbers import answers


def test_each_split_scores_for_itself():
    """Log-odds 2 and -1 for forget; 3 and -2 for holdout are -3 and 2 for forget. Pairs: 2 > -3, 2 = 2, -1 > -3."""
    metric = BlindBaseline()
    score = metric.compute(answers(metric, [[2.0], [-1.0]], [[3.0], [-2.0]]))
    assert score.value == (1 + 0.5 + 1 + 0) / 4
    assert [sample.values.tolist() for sample in score.samples] == [[2, -1], [-3, 2]]
    assert {"p", "balanced_accuracy"} <= set(score.details)
    assert metric.aim == "lower"


def test_no_model_is_read():
    metric = BlindBaseline()
    assert not any(need.reads_model or need.reads_logits or need.generates for need in metric.needs())
    assert [(need.split, need.beside) for need in metric.needs()] == [("forget", "holdout"), ("holdout", "forget")]
    assert [name for name, _ in metric.needs()[0].params] == ["beside", "folds", "min_subjects", "penalty", "seed"]


def test_records_without_a_score_are_left_out():
    metric = BlindBaseline()
    assert math.isnan(metric.compute(answers(metric, [[math.nan]], [[1.0]])).value)
    assert metric.compute(answers(metric, [[1.0], []], [[1.0]])).value == 1


@pytest.mark.parametrize("settings", [{"folds": 1}, {"min_subjects": 0}, {"penalty": 0.0}, {"against": "forget"}])
def test_settings_that_cannot_be(settings):
    with pytest.raises(InputError):
        BlindBaseline(**settings)
