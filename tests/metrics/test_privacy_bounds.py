"""The bound from canaries: pairs, choice and count, by hand and by simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest

from expunge.errors import InputError
from expunge.functional.privacy_bounds import one_run_epsilon, two_point_epsilon
from expunge.metrics.privacy_bounds import EpsilonLowerBound, one_run, pairs, two_point
from tests.metrics.numbers import answers, array


def canaries(scores, copies: int = 0) -> tuple[list, list]:
    """Codes so far beyond their decoys at 0, and further copies without decoys."""
    own = [[array(value)] for value in scores] + [[array(99.0)]] * copies
    return own, [[array(1.0, -2.0), array(0.5, 0.5)] for _ in scores] + [[]] * copies


def test_pairs_are_of_the_smaller_side_and_drawn_at_random():
    inside, outside = np.arange(20.0), np.arange(100, 150.0)
    left, right = pairs(inside, outside, 0)
    assert sorted(left) == inside.tolist()
    assert len(set(right)) == 20
    assert set(right) <= set(outside)
    assert left.tolist() != inside.tolist()
    assert max(right) > 125  # not the first ones only
    assert pairs(inside, outside, 0)[0].tolist() == left.tolist() != pairs(inside, outside, 1)[0].tolist()


def test_always_right_counts_the_second_half_only():
    found = one_run(np.arange(100.0, 200), np.zeros(100))
    assert found.counts["pairs"] == 50
    assert found.counts["right"] == found.counts["guesses"] <= 50
    full = one_run(np.full(100, 5.0), np.zeros(100))
    assert full.epsilon == one_run_epsilon(50, 50, 50)
    assert full.counts == {"pairs": 50, "guesses": 50, "right": 50, "orientation": 1, "at_most": full.epsilon}


def test_standing_out_on_the_low_side_is_found_too():
    found = one_run(np.full(60, -5.0), np.zeros(60))
    assert (found.counts["orientation"], found.epsilon) == (-1, one_run_epsilon(30, 30, 30))


def test_the_half_that_chooses_does_not_count():
    """The first half points up and the second down: what was chosen is wrong there."""
    gaps = np.r_[np.full(30, 3.0), np.full(30, -3.0)]
    found = one_run(gaps, np.zeros(60))
    assert (found.epsilon, found.counts["guesses"], found.counts["right"]) == (0, 30, 0)
    assert found.counts["at_most"] == one_run_epsilon(30, 30, 30)
    assert two_point(gaps, np.zeros(60)).epsilon == 0


def test_small_gaps_are_abstained_from():
    """Of each half 20 pairs are told apart by much and 20 by coins that are often wrong."""
    half = np.r_[np.full(20, 9.0), np.tile([1.0, -1.0], 10)]
    found = one_run(np.r_[half, half], np.zeros(80))
    assert (found.counts["guesses"], found.counts["right"]) == (20, 20)


def test_equal_scores_are_no_right_guess():
    assert one_run(np.zeros(40), np.zeros(40)).epsilon == 0
    assert two_point(np.zeros(40), np.zeros(40)).epsilon == 0


def test_two_points_by_hand():
    found = two_point(np.full(80, 5.0), np.zeros(80))
    assert found.epsilon == two_point_epsilon(40, 40, 0, 40)
    counts = {"pairs": 40, "true_positives": 40, "false_positives": 0, "orientation": 1, "at_most": found.epsilon}
    assert found.counts == counts
    low = two_point(np.full(80, -5.0), np.zeros(80))
    assert (low.epsilon, low.counts["orientation"]) == (found.epsilon, -1)


@pytest.mark.slow
@pytest.mark.parametrize("bound", ["one_run", "two_point"])
def test_canaries_that_are_alike_show_nothing_in_nineteen_of_twenty_draws(bound):
    rng = np.random.default_rng(0)
    found = [{"one_run": one_run, "two_point": two_point}[bound](*rng.normal(size=(2, 24))) for _ in range(100)]
    assert np.mean([one.epsilon > 0 for one in found]) <= 0.1


def test_metric_counts_each_canary_once_and_takes_off_the_decoys():
    metric = EpsilonLowerBound()
    inside, outside = canaries(np.full(40, 4.0), copies=7), canaries(np.full(60, 0.0))
    outside[1][0] = [array(9.0)]  # decoys that are as likely: this code says nothing
    score = metric.compute(answers(metric, *inside, *outside))
    assert score.value == one_run_epsilon(20, 20, 20)
    assert score.details["to_reference"] == score.value / 2
    assert np.isnan(score.samples[0].values[40:]).all()
    assert score.samples[0].values[0] == 4  # the decoys' totals are -1 and 1
    assert score.samples[1].values[0] == -9
    assert not metric.resampled
    assert "to_reference" not in EpsilonLowerBound(delta=1e-5).compute(answers(metric, *inside, *outside)).details


def test_metric_of_too_little():
    metric = EpsilonLowerBound()
    one = canaries([3.0])
    assert metric.compute(answers(metric, *one, *one)).value == 0
    assert math.isnan(metric.compute(answers(metric, [], [], *one)).value)
    assert EpsilonLowerBound(bound="two_point").compute(answers(metric, *one, *one)).value == 0
    cut = ([[array()]], [[array(1.0)]])
    assert math.isnan(metric.compute(answers(metric, *cut, *one)).value)


@pytest.mark.parametrize("settings", [{"bound": "many_runs"}, {"delta": 1.0}, {"level": 0.0}])
def test_settings_that_cannot_be(settings):
    with pytest.raises(InputError):
        EpsilonLowerBound(**settings)
