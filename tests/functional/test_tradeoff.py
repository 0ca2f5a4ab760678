"""Runs compared at one utility: by hand."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from expunge.errors import InputError
from expunge.functional.tradeoff import Matched, Point, compare_matched, matched, pareto_front

EXACT = 1e-12
PATH = [Point(0, 1.0, 0.4), Point(0.5, 0.6, 0.6), Point(1, 0.0, 0.8)]


def test_between_two_points_by_hand():
    """0.9 * 0.8 = 0.72 lies 0.6 of the way from 0.6 to 0.8: share 0.8, forgetting 0.24."""
    assert matched(PATH, 0.9) == pytest.approx(Matched(0.8, 0.24, 0.72), abs=EXACT)
    assert matched(PATH[::-1], 0.9) == matched(PATH, 0.9)
    assert matched(PATH, 0.75) == pytest.approx(Matched(0.5, 0.6, 0.6), abs=EXACT)


def test_a_run_that_lost_nothing_stands_as_it_is_and_a_dip_is_read_at_the_first_arrival():
    assert matched(PATH, 0.5) == Matched(0, 1.0, 0.4)
    dip = [Point(0, 1, 0.2), Point(0.25, 0.8, 1.0), Point(0.5, 0.5, 0.1), Point(1, 0, 1.0)]
    assert matched(dip, 0.6) == pytest.approx(Matched(0.125, 0.9, 0.6), abs=EXACT)


def test_a_run_that_forgets_more_may_be_the_worse_one():
    """The first forgets all and breaks the model; at 95 % of the utility it has less left than the careful one."""
    careful = [Point(0, 0.7, 0.78), Point(1, 0.0, 0.8)]
    broken = [Point(0, 1.0, 0.0), Point(1, 0.0, 0.8)]
    found = compare_matched({"broken": broken, "careful": careful})
    assert list(found) == ["careful", "broken"]
    assert found["careful"].forgetting == 0.7
    assert found["broken"].forgetting == pytest.approx(0.05, abs=EXACT)


@pytest.mark.parametrize(
    "path",
    [
        [],
        PATH[:1],
        PATH[1:],
        PATH[:2],
        [*PATH, PATH[1]],
        [PATH[0], Point(0.5, math.nan, 0.5), PATH[2]],
    ],
)
def test_what_makes_no_path_is_refused(path):
    with pytest.raises(InputError, match="path"):
        matched(path)


def test_other_originals_and_other_shares_are_refused():
    other = [Point(0, 1, 0.5), Point(1, 0, 0.9)]
    with pytest.raises(InputError, match=r"from 0.8 to 0.9"):
        compare_matched({"a": PATH, "b": other})
    with pytest.raises(InputError, match="kept=0"):
        matched(PATH, 0)
    assert compare_matched({}) == {}


def test_front_by_hand():
    points = [(0.2, 0.9), (0.5, 0.9), (0.9, 0.1), (0.5, 0.5), (0.5, 0.9)]
    assert pareto_front(points) == [1, 2, 4]


SHARES = st.floats(0, 1)


@given(st.lists(st.tuples(SHARES, SHARES), min_size=2, max_size=6), st.floats(0.01, 1))
def test_the_point_found_has_the_utility_and_lies_on_the_path(numbers, kept):
    steps = len(numbers) - 1
    path = [Point(place / steps, *pair) for place, pair in enumerate(numbers)]
    found = matched(path, kept)
    assert found.utility >= kept * path[-1].utility - 1e-9
    assert min(p.forgetting for p in path) - 1e-9 <= found.forgetting <= max(p.forgetting for p in path) + 1e-9
    assert 0 <= found.share <= 1
