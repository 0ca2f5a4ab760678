"""Steps to recover and savings, by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from expunge.attacks.curves import savings, steps_to_recover
from expunge.attacks.recovery import Excess
from expunge.attacks.result import Row, Value, half_way, saved_steps

CURVE = {0.0: 0.1, 2.0: 0.3, 10.0: 0.7, 20.0: 0.6}


@pytest.mark.parametrize(
    ("target", "steps"), [(0.05, 0.0), (0.1, 0.0), (0.2, 1.0), (0.3, 2.0), (0.4, 4.0), (0.7, 10.0), (0.71, math.nan)]
)
def test_steps_by_hand(target: float, steps: float) -> None:
    assert steps_to_recover(CURVE, target) == pytest.approx(steps, nan_ok=True)


def test_a_falling_curve_is_the_rising_one_mirrored() -> None:
    mirrored = {at: -value for at, value in CURVE.items()}
    assert steps_to_recover(mirrored, -0.4, falling=True) == pytest.approx(4.0)
    assert steps_to_recover({0.0: 0.0, 1.0: 1.0}, -0.5, falling=True) != steps_to_recover({0.0: 0.0, 1.0: 1.0}, -0.5)


def test_order_does_not_matter_and_nan_is_left_out() -> None:
    assert steps_to_recover(dict(reversed(CURVE.items())), 0.4) == pytest.approx(4.0)
    assert steps_to_recover({**CURVE, 3.0: math.nan}, 0.4) == pytest.approx(4.0)
    assert math.isnan(steps_to_recover({}, 0.4))


@pytest.mark.parametrize(
    ("retrained", "unlearned", "saved"),
    [
        (20.0, 5.0, 4.0),
        (5.0, 20.0, 0.25),
        (7.0, 7.0, 1.0),
        (0.0, 0.0, 1.0),
        (math.nan, 5.0, math.inf),
        (3.0, 0.0, math.inf),
        (3.0, math.nan, math.nan),
        (math.nan, math.nan, math.nan),
        (0.0, 5.0, 0.0),
    ],
)
def test_savings_by_hand(retrained: float, unlearned: float, saved: float) -> None:
    assert savings(retrained, unlearned) == pytest.approx(saved, nan_ok=True)


def value(number: float) -> Value:
    return Value(value=number, low=None, high=None)


def curve(*points: tuple[float, float, float], series: str = "") -> list[Row]:
    return [
        Row(
            point=f"{at}",
            at=at,
            measure="es",
            headline=at > 0,
            decides=at > 0,
            values={"unlearned": value(own), "retrained": value(other)},
            rho=None,
            plain=at == 0,
            series=series,
        )
        for at, own, other in points
    ]


BEFORE = {"original": {"es": value(0.9)}, "retrained": {"es": value(0.1)}}


def test_models_under_relearning_are_read_against_the_gap_without_it():
    rows = curve((0.0, 0.1, 0.1), (10.0, 0.3, 0.1), (20.0, 0.7, 0.3), (40.0, 0.7, 0.7))
    found = half_way(rows, BEFORE)
    assert found == {"unlearned": pytest.approx(15.0), "retrained": pytest.approx(30.0)}
    assert saved_steps(found, "unlearned") == pytest.approx(2.0)
    assert saved_steps({**found, "retrained": None}, "unlearned") is None
    assert saved_steps({**found, "unlearned": None}, "unlearned") is None
    assert half_way([], {}) == {}


def test_of_several_curves_the_one_on_which_most_comes_back_counts_for_all_models():
    slow = curve((0.0, 0.1, 0.1), (10.0, 0.3, 0.1), (20.0, 0.7, 0.3), (40.0, 0.7, 0.7), series="slow")
    fast = curve((0.0, 0.1, 0.1), (10.0, 0.5, 0.1), (20.0, 0.2, 0.6), (40.0, 0.1, 0.1), series="fast")
    most = replace(slow[2], rho=Excess(0.5, None, None, 1.0, 3))
    less = replace(fast[1], rho=Excess(0.4, None, None, 1.0, 3))
    found = half_way([*slow[:2], most, *slow[3:], *fast[:1], less, *fast[2:]], BEFORE)
    assert found == {"unlearned": pytest.approx(15.0), "retrained": pytest.approx(30.0)}
