"""Answers of others: all of the retain set's, each once, and never one's own."""

from __future__ import annotations

from collections import Counter

import pytest

from expunge.errors import InputError
from expunge.models.relabel.draws import draws, shuffled
from expunge.models.relabel.random_answer import RandomAnswer
from tests.models.relabel.records import TOWNS, answers, record, task


def test_samples_go_through_all_other_answers_and_begin_again():
    kept = [record(index, split="retain") for index in range(8)] * 2
    own = [record(3)]
    found = [answers(RandomAnswer().relabel_all(own, task(retain=kept), sample))[0] for sample in range(8)]
    others = {f"She lives in {town}." for town in TOWNS} - {"She lives in Trier."}
    assert set(found[:7]) == others
    assert found[7] == found[0]


def test_golden_choice():
    """A change here would change every recorded run."""
    kept = [record(index, split="retain") for index in range(8)]
    found = answers(RandomAnswer().relabel_all([record(index) for index in range(6)], task(retain=kept)))
    assert [TOWNS.index(text.split()[-1][:-1]) for text in found] == [4, 3, 1, 2, 6, 4]


def test_ones_own_answer_in_other_letters_is_no_other():
    kept = [record(0, split="retain", answer="she  LIVES in ulm."), record(1, split="retain")]
    found = [answers(RandomAnswer().relabel_all([record(0)], task(retain=kept), sample))[0] for sample in range(5)]
    assert found == ["She lives in Bonn."] * 5


def test_every_answer_is_drawn_evenly():
    kept = [record(index, split="retain") for index in range(8)]
    own = [record(index, answer="Nowhere.") for index in range(4000)]
    counts = Counter(answers(RandomAnswer().relabel_all(own, task(retain=kept))))
    assert max(counts.values()) < 1.2 * 500
    assert min(counts.values()) > 0.8 * 500


def test_a_retain_set_without_another_answer_is_refused():
    for kept in ([record(8, split="retain")], [record(1, "text", split="retain")], []):
        with pytest.raises(InputError, match="record 0 could get") as caught:
            RandomAnswer().relabel_all([record(0)], task(retain=kept))
        assert "Ulm" not in str(caught.value)


def test_shuffled_is_a_permutation_with_a_stable_beginning():
    for count in (0, 1, 2, 17):
        assert sorted(shuffled(count, draws("x", 1))) == list(range(count))
    first = shuffled(1000, draws("x", 1))
    assert [next(first) for _ in range(5)] == list(shuffled(1000, draws("x", 1)))[:5]
    orders = Counter(tuple(shuffled(3, draws("x", seed))) for seed in range(3000))
    assert len(orders) == 6
    assert min(orders.values()) > 400
