"""The excess recovery: by hand, and what it must not claim."""

from __future__ import annotations

import numpy as np
import pytest

from expunge.attacks.recovery import Excess, Numbers, excess, least, over_all
from expunge.functional.bootstrap import bootstrap_interval

MANY = [f"person {place // 2}" for place in range(40)]  # 20 subjects with two records each


def numbers(attacked: float, control: float, original: float = 0.9, retrained: float = 0.1) -> Numbers:
    source = np.random.default_rng(0)
    shared = source.normal(0, 0.05, 40)  # what a record has on all models cancels
    noise = [source.normal(0, 0.02, 40) for _ in range(4)]
    levels = (attacked, control, original, retrained)
    return Numbers(*(level + shared + own - np.mean(shared + own) for level, own in zip(levels, noise, strict=True)))


def test_it_is_the_share_of_the_gap_that_comes_back():
    found = excess(numbers(0.5, 0.3), MANY)
    assert isinstance(found, Excess)
    assert found.value == pytest.approx(0.25)  # (0.5 - 0.3) / (0.9 - 0.1)
    assert found.low < 0.25 < found.high
    assert found.high - found.low < 0.1
    assert found.n == 20
    assert found.p < 1e-6


def test_what_comes_back_on_the_retrained_model_too_is_no_recovery():
    found = excess(numbers(0.7, 0.7), MANY)
    assert isinstance(found, Excess)
    assert found.value == pytest.approx(0.0, abs=1e-12)
    assert found.p == pytest.approx(1.0)


def test_it_goes_below_nothing_and_above_everything():
    below, above = excess(numbers(0.1, 0.3), MANY), excess(numbers(0.95, 0.1), MANY)
    assert isinstance(below, Excess)
    assert isinstance(above, Excess)
    assert below.value == pytest.approx(-0.25)
    assert above.value == pytest.approx(0.85 / 0.8)


def test_records_without_a_number_under_attack_leave_all_four_means():
    made = numbers(0.5, 0.3)
    attacked = made.attacked.copy()
    attacked[:20] = np.nan
    original = made.original.copy()
    original[:20] = 100.0  # would tower over the rest if these records counted
    found = excess(made._replace(attacked=attacked, original=original), MANY)
    assert isinstance(found, Excess)
    assert found.n == 10
    assert 0.1 < found.value < 0.4


def test_a_small_gap_has_no_shares():
    said = excess(numbers(0.5, 0.3, original=0.13, retrained=0.1), MANY)
    assert isinstance(said, str)
    assert "0.03 above the retrained model" in said


def test_few_subjects_have_no_interval():
    found = excess(numbers(0.5, 0.3), ["one", "other"] * 20)
    assert found == Excess(pytest.approx(0.25), None, None, 1.0, 2)


def test_no_record_says_so():
    made = numbers(0.5, 0.3)
    assert excess(made._replace(control=np.full(40, np.nan)), MANY) == "No record has a number under this attack."


def test_of_several_retrained_models_the_one_that_shows_least_counts():
    far, near = Excess(0.4, 0.3, 0.5, 0.0, 20), Excess(0.1, -0.1, 0.3, 0.3, 20)
    assert least([far, near]) == near
    assert least(["no gap", far]) == far
    assert least(["no gap"]) == "no gap"


def test_more_retrained_models_make_no_removal_easier_to_show():
    near, far = Excess(0.05, -0.02, 0.12, 0.1, 20), Excess(0.2, 0.1, 0.3, 1e-4, 20)
    assert over_all([far, near]) == Excess(0.05, -0.02, 0.3, 0.1, 20)
    assert over_all([near, "no gap"]) == near
    assert over_all(["no gap"]) == "no gap"
    assert over_all([Excess(0.1, None, None, 1.0, 3), Excess(0.3, None, None, 1.0, 3)]) == Excess(
        0.1, None, None, 1.0, 3
    )


def test_the_interval_is_that_of_the_formula_draw_by_draw():
    source = np.random.default_rng(0)
    drawn = Numbers(*(np.clip(source.normal(mean, 0.3, size=30), 0, 1) for mean in (0.5, 0.2, 0.9, 0.1)))
    subjects = [row // 2 for row in range(30)]

    def rho(attacked, control, original, retrained):
        return float((attacked.mean() - control.mean()) / (original.mean() - retrained.mean()))

    found = excess(drawn, subjects)
    assert found.value == pytest.approx(rho(*drawn))
    assert (found.low, found.high) == pytest.approx(bootstrap_interval(drawn, rho, clusters=[subjects] * 4))
    assert found.low < found.value < found.high
