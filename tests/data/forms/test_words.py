"""Words in any script, with their places."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from expunge.data.forms.words import months_like, scan


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Anna lives in Paris.", ["Anna", "lives", "in", "Paris"]),
        ("Call 555-123-4567, now!", ["Call", "555-123-4567", "now"]),
        ("a.b+c@d-e.org, f@g.hi.", ["a.b+c@d-e.org", "f@g.hi"]),
        ("born 12/05/1990 at 10:30", ["born", "12/05/1990", "at", "10:30"]),
        ("1,234.5 or one,two", ["1,234.5", "or", "one", "two"]),
        ("O'Brien's Jean-Luc- x", ["O'Brien's", "Jean-Luc", "x"]),
        ("她住在北京。", ["她", "住", "在", "北", "京"]),
        ("电话138-0000-1234。", ["电", "话", "138-0000-1234"]),
        ("تسكن آنا في باريس.", ["تسكن", "آنا", "في", "باريس"]),
        ("हिन्दी में", ["हिन्दी", "में"]),
        ("Москва, 5", ["Москва", "5"]),
        ("", []),
        ("...", []),
    ],
)
def test_words(text, words):
    assert [word.text for word in scan(text)] == words


@given(st.text(max_size=40))
def test_places_are_those_of_the_text(text):
    words = scan(text)
    assert all(text[word.start : word.stop] == word.text and word.text and word.key is not None for word in words)
    assert all(left.stop <= right.start for left, right in zip(words, words[1:], strict=False))


def test_looks():
    by_text = {word.text: word for word in scan("Anna 7 a@b.c may de MÄRZ lives")}
    assert {text for text, word in by_text.items() if word.specific} == {"7", "a@b.c"}
    assert {text for text, word in by_text.items() if word.marked} == {"Anna", "7", "a@b.c", "may", "MÄRZ"}
    assert {text for text, word in by_text.items() if word.stops} == {"de"}
    assert by_text["lives"].key == scan("live")[0].key
    assert months_like("mayo")[0] == "enero"
    assert months_like("Anna") is None
