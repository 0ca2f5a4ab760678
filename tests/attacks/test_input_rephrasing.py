"""Guesses about each record, counted by hand and drawn from a model that knows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from expunge.attacks.input_rephrasing import InputRephrasing, within
from expunge.errors import InputError, InterruptedRunError
from expunge.storage.secret import Secret
from tests.attacks.knowing import after, as_text, forget, ignorant, knowing, says_nothing, task

FEW = {"wordings": 2, "samples": 2, "length": 24}


def test_the_first_guesses_by_hand():
    hits = [[False, True], [], [True], [False] * 4 + [True], []]
    reached = {0, 1, 2, 3}
    assert within(hits, reached, 1)[:4].tolist() == [0, 0, 1, 0]
    assert within(hits, reached, 2)[:4].tolist() == [1, 0, 1, 0]
    assert within(hits, reached, 5)[:4].tolist() == [1, 0, 1, 1]
    assert np.isnan(within(hits, reached, 5)[4])


def test_a_model_that_knows_tells():
    probe = InputRephrasing(**FEW).probe(knowing(), task())
    assert probe.values["B=1"].mean() >= 0.75  # the wording that was trained on is asked first
    assert (probe.values["B=1"] <= probe.values["B=5"]).all()
    assert (probe.values["B=5"] <= probe.values[probe.best]).all()
    assert probe.best == "B=20"
    assert probe.at == {"B=1": 1.0, "B=5": 5.0, "B=20": 20.0}
    assert probe.details["wordings of a record"] == 2.0
    assert 1 <= probe.details["guesses about a record"] <= 4


def test_a_model_that_does_not_know_tells_no_number():
    """Cities are single tokens, which any noise may hold."""
    found = InputRephrasing(wordings=1, samples=2, length=16).probe(ignorant(), task()).values
    assert not found["B=20"][1::2].any()


def test_equal_replies_are_one_guess():
    once = InputRephrasing(wordings=1, samples=1, length=24).probe(knowing(), task())
    often = InputRephrasing(wordings=1, samples=6, length=24, temperature=0.01).probe(knowing(), task())
    assert once.details["guesses about a record"] == often.details["guesses about a record"] == 1.0


def asked_of(records, **settings):
    return InputRephrasing(**settings)._asked(knowing(), task(records))


def test_wordings_are_distinct_and_few():
    own = forget()[0]
    found = asked_of([own], wordings=5)
    assert [one.question for one in found][:2] == ["Where does Ada Birch live?", "Which town has Ada Birch?"]
    assert any("____" in one.question for one in found)
    assert any(one.question.isupper() for one in found)
    assert 4 <= len({tuple(one.ids) for one in found}) == len(found) <= 5
    same = replace(own, paraphrased_question=own.prompt)
    assert len(asked_of([same], wordings=2)) == 2
    assert asked_of([same], wordings=2)[1].question != own.prompt.reveal()


def test_a_prompt_ends_before_the_answer():
    one = asked_of(forget()[:1], wordings=1)[0]
    said = knowing().tokenizer.decode(one.ids, skip_special_tokens=True)
    assert said.rstrip() == "Question: Where does Ada Birch live?\nAnswer:"


def test_what_cannot_be_asked_has_no_number():
    long = replace(forget()[2], prompt=Secret("why " * 200, "r"), paraphrased_question=None, variants={"cloze": ()})
    records = [*forget()[:2], long]
    found = InputRephrasing(wordings=1, samples=1, records=2).probe(knowing(), task(records)).values["B=20"]
    assert np.isnan(found).tolist() == [False, False, True]
    alone = InputRephrasing(wordings=1, samples=1, records=0).probe(knowing(), task([long, *forget()[:1]]))
    assert not np.isnan(alone.values["B=20"][1])
    assert alone.details["records asked"] <= 2
    nothing = InputRephrasing().probe(
        knowing(), task([replace(long, variants={"cloze": (), "truncation": (), "casing": ()})])
    )
    assert np.isnan(nothing.values["B=20"]).all()
    assert nothing.details["guesses about a record"] == 0


def test_plain_text_is_asked_for_by_its_cloze():
    found = asked_of([as_text(forget()[1])])
    assert all("____" in one.question for one in found)


@pytest.mark.slow
def test_the_same_seed_draws_the_same_and_moves_nothing():
    attack, state = InputRephrasing(wordings=2, samples=3, length=16, temperature=1.5), torch.get_rng_state()
    first, again, other = (attack.probe(knowing(), task(seed=seed)) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    assert first.details == again.details
    assert all((first.values[name] == again.values[name]).all() for name in first.values)
    assert other.details != first.details or any(
        (first.values[name] != other.values[name]).any() for name in first.values
    )


@pytest.mark.parametrize("calls", [0, 1])
def test_stopping(calls):
    with pytest.raises(InterruptedRunError, match="input_rephrasing"):
        InputRephrasing(**FEW).probe(knowing(), task(stop_requested=after(calls)))


def test_nothing_is_said():
    assert says_nothing(repr(InputRephrasing(wordings=1, samples=1).probe(knowing(), task())))


def test_settings_that_cannot_be():
    for settings in ({"wordings": 0}, {"samples": 0}, {"length": 0}, {"temperature": 0.0}):
        with pytest.raises(InputError, match=next(iter(settings))):
            InputRephrasing(**settings)
    with pytest.raises(InputError, match="records=-2"):
        InputRephrasing(records=-2).probe(knowing(), task())
