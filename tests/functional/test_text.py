"""Scorers of replies, and the compressed length."""

from __future__ import annotations

import random
import string

import pytest

from expunge.functional.text import SCORERS, Reply, zlib_bytes
from tests.functional.test_words import TEXTS


def said(*texts: str, truth: str = "Brask", prompt: str = "Where?") -> list[Reply]:
    return [Reply(text=text, truth=truth, prompt=prompt) for text in texts]


def test_scorers_take_what_was_generated_and_the_truth():
    for name in ("rouge_l_recall", "tofu_rouge_l_recall"):
        assert SCORERS[name](said("born in the town of Brask", "")) == [1, 0]
        assert SCORERS[name](said("Brask", truth="in the town of Brask")) == pytest.approx([0.2])


def test_only_the_scorer_of_tofu_stems_and_drops_scripts():
    assert SCORERS["tofu_rouge_l_recall"](said("cats", truth="cat")) == [1]
    assert SCORERS["rouge_l_recall"](said("cats", truth="cat")) == [0]
    arabic = TEXTS["Arabic"][0]
    assert SCORERS["tofu_rouge_l_recall"](said(arabic, truth=arabic)) == [0]
    assert SCORERS["rouge_l_recall"](said(arabic, truth=arabic)) == [1]


def test_a_reply_prints_as_nothing():
    reply = Reply(text="secret words", truth="secret truth")
    assert "secret" not in repr(reply) + str(reply) + f"{reply}"


def test_small_scorers_by_hand():
    texts = said("", " \n", "a b a b a", "I don't know.")
    assert SCORERS["empty"](texts) == [1, 1, 0, 0]
    assert SCORERS["length"](texts) == [0, 0, 5, 4]
    assert SCORERS["refusal"](texts, rule="phrase_heuristic_1") == [0, 0, 0, 1]
    assert SCORERS["repeated_ngrams"](texts, n=2) == [0, 0, 0.5, 0]


def test_features_know_the_words_of_all_questions_and_answers():
    replies = [
        Reply(text="blue house there", truth="red house", prompt="which colour"),
        Reply(text="", truth="there", prompt="blue"),
    ]
    first, second = SCORERS["answer_features"](replies, rule="heuristic_1")
    assert first == (0, 0, 0, 1, 3)
    assert second == (0, 0, 0, 0, 0)


def test_compressed_length():
    """Header 2, checksum 4, and what deflate makes of it; repetition is cheap, and bytes count, not characters."""
    assert zlib_bytes("") == 8
    assert zlib_bytes("a") == 9
    assert zlib_bytes("é") == 10
    assert zlib_bytes("ab" * 500) < 30 < 500 < zlib_bytes("".join(random.Random(0).choices(string.printable, k=1000)))
