"""U-LiRA by hand, against scipy, and where the best possible attack is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import norm

from expunge.errors import InputError
from expunge.functional.statistics import auc
from expunge.metrics.ulira import ULira, posteriors, shadow_details, share_inside
from tests.metrics.numbers import answers, array

EXACT = 1e-9


def at(*logits: float) -> list:
    """Records whose length-normalised probability has these logits; NaN has no scored token."""
    return [[array() if math.isnan(one) else array(-math.log1p(math.exp(-one)))] for one in logits]


def shadows(inside, outside, family: str = "shadow_retrained") -> dict[str, tuple[list]]:
    found = {f"shadow_unlearned_{number}": (at(*row),) for number, row in enumerate(inside, start=2)}
    return found | {f"{family}_{number}": (at(*row),) for number, row in enumerate(outside, start=2)}


def simulated(rng, models: int, records: int, gap: float, inside_std: float = 1.0):
    """Records far from each other, inside ``gap`` above outside, whose standard deviation is 1."""
    level_N = rng.normal(0, 20, records)
    return rng.normal(level_N + gap, inside_std, (models, records)), rng.normal(level_N, 1, (models, records)), level_N


def test_by_hand():
    """Inside at 1 and 3, outside at -1 and 1: means 2 and 0, both variances 2.

    The log ratio at x is (x^2 - (x - 2)^2) / 4 = x - 1.
    """
    metric = ULira()
    others = shadows([(1, 1, 1, 1), (3, 3, 3, 3)], [(-1, -1, -1, -1), (1, 1, 1, 1)])
    score = metric.compute(answers(metric, at(3, 1, -2, math.nan), **others))
    posterior = score.samples[0].values
    assert posterior[:3] == pytest.approx([1 / (1 + math.exp(-2)), 0.5, 1 / (1 + math.exp(3))], abs=EXACT)
    assert math.isnan(posterior[3])
    assert share_inside(array(0.9, 0.5, 0.1)) == 0.5
    assert score.details["posterior"] == pytest.approx(np.mean(posterior[:3]))
    assert (score.details["shadows_unlearned"], score.details["shadows_retrained"]) == (2, 2)
    assert "pair_auc" not in score.details  # one pair left in tells no spread


def test_posterior_against_scipy_with_unequal_numbers_of_shadows():
    rng = np.random.default_rng(1)
    own, inside, outside = rng.normal(size=6), rng.normal(1, 2, (5, 6)), rng.normal(-1, 1, (3, 6))
    stds = [math.sqrt(np.mean(np.var(one, axis=0, ddof=1))) for one in (inside, outside)]
    likely = [norm(one.mean(axis=0), std).pdf(own) for one, std in zip((inside, outside), stds, strict=True)]
    assert posteriors(own, inside, outside) == pytest.approx(likely[0] / (likely[0] + likely[1]), abs=EXACT)
    assert posteriors(own, outside, inside) == pytest.approx(likely[1] / (likely[0] + likely[1]), abs=EXACT)


def test_ratios_beyond_the_range_of_floats_are_certain():
    far = posteriors(array(1e4, -1e4), np.array([[1.0, 1], [1.1, 1.1]]), np.array([[0.0, 0], [0.1, 0.1]]))
    assert far == pytest.approx([1, 0], abs=EXACT)


def test_distance_of_the_two_columns_is_the_advantage_of_the_best_attack():
    """Normal scores ``gap`` apart: the best threshold lies halfway, its rates are Phi(gap / 2) and Phi(-gap / 2)."""
    rng = np.random.default_rng(0)
    for gap in (0.0, 1.0, 2.0, -2.0):
        inside, outside, level = simulated(rng, 40, 4000, gap)
        unlearned, retrained = rng.normal(level + gap, 1), rng.normal(level, 1)
        values = [share_inside(posteriors(own, inside, outside)) for own in (unlearned, retrained)]
        best = norm.cdf(abs(gap) / 2)
        assert values[0] - values[1] == pytest.approx(2 * best - 1, abs=0.04), gap
        if gap:
            assert values == pytest.approx([best, 1 - best], abs=0.04)


def test_a_spread_of_its_own_is_told_without_a_shift():
    """Models that differ in spread alone: the likelihood ratio sees it, and a threshold would not."""
    rng = np.random.default_rng(0)
    inside, outside, level = simulated(rng, 40, 4000, 0.0, inside_std=5.0)
    values = [share_inside(posteriors(own, inside, outside)) for own in (rng.normal(level, 5), rng.normal(level, 1))]
    assert values[0] - values[1] > 0.5


def test_details_of_the_shadows_are_those_of_models_left_out():
    rng = np.random.default_rng(0)
    for gap in (0.0, 2.0):
        inside, outside, _ = simulated(rng, 30, 400, gap)
        found = shadow_details(inside, outside)
        assert found["pair_auc"] == pytest.approx(norm.cdf(gap / math.sqrt(2)), abs=0.04)
        assert found["pair_accuracy"] == pytest.approx(norm.cdf(gap / 2), abs=0.04)
        assert found["pair_accuracy_10"] <= found["pair_accuracy"] <= found["pair_accuracy_90"]
        assert found["pair_tpr_at_10_percent_fpr"] == pytest.approx(norm.sf(norm.isf(0.1) - gap), abs=0.06)
    noise = shadow_details(rng.normal(size=(3, 5000)), rng.normal(size=(3, 5000)))
    assert abs(noise["pair_auc"] - 0.5) < 0.03  # judged by a fit on themselves they would be told apart
    assert abs(noise["pair_accuracy"] - 0.5) < 0.03


def test_pair_area_by_hand():
    """Three pairs; the other two of each kind have means 2 apart and spreads near nothing."""
    inside, outside = np.array([[2.0, 7], [2.1, 7.1], [1.9, 6.9]]), np.array([[0.0, 5], [0.1, 5.1], [-0.1, 4.9]])
    found = shadow_details(inside, outside)
    assert (found["pair_auc"], found["pair_accuracy"]) == (1, 1)
    turned = shadow_details(outside, inside)  # far below on every record is told as well
    assert (turned["pair_auc"], turned["pair_accuracy"]) == (1, 1)
    assert auc(array(1), array(0)) == 1


def test_rates_are_told_where_there_are_enough_pairs():
    rng = np.random.default_rng(0)

    def rates(models: int, records: int) -> list[str]:
        found = shadow_details(rng.normal(size=(models, records)), rng.normal(size=(models, records)))
        return [name for name in found if "tpr" in name]

    assert rates(3, 20) == []
    assert rates(5, 20) == ["pair_tpr_at_10_percent_fpr"]
    assert rates(10, 100) == [f"pair_tpr_at_{rate}_percent_fpr" for rate in (1, 5, 10)]
    assert rates(100, 10) == ["pair_tpr_at_10_percent_fpr"]  # of ten records none is above 5 %


def test_records_cut_off_count_nowhere():
    inside = np.array([[1.0, math.nan], [1.1, 2], [0.9, 2]])
    found = shadow_details(inside, inside - 5)
    assert found["pair_auc"] == 1
    assert shadow_details(inside[:, 1:], inside[:, 1:]) == {}
    assert math.isnan(share_inside(array()))


def test_retrained_models_stand_outside_only_where_there_are_no_shadows_for_it():
    metric = ULira()
    inside, outside = [(4,), (5,), (6,)], [(0,), (1,), (2,)]
    own = at(4.5)
    some = answers(metric, own, **shadows(inside, outside))
    instead = answers(metric, own, **shadows(inside, outside, "retrained"))
    assert metric.compute(some).details == metric.compute(instead).details
    both = answers(metric, own, **shadows(inside, outside), retrained=(at(4.5),), retrained_2=(at(5),))
    assert metric.compute(both).details == metric.compute(some).details
    itself = type(instead)(instead.others["retrained_2"], instead.others)
    assert metric.compute(itself).details["shadows_retrained"] == 2  # without the model in question


def test_two_of_each_kind_are_the_least():
    metric = ULira()
    two = ["shadow_unlearned", "shadow_unlearned_2"]
    assert metric.lacks([*two, "shadow_retrained", "shadow_retrained_2"]) is None
    assert metric.lacks([*two, "retrained", "retrained_2"]) is None
    for roles in (
        [],
        two,
        [*two, "shadow_retrained"],
        [*two, "retrained"],
        ["shadow_unlearned", "retrained", "retrained_2"],
    ):
        assert "takes 2 of each: --shadow-unlearned" in metric.lacks(roles)
    # One shadow is not topped up by retrained models: the columns would have fits of their own.
    assert metric.lacks([*two, "shadow_retrained", "retrained", "retrained_2"]) is not None


def test_retain_records_are_refused():
    with pytest.raises(InputError, match="saw the retain records"):
        ULira(split="retain")
