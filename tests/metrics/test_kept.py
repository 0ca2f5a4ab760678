"""What forgetting does to what stays: by hand, and through the evaluation."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from expunge.evaluation.runner import evaluate
from expunge.metrics.base import Answers
from expunge.metrics.kept import FAR, FURTHER, NEAR, LocalityGap, RetainMembership
from tests.evaluation.worlds import Source, make_splits, make_store, make_subject
from tests.metrics.numbers import answers, array, need
from tests.support.tiny import llama

EXACT = 1e-12
RIGHT, WRONG = [array(0, 0)], [array(0, 3)]


def test_retain_membership_by_hand():
    """Now 3 of 4 pairs are in order; before, one and a tie."""
    metric = RetainMembership()
    score = metric.compute(
        answers(
            metric,
            [[array(-1.0, -1.0)], [array(-3.0)], [array()]],
            [[array(-2.0)], [array(-4.0)]],
            original=[[[array(-5.0)], [array(-2.0)], [array(-0.1)]], [[array(-2.0)], [array(-1.0)]]],
        )
    )
    assert score.details["auc"] == pytest.approx(3 / 4, abs=EXACT)
    assert score.details["auc_original"] == pytest.approx((0.5 + 2) / 6, abs=EXACT)
    assert score.value == pytest.approx(3 / 4 - 2.5 / 6, abs=EXACT)


def table(near, far, further=None) -> dict:
    found = {need("ranks", NEAR): near, need("ranks", FAR): far}
    return found if further is None else {**found, need("ranks", FURTHER): further}


@pytest.mark.parametrize(("accuracy", "near", "far"), [("answers", 0.5, 1.0), ("tokens", 0.75, 1.0)])
def test_locality_gap_by_hand(accuracy, near, far):
    """Near, one of two right answers is lost; far, the one right answer of two is kept."""
    own, before = table([RIGHT, WRONG, []], [RIGHT, WRONG]), table([RIGHT, RIGHT, []], [RIGHT, WRONG])
    score = LocalityGap(accuracy=accuracy).compute(Answers(own, {"original": before}))
    assert score.value == pytest.approx(far - near, abs=EXACT)
    assert score.details[f"retention_{NEAR}"] == pytest.approx(near, abs=EXACT)
    assert score.details[f"loss_{FAR}"] == pytest.approx(1 - far, abs=EXACT)
    assert f"loss_{FURTHER}" not in score.details


def test_an_original_that_is_never_right_has_lost_nothing():
    own, before = table([WRONG], [RIGHT], [RIGHT]), table([WRONG], [RIGHT], [RIGHT])
    score = LocalityGap().compute(Answers(own, {"original": before}))
    assert math.isnan(score.value)
    assert score.details[f"retention_{FURTHER}"] == 1


def test_through_the_evaluation_with_and_without_the_middle_distance(tmp_path):
    splits = make_splits(4)
    for name in (NEAR, FURTHER, FAR):
        splits[name] = [replace(one, split=name) for one in splits["retain"]]
    subjects = [make_subject("original", Source(llama(seed=0))), make_subject("unlearned", Source(llama(seed=1)))]
    metrics = [LocalityGap(accuracy="tokens"), RetainMembership()]
    store = make_store(tmp_path, *splits)
    gap, membership = evaluate(subjects, splits, metrics, store, resamples=2).scores
    assert gap.value == 0 or math.isnan(gap.value)  # the same records at every distance
    assert f"retention_{FURTHER}" in gap.details
    assert membership.role == "unlearned"
    assert membership.value == pytest.approx(membership.details["auc"] - membership.details["auc_original"], abs=EXACT)
    del splits[FURTHER]
    found = evaluate(subjects, splits, metrics, store, resamples=2)
    assert f"retention_{FURTHER}" not in found.scores[0].details
    del splits[NEAR]
    reasons = {(one.label, one.role): one.reason for one in evaluate(subjects, splits, metrics, store).omitted}
    assert reasons[metrics[0].label, "unlearned"] == "no neighbours_1 records were handed in"
