"""ROUGE-L against rouge-score, and in scripts that rouge-score does not know."""

from __future__ import annotations

import random
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from rouge_score import rouge_scorer

from expunge.functional.rouge import lcs_length, rouge_l
from expunge.functional.words import tofu_words
from tests.functional.test_porter import ENGLISH
from tests.functional.test_words import TEXTS, plain_words, texts

EXACT = 1e-12


def reference(stem):
    return rouge_scorer.RougeScorer(["rougeL"], use_stemmer=stem)


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
    assert rouge_l(candidate, truth, tofu_words if stem else plain_words) == pytest.approx(tuple(expected), abs=EXACT)


def test_rouge_of_long_texts_is_rouge_scores():
    source = random.Random(0)
    for _ in range(30):
        candidate, truth = (" ".join(source.choices(ENGLISH, k=source.randint(20, 120))) for _ in range(2))
        expected = reference(stem=True).score(target=truth, prediction=candidate)["rougeL"]
        assert rouge_l(candidate, truth, tofu_words) == pytest.approx(tuple(expected), abs=EXACT)


def test_rouge_by_hand():
    """Two words in common and in order, of three that were generated and five true ones."""
    assert rouge_l("born in Paris", "She was born in 1950") == pytest.approx((2 / 3, 2 / 5, 1 / 2))
    assert rouge_l("cats", "cat", tofu_words).f1 == 1
    assert rouge_l("cats", "cat").f1 == 0
    assert rouge_l("nothing", "shared") == (0, 0, 0)


@pytest.mark.parametrize("script", TEXTS)
def test_every_script_is_scored(script):
    """An identical answer is right and an unrelated one is not, whatever it is written in; TOFU's words see nothing."""
    truth, other = TEXTS[script]
    assert rouge_l(truth, truth) == (1, 1, 1)
    assert rouge_l(f"  {truth.upper()}!", truth).recall == 1
    for form in ("NFC", "NFD", "NFKC", "NFKD"):
        assert rouge_l(unicodedata.normalize(form, truth), truth) == (1, 1, 1)
        assert rouge_l(truth, unicodedata.normalize(form, truth)) == (1, 1, 1)
    assert rouge_l(other, truth).recall < 0.2
    assert rouge_l("", truth).recall == 0
    if script not in ("accented Latin", "emoji in Latin", "English"):
        assert rouge_l(truth, truth, tofu_words).recall in (0, 1)


def test_ascii_words_are_scored_as_rouge_score_does_without_stems():
    source = random.Random(1)
    for _ in range(50):
        candidate, truth = (" ".join(source.choices(ENGLISH[:40], k=source.randint(1, 30))) for _ in range(2))
        expected = reference(stem=False).score(target=truth, prediction=candidate)["rougeL"]
        assert rouge_l(candidate, truth) == pytest.approx(tuple(expected), abs=EXACT)
