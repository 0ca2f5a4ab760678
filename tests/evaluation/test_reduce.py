"""Which numbers the bootstrap draws together."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from expunge.evaluation.reduce import Bootstrap, gap, score_record
from expunge.functional.bootstrap import bootstrap_interval
from expunge.metrics.base import Sample, Score, mean_score
from expunge.metrics.memorisation import Probability
from expunge.storage.secret import Secret
from tests.evaluation.worlds import make_record, make_splits

VALUES = np.linspace(0, 1, 12)
DRAWS = Bootstrap(resamples=60)


def difference(left, right):
    return float(np.mean(left) - np.mean(right))


@pytest.mark.parametrize(("splits", "together"), [(("forget", "forget"), True), (("forget", "holdout"), False)])
def test_numbers_of_one_split_are_drawn_together_and_of_two_apart(splits, together):
    """Equal records numbers, and even equal subjects, do not pair two splits."""
    for records in (make_splits(12), {split: people(split) for split in ("forget", "holdout")}):
        score = Score(tuple(Sample(split, VALUES) for split in splits), difference)
        found = score_record(Probability(), "original", score, records, DRAWS)
        assert found.value == 0
        assert ((found.low, found.high) == (0, 0)) == together


def people(split: str):
    return [replace(make_record(split, row), subject=Secret(f"person {row}", "x")) for row in range(12)]


def test_subjects_are_drawn_whole():
    """Two opposite records of each of ten persons cancel in every draw of persons, and not in draws of records."""
    records = [replace(make_record("forget", row), subject=Secret(f"person {row // 2}", "x")) for row in range(20)]
    score = mean_score("forget", [0.0, 1.0] * 10)
    whole = score_record(Probability(), "original", score, {"forget": records}, DRAWS)
    alone = [replace(record, subject=None) for record in records]
    apart = score_record(Probability(), "original", score, {"forget": alone}, DRAWS)
    assert (whole.low, whole.high, whole.n, whole.records) == (0.5, 0.5, 10, 20)
    assert apart.low < 0.5 < apart.high
    assert apart.n == 20


def test_gap_of_a_constant_shift_is_exact():
    found = gap(
        Probability(),
        "unlearned",
        mean_score("forget", VALUES + 0.25),
        mean_score("forget", VALUES),
        make_splits(12),
        DRAWS,
    )
    assert (found.value, found.low, found.high) == pytest.approx((0.25, 0.25, 0.25))


def test_a_gap_between_samples_of_two_splits_draws_each_from_its_own_records():
    """As many subjects in both, and unequal numbers of records: the second sample has places of its own."""
    records = {"forget": people("forget"), "retain": people("retain") + people("retain")}
    left, right = mean_score("forget", VALUES), mean_score("retain", np.append(VALUES, VALUES**2))
    found = gap(Probability(), "unlearned", left, right, records, DRAWS)
    subjects = [[("forget", row) for row in range(12)], [("retain", row) for row in range(12)] * 2]
    expected = bootstrap_interval(
        [score.samples[0].values for score in (left, right)], difference, clusters=subjects, resamples=60
    )
    assert (found.low, found.high) == pytest.approx(expected)


def test_records_without_a_number_do_not_count():
    values = VALUES.copy()
    values[:3] = np.nan
    found = score_record(Probability(), "original", mean_score("forget", values), make_splits(12), DRAWS)
    assert (found.n, found.records, found.low) == (9, 9, None)
    empty = score_record(Probability(), "original", mean_score("forget", [np.nan] * 12), make_splits(12), DRAWS)
    assert (empty.n, empty.records, empty.low) == (0, 0, None)
    assert np.isnan(empty.value)


@pytest.mark.parametrize(
    ("score", "why"),
    [
        (mean_score("forget", [0.5] * 12), ""),
        (mean_score("forget", [np.nan] * 12), "no forget record has a number"),
        (Score((), lambda: np.nan), "its formula has no value on these numbers"),
        (mean_score("forget", [np.nan] * 12)._replace(missing="said by the metric"), "said by the metric"),
        (mean_score("forget", [0.5] * 12)._replace(missing="said by the metric"), ""),
    ],
)
def test_a_number_that_is_missing_has_a_reason(score, why):
    assert score_record(Probability(), "original", score, make_splits(12), DRAWS).missing == why


def test_samples_of_one_split_stay_together_where_one_lacks_a_number():
    """A model compared with itself has no distance in any draw, although one of the samples misses a record."""
    left, right = VALUES.copy(), VALUES.copy()
    right[4] = np.nan
    both = Score((Sample("forget", left), Sample("forget", right)), lambda a, b: float(np.sum(a) - np.sum(b)))
    found = score_record(Probability(), "original", both, make_splits(12), Bootstrap(resamples=400))
    # Every draw differs by the missing number, as often as its record was drawn; drawn apart, sums differ by far more.
    drawn = np.array([found.low, found.high]) / VALUES[4]
    assert np.allclose(drawn, np.round(drawn))
    assert 0 <= found.low <= found.high <= 5 * VALUES[4]
    assert found.n == 11
