"""Guesses of second halves: the walk by hand and against the challenge's score, halves cut by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from expunge.attacks.guess_file import ExtractionGuesses, guess_rows, solved
from expunge.errors import DivergedError, InputError, InterruptedRunError
from expunge.evaluation.guesses import suffix_nats, write_guesses
from expunge.functional.guesses import Guess, format_guesses, parse_guesses, read_guesses, score_guesses
from expunge.storage.secret import Secret
from tests.attacks.knowing import after, as_text, broken, forget, ignorant, knowing, says_nothing, task

FEW = ExtractionGuesses(samples=2)
RIGHT, WRONG = (5, 6), (7, 8)


def test_the_walk_by_hand():
    truth = {0: RIGHT, 1: RIGHT, 3: RIGHT}
    guesses = [Guess(1, RIGHT), Guess(0, WRONG), Guess(0, RIGHT), Guess(0, WRONG), Guess(3, RIGHT)]
    assert solved(guesses, truth, 4, 1)[[0, 1, 3]].tolist() == [0, 1, 0]
    assert solved(guesses, truth, 4, 2)[[0, 1, 3]].tolist() == [1, 1, 0]
    assert solved(guesses, truth, 4, 3)[[0, 1, 3]].tolist() == [1, 1, 1]
    assert np.isnan(solved(guesses, truth, 4, 3)[2])


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 150), st.booleans()), max_size=300))
def test_its_mean_is_the_recall_of_the_challenge(drawn):
    truth = dict.fromkeys(range(151), RIGHT)
    guesses = [Guess(example, RIGHT if right else WRONG) for example, right in drawn]
    score = score_guesses(guesses, truth)
    assert solved(guesses, truth, 151, 100).mean() == pytest.approx(score.recall_at_100)
    assert solved(guesses, truth, 151, len(guesses) + 1).mean() == pytest.approx(score.recall)


def test_rows_are_sorted_by_likelihood_and_read_back():
    guesses = [Guess(4, (1, 2)), Guess(4, (3, 4)), Guess(2, (9,)), Guess(1, (9,))]
    rows = guess_rows(guesses, [0.5, 0.25, 1.0, 1.0])
    assert rows == [Guess(4, (3, 4)), Guess(4, (1, 2)), Guess(1, (9,)), Guess(2, (9,))]
    assert parse_guesses(format_guesses(rows)) == rows


def test_a_model_that_knows_solves_all(tmp_path):
    probe = FEW.probe(knowing(), task())
    assert probe.best == "all"
    assert probe.values[probe.best].mean() >= 0.75
    assert probe.values["all"].mean() == pytest.approx(probe.details["recall"])
    assert probe.values[probe.best].mean() == pytest.approx(probe.details["recall at 100"])
    assert probe.details["records with two halves"] == 12.0
    rows = FEW.guesses(knowing(), task())
    write_guesses(tmp_path / "guesses.csv", rows)
    assert read_guesses(tmp_path / "guesses.csv") == rows
    prefixes = {row: one.prefix for row, one in FEW.halves(knowing(), task()).items()}
    nats = suffix_nats(knowing(), prefixes, rows, batch_size=1)
    assert nats == pytest.approx(sorted(nats), abs=1e-5)


def test_a_model_that_does_not_know_solves_none():
    probe = FEW.probe(ignorant(), task())
    assert not probe.values["all"].any()
    assert probe.details["precision"] == 0.0


def halves_of(record, attack=FEW, **changes):
    return attack.halves(knowing(), task([record], **changes)).get(0)


def test_the_suffix_is_the_second_half_of_the_answer():
    one, tokenizer = forget()[0], knowing().tokenizer
    lead = f"Question: {one.prompt.reveal()}\nAnswer: "
    tokens = tokenizer(lead + one.answer.reveal(), return_offsets_mapping=True)
    whole = tokens["input_ids"]
    before = sum(stop <= len(lead) for _, stop in tokens["offset_mapping"])
    answer = len(whole) - before
    found = halves_of(one)
    assert [*found.prefix, *found.suffix] == whole
    assert len(found.prefix) == before + answer // 2
    short = halves_of(one, ExtractionGuesses(prefix=2, length=3))
    assert [len(short.prefix), *short.suffix] == [before + 2, *whole[before + 2 : before + 5]]
    bare = halves_of(one, ExtractionGuesses(prefix=0))
    assert len(bare.prefix) == before
    text = halves_of(as_text(one))
    assert len(text.prefix) - 1 == len(tokenizer(one.answer.reveal())["input_ids"]) // 2


def test_what_has_no_two_halves_has_no_number():
    long = replace(forget()[0], prompt=Secret("why " * 200, "r"))
    found = FEW.probe(knowing(), task([long, forget()[1]]))
    assert np.isnan(found.values["all"]).tolist() == [True, False]
    nothing = FEW.probe(knowing(), task([long]))
    assert np.isnan(nothing.values["all"]).all()
    assert nothing.details == {"records with two halves": 0.0, "guesses": 0.0}


def test_the_same_seed_guesses_the_same_and_moves_nothing():
    state = torch.get_rng_state()
    first, again, other = (FEW.guesses(ignorant(), task(seed=seed)) for seed in (0, 0, 1))
    assert first == again != other
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("calls", [0, 1])
def test_stopping(calls):
    with pytest.raises(InterruptedRunError, match="extraction_guesses"):
        FEW.probe(knowing(), task(stop_requested=after(calls)))


def test_nothing_is_said():
    assert says_nothing(repr(FEW.probe(knowing(), task())))
    with pytest.raises((DivergedError, RuntimeError)) as caught:
        FEW.probe(broken(), task())
    assert says_nothing(str(caught.value))


def test_settings_that_cannot_be():
    for settings_ in ({"prefix": -1}, {"length": 0}, {"samples": 0}, {"keep": 0}, {"top_k": -1}):
        with pytest.raises(InputError, match=next(iter(settings_))):
            ExtractionGuesses(**settings_)
