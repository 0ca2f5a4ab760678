"""Splits: persons stay together, nobody moves anybody."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from expunge.data.partition import draw, partition
from expunge.data.record import Record
from expunge.errors import InputError
from expunge.storage.secret import Secret


def record(text: str, subject: str | None = None, index: int = 0) -> Record:
    own = None if subject is None else Secret(subject, "record")
    return Record(index=index, split="data", kind="text", answer=Secret(text, "record"), subject=own)


RECORDS = [record(f"text {number}", f"Person {number // 5}" if number % 2 else None) for number in range(400)]
SHARES = {"holdout": 0.2, "validation": 0.1}


def test_a_person_is_in_one_split():
    places: dict[str, set[str]] = {}
    records = [record(f"text {n}", f"  PERSON {n % 40} " if n % 3 else f"person {n % 40}") for n in range(400)]
    for one, name in zip(records, partition(records, SHARES, 0), strict=True):
        places.setdefault(one.subject.reveal().strip().casefold(), set()).add(name)
    assert len(places) == 40
    assert all(len(names) == 1 for names in places.values())
    assert {name for names in places.values() for name in names} == {"retain", "holdout", "validation"}


@given(st.integers(0, 2**32), st.lists(st.integers(0, 399), min_size=1, unique=True))
def test_order_and_company_do_not_matter(seed, chosen):
    names = partition(RECORDS, SHARES, seed)
    assert partition([RECORDS[row] for row in chosen], SHARES, seed) == [names[row] for row in chosen]


def test_position_id_and_case_do_not_matter():
    for one in RECORDS[:50]:
        other = replace(one, index=7, id=Secret("x", "y"), answer=Secret(one.answer.reveal().upper() + " ", "z"))
        assert draw(one, 1) == draw(other, 1)


def test_a_further_split_moves_no_one_out_of_the_first():
    before, after = partition(RECORDS, {"holdout": 0.2}, 3), partition(RECORDS, SHARES, 3)
    assert [name == "holdout" for name in before] == [name == "holdout" for name in after]
    larger = partition(RECORDS, {"holdout": 0.4}, 3)
    assert all(new == "holdout" for old, new in zip(before, larger, strict=True) if old == "holdout")


def test_shares_are_what_was_asked_for():
    many = [record(f"text {number}") for number in range(20_000)]
    names = partition(many, SHARES, 5)
    for name, share in (*SHARES.items(), ("retain", 0.7)):
        deviation = (share * (1 - share) / len(many)) ** 0.5
        assert abs(names.count(name) / len(many) - share) < 4 * deviation
    drawn = sorted(draw(one, 5) for one in many)
    assert drawn[0] >= 0
    assert drawn[-1] < 1
    assert (
        max(abs(value - place / len(many)) for place, value in enumerate(drawn)) < 1.95 / len(many) ** 0.5
    )  # KS, 0.1 %


def test_seeds_and_kinds_of_key_differ():
    assert partition(RECORDS, SHARES, 1) != partition(RECORDS, SHARES, 2)
    assert draw(record("a", "b"), 0) != draw(record("b"), 0)


def test_bytes_are_fixed_for_ever():
    """Other numbers here would move everyone's records."""
    assert [round(draw(record("a text", name), 0), 6) for name in (None, "Ann Lee")] == [0.816661, 0.291678]


@pytest.mark.parametrize("shares", [{"a": 0.0}, {"a": 1.0}, {"a": -0.1}, {"a": float("nan")}, {"a": 0.5, "b": 0.5}])
def test_impossible_shares(shares):
    with pytest.raises(InputError, match="share"):
        partition(RECORDS, shares, 0)


def test_no_shares_retain_all():
    rows = list(RECORDS)
    random.Random(0).shuffle(rows)
    assert set(partition(rows, {}, 0)) == {"retain"}
