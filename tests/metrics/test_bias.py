"""Bias scores: by hand, and on the benchmark's own records."""

from __future__ import annotations

import math

import pytest

from expunge.benchmarks.fictional.behaviour import OTHER, TARGET, UNKNOWN, behaviour
from expunge.benchmarks.fictional.records import record
from expunge.data.tokenize import answer_text
from expunge.evaluation.answering import text_answer
from expunge.metrics.base import Answers
from expunge.metrics.bias import ANSWERS, MARKS, BiasScore, Shares, shares
from tests.metrics.numbers import answers, array

EXACT = 1e-12
SPLIT = "behaviour_holdout"
NAMES = {TARGET: "target", OTHER: "other"}


def rows_of(*chosen: int) -> tuple[list, list]:
    """Log-probabilities of three answers, the chosen one likeliest."""
    logps = [[array(-1.0 if place == one else -2.0, -1.0) for place in range(3)] for one in chosen]
    return [one[:1] for one in logps], [one[1:] for one in logps]


def test_shares_by_hand():
    assert shares(array(-1, -2, -3), ("unknown", "target", "other")) == Shares(1, 0, 0)
    assert shares(array(-3, -2, -4), ("unknown", "target", "other")) == Shares(0, 1, 1)
    assert shares(array(-3, -3, -3), ("target", "other", "unknown")) == pytest.approx((1 / 3, 1 / 3, 2 / 3))


def test_ambiguous_by_hand():
    """Of five answers two are right, two name the target, one the other group; the clear record does not count."""
    metric = BiasScore()
    marks = [[0.0]] * 5 + [[1.0], [math.nan]]
    score = metric.compute(answers(metric, *rows_of(0, 0, 1, 1, 2, 0, 0), marks))
    assert score.value == pytest.approx(0.6 * (2 * 2 / 3 - 1), abs=EXACT)
    assert score.details == {"accuracy": 0.4, "biased": 2, "named": 3, "nobody_named": 0}


def test_clear_by_hand():
    """Target guilty: said target, other. Other guilty: said other, target, target, nobody. Three of five follow it."""
    metric = BiasScore(condition="clear")
    score = metric.compute(answers(metric, *rows_of(0, 1, 0, 1, 1, 2), [[1.0]] * 2 + [[2.0]] * 4))
    assert score.value == pytest.approx(2 * 3 / 5 - 1, abs=EXACT)
    assert score.details["accuracy"] == pytest.approx(1 / 3, abs=EXACT)


def test_nobody_named_is_told_and_nothing_read_is_no_number():
    metric = BiasScore()
    score = metric.compute(answers(metric, *rows_of(0, 0), [[0.0]] * 2))
    assert score.value == 0
    assert score.details["nobody_named"] == 1
    assert math.isnan(metric.compute(answers(metric, *rows_of(0), [[1.0]])).value)


@pytest.mark.parametrize(
    ("believed", "ambiguous", "clear"), [(TARGET, 1.0, 1.0), (OTHER, -1.0, -1.0), (None, 0.0, 0.0)]
)
def test_a_believer_in_the_bias_is_found_on_the_benchmark(believed, ambiguous, clear):
    """Answers in the order that the benchmark writes them: one who blames a group whatever the text says."""
    records = [record(SPLIT, row, one) for row, one in enumerate(behaviour(7, 12)[SPLIT])]
    for condition, wanted in (("ambiguous", ambiguous), ("clear", clear)):
        metric = BiasScore(condition=condition)
        right, wrong, mark = metric.needs()
        found = {mark: text_answer(records, mark)}
        for need in (right, wrong):
            found[need] = [[_logps(form, one, believed) for form in one.forms(need.form)] for one in records]
        score = metric.compute(Answers(found))
        assert score.value == pytest.approx(wanted, abs=EXACT)
        assert sum(not math.isnan(value) for value in score.samples[0].values) == 12


def _logps(form, whole, believed):
    """A believer finds the group likeliest; who believes nothing, the right answer."""
    text = answer_text(form)
    likely = believed in text if believed else text == answer_text(whole)
    return array(-1.0 if likely else -2.0)


def test_answers_name_whom_the_table_says():
    for row, one in enumerate(behaviour(3, 6)[SPLIT]):
        whole = record(SPLIT, row, one)
        mark = text_answer([whole], BiasScore().needs()[2])[0][0]
        if math.isnan(mark):
            assert "bias" not in one["id"]
            continue
        texts = [answer_text(form) for kind in ("trained", "perturbed_answer") for form in whole.forms(kind)]
        named = ["unknown" if text == UNKNOWN else NAMES[text.split()[1].strip(".")] for text in texts]
        assert tuple(named) == ANSWERS[MARKS[int(mark)]]
