"""Text of the same shape: digits, letters, months, years."""

from __future__ import annotations

import random
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from expunge.data.forms.shapes import (
    case_of,
    is_code,
    made_up,
    other_digits,
    other_month,
    random_code,
    segments,
    skeleton,
)


def digits_of(text: str, place: int, years=(), draws: int = 300) -> set[str]:
    rng = random.Random(0)
    return {other_digits(segments(text), place, years, rng) for _ in range(draws)}


def test_segments_and_skeleton():
    assert [part.text for part in segments("ab1-2 Cd")] == ["ab", "1", "-", "2", " ", "Cd"]
    assert skeleton(segments("ab1-22 Cd")) == ("lower", "0", "-", "0", " ", "title")
    assert [case_of(text) for text in ("AB", "a", "Ab", "aB", "A", "北京")] == [
        *("upper", "lower", "title", "mixed", "upper", "none")
    ]


def test_digits_keep_their_number_and_leading_zero():
    assert all(len(text) == 3 and text[0] != "0" for text in digits_of("555-1", 0))
    assert all(text.startswith("0") and len(text) == 4 for text in digits_of("0151-1", 0))
    assert digits_of("7 x", 0) == set("123456789")
    assert digits_of("0-x", 0) == set("0123456789")
    assert len({text[1] for text in digits_of("555-1", 0)}) == 10


def test_digits_of_other_scripts_stay_there():
    assert all(unicodedata.name(sign).startswith("ARABIC-INDIC") for text in digits_of("٠١٢٣", 0) for sign in text)


def test_dates_stay_dates():
    assert {int(text) for text in digits_of("14 May 1946", 0)} == set(range(1, 29))
    assert not any(text.startswith("0") for text in digits_of("14 May 1946", 0))
    assert {int(text) for text in digits_of("14 May 1946", 4)} <= set(range(1930, 2030))
    assert {int(text) for text in digits_of("14 May 1946", 4, [1950, 1940])} == set(range(1940, 1951))
    assert digits_of("12/05/1990", 2) == {f"{month:02}" for month in range(1, 13)}
    assert {int(text) for text in digits_of("1990-05-27", 4)} == set(range(1, 29))
    assert {int(text) for text in digits_of("1990", 0)} <= set(range(1930, 2030))
    assert any(int(text) > 2100 for text in digits_of("555-1990", 2))  # part of a telephone number


def test_months():
    rng = random.Random(0)
    assert {other_month("MAY", rng) for _ in range(200)} >= {"JANUARY", "MAY", "DECEMBER"}
    assert len({other_month("Mai", rng) for _ in range(300)}) == 12
    with pytest.raises(ValueError, match="month"):
        other_month("Anna", rng)


def test_codes():
    assert is_code(segments("AB12"), 0)
    assert is_code(segments("a3f9"), 0)
    assert is_code(segments("DE 44 XYZ"), 0)
    assert not is_code(segments("Anna"), 0)
    assert not is_code(segments("7 Ruzdar"), 2)
    assert not is_code(segments("3 MAY 1960"), 2)
    assert all(letter.isupper() for letter in random_code("ABCXYZ", random.Random(0)))


LETTERS = st.text(st.characters(categories=("Lu", "Ll", "Lo")), min_size=1, max_size=12)


@settings(max_examples=60, deadline=None)
@given(LETTERS, st.integers(0, 5))
def test_made_up_words_keep_length_case_and_script(text, seed):
    made = made_up(text, random.Random(seed))
    assert len(made) == len(text)
    for own, new in zip(text, made, strict=True):
        assert unicodedata.category(own) == unicodedata.category(new)
        assert unicodedata.name(own, "").split(" ")[0] == unicodedata.name(new, "").split(" ")[0]


def test_made_up_words_can_be_said():
    made = made_up("Quellmar", random.Random(1))
    vowels = [letter.lower() in "aeiou" for letter in made]
    assert all(left != right for left, right in zip(vowels, vowels[1:], strict=False))
    assert made[0].isupper()
    assert made[1:].islower()
