"""Words, stems and ROUGE against rouge-score and NLTK."""

from __future__ import annotations

import random
import string

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from nltk.stem.porter import PorterStemmer
from rouge_score import rouge_scorer, tokenize

from expunge.functional import porter
from expunge.functional.text import SCORERS, lcs_length, rouge_l, words, zlib_bytes

EXACT = 1e-12
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
ODD = ["Dr.", "1,204", "e-mail", "N'Djamena", "ﬁn", "Żółw", "東京"]
sentences = st.lists(st.sampled_from(ENGLISH + ODD)).map(" ".join)
texts = st.one_of(st.text(max_size=40), sentences)


def reference(stem):
    return rouge_scorer.RougeScorer(["rougeL"], use_stemmer=stem)


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


@given(texts, st.booleans())
@example("Aʼs \u212aelvin İstanbul don't 3.14", True)
def test_words_are_rouge_scores(text, stem):
    assert words(text, stem=stem) == tokenize.tokenize(text, NLTK if stem else None)


def test_words_by_hand():
    assert words("The cats' RUNNING, in 1,204 Städte!") == ["the", "cat", "run", "in", "1", "204", "st", "dte"]
    assert words("his news as is") == ["his", "news", "as", "is"]  # up to three letters stay
    assert words("東京") == []


def by_table(left, right):
    """The definition of the longest common subsequence."""
    table = [[0] * (len(right) + 1) for _ in range(len(left) + 1)]
    for i, item in enumerate(left, start=1):
        for j, other in enumerate(right, start=1):
            same = table[i - 1][j - 1] + 1
            table[i][j] = same if item == other else max(table[i - 1][j], table[i][j - 1])
    return table[-1][-1]


@given(st.lists(st.sampled_from("abc"), max_size=90), st.lists(st.sampled_from("abcd"), max_size=90))
def test_common_subsequence_is_that_of_the_table(left, right):
    assert lcs_length(left, right) == by_table(left, right) == lcs_length(right, left)


def test_common_subsequence_by_hand():
    assert lcs_length(list("axbyc"), list("abc")) == 3
    assert lcs_length(list("abc"), list("cba")) == 1
    assert lcs_length([], ["a"]) == 0


@given(texts, texts, st.booleans())
@example("", "", True)
@example("...", "word", True)
def test_rouge_is_rouge_scores(candidate, truth, stem):
    expected = reference(stem).score(target=truth, prediction=candidate)["rougeL"]
    assert rouge_l(candidate, truth, stem=stem) == pytest.approx(tuple(expected), abs=EXACT)


def test_rouge_of_long_texts_is_rouge_scores():
    source = random.Random(0)
    for _ in range(30):
        candidate, truth = (" ".join(source.choices(ENGLISH, k=source.randint(20, 120))) for _ in range(2))
        expected = reference(stem=True).score(target=truth, prediction=candidate)["rougeL"]
        assert rouge_l(candidate, truth) == pytest.approx(tuple(expected), abs=EXACT)


def test_rouge_by_hand():
    """Two words in common and in order, of three that were generated and five true ones."""
    assert rouge_l("born in Paris", "She was born in 1950") == pytest.approx((2 / 3, 2 / 5, 1 / 2))
    assert rouge_l("cats", "cat").f1 == 1
    assert rouge_l("cats", "cat", stem=False).f1 == 0
    assert rouge_l("nothing", "shared") == (0, 0, 0)


def test_scorers_take_what_was_generated_first():
    assert SCORERS["rouge_l_recall"]("born in the town of Brask", "Brask") == 1
    assert SCORERS["rouge_l_recall"]("Brask", "in the town of Brask") == pytest.approx(0.2)


def test_compressed_length():
    """Header 2, checksum 4, and what deflate makes of it; repetition is cheap, and bytes count, not characters."""
    assert zlib_bytes("") == 8
    assert zlib_bytes("a") == 9
    assert zlib_bytes("é") == 10
    assert zlib_bytes("ab" * 500) < 30 < 500 < zlib_bytes("".join(random.Random(0).choices(string.printable, k=1000)))
