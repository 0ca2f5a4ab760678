"""Stems against NLTK."""

from __future__ import annotations

import random
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nltk.stem.porter import PorterStemmer

from expunge.functional import porter

NLTK = PorterStemmer()
ENGLISH_TEXT = """
caresses ponies ties caress cats skies sky flies dies lies spies news innings feed agreed freed plastered bled motoring
sing conflated troubled sized hopping tanned falling hissing fizzed failing filing hoping running happy cry say enjoy
dying lying tying relational conditional rational valenci hesitanci digitizer conformabli radicalli differentli vileli
analogousli vietnamization predication operator feudalism decisiveness hopefulness callousness formaliti sensitiviti
sensibiliti hopefulli archaeology geologi logi triplicate formative formalize electriciti electrical hopeful goodness
revival allowance inference airliner gyroscopic adjustable defensible irritant replacement adjustment dependent
adoption homologou communism activate angulariti homologous effective bowdlerize probate rate cease controll roll
national nationally internationalization generalizations oscillators university universities argued arguing argues
argument yellow yearly toying employ employees staying tried denied died married worried quality qualities proceed
exceeding succeeded exceed succeed operational inning outings cannings howe being seeing agreeing eed ing ied ies ed
oed sses ational ion tion sion abli alli professionally totally really usually basically lively lovely bus buses gas
gases this is was as a i of the and born in
"""
ENGLISH = ENGLISH_TEXT.split()
ENDS_TEXT = """
s es ss sses ies ied eed ed ing at bl iz tt ll y ly ational tional enci anci izer bli alli entli eli ousli ization
ation ator alism iveness fulness ousness aliti iviti biliti fulli logi icate ative alize iciti ical ful ness al ance
ence er ic able ible ant ement ment ent sion tion ion ou ism ate iti ous ive ize e ee
"""
ENDS = ENDS_TEXT.split()
starts = st.text("aeioubcdlstwxyz", max_size=5)
made_up = st.builds(lambda start, ends: start + "".join(ends), starts, st.lists(st.sampled_from(ENDS), max_size=3))


@pytest.mark.parametrize("word", ENGLISH)
def test_stems_of_english_are_nltks(word):
    assert porter.stem(word) == NLTK.stem(word)


@given(st.one_of(made_up, st.text(string.ascii_lowercase + string.digits, max_size=9)))
def test_stems_of_anything_are_nltks(word):
    assert porter.stem(word) == NLTK.stem(word)


def test_many_stems_are_nltks():
    source = random.Random(0)
    for _ in range(8000):
        start = "".join(source.choices("aeioubcdlstwxyz", k=source.randint(0, 4)))
        word = start + "".join(source.choices(ENDS, k=source.randint(1, 3)))
        assert porter.stem(word) == NLTK.stem(word)


def test_stems_by_hand():
    """From Porter's paper, one for each step."""
    pairs = {"caresses": "caress", "ponies": "poni", "hopping": "hop", "filing": "file", "happy": "happi"}
    pairs |= {
        "relational": "relat",
        "electrical": "electr",
        "adjustment": "adjust",
        "rate": "rate",
        "controll": "control",
    }
    assert {word: porter.stem(word) for word in pairs} == pairs
