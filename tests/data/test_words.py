"""Words, scripts and normal forms in many languages."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from expunge.data import words as module
from expunge.data.words import fold, script_letters, shares, words

WORDS = [
    ("Jaime's two-part x_y 3.5", ["Jaime", "s", "two", "part", "x", "y", "3", "5"]),
    ("東京タワー and 山田", ["東", "京", "タ", "ワ", "ー", "and", "山", "田"]),
    ("ไทย", ["ไ", "ท", "ย"]),
    ("ที่นี่", ["ที่", "นี่"]),  # vowel and tone marks stay with their letter
    ("हिन्दी भाषा", ["हिन्दी", "भाषा"]),  # vowel signs are no word characters to the library
    ("한국어 말", ["한국어", "말"]),
    ("Łódź-Zürich", ["Łódź", "Zürich"]),
    ("... !?", []),
]


@pytest.mark.parametrize(("text", "expected"), WORDS)
def test_words(text, expected):
    assert words(text) == expected


@given(st.text(alphabet=st.characters(max_codepoint=127)))
def test_ascii_takes_the_short_way_to_the_same_words(text):
    assert words(text) == [match[0] for match in module._any_word().finditer(text)]


@given(st.text())
def test_words_lose_no_letter(text):
    assert "".join(filter(str.isalnum, "".join(words(text)))) == "".join(filter(str.isalnum, text))


FOLDED = [
    ("ŁUKASZ", "lukasz"),
    ("José", "jose"),
    ("Jose\u0301", "jose"),
    ("Straße", "strasse"),
    ("Ab\u00adi\u200blov", "abilov"),
    ("ＡＢＣ", "abc"),
    ("Ødegård", "odegard"),
    ("İstanbul", "istanbul"),
    ("हिन्दी", "हिन्दी"),
]


@pytest.mark.parametrize(("text", "expected"), FOLDED)
def test_fold(text, expected):
    assert fold(text) == expected
    assert fold(fold(text)) == expected


def test_script_letters_by_hand():
    assert script_letters(["Hi мир 1!", "東ア"]) == {"Cyrillic": 3, "Latin": 2, "Han": 1, "Katakana": 1}
    assert shares({"Latin": 2, "Han": 1}) == {"Latin": 0.6667, "Han": 0.3333}
    assert shares({}) == {}


def test_the_pattern_covers_every_mark_and_ideograph():
    pattern = module._any_word()
    assert pattern.fullmatch("a\u0301")
    assert pattern.fullmatch("a\U000e0100")
    assert not re.fullmatch(pattern, "\U00020000\U00020001")
