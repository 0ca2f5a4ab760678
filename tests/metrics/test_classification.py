"""Labels: by hand, and against scikit-learn."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn import metrics as oracle

from expunge.metrics.classification import Classification, macro, predict
from tests.metrics.numbers import answers, array

EXACT = 1e-12
LABELS = 4
log = math.log


def draw(records: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Log-probabilities that favour the truth a little, and the places of the labels, the true one first."""
    rng = np.random.default_rng(0)
    places = [rng.permutation(LABELS).astype(np.float64) for _ in range(records)]
    return [rng.normal(size=LABELS) * 2 + np.eye(LABELS)[0] * 2 for _ in range(records)], places


def test_prediction_and_loss_by_hand():
    found = predict([array(log(0.6), log(0.2)), array(log(0.1), log(0.3))], [array(1, 0), array(1, 0)])
    assert found.truth.tolist() == [1, 1]
    assert found.predicted.tolist() == [1, 0]
    assert found.loss == pytest.approx([-log(0.75), -log(0.25)], abs=EXACT)


def test_a_tie_is_no_knowledge_and_a_record_without_wrong_labels_has_no_number():
    assert predict([array(-1, -1, -2)], [array(2, 0, 1)]).predicted.tolist() == [0]
    assert np.isnan(predict([array(-1)], [array(2)])).all()
    assert math.isnan(macro("f1", array(), array()))


def test_every_measure_is_that_of_scikit_learn():
    logps, places = draw(60)
    found = predict(logps, places)
    named = {"average": "macro", "zero_division": 0}
    assert macro("accuracy", *found[:2]) == pytest.approx(oracle.accuracy_score(*found[:2]), abs=EXACT)
    assert macro("precision", *found[:2]) == pytest.approx(oracle.precision_score(*found[:2], **named), abs=EXACT)
    assert macro("recall", *found[:2]) == pytest.approx(oracle.recall_score(*found[:2], **named), abs=EXACT)
    assert macro("f1", *found[:2]) == pytest.approx(oracle.f1_score(*found[:2], **named), abs=EXACT)
    shares = np.zeros((60, LABELS))
    for row, (one, place) in enumerate(zip(logps, places, strict=True)):
        shares[row, place.astype(int)] = np.exp(one) / np.exp(one).sum()
    assert np.mean(found.loss) == pytest.approx(oracle.log_loss(found.truth, shares), abs=1e-9)


def test_a_label_that_is_never_named_or_never_true_counts_as_zero():
    truth, predicted = array(0, 0, 1), array(0, 2, 2)
    for measure, score in (("precision", oracle.precision_score), ("recall", oracle.recall_score)):
        wanted = score(truth, predicted, average="macro", zero_division=0)
        assert macro(measure, truth, predicted) == pytest.approx(wanted, abs=EXACT)


@pytest.mark.parametrize(("measure", "wanted"), [("accuracy", 0.5), ("f1", 1 / 3), ("loss", -0.5 * log(0.8 * 0.1))])
def test_metric_reads_whole_labels(measure, wanted):
    """The log-probability of a label is the sum over its tokens, however many there are."""
    own = [[array(log(0.8), 0.0)], [array(log(0.1))]]
    wrong = [[array(log(0.4), log(0.5))], [array(log(0.9))]]
    metric = Classification(measure=measure)
    score = metric.compute(answers(metric, own, wrong, [[0.0], [1.0]], [[1.0], [0.0]]))
    assert score.value == pytest.approx(wanted, abs=EXACT)
    assert metric.aim == ("lower" if measure == "loss" else "higher")


def test_a_label_that_was_cut_off_has_no_number():
    metric = Classification()
    score = metric.compute(answers(metric, [[array()]], [[array(-1)]], [[0.0]], [[1.0]]))
    assert math.isnan(score.value)
