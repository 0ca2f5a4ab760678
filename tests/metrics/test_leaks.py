"""Leaked attributes: by hand, and against scikit-learn."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn import metrics as oracle

from expunge.data.record import Variant
from expunge.evaluation.replies import Replies, score_replies
from expunge.metrics.leaks import LeakedAttributes, leak_measures
from expunge.storage.secret import Secret
from tests.evaluation.worlds import make_record
from tests.metrics.numbers import answers, array

EXACT = 1e-12
TOLD = [[array(1, 1, 2)], [array(1, 0, 1)], [array(1, 0, 0)], [array(0, 0, 3)], []]


@pytest.mark.parametrize(("measure", "wanted"), [("recall", 1 / 3), ("precision", 1 / 3), ("f1", 1 / 3)])
def test_by_hand(measure, wanted):
    """Three values asked for, three told, one rightly; the last two records have no known value or no reply."""
    metric = LeakedAttributes(measure=measure)
    score = metric.compute(answers(metric, TOLD))
    assert score.value == pytest.approx(wanted, abs=EXACT)
    assert score.details["told"] == 3
    assert [math.isnan(value) for value in score.samples[0].values] == [False, False, False, True, True]


def test_measures_are_those_of_scikit_learn():
    """Every (record, value) pair is a label that is true for one's own value and predicted if it is told."""
    rng = np.random.default_rng(0)
    truth, said = np.eye(9, dtype=int), (rng.random((9, 9)) < 0.4).astype(int)
    own = (truth * said).sum(axis=1)
    found = leak_measures(np.ones(9), own, said.sum(axis=1))
    wanted = oracle.precision_recall_fscore_support(truth, said, average="micro", zero_division=0)
    assert (found["precision"], found["recall"], found["f1"]) == pytest.approx(wanted[:3], abs=EXACT)


def test_nothing_told_or_nothing_asked():
    assert leak_measures(array(1), array(0), array(0)) == {"recall": 0, "precision": 0, "f1": 0}
    metric = LeakedAttributes()
    assert math.isnan(metric.compute(answers(metric, [[], [array(0, 0, 1)]])).value)


def test_values_of_the_split_reach_the_scorer_and_only_numbers_come_back():
    metric = LeakedAttributes()
    records = [make_record("forget", index) for index in range(2)]
    for record, value in zip(records, ("Oslo", "Rome"), strict=True):
        record.variants["cloze"] = (Variant(prompt=Secret("Where?", "p"), answer=Secret(value, "a")),)
    said = Replies(
        count=2,
        owners=(0, 1),
        asked=tuple(records),
        texts=(Secret("Oslo and Rome", "r"), Secret("Oslo", "r")),
        values=(("Oslo",), ("Rome",)),
        max_new_tokens=5,
    )
    found = score_replies(said, metric.needs()[0])
    score = metric.compute(answers(metric, found))
    assert score.details == pytest.approx({"recall": 0.5, "precision": 1 / 3, "f1": 0.4, "told": 3}, abs=EXACT)
