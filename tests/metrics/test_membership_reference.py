"""Attacks that read another model, by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from expunge.errors import InputError
from expunge.metrics.membership_reference import MiaReference, MiaSpv, MiaUpdate, variation
from tests.metrics.numbers import answers, array

EXACT = 1e-9


def values(score) -> list[list[float]]:
    return [sample.values.tolist() for sample in score.samples]


def test_reference_by_hand():
    """Losses 1 and 5 beside 3 and 5 of the reference: 2 and 0; the unseen record is hard for both."""
    metric = MiaReference()
    own = ([[array(-1, -1)], [array(-5)]], [[array(-7)]])
    score = metric.compute(answers(metric, *own, reference=([[array(-2, -4)], [array(-5)]], [[array(-7)]])))
    assert values(score) == [[2, 0], [0]]
    assert score.value == 0.75
    assert score.details["models"] == 1
    assert metric.compares_to == ("reference",)


def test_reference_is_the_mean_of_all_references():
    metric = MiaReference()
    own, one, two = (([[array(value)]], [[array(-7)]]) for value in (-1, -2, -6))
    score = metric.compute(answers(metric, *own, reference=one, reference_2=two, retrained=one))
    assert values(score) == [[3], [0]]
    assert score.details["models"] == 2


def test_a_reference_that_is_the_same_model_shows_nothing():
    metric = MiaReference()
    logp = math.log(1 / 61)
    own = [[np.full(length, logp)] for length in range(1, 40)]
    other = [[np.full(length + 7, logp)] for length in range(1, 40)]
    assert metric.compute(answers(metric, own, other, reference=(other, own))).value == 0.5


def test_update_by_hand():
    """What was forgotten has more loss than before, what nobody asked about has the same."""
    metric = MiaUpdate()
    own, original = ([[array(-6, -2)]], [[array(-3)]]), ([[array(-1, -1)]], [[array(-3.5)]])
    score = metric.compute(answers(metric, *own, original=original))
    assert values(score) == [[3], [-0.5]]
    assert score.value == 1
    assert metric.compares_to == ("original",)


def test_variation_by_hand():
    """Probabilities 0.2 and 0.4 around 0.5: 0.3 - 0.5."""
    assert variation(math.log(0.5), np.log([0.2, 0.4])) == pytest.approx(-0.2, abs=EXACT)
    assert math.isnan(variation(-1.0, array()))


def test_spv_by_hand():
    """Variation -0.2 of the model and -0.05 of the reference: 0.15; an unseen record has the same for both."""
    metric = MiaSpv(copies=2)

    def logs(*probabilities):
        return [[array(math.log(one)) for one in probabilities]]

    own = (logs(0.5), logs(0.2, 0.4), logs(0.3), logs(0.1, 0.3))
    reference = (logs(0.3), logs(0.2, 0.3), logs(0.4), logs(0.2, 0.4))
    score = metric.compute(answers(metric, *own, reference=reference))
    assert values(score) == [[pytest.approx(0.15, abs=EXACT)], [0]]
    assert score.value == 1
    second = (logs(0.4), logs(0.3, 0.4), *reference[2:])
    both = metric.compute(answers(metric, *own, reference=reference, reference_2=second))
    assert values(both)[0] == [pytest.approx(0.2 - 0.05, abs=EXACT)]
    assert both.details["models"] == 2


def test_substitutes_are_in_the_label():
    assert "neighbours=word_dropout" in MiaSpv().label
    assert "calibration=reference_model" in MiaSpv().label
    with pytest.raises(InputError, match="use reference_model"):
        MiaSpv(calibration="self_prompted")
